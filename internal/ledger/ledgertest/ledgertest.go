// Package ledgertest holds the conformance suite that every ledger passes, and a ledger in memory for tests of what stands on one.
package ledgertest

import (
	"context"
	"iter"

	"github.com/handover-dev/handover/internal/ownership"
)

// Ledger is all that a ledger of Handover does: what the rule needs, and what its edges and operators need.
//
// Rows come back in one form, whatever was put in: times in UTC, NextAttempt to the millisecond and zero
// without a work mark, ExpiresAt to the second, Said sorted and without repeats, an empty list as nil or empty, an account's maps never nil.
type Ledger interface {
	ownership.Ledger
	ownership.Queue
	ownership.Register

	// Peek is Connection without its consistency: it may miss the latest writes, at half the price.
	Peek(ctx context.Context, userID string) (ownership.Connection, bool, error)

	// Accounts lists all account rows and Connections all connection rows, in any order, each as it stands when it, or a page that it is in,
	// is come to. An error ends the list.
	Accounts(ctx context.Context) iter.Seq2[ownership.Account, error]
	Connections(ctx context.Context) iter.Seq2[ownership.Connection, error]

	// CheckKey remembers the first fingerprint of an account key that it is given, for ever, and is ownership.ErrWrongAccountKey for any
	// other: with another key, every account would look new and every change would be missed.
	CheckKey(ctx context.Context, fingerprint string) error
}
