package ownership_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/handover-dev/handover/internal/ownership"
)

// noon is where the simulated days begin: connections are made in the minutes after it, and Handover begins to listen an hour later.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// connection is the truth about one connection, and how much of it Terra tells.
type connection struct {
	user       string
	provider   string
	wearable   string // the provider_user_id of its account, at first
	made       time.Time
	references []string // every reference_id that it ever has, oldest first; empty: none
	present    int      // index of the one that it has now
	changes    int      // how often that changed
	closed     bool     // it ended
	forgotten  bool     // Terra's API will not know it any more when it has had all its references
	gone       bool     // and does not know it now

	created createdAt
	id      string // provider_user_id that the API names; "" for never
	idLate  bool   // the API names it only later
	told    []string
	heirOf  []*connection // connections that it replaced
	heirs   []*connection

	events   []*event      // about it alone
	lag      time.Duration // until its events are signed
	repeats  int           // of each of its events
	reauth   int           // how many of the connections before are linked to it by a user_reauth
	nameless bool          // and that does not name its reference

	possible map[string]bool // keys of the accounts that Handover can rightly take it for a holder of
	guesses  []time.Time     // times that it can be guessed at
	named    bool            // an event has named the present reference since that began
	recorded bool            // an event about it was acknowledged
}

// createdAt says where Terra tells when a connection was made.
type createdAt string

const (
	inWebhooks createdAt = "created_at in every webhook"
	inAuth     createdAt = "created_at in its auth only"
	inAPI      createdAt = "created_at in the API only"
	inAPILate  createdAt = "created_at in the API only, and only later"
	nowhere    createdAt = "created_at nowhere"
)

// phone reports whether the account is a phone's own SDK.
func (c *connection) phone() bool { return c.provider == "APPLE" }

// timeKnown reports whether Handover, if it is patient, never needs to guess when c was made.
func (c *connection) timeKnown() bool {
	return c.created == inWebhooks || c.created == inAPI && !c.gone
}

// placeKnown reports whether Handover never needs to guess where c stands: at its time, or below what replaced it.
func (c *connection) placeKnown() bool {
	return c.timeKnown() && !slices.ContainsFunc(c.heirs, func(heir *connection) bool { return !heir.placeKnown() })
}

// reference is c's present reference_id.
func (c *connection) reference() string {
	if len(c.references) == 0 {
		return ""
	}
	return c.references[c.present]
}

// held reports whether c ever has that reference_id.
func (c *connection) held(reference string) bool { return slices.Contains(c.references, reference) }

// had reports whether c has first and, later, then.
func (c *connection) had(first, then string) bool {
	i := slices.Index(c.references, first)
	return i >= 0 && slices.Contains(c.references[i+1:], then)
}

func (c *connection) String() string {
	s := fmt.Sprintf("%s: %s, made %s by %s; %s; the API names %s", c.user, c.provider, clock(c.made), quoted(strings.Join(c.references, ", later ")), c.created, quoted(c.id))
	if c.idLate && c.id != "" {
		s += " only later"
	}
	if c.closed {
		s += "; ended"
	}
	if c.forgotten {
		s += ", gone from the API"
	}
	return s
}

func quoted(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "no time"
	}
	return strings.TrimSuffix(strings.TrimSuffix(t.Format("15:04:05.000"), ".000"), ":00")
}

// event is one webhook as Terra means it, before its copies are delivered.
type event struct {
	kind     string
	of       mention
	old      mention // the old user of a user_reauth
	id       string  // the provider_user_id of an athlete event
	signed   time.Time
	resigned bool // a retry is signed anew
	repeats  int
}

// mention is what an event says of a user.
type mention struct {
	c        *connection
	named    int  // index of the reference that is named; -1 for none
	timed    bool // has created_at
	provider bool // has a provider
}

func (m mention) reference() string {
	if m.named < 0 || m.named >= len(m.c.references) {
		return ""
	}
	return m.c.references[m.named]
}

func (m mention) String() string {
	s := m.c.user
	if r := m.reference(); r != "" {
		s += " of " + r
	}
	return s
}

