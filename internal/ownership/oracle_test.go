package ownership_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ownership"
)

// oracle watches what Handover does and knows the truth. It judges the order of connections by itself, not by the code under test.
type oracle struct {
	history *history
	rows    map[string]ownership.Connection // the connections' rows as they stand
	account map[string]ownership.Account    // the accounts' rows as they stand
	moment  int                             // grows with each write to an account's row
	claimed map[string]map[string]int       // account → user_id → the moment of its claim

	said []ownership.Announcement
	ids  map[string]string // what was said → its id
	data map[string]string // the id → what was said
}

func newOracle(h *history) *oracle {
	return &oracle{
		history: h, rows: map[string]ownership.Connection{}, account: map[string]ownership.Account{},
		claimed: map[string]map[string]int{}, ids: map[string]string{}, data: map[string]string{},
	}
}

// wrote is told of each row of a connection that was written. Facts only grow.
func (o *oracle) wrote(r ownership.Connection) {
	old := o.rows[r.UserID]
	o.rows[r.UserID] = r
	lost := !covers(r.Accounts, old.Accounts) || !covers(r.Replaces, old.Replaces) || !covers(r.Said, old.Said) || r.Version < old.Version ||
		len(r.Tenures) < len(old.Tenures) || !slices.Equal(r.Tenures[:len(old.Tenures)], old.Tenures) ||
		sureness(r.Certainty) < sureness(old.Certainty) || old.Certainty == r.Certainty && !old.ConnectedAt.Equal(r.ConnectedAt) ||
		old.Certainty.Sure() && old.Certainty != r.Certainty ||
		old.Closed() && (!r.Closed() || r.ClosedAt.After(old.ClosedAt)) || len(r.ReplacedBy) < len(old.ReplacedBy)
	if lost {
		o.history.violated("facts only grow, but\n%+v\nbecame\n%+v", old, r)
	}
}

func covers(set, subset []string) bool {
	return !slices.ContainsFunc(subset, func(s string) bool { return !slices.Contains(set, s) })
}

func sureness(c ownership.Certainty) int {
	return slices.Index([]ownership.Certainty{ownership.Unknown, ownership.Observed, ownership.Terra, ownership.Signed}, c)
}

// wroteAccount is told of each row of an account that was written.
func (o *oracle) wroteAccount(row ownership.Account) {
	o.moment++
	for user, c := range row.Claims {
		if c.Version != o.account[row.Key].Claims[user].Version {
			if o.claimed[row.Key] == nil {
				o.claimed[row.Key] = map[string]int{}
			}
			o.claimed[row.Key][user] = o.moment
		}
	}
	o.account[row.Key] = row
}

// acknowledged checks promise 2: what an acknowledged event says is stored.
func (o *oracle) acknowledged(e *event, facts []ownership.Facts) {
	for _, f := range facts {
		o.history.byUser[f.UserID].recorded = true
		r := o.rows[f.UserID]
		lost := !covers(r.Accounts, f.Accounts) || !covers(r.Replaces, f.Replaces) || f.Reference != "" && len(r.Tenures) == 0 ||
			f.Certainty == ownership.Signed && !r.Certainty.Sure() || f.Certainty == ownership.Observed && r.Certainty == ownership.Unknown ||
			!f.ClosedAt.IsZero() && (!r.Closed() || r.ClosedAt.After(f.ClosedAt)) || f.Provider != "" && r.Provider == "" ||
			slices.ContainsFunc(f.ReplacedBy, func(s ownership.Successor) bool {
				return !slices.ContainsFunc(r.ReplacedBy, func(t ownership.Successor) bool {
					return t.UserID == s.UserID && (t.Reference != "" || s.Reference == "")
				})
			})
		if lost {
			o.history.violated("promise 2: %s was acknowledged, but %+v is not in\n%+v", e, f, r)
		}
	}
}

