package revoke

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// Policy says whose connection is ended when two end users have connected one wearable account.
type Policy string

// The policies.
const (
	// NewestWins ends the connection that is superseded: whoever connected the account last keeps it. A watch was sold, an account taken over.
	NewestWins Policy = "newest-wins"

	// FirstWins ends the connection of the newcomer: whoever has the account cannot lose it to somebody else who connects it. For the ledger the
	// newcomer is the owner all the same: it records what happened, not who is in the right. So it does not announce again that anna lost the account to
	// ben when ben, whose connection was ended, makes another; that one stays, and anna's is listed as superseded and still open.
	FirstWins Policy = "first-wins"
)

// decide returns the user_id of the connection that is to be ended or, if none is, why.
//
// A reference that has changed since the message was sent is left alone under either policy: the connection is another end user's now, and if that one is
// superseded too, another message says so.
func (r *Revoker) decide(ctx context.Context, a ownership.Announcement) (userID string, kept outcome, err error) {
	loser, keeps := a.Previous, r.newest
	if r.Policy == FirstWins {
		loser, keeps = a.Current, r.first
	}
	switch {
	case a.Type != ownership.Transferred:
		return "", ignored, nil
	case a.Reason == ownership.Reassigned, a.Previous.UserID == a.Current.UserID:
		return "", reassigned, nil
	case a.Order == ownership.Observed:
		return "", observed, nil
	}
	row, found, err := r.Ledger.Connection(ctx, loser.UserID)
	switch {
	case err != nil:
		return "", "", fmt.Errorf("reading the connection to be ended: %w", err)
	case !found:
		return "", unknown, nil
	case row.Reference() != loser.ReferenceID:
		return "", reassigned, nil
	}
	if keep, err := keeps(ctx, a, row); err != nil || keep {
		return "", owner, err
	}
	return row.UserID, "", nil
}

// newest reports whether row is the newest connection of an account that it claims: the message may be old, and what superseded row may be forgotten since.
func (r *Revoker) newest(ctx context.Context, _ ownership.Announcement, row ownership.Connection) (bool, error) {
	for _, key := range row.Accounts {
		account, _, err := r.Ledger.Account(ctx, key)
		if err != nil {
			return false, fmt.Errorf("reading account %s: %w", key, err)
		}
		if holder, _ := account.Owner(); holder.UserID == row.UserID {
			return true, nil
		}
	}
	return false, nil
}

// first reports whether row, the newcomer's connection, is to be kept under FirstWins. It is, unless somebody else is there who was there before:
//
//   - That need not be the previous holder of the message. Once ben was cut off for anna's sake, cara comes after ben, who is gone; but anna is still there.
//   - Somebody must really be there, or nobody would be left. The ledger's word is not enough for that: an older Terra deletes one connection when
//     another is made, and does not say so. So Terra is asked.
//   - The newcomer must be one. Who consents anew gets a new user_id, and a user_reauth that links it to the old one: it looks newer than somebody who in
//     truth came in between, and must not lose the account to them. That leaves both connected, for a person to decide.
//   - All of this must be sure. An account that is not known (a user_reauth has ended the previous connection), a time that is a guess, a connection whose
//     first reference is not its present one: nothing is ended for their sake.
func (r *Revoker) first(ctx context.Context, a ownership.Announcement, row ownership.Connection) (bool, error) {
	if a.Account == "" {
		return true, nil
	}
	account, _, err := r.Ledger.Account(ctx, a.Account)
	if err != nil {
		return false, fmt.Errorf("reading account %s: %w", a.Account, err)
	}
	came := since(account, row.UserID, map[string]bool{})
	for _, c := range account.Claims {
		if c.Tenures[0] == row.Reference() || !c.Certainty.Sure() || !c.ConnectedAt.Before(came) {
			continue
		}
		if there, err := r.connected(ctx, c.UserID, c.Tenures[0]); err != nil || there {
			return false, err
		}
	}
	return true, nil
}

// since is when the end user of a connection first had the account without a break: when the connection was made, or the oldest of their connections that
// it continues by user_reauths; zero if that is not sure. A phone's user_reauth links two devices, which have no account in common. seen holds the
// connections under judgement: a circle, which only contradictory events could make, is not followed.
func since(account ownership.Account, userID string, seen map[string]bool) time.Time {
	seen[userID] = true
	c := account.Claims[userID]
	if !c.Certainty.Sure() {
		return time.Time{}
	}
	first := c.ConnectedAt
	for _, replaced := range c.Replaces {
		old, here := account.Claims[replaced]
		if !here || seen[replaced] || old.Tenures[len(old.Tenures)-1] != c.Tenures[len(c.Tenures)-1] {
			continue
		}
		if before := since(account, replaced, seen); before.Before(first) {
			first = before
		}
	}
	return first
}

// connected reports whether a connection is open and is that reference's, by the ledger's word and by Terra's.
func (r *Revoker) connected(ctx context.Context, userID, reference string) (bool, error) {
	row, found, err := r.Ledger.Connection(ctx, userID)
	if err != nil {
		return false, fmt.Errorf("reading a connection that was there before: %w", err)
	}
	if !found || row.Closed() || row.Reference() != reference {
		return false, nil
	}
	profile, err := r.Directory.UserInfo(ctx, userID)
	if errors.Is(err, ownership.ErrGone) {
		return false, nil
	}
	return err == nil && cmp.Or(profile.ReferenceID, reference) == reference, err
}
