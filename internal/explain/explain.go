// Package explain tells in plain words why an account belongs to whom it does, and why each of its changes was announced or not. It judges nothing: every
// verdict is the rule's own, out of package ownership.
//
// What it returns names reference_ids and user_ids: it is for somebody who has asked about this very account or connection.
package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// Account is the explanation of one account.
type Account struct {
	Account  string `json:"account"`
	Provider string `json:"provider"`
	Owner    *Owner `json:"owner"` // null: nobody has ever held it under a reference_id
	Why      string `json:"why"`   // why the owner is the owner

	Holders []Holder     `json:"holders"` // everyone who has held it, oldest first
	Waiting []Connection `json:"waiting"` // connections that are known to hold it, but have no place in it
}

// Owner is the present owner.
type Owner struct {
	UserID      string     `json:"user_id"`
	ReferenceID string     `json:"reference_id"`
	ConnectedAt *time.Time `json:"connected_at"`
	Tenure      int        `json:"tenure"`
}

// Holder is one tenure of one connection that held the account: its place in the chain of owners, and what was announced about it.
type Holder struct {
	Owner
	Certainty ownership.Certainty `json:"certainty"` // how sure connected_at is: "signed", "terra", "observed", or "" where there is none
	State     string              `json:"state"`     // "open", "ended", or "passed on": the connection carries another reference_id by now
	Place     string              `json:"place"`     // why it stands after the holder before it
	After     ownership.Ground    `json:"after"`     // the same for programs: first, known_time, time, user_id, replacement, tenure

	Transfer Decision `json:"transfer"` // on announcing that the account has passed from this holder
	End      Decision `json:"end"`      // on announcing that its connection has ended
}

// Decision is the rule's verdict on one announcement, and why.
type Decision struct {
	Verdict ownership.Verdict `json:"verdict"` // announced, owed, owner, same_reference, held_again, not_due
	Why     string            `json:"why"`

	// Of a transfer that was announced or is owed.
	To     *Owner              `json:"to,omitempty"` // reference_id is "" where that holder's claim has been dropped
	Reason ownership.Reason    `json:"reason,omitempty"`
	Order  ownership.Certainty `json:"order,omitempty"`

	At *time.Time `json:"at,omitempty"` // when it was announced
}

// Of explains an account. connections are the rows of the connections that hold it, as far as there are any; others among them are left aside.
func Of(row ownership.Account, connections []ownership.Connection) Account {
	provider, _, _ := strings.Cut(row.Key, "/")
	a := Account{Account: row.Key, Provider: provider, Holders: []Holder{}, Waiting: []Connection{}}
	holdings := row.Holdings()
	for i, h := range holdings {
		var before ownership.Holding
		if i > 0 {
			before = holdings[i-1]
		}
		a.Holders = append(a.Holders, holder(row, h, before))
	}
	for _, c := range connections {
		if _, claimed := row.Claims[c.UserID]; !claimed && slices.Contains(c.Accounts, row.Key) {
			a.Waiting = append(a.Waiting, OfConnection(c))
		}
	}
	if len(holdings) == 0 {
		a.Why = "Nobody has held this account under a reference_id: it has no owner."
		return a
	}
	last := holdings[len(holdings)-1]
	o := owner(last.Holder)
	a.Owner, a.Why = &o, whyOwner(a.Holders, last)
	return a
}

func whyOwner(holders []Holder, last ownership.Holding) string {
	if len(holders) == 1 {
		return fmt.Sprintf("%s is the only holder that is known.", Name(last.Holder))
	}
	return fmt.Sprintf("Whoever connected last owns the account. %s", holders[len(holders)-1].Place)
}

func holder(row ownership.Account, h, before ownership.Holding) Holder {
	e := Holder{Owner: owner(h.Holder), Certainty: h.Certainty, After: h.After, Place: place(h, before)}
	switch {
	case h.Open:
		e.State = "open"
	case h.Tenure < len(row.Claims[h.UserID].Tenures):
		e.State = "passed on"
	default:
		e.State = "ended"
	}
	e.Transfer = transfer(h)
	e.End = end(h, e.State)
	return e
}

// place says why a holder stands after the one before it.
func place(h, before ownership.Holding) string {
	who, other := Name(h.Holder), Name(before.Holder)
	switch h.After {
	case ownership.ByKnownTime:
		return fmt.Sprintf("%s connected %s. When %s did is not known, so it counts as earlier.", who, when(h), other)
	case ownership.ByTime:
		return fmt.Sprintf("%s connected %s, later than %s (%s).", who, when(h), other, when(before))
	case ownership.ByUserID:
		return fmt.Sprintf("%s and %s have the same time (%s), so the greater user_id counts as later: %s.", who, other, when(h), h.UserID)
	case ownership.ByReplacement:
		return fmt.Sprintf("A user_reauth says that one connection replaced another, so the replaced one stands just below, whatever its time: %s stands after %s.", who, other)
	case ownership.ByTenure:
		return fmt.Sprintf("The connection %s carried the reference_id of %s first, and that of %s since.", h.UserID, before.ReferenceID, h.ReferenceID)
	}
	return fmt.Sprintf("%s is the first holder that is known, connected %s.", who, when(h))
}