func (m mention) facts() ownership.Facts {
	f := ownership.Facts{UserID: m.c.user, Reference: m.reference()}
	if m.provider {
		f.Provider = m.c.provider
	}
	if m.timed {
		f.ConnectedAt, f.Certainty = m.c.made, ownership.Signed
	}
	return f
}

func (e *event) String() string {
	switch e.kind {
	case "athlete":
		return fmt.Sprintf("athlete %s, account %s", e.of, quoted(e.id))
	case "user_reauth":
		if e.old.c == nil {
			break
		}
		return fmt.Sprintf("user_reauth %s replaces %s", e.of, e.old)
	}
	return e.kind + " " + e.of.String()
}

// mentions are the users that the event names.
func (e *event) mentions() []mention {
	if e.old.c != nil {
		return []mention{e.of, e.old}
	}
	return []mention{e.of}
}

// facts are what internal/webhook reads out of the event: of a user_reauth the new connection's, then the old one's.
func (e *event) facts(keys ownership.AccountKeys, seen time.Time) []ownership.Facts {
	f := e.of.facts()
	switch e.kind {
	case "auth", "user_reauth":
		if f.Certainty == ownership.Unknown {
			f.ConnectedAt, f.Certainty = seen, ownership.Observed
			e.of.c.guesses = append(e.of.c.guesses, seen)
		}
		if e.old.c == nil {
			break
		}
		old := e.old.facts()
		old.ClosedAt = seen
		old.ReplacedBy = []ownership.Successor{{UserID: f.UserID, Reference: f.Reference}}
		f.Replaces = []string{old.UserID}
		return []ownership.Facts{f, old}
	case "athlete":
		if account := keys.Account(e.of.c.provider, e.id); account != "" {
			f.Accounts, f.Named = []string{account}, true
		}
	case "deauth", "access_revoked":
		f.ClosedAt = seen
	}
	return []ownership.Facts{f}
}

// truth is one simulated world: its connections, and the webhooks about them in the order of their delivery.
type truth struct {
	connections []*connection
	byUser      map[string]*connection
	accounts    map[string]string // a readable name of each account's key
	deliveries  []*delivery
	api         string // how Terra's API is: well, limited or down
	late        bool   // the API names what it names only later
	athleteTime bool   // GET /athlete has created_at
}

// delivery is one copy of an event on its way.
type delivery struct {
	*event
	tries int
}

// newTruth draws a world.
func newTruth(d dice, keys ownership.AccountKeys) *truth {
	w := &truth{byUser: map[string]*connection{}, accounts: map[string]string{}, api: "well", athleteTime: d.oneIn(2)}
	k := kin{people: 2 + d.below(4), wearables: choose(d, 1, 1, 1, 2, 3), phones: d.oneIn(10), changing: d.oneIn(4)}
	most := choose(d, 4, 3, 5, 2, 8, 6, 12)
	if k.changing {
		most = choose(d, 1, 2, 3) // of which more is heard
	}
	w.connections = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *connection { return newConnection(dice{t}, k) }), 1, most).Draw(d.t, "")
	var events []*event
	for i, c := range w.connections {
		c.user = string(rune('a' + i))
		w.byUser[c.user] = c
		events = append(events, c.events...)
		for j := range c.reauth {
			if p := w.connections[max(0, i-1-j)]; p != c && (p.phone() || p.wearable == c.wearable) {
				events = append(events, reauth(p, c, c.nameless))
			}
		}
	}
	for _, c := range w.connections {
		c.forgotten = c.forgotten && c.closed
		c.gone = c.forgotten && len(c.references) < 2
		if c.id != "" {
			w.know(keys, c, c.id)
		}
		for _, id := range c.told {
			w.know(keys, c, id)
		}
	}
	for _, e := range shuffle(d, events) {
		w.deliveries = append(w.deliveries, &delivery{event: e})
	}
	for _, e := range events {
		for range e.repeats {
			at := d.below(len(w.deliveries) + 1)
			w.deliveries = slices.Insert(w.deliveries, len(w.deliveries)-at, &delivery{event: e})
		}
	}
	return w
}

// kin is what the connections of a world have in common.
type kin struct {
	people, wearables int
	phones            bool
	changing          bool // there are connections whose reference_id changes
}