// finished checks promise 4: a cleared work mark owes nothing, and whatever an account's row owes, a later claim with a work mark owes.
func (o *oracle) finished(w *worker, r ownership.Connection) {
	h := o.history
	if r.Reference() == "" {
		return
	}
	for _, s := range r.ReplacedBy {
		heir := h.byUser[s.UserID]
		if s.Reference == "" {
			h.violated("promise 4: %s is settled, but it is not known to whom it passed", r.UserID)
		}
		if s.Reference != r.Reference() && !o.told(func(a ownership.Announcement) bool {
			return a.Account == "" && a.Previous.UserID == r.UserID && a.Current.UserID == s.UserID
		}) {
			h.violated("promise 4: %s is settled, but its passing to %s was not announced", r.UserID, s.UserID)
		}
		if !heir.phone() && !covers(o.rows[s.UserID].Accounts, r.Accounts) {
			h.violated("promise 4: %s is settled, but %s did not inherit its accounts", r.UserID, s.UserID)
		}
	}
	for _, account := range r.Accounts {
		row := o.account[account]
		if row.Claims[r.UserID].Version < r.Version {
			h.violated("promise 4: %s is settled, but its claim of %s is not what its row says", r.UserID, h.accounts[account])
		}
		for _, due := range row.Due() {
			count(&h.tally.checked, "owed by later claims")
			owed := false
			for user, at := range o.claimed[account] {
				owed = owed || at > w.viewed[account] && o.rows[user].ToDo
			}
			if !owed {
				h.violated("promise 4: %s is settled, but nobody owes: %s", r.UserID, announced{due.Announcement, h.accounts[account]})
			}
		}
	}
}

// announced is an announcement in words.
type announced struct {
	ownership.Announcement
	account string
}

func (a announced) String() string {
	holder := func(h ownership.Holder) string {
		return fmt.Sprintf("%s/%d of %s made %s", h.UserID, h.Tenure, h.ReferenceID, clock(h.ConnectedAt))
	}
	of := cmp.Or(a.account, "an unknown account")
	if a.Type == ownership.Revoked {
		return fmt.Sprintf("the end of %s, which held %s", holder(a.Connection), of)
	}
	return fmt.Sprintf("%s passed from %s to %s (%s, %s)", of, holder(a.Previous), holder(a.Current), a.Reason, a.Order)
}

// told reports whether anything like that was announced.
func (o *oracle) told(like func(ownership.Announcement) bool) bool {
	return slices.ContainsFunc(o.said, like)
}

// hear checks promise 3 at each announcement: it is not invented, and a repeat is the same.
func (o *oracle) hear(a ownership.Announcement) {
	h := o.history
	words := announced{a, h.accounts[a.Account]}
	e, err := announce.New(a, "handover", h.now)
	if err != nil {
		h.violated("an announcement that cannot be sent: %v", err)
	}
	o.said = append(o.said, a)
	kind := "a revocation"
	if a.Type == ownership.Transferred {
		kind = string(a.Reason) + " " + string(a.Order)
	}
	count(&h.tally.announced, kind)

	// A repeat has the same id and data; what differs has another id.
	words.Provider = ""
	what := words.String() + a.Account
	if id, ok := o.ids[what]; ok && id != e.ID {
		h.violated("promise 3: announced again with another id: %s", words)
	}
	if other, ok := o.data[e.ID]; ok && other != what {
		h.violated("promise 3: announced with the id of another: %s", words)
	} else if ok {
		count(&h.tally.announced, "repeats")
	}
	o.ids[what], o.data[e.ID] = e.ID, what

	invented := func(why string) { h.violated("promise 3: invented, %s: %s", why, words) }
	holder := func(p ownership.Holder) *connection {
		c := h.byUser[p.UserID]
		switch tenures := o.rows[p.UserID].Tenures; {
		case !c.held(p.ReferenceID):
			invented(p.UserID + " was never of " + p.ReferenceID)
		case a.Account == "" && a.Reason == ownership.Reauth:
		case p.Tenure > len(tenures) || tenures[p.Tenure-1] != p.ReferenceID:
			invented(fmt.Sprintf("%s was not of %s as number %d", p.UserID, p.ReferenceID, p.Tenure))
		}
		if a.Account != "" && !c.possible[a.Account] {
			invented(p.UserID + " never held the account")
		}
		if !p.ConnectedAt.IsZero() && !p.ConnectedAt.Equal(c.made) && (c.created == inWebhooks || !slices.ContainsFunc(c.guesses, p.ConnectedAt.Equal)) {
			invented("nobody said that " + p.UserID + " was made at " + clock(p.ConnectedAt))
		}
		return c
	}
	if a.Type == ownership.Revoked {
		c := holder(a.Connection)
		superseded := slices.ContainsFunc(h.connections, func(s *connection) bool {
			later := !s.made.Before(c.made) || !s.timeKnown() || !c.placeKnown()
			return s != c && s.possible[a.Account] && len(s.references) > 0 && (len(s.references) > 1 || s.references[0] != a.Connection.ReferenceID) && later
		})
		switch {
		case !c.closed:
			invented("it did not end")
		case !superseded:
			invented("nobody came after it")
		}
		return
	}

	p, s := holder(a.Previous), holder(a.Current)
	same, replaced := p == s, slices.Contains(p.heirs, s)
	if a.Previous.ReferenceID == a.Current.ReferenceID {
		invented("it passed to nobody else")
	}
	switch {
	case same != (a.Reason == ownership.Reassigned), a.Reason == ownership.Reauth && !replaced:
		invented("that was not how it came about")
	case a.Account == "" && a.Reason == ownership.ConnectedByOther:
		invented("nothing links them")
	case same && (!p.had(a.Previous.ReferenceID, a.Current.ReferenceID) || a.Previous.Tenure >= a.Current.Tenure):
		invented("the references were in another order")
	case same || replaced && a.Reason == ownership.Reauth:
	case a.Order != ownership.Observed && !p.made.Before(s.made):
		invented("it is announced as sure, but " + s.user + " was not made later")
	case a.Order != ownership.Observed && (!a.Previous.ConnectedAt.Equal(p.made) || !a.Current.ConnectedAt.Equal(s.made)):
		invented("it is announced as sure, but with a guessed time")
	case a.Order == ownership.Signed && (p.created == inAPI || s.created == inAPI || p.created == inAPILate || s.created == inAPILate):
		invented("it is announced as signed, but a time is from the API")
	case s.made.Before(p.made) && p.placeKnown() && s.timeKnown():
		invented(s.user + " was made before, and patience would have known it")
	}
}