// when tells a connection's time and how sure it is.
func when(h ownership.Holding) string {
	if h.ConnectedAt.IsZero() {
		return "at a time that nobody has told"
	}
	return "at " + Time(h.ConnectedAt) + ", " + Certainty(h.Certainty)
}

// Certainty says in words how sure a time is.
func Certainty(c ownership.Certainty) string {
	switch c {
	case ownership.Signed:
		return "says a signed webhook"
	case ownership.Terra:
		return "says Terra's API"
	case ownership.Observed:
		return "a guess: when Handover saw it"
	}
	return "not known"
}

func transfer(h ownership.Holding) Decision {
	d := Decision{Verdict: h.Transfer}
	who := Name(h.Holder)
	switch h.Transfer {
	case ownership.Owner:
		d.Why = fmt.Sprintf("%s owns the account: it has passed to nobody.", who)
		return d
	case ownership.SameReference:
		d.Why = fmt.Sprintf("The present owner is %s too: another connection of the same end user is no change.", h.ReferenceID)
		return d
	case ownership.HeldAgain:
		d.Why = fmt.Sprintf("%s has ended, and %s held the account once more later. What is announced is announced from that later connection.", who, h.ReferenceID)
		return d
	}
	to := owner(h.Announcement.Current)
	d.To, d.Reason, d.Order = &to, h.Announcement.Reason, h.Announcement.Order
	if h.Transfer == ownership.Owed {
		d.Why = fmt.Sprintf("To be announced: the account has passed from %s to %s. %s", who, Name(h.Announcement.Current), Order(d.Reason, d.Order))
		return d
	}
	at := h.Mark.At
	d.At = orNull(at)
	d.Why = fmt.Sprintf("Announced%s: the account has passed from %s to %s.", on(at), who, Name(h.Announcement.Current))
	if d.Order != "" {
		d.Why += " " + Order(d.Reason, d.Order)
	}
	if h.Mark.Nudged {
		d.Why += " Announced once more since, because the connection was still open."
	}
	return d
}

// Order says in words how a transfer came about, and how sure its direction is.
func Order(reason ownership.Reason, order ownership.Certainty) string {
	var words string
	switch reason {
	case ownership.Reauth:
		words = "A user_reauth says that the one connection replaced the other"
	case ownership.Reassigned:
		words = "The same connection carries another reference_id now, and Terra's API confirms it"
	default:
		words = "Both connected the same wearable account"
	}
	switch order {
	case ownership.Signed:
		return words + "; the order is sure, by signed webhooks."
	case ownership.Terra:
		return words + "; the order is sure, by Terra's API."
	}
	return words + "; the order is a guess, because not both times are known from Terra or they are the same: nothing is revoked by itself."
}

func end(h ownership.Holding, state string) Decision {
	d := Decision{Verdict: h.End}
	switch {
	case h.End == ownership.Announced:
		d.At = orNull(h.EndMark.At)
		d.Why = fmt.Sprintf("Announced%s: the superseded connection has really ended.", on(h.EndMark.At))
	case h.End == ownership.Owed:
		d.Why = "To be announced: the superseded connection has really ended."
	case h.Open:
		d.Why = "The connection has not ended."
	case state == "passed on":
		d.Why = "The connection goes on under another reference_id."
	default:
		d.Why = "Nobody else has held the account since this connection, so its end matters to nobody."
	}
	return d
}

// Name names a holder: the reference_id, and the connection by its user_id.
func Name(h ownership.Holder) string {
	if h.ReferenceID == "" {
		return fmt.Sprintf("a connection that is forgotten (%s)", h.UserID)
	}
	return fmt.Sprintf("%s (connection %s)", h.ReferenceID, h.UserID)
}

// Time is a time as people and programs read it: UTC, to the second, or to the millisecond if it is no whole second.
func Time(t time.Time) string {
	if t.Nanosecond() == 0 {
		return t.UTC().Format("2006-01-02 15:04:05Z")
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

func on(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " at " + Time(at)
}

func owner(h ownership.Holder) Owner {
	return Owner{UserID: h.UserID, ReferenceID: h.ReferenceID, ConnectedAt: orNull(h.ConnectedAt), Tenure: h.Tenure}
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
