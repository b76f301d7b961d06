// Package ownership decides which of an app's users holds a wearable account, and what must be announced when that changes.
//
// It is the rule of Handover and nothing else: it knows no AWS, no HTTP and no JSON, and imports the standard library only.
//
//	Keeper.Record   joins what an event says into the row of its connection      (durable when it returns)
//	Keeper.Settle   puts the connection's claim into the row of its account, and announces what that row then owes
//	Account.Due     what a row owes: a pure function of its claims and marks
//
// Two kinds of row are kept. A [Connection] collects the facts about one Terra user; facts only grow, so joining them in any order
// gives the same row. An [Account] holds one [Claim] of each connection that held this wearable account. The one conditional write that puts a
// claim into its account's row hands back the whole row, so of any two claims the later writer sees both. A connection's work mark
// ([Connection.ToDo]) is cleared only after everything owed by a row that contains its claim has been announced.
package ownership

import (
	"slices"
	"time"
)

// Certainty says how sure a connection's ConnectedAt is. A more certain value is greater.
type Certainty string

// The certainties, and the values of "order" in an announcement.
const (
	Unknown  Certainty = ""         // no time: the connection was there before Handover was
	Observed Certainty = "observed" // a guess: the time at which Handover saw the connection being made
	Terra    Certainty = "terra"    // Terra's API said so
	Signed   Certainty = "signed"   // a signed webhook said so (user.created_at)
)

// Sure reports whether the time is Terra's own and not a guess.
func (c Certainty) Sure() bool { return c == Terra || c == Signed }

// Connection is one row of the connections table: all facts about one Terra user, that is, one connection of one wearable account.
type Connection struct {
	UserID   string // Terra's user_id, the row's key
	Provider string // Terra's upper-case slug; "" while unknown

	// Tenures are the reference_ids that this connection has had, oldest first; normally one. Tenure n of an announcement is Tenures[n-1].
	Tenures []string
	// Suspects are other reference_ids that events have named. An event may be late, so it is never believed: Terra's API decides.
	Suspects []string

	ConnectedAt time.Time // when the connection was made; zero while unknown
	Certainty   Certainty // how sure ConnectedAt is

	Accounts   []string    // keys of the wearable accounts that this connection is known to hold (a set, sorted); see [AccountKey]
	Named      bool        // Terra named an account of this connection's own; what it inherits is another's, and ids change
	Replaces   []string    // user_ids that a user_reauth says this connection replaced (a set, sorted)
	ReplacedBy []Successor // connections that a user_reauth says replaced this one (a set, sorted by UserID)
	ClosedAt   time.Time   // when the connection ended; zero while open

	Said []string // what this connection has announced by itself (not through an account); a set

	Version int64 // grows by one with each change of the facts above, Said excepted

	Listed int64 // the last walk over Terra's list that found this connection there: see [Register]; 0 for none

	// ExpiresAt is when the row may be deleted, some time after the connection has ended; zero while it is open. A ledger treats an expired row as absent.
	ExpiresAt time.Time

	ToDo        bool      // the work mark: something about this row is not settled
	NextAttempt time.Time // when the sweep looks at it next; meaningful while ToDo
	Since       time.Time // since when it has been to do; zero while nothing is, or nothing but Terra's naming of an account, which nobody can hasten
	Attempts    int       // how often settling has been put off
	Waiting     string    // why it was put off, in words without personal data; "" if it was not
}

// Successor is the new side of a user_reauth. Reference is "" while it is not known.
type Successor struct {
	UserID    string
	Reference string
}

// Closed reports whether the connection has ended.
func (c Connection) Closed() bool { return !c.ClosedAt.IsZero() }

// Reference is the connection's present reference_id, "" if it has none.
func (c Connection) Reference() string {
	if len(c.Tenures) == 0 {
		return ""
	}
	return c.Tenures[len(c.Tenures)-1]
}