// judge checks the end: promise 3's completeness, and that what is stored is the truth as far as anybody told it.
func (o *oracle) judge() {
	h := o.history
	for _, c := range h.connections {
		if c.recorded {
			o.judgeRow(c, o.rows[c.user])
		} else if r, ok := o.rows[c.user]; ok {
			h.violated("nobody told of %s, but there is %+v", c.user, r)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.account)) {
		o.judgeAccount(key)
	}
}

func (o *oracle) judgeRow(c *connection, r ownership.Connection) {
	h := o.history
	wrong := func(format string, args ...any) {
		h.violated("in the end the row of %s is wrong, %s:\n%+v", c.user, fmt.Sprintf(format, args...), r)
	}
	// The time.
	switch {
	case r.Certainty.Sure() && !r.ConnectedAt.Equal(c.made):
		wrong("the time is not Terra's")
	case r.Certainty == ownership.Observed && !slices.ContainsFunc(c.guesses, r.ConnectedAt.Equal):
		wrong("nobody guessed that time")
	case r.Certainty == ownership.Unknown && len(c.guesses) > 0:
		wrong("its time was guessed")
	case !r.Certainty.Sure() && c.timeKnown() && r.Reference() != "" && !r.ToDo:
		wrong("Terra knows its time")
	}
	// The references.
	at := 0
	for _, reference := range r.Tenures {
		for at < len(c.references) && c.references[at] != reference {
			at++
		}
		if at == len(c.references) {
			wrong("it had other references")
		}
	}
	if c.named && !c.gone && r.Reference() != c.reference() {
		wrong("it is of %s", c.reference())
	}
	if len(r.Suspects) > 0 {
		wrong("suspects are left")
	}
	// The accounts.
	for _, id := range c.told {
		if !slices.Contains(r.Accounts, h.keys.Account(c.provider, id)) {
			wrong("an athlete event named %s", id)
		}
	}
	for _, account := range r.Accounts {
		if !c.possible[account] {
			wrong("it never held %s", h.accounts[account])
		}
	}
	for _, heir := range c.heirs {
		if len(r.Accounts) > 0 && !c.phone() && !covers(o.rows[heir.user].Accounts, r.Accounts) {
			wrong("%s did not inherit", heir.user)
		}
	}
	if own := h.keys.Account(c.provider, c.id); own != "" && r.Reference() != "" && !c.gone && !slices.Contains(r.Accounts, own) {
		switch {
		case len(r.Accounts) == 0 && (!c.closed || !c.idLate):
			wrong("Terra knows its account")
		case len(r.Accounts) > 0 && len(c.told) == 0 && !c.idLate: // what it has inherited may be the id of before
			wrong("Terra knows its own account")
		}
	}
	// What it proves by itself.
	if last := r.Reference(); last != "" {
		for _, heir := range c.heirs {
			to := o.rows[heir.user]
			if len(c.references) == 1 && len(heir.references) == 1 && to.Reference() != "" && to.Reference() != last {
				count(&h.tally.checked, "changes by user_reauth")
				if !o.told(func(a ownership.Announcement) bool {
					return a.Reason == ownership.Reauth && a.Account == "" && a.Previous.UserID == c.user && a.Current.UserID == heir.user
				}) {
					h.violated("promise 3: missed that %s replaced %s", heir.user, c.user)
				}
			}
		}
		for i, reference := range r.Tenures[:len(r.Tenures)-1] {
			if len(r.Accounts) == 0 && reference != last {
				count(&h.tally.checked, "changes of one connection")
				if !o.told(func(a ownership.Announcement) bool {
					return a.Reason == ownership.Reassigned && a.Previous.UserID == c.user && a.Previous.Tenure == i+1
				}) {
					h.violated("promise 3: missed that %s passed from %s to %s", c.user, reference, last)
				}
			}
		}
	}
}

