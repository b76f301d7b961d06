package explain

import (
	"fmt"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// Connection is the explanation of one connection.
type Connection struct {
	UserID      string              `json:"user_id"`
	Provider    string              `json:"provider"`
	Tenures     []string            `json:"tenures"` // the reference_ids that it has had, oldest first
	ConnectedAt *time.Time          `json:"connected_at"`
	Certainty   ownership.Certainty `json:"certainty"`
	ClosedAt    *time.Time          `json:"closed_at"`
	Accounts    []string            `json:"accounts"` // the wearable accounts that it is known to hold
	Settled     bool                `json:"settled"`
	NextAttempt *time.Time          `json:"next_attempt,omitempty"`
	Attempts    int                 `json:"attempts,omitempty"`

	Why []string `json:"why"` // what is known, what is not, and what follows
	Own []Pair   `json:"own"` // what it proves by itself, whatever is known of its account
}

// Pair is a transfer that a connection proves by itself.
type Pair struct {
	From   Owner               `json:"from"`
	To     Owner               `json:"to"`
	Reason ownership.Reason    `json:"reason"`
	Order  ownership.Certainty `json:"order"`
	Said   bool                `json:"announced"`
	Why    string              `json:"why"`
}

// OfConnection explains a connection's row.
func OfConnection(c ownership.Connection) Connection {
	e := Connection{
		UserID: c.UserID, Provider: c.Provider, Tenures: append([]string{}, c.Tenures...), ConnectedAt: orNull(c.ConnectedAt), Certainty: c.Certainty,
		ClosedAt: orNull(c.ClosedAt), Accounts: append([]string{}, c.Accounts...), Settled: !c.ToDo, Own: []Pair{},
	}
	if c.ToDo {
		e.NextAttempt, e.Attempts = orNull(c.NextAttempt), c.Attempts
	}
	say := func(format string, values ...any) { e.Why = append(e.Why, fmt.Sprintf(format, values...)) }
	switch {
	case c.Reference() == "":
		say("It has no reference_id: it owns nothing and displaces nobody.")
	case len(c.Tenures) > 1:
		say("It has carried %d reference_ids, one after the other: %s.", len(c.Tenures), strings.Join(c.Tenures, ", "))
	default:
		say("It is %s's.", c.Reference())
	}
	if len(c.Suspects) > 0 {
		say("An event has named another reference_id (%s). An event may be late, so Terra's API is asked which is the present one.", strings.Join(c.Suspects, ", "))
	}
	switch {
	case c.ConnectedAt.IsZero():
		say("When it was made is not known: it counts as older than all whose time is.")
	default:
		say("It was made at %s, %s.", Time(c.ConnectedAt), Certainty(c.Certainty))
	}
	switch {
	case len(c.Accounts) > 0:
		say("It holds the account %s.", strings.Join(c.Accounts, " and "))
	case c.Phone():
		say("Terra names no account. Of a phone's own health data that is the device's id, and a change of its user shows only in the reference_id.")
	default:
		say("Terra has named no account for it, so nobody can tell whether somebody else has the same: it is compared with nobody.")
	}
	for _, s := range c.ReplacedBy {
		say("A user_reauth says that the connection %s replaced it.", s.UserID)
	}
	for _, p := range c.Replaces {
		say("A user_reauth says that it replaced the connection %s.", p)
	}
	if c.Closed() {
		say("It ended at %s.", Time(c.ClosedAt))
	} else {
		say("It is open.")
	}
	switch {
	case c.ToDo && c.Waiting != "":
		say("It is not settled: %s. The next attempt, after %d so far, is at %s.", c.Waiting, c.Attempts, Time(c.NextAttempt))
	case c.ToDo:
		say("It is not settled yet: the sweep takes it up at %s.", Time(c.NextAttempt))
	}
	for _, o := range c.Own() {
		p := Pair{
			From: owner(o.Announcement.Previous), To: owner(o.Announcement.Current), Reason: o.Announcement.Reason, Order: o.Announcement.Order, Said: o.Said,
			Why: "To be announced: ",
		}
		if o.Said {
			p.Why = "Announced: "
		}
		p.Why += fmt.Sprintf("from %s to %s. %s", Name(o.Announcement.Previous), Name(o.Announcement.Current), Order(p.Reason, p.Order))
		e.Own = append(e.Own, p)
	}
	return e
}
