package ownership

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Ledger keeps the rows. Every method is one atomic, durable write (or one read) of one row. An error means that nothing is known about
// whether the write was applied; each method may then be called again with the same arguments.
type Ledger interface {
	// Insert stores c, with its ToDo and NextAttempt, if no row has its user_id. If there is one, nothing is written, and Insert returns
	// that row and false.
	Insert(ctx context.Context, c Connection) (Connection, bool, error)

	// Update replaces the facts, Version, ExpiresAt, ToDo, NextAttempt and Since of c's row if the stored version is c.Version-1, and sets Attempts to 0 and
	// Waiting to "". Said is left as stored. It returns the row as it then stands, and whether it was written. A row that has vanished is
	// (Connection{UserID: …}, false, nil): no row, nothing to do.
	Update(ctx context.Context, c Connection) (Connection, bool, error)

	// Finish clears the work mark of c's row, with all that belongs to it, and adds said to its Said, if the stored version is c.Version. Returns are Update's.
	Finish(ctx context.Context, c Connection, said []string) (Connection, bool, error)

	// Postpone stores c's NextAttempt, Since, Attempts and Waiting and adds said to its Said, if the stored version is c.Version and the row is
	// still to do. Returns are Update's.
	Postpone(ctx context.Context, c Connection, said []string) (Connection, bool, error)

	// Connection reads a row with strong consistency; false if there is none.
	Connection(ctx context.Context, userID string) (Connection, bool, error)

	// Claim puts claim into the row of account if the row has no claim of that user_id or one of a lower version, and returns the
	// whole row as it then stands, whether the claim was written or refused.
	Claim(ctx context.Context, account string, claim Claim) (Account, error)

	// Mark sets the mark if the row still has the claim of mark.User, and its mark of that name still is was (zero: there is none). It returns the whole row
	// as it then stands, whether the mark was set or refused.
	Mark(ctx context.Context, account string, mark, was Mark) (Account, error)

	// Drop removes the claim of that user_id and version, and the named marks (at most two), from the row of account. It does nothing if
	// the claim has another version by now.
	Drop(ctx context.Context, account string, claim Claim, marks []string) error
}

// Queue is the ledger's list of rows with a work mark.
type Queue interface {
	// ToDo returns the user_ids of at most limit rows with a work mark whose NextAttempt is not after due, oldest first. It may lag
	// behind the rows and may name a row that is settled by now: read the row.
	ToDo(ctx context.Context, due time.Time, limit int) ([]string, error)

	// Backlog returns the number of rows with a work mark and a Since, due or not, and the earliest Since, zero if there is none. It may lag behind the rows.
	Backlog(ctx context.Context) (rows int, since time.Time, err error)
}

// Register is what a walk over all rows, a person's request and a subscriber need of the ledger.
type Register interface {
	// Account reads the row of an account with strong consistency; false if there is none.
	Account(ctx context.Context, key string) (Account, bool, error)

	// Stamp sets Listed of the connection's row to walk, if there is a row, and changes nothing else. It returns the row as it then stands, and
	// whether there is one.
	Stamp(ctx context.Context, userID string, walk int64) (Connection, bool, error)

	// ConnectionsFrom returns at most limit rows that follow cursor, in an order of the ledger's own, and the cursor after them. "" is the cursor of the
	// beginning, and that of the end. A page may be empty before the end. A row that stays is returned once; one that comes or changes meanwhile may or may not be.
	ConnectionsFrom(ctx context.Context, cursor string, limit int) ([]Connection, string, error)
	// AccountsFrom is ConnectionsFrom for accounts.
	AccountsFrom(ctx context.Context, cursor string, limit int) ([]Account, string, error)

	// Note returns the text last kept under a name, "" if there is none. Keep keeps it. Names are constants of the code.
	Note(ctx context.Context, name string) (string, error)
	Keep(ctx context.Context, name, text string) error

	// Erase deletes the row of a connection, whatever it holds.
	Erase(ctx context.Context, userID string) error
	// EraseClaim removes the claim of a user_id, whatever its version, and the marks of these names from the row of an account, and deletes the row if no claim is left.
	EraseClaim(ctx context.Context, account, userID string, marks []string) error
}

// Announcer tells the app's backend.
type Announcer interface {
	// Publish returns nil only when the announcement has been accepted for delivery. Publishing the same announcement again is harmless:
	// it carries the same id.
	Publish(ctx context.Context, a Announcement) error
}

// Directory answers questions about one connection out of Terra's API.
type Directory interface {
	// Athlete asks GET /athlete. ErrGone: Terra does not know the user. [*Limited]: not now. Any other error: no usable answer.
	Athlete(ctx context.Context, userID string) (Profile, error)
	// UserInfo asks GET /userInfo. Errors are Athlete's.
	UserInfo(ctx context.Context, userID string) (Profile, error)
}

// Profile is an answer of a Directory. Every field may be zero: Terra does not say.
type Profile struct {
	Provider       string
	ReferenceID    string
	ProviderUserID string    // the wearable account's id at the provider; only Athlete knows it
	CreatedAt      time.Time // when the connection was made
}

// ErrGone is a Directory's answer for a user that Terra does not know, or no longer.
var ErrGone = errors.New("terra does not know this user")

// Limited is a Directory's error when Terra limits the rate of calls.
type Limited struct {
	RetryAfter time.Duration // how long Terra asks to wait; 0 if it did not say
}

func (l *Limited) Error() string {
	return fmt.Sprintf("terra limits the rate of calls (retry after %s)", l.RetryAfter)
}