// place is where one tenure of one connection stands in time, as well as anybody can know it.
type place struct {
	row    ownership.Connection
	tenure int
	spot   spot
	at     int // its number in the order of the account's places
}

func (p place) reference() string { return p.row.Tenures[p.tenure-1] }
func (p place) open() bool        { return p.tenure == len(p.row.Tenures) && !p.row.Closed() }

// spot is a place's order: by time, unknown first, and by user_id; but one that was replaced stands at most that many steps below top, which replaced it.
type spot struct {
	made  time.Time
	top   string
	below int
	user  string
}

func (s spot) compare(other spot) int {
	return cmp.Or(s.made.Compare(other.made), strings.Compare(s.top, other.top), cmp.Compare(-s.below, -other.below), strings.Compare(s.user, other.user))
}

// places puts the holders of an account in order.
func (o *oracle) places(key string) (places []place) {
	holds := func(user string) bool {
		return slices.Contains(o.rows[user].Accounts, key) && o.rows[user].Reference() != ""
	}
	var find func(user string) spot
	find = func(user string) spot {
		lowest := spot{made: o.rows[user].ConnectedAt, top: user, user: user}
		for _, heir := range o.history.byUser[user].heirs {
			if holds(heir.user) {
				top := find(heir.user)
				just := spot{made: top.made, top: top.top, below: top.below + 1, user: user}
				if just.compare(lowest) < 0 {
					lowest = just
				}
			}
		}
		return lowest
	}
	for user, r := range o.rows {
		if holds(user) {
			for i := range r.Tenures {
				places = append(places, place{row: r, tenure: i + 1, spot: find(user)})
			}
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(a.spot.compare(b.spot), cmp.Compare(a.tenure, b.tenure)) })
	for i := range places {
		places[i].at = i
	}
	return places
}

func (o *oracle) judgeAccount(key string) {
	h := o.history
	row, name := o.account[key], h.accounts[key]
	places := o.places(key)
	if len(places) == 0 {
		return
	}
	if due := row.Due(); len(due) > 0 {
		h.violated("promise 3: all is settled, but %s owes: %s", name, announced{due[0].Announcement, name})
	}
	find := func(p ownership.Holder) place {
		for _, q := range places {
			if q.row.UserID == p.UserID && q.tenure == p.Tenure {
				return q
			}
		}
		h.violated("in the end %s is no holder of %s", p.UserID, name)
		return place{}
	}
	owner := places[len(places)-1]
	if got, _ := row.Owner(); got.UserID != owner.row.UserID || got.ReferenceID != owner.reference() || got.Tenure != owner.tenure {
		h.violated("in the end %s is held by %s/%d, not by %s/%d", name, got.UserID, got.Tenure, owner.row.UserID, owner.tenure)
	}
	count(&h.tally.checked, "owners")
	for _, p := range places {
		latest := !slices.ContainsFunc(places[p.at+1:], func(q place) bool { return q.reference() == p.reference() })
		if p.reference() != owner.reference() && (latest || p.open()) {
			count(&h.tally.checked, "superseded connections")
			if !o.told(func(a ownership.Announcement) bool {
				return a.Type == ownership.Transferred && a.Account == key && a.Previous.UserID == p.row.UserID && a.Previous.Tenure == p.tenure && find(a.Current).at > p.at
			}) {
				h.violated("promise 3: missed that %s passed on from %s/%d of %s", name, p.row.UserID, p.tenure, p.reference())
			}
		}
		if p.row.Closed() && p.tenure == len(p.row.Tenures) && slices.ContainsFunc(places[p.at+1:], func(q place) bool { return q.reference() != p.reference() }) {
			count(&h.tally.checked, "revocations")
			ids := map[time.Time]bool{}
			for _, a := range o.said {
				if a.Type == ownership.Revoked && a.Account == key && a.Connection.UserID == p.row.UserID {
					ids[a.Connection.ConnectedAt] = true
				}
			}
			if known := o.history.byUser[p.row.UserID].created == inWebhooks; len(ids) == 0 || known && len(ids) > 1 {
				h.violated("promise 3: the end of %s, which had held %s, was announced with %d ids", p.row.UserID, name, len(ids))
			}
		}
	}
}