func newConnection(d dice, k kin) *connection {
	c := &connection{provider: "GARMIN", possible: map[string]bool{}}
	if k.phones {
		c.provider = "APPLE"
	}
	c.wearable = fmt.Sprint("w", 1+d.below(k.wearables))
	c.made = noon.Add(time.Duration(1+d.below(8)) * time.Minute)
	c.created = choose(d, inWebhooks, inAPI, inWebhooks, inAPILate, nowhere, inAuth)
	if !d.oneIn(16) {
		people := []string{"alice", "bob", "carol", "dave", "erin"}[:k.people]
		c.references = []string{people[d.below(len(people))]}
		for k.changing && d.below(3) > 0 && len(c.references) < 4 {
			if r := people[d.below(len(people))]; r != c.reference() {
				c.references = append(c.references, r)
			}
		}
	}
	if !d.oneIn(6) {
		c.id, c.idLate = choose(d, c.wearable, c.wearable, c.wearable, c.wearable+"-new"), d.oneIn(4) // the provider may have changed its ids meanwhile
	}
	c.reauth = choose(d, 0, 0, 0, 1, 1, 2)
	c.nameless = c.reauth > 0 && d.oneIn(5)
	c.forgotten = !d.oneIn(3)
	c.drawEvents(d)
	return c
}

// reauth is the user_reauth of two connections of one account, the later of which replaced the other.
func reauth(old, heir *connection, nameless bool) *event {
	if heir.made.Before(old.made) {
		old, heir = heir, old
	}
	heir.heirOf, old.heirs = append(heir.heirOf, old), append(old.heirs, heir)
	old.closed = true
	e := &event{kind: "user_reauth", of: heir.mention(0), old: old.mention(0), signed: heir.made.Add(heir.lag), repeats: heir.repeats}
	if nameless {
		e.of.named = -1
	}
	return e
}

// drawEvents draws the events about c alone.
func (c *connection) drawEvents(d dice) {
	c.lag = choose(d, 0, 30*time.Second, 90*time.Second, 10*time.Minute)
	c.repeats = choose(d, 0, 0, 0, 1, 2)
	add := func(kind string, named int) *event {
		e := &event{kind: kind, of: c.mention(named), signed: c.made.Add(c.lag), repeats: c.repeats}
		e.of.timed = e.of.timed || c.created == inAuth && kind == "auth"
		e.resigned = len(c.events)%2 == 1
		c.events = append(c.events, e)
		return e
	}
	last := len(c.references) - 1
	if d.below(6) > 0 {
		add(choose(d, "auth", "auth", "auth", "user_reauth"), min(0, last)) // a user_reauth of one user is an auth
	}
	var ids []string
	switch choose(d, "", "one", "one", "", "both", "other", "null") {
	case "one":
		ids = []string{c.wearable}
	case "both":
		ids = []string{c.wearable, c.wearable + "-new"}
	case "other":
		ids = []string{c.wearable + "-new"}
	case "null":
		add("athlete", last)
	}
	for _, id := range ids {
		add("athlete", d.below(last+2)-1).id = id
		c.told = append(c.told, id)
	}
	for i := range c.references {
		if len(c.references) > 1 || d.oneIn(4) {
			add("activity", i)
		}
		if i > 0 {
			add("daily", i).repeats += d.below(3)
		}
	}
	if d.oneIn(4) {
		c.closed = true
		e := add(choose(d, "deauth", "access_revoked"), choose(d, last, -1))
		e.of.provider = !d.oneIn(4)
		e.signed = c.made.Add(30 * time.Minute)
	}
}

func (c *connection) mention(named int) mention {
	return mention{c: c, named: named, timed: c.created == inWebhooks, provider: true}
}

// know adds the account to those that c, and who inherits from c, can be known to hold.
func (w *truth) know(keys ownership.AccountKeys, c *connection, id string) {
	key := keys.Account(c.provider, id)
	if c.possible[key] {
		return
	}
	w.accounts[key] = id
	c.possible[key] = true
	if !c.phone() {
		for _, heir := range c.heirs {
			w.know(keys, heir, id)
		}
	}
}
