package ownership

import (
	"fmt"
	"slices"
)

// Own is a transfer that a connection proves by itself, whatever is known of its account.
type Own struct {
	Announcement Announcement
	Said         bool // it was announced

	name string // in Connection.Said
}

// Own lists the transfers that the connection proves by itself: a user_reauth from one reference_id to another and, while no account is known, a connection
// that carries another reference_id than before. Once its account is known, its claim shows the latter.
func (c Connection) Own() []Own {
	last := len(c.Tenures)
	if last == 0 {
		return nil
	}
	var pairs []Own
	add := func(name string, reason Reason, previous int, current Holder) {
		p := Holder{UserID: c.UserID, ReferenceID: c.Tenures[previous-1], ConnectedAt: c.ConnectedAt, Tenure: previous}
		if p.ReferenceID == current.ReferenceID {
			return
		}
		pairs = append(pairs, Own{
			Announcement: Announcement{
				Type: Transferred, Provider: c.Provider, Reason: reason, Order: lessSure(c.Certainty, c.Certainty), Previous: p, Current: current,
			},
			Said: slices.Contains(c.Said, name),
			name: name,
		})
	}
	for _, s := range c.ReplacedBy {
		if !nameless(s) {
			add("replaced by "+alias(s.UserID), Reauth, last, Holder{UserID: s.UserID, ReferenceID: s.Reference, Tenure: 1})
		}
	}
	if len(c.Accounts) > 0 {
		return pairs
	}
	for n := 1; n < last; n++ {
		current := Holder{UserID: c.UserID, ReferenceID: c.Tenures[last-1], ConnectedAt: c.ConnectedAt, Tenure: last}
		add(fmt.Sprintf("tenure %d to %d", n, last), Reassigned, n, current)
	}
	return pairs
}