// Phone reports whether the provider is a phone's own SDK (Apple Health, Samsung Health, Health Connect). These have no account: the id
// is the device's, and a user_reauth links two devices of one owner.
func (c Connection) Phone() bool {
	return c.Provider == "APPLE" || c.Provider == "SAMSUNG" || c.Provider == "HEALTH_CONNECT"
}

// unnamed reports whether an account of the connection's own is still to be asked for. One that replaced another may know the other's only, and a
// provider that changes its ids has everyone connect anew: Fitbit's became Google's in that way.
func (c Connection) unnamed() bool {
	return len(c.Accounts) == 0 || len(c.Replaces) > 0 && !c.Phone() && !c.Named
}

// claim is what the connection's row says of itself in the row of an account.
func (c Connection) claim() Claim {
	replacedBy := make([]string, 0, len(c.ReplacedBy))
	for _, s := range c.ReplacedBy {
		replacedBy = append(replacedBy, s.UserID)
	}
	return Claim{
		UserID:      c.UserID,
		Tenures:     slices.Clone(c.Tenures),
		ConnectedAt: c.ConnectedAt,
		Certainty:   c.Certainty,
		Replaces:    slices.Clone(c.Replaces),
		ReplacedBy:  replacedBy,
		Closed:      c.Closed(),
		Version:     c.Version,
	}
}

// Facts is what one event, or one answer of Terra's API, says about one connection. Every field but UserID may be zero: nothing is said.
type Facts struct {
	UserID      string
	Provider    string
	Reference   string
	ConnectedAt time.Time
	Certainty   Certainty // of ConnectedAt
	Accounts    []string
	Named       bool // Accounts are what Terra names for this connection, and not what it inherits
	Replaces    []string
	ReplacedBy  []Successor
	ClosedAt    time.Time
}

// Account is one row of the accounts table: everyone who has held one wearable account.
type Account struct {
	Key    string           // see [AccountKey]
	Claims map[string]Claim // by user_id
	Marks  map[string]Mark  // what has been announced, by Mark.Name
}

// Claim is a connection's entry in the row of an account that it holds. Its fields are those of [Connection]; it has at least one tenure.
type Claim struct {
	UserID      string
	Tenures     []string
	ConnectedAt time.Time
	Certainty   Certainty
	Replaces    []string
	ReplacedBy  []string
	Closed      bool
	Version     int64
}

// Mark remembers one announcement in the row of its account.
type Mark struct {
	Name string // names what was announced: one name for each previous holder, and one for its revocation
	User string // user_id of the previous holder

	// The holder to whom the account was announced as passed: kept with its place in time, so that the mark can be judged when that holder's
	// claim has been dropped from the row. Zero for a revocation.
	Current     string // user_id
	Tenure      int
	ConnectedAt time.Time

	At     time.Time // when it was announced first
	Nudged bool      // whether it was announced once more because Previous was still open: see [Keeper.Remind]
}

// Type is an announcement's CloudEvents type.
type Type string

// The two announcements.
const (
	Transferred Type = "handover.account.transferred.v1" // an account, or a connection, has passed from one reference_id to another
	Revoked     Type = "handover.connection.revoked.v1"  // a superseded connection has really ended
)

// Reason says how a transfer came about.
type Reason string

// The reasons of a transfer.
const (
	ConnectedByOther Reason = "connected_by_other" // the same wearable account was connected under another reference_id
	Reauth           Reason = "reauth"             // a user_reauth replaced one connection by another
	Reassigned       Reason = "reassigned"         // one connection now carries another reference_id
)

// Announcement is what an app's backend is told.
type Announcement struct {
	Type     Type
	Account  string // the account's key; "" where the change is proved without the account being known
	Provider string // "" where no event named it

	// Of a transfer.
	Reason            Reason
	Order             Certainty // how sure it is that Previous came before Current: Signed, Terra or Observed
	Previous, Current Holder

	// Of a revocation.
	Connection Holder
}

// Holder is one tenure of one connection.
type Holder struct {
	UserID      string
	ReferenceID string
	ConnectedAt time.Time // zero while unknown
	Tenure      int       // 1 for a connection's first reference_id
}
