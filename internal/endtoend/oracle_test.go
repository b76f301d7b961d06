package endtoend

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
)

// observation is what the program says at the end, beside what really happened.
type observation struct {
	*story
	connections map[string]connection // by user_id
	owners      map[string]party      // by account
	events      []event               // all that is listed, repeats too
	byID        map[string]event
	changes     map[string]change // by id
	received    map[string]event  // what the subscriber had got before all that was listed

	truth    []simulator.Account
	account  map[string]int                 // index in truth, by user_id
	holdings map[string][]simulator.Holding // by user_id: its references in order
	replacer map[string][]string            // user_ids of those that a user_reauth says replaced it

	unknowable int // connections whose account nobody could know
	unseen     int // references that passed before Handover could ask for them
	corrected  int // announcements of an order that was guessed and came out otherwise
	faults     int
}

func (s *story) observe() *observation {
	o := &observation{
		story: s, owners: map[string]party{}, byID: map[string]event{}, changes: map[string]change{},
		truth: s.terra.Truth(), account: map[string]int{}, holdings: map[string][]simulator.Holding{}, replacer: map[string][]string{},
	}
	o.received, _ = s.subscriber.all()
	var err error
	if o.connections, err = s.connections(""); err != nil {
		s.t.Fatal(err)
	}
	var accounts []account
	if err := s.program.get("/api/accounts", &accounts); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range accounts {
		o.owners[a.Account] = a.Owner
	}
	if err := s.program.get("/api/announcements", &o.events); err != nil {
		s.t.Fatal(err)
	}
	for _, e := range o.events {
		var c change
		if err := json.Unmarshal(e.Data, &c); err != nil {
			s.t.Fatal(err)
		}
		o.byID[e.ID], o.changes[e.ID] = e, c
	}
	for i, a := range o.truth {
		for _, h := range a.Holdings {
			o.account[h.UserID] = i
			o.holdings[h.UserID] = append(o.holdings[h.UserID], h)
		}
	}
	for _, a := range s.wire.all() {
		if w := read(a); w.Type == "user_reauth" && !a.forged() {
			o.replacer[w.OldUser.UserID] = append(o.replacer[w.OldUser.UserID], w.NewUser.UserID)
		}
	}
	return o
}

func read(a attempt) (w webhook) {
	_ = json.Unmarshal(a.body, &w) // all are JSON
	return w
}

// fault reports what is wrong, the first few times.
func (o *observation) fault(format string, arguments ...any) {
	o.t.Helper()
	o.faults++
	if o.faults <= 12 {
		o.t.Errorf("seed %d: %s", o.seed, fmt.Sprintf(format, arguments...))
	}
}

func (o *observation) check() {
	o.checkWebhooks()
	o.checkIdentities()
	o.checkConnections()
	o.checkAnnouncements()
	o.checkAccounts()
	if o.faults > 12 {
		o.t.Errorf("seed %d: and %d faults more", o.seed, o.faults-12)
	}
}

// checkWebhooks: every webhook that got an answer got the right one, and forgeries and people left no trace.
func (o *observation) checkWebhooks() {
	for _, a := range o.wire.all() {
		want := http.StatusOK
		if a.forged() {
			want = http.StatusUnauthorized
		}
		if a.status != 0 && a.status != want {
			o.fault("a webhook was answered %d, want %d: %s", a.status, want, a.body)
		}
	}
	if n := o.terra.Stats().ForgedAccepted; n > 0 {
		o.fault("%d forgeries were accepted", n)
	}
	output := o.program.output()
	for _, a := range o.truth {
		if strings.Contains(output, a.ID) {
			o.fault("the program's output has the provider's id %s", a.ID)
		}
		for _, h := range a.Holdings {
			if h.Reference != "" && strings.Contains(output, h.Reference) {
				o.fault("the program's output has the reference_id %s", h.Reference)
			}
		}
	}
	for _, path := range []string{"/api/announcements", "/api/accounts", "/api/connections"} {
		var raw json.RawMessage
		if err := o.program.get(path, &raw); err != nil {
			o.fault("%v", err)
		}
		if strings.Contains(string(raw), "mallory-") {
			o.fault("%s has something of a forgery", path)
		}
	}
	if strings.Contains(output, "mallory-") {
		o.fault("the program's output has something of a forgery")
	}
}

// checkIdentities: the same id is always the same fact and the other way round, and every fact is of a known type.
func (o *observation) checkIdentities() {
	ids := map[string]string{} // by type and data
	for _, e := range o.events {
		c, data := o.changes[e.ID], e.Type+string(e.Data)
		if last := o.byID[e.ID]; last.Type+string(last.Data) != data {
			o.fault("the id %s has two meanings: %s and %s", e.ID, last.Data, e.Data)
		}
		if id, ok := ids[data]; ok && id != e.ID {
			o.fault("the ids %s and %s mean the same: %s", id, e.ID, e.Data)
		}
		if e.SpecVersion != "1.0" || e.Source != "handover" {
			o.fault("a strange announcement: %+v", e)
		}
		if want := cmp.Or(c.Account, c.Previous.UserID); c.Connection.UserID == "" && e.Subject != want {
			o.fault("the subject is %s, want %s: %s", e.Subject, want, e.Data)
		}
		ids[data] = e.ID
	}
	for id := range o.received {
		if _, listed := o.byID[id]; !listed {
			o.fault("the subscriber got %s, which is not listed", id)
		}
	}
}

// checkConnections: each connection is known as it really is, except for what nobody could know.
func (o *observation) checkConnections() {
	for userID, c := range o.connections {
		if len(o.holdings[userID]) == 0 {
			o.fault("a connection that never was: %+v", c)
		}
	}
	named := o.named()
	for userID, hs := range o.holdings {
		c, found := o.connections[userID]
		if !found {
			o.fault("connection %s is not known", userID)
			continue
		}
		o.checkTime(c, hs[0])
		o.checkTenures(c, hs, named[userID])
		if c.ClosedAt != nil && !hs[0].Closed {
			o.fault("an open connection is known as closed: %+v", c)
		}
		if len(c.Accounts) == 0 && hs[0].Reference != "" {
			o.checkUnidentified(c, hs[0])
		}
		if len(c.Accounts) > 1 {
			o.fault("a connection with two accounts: %+v", c)
		}
	}
}

// checkTime: the time is Terra's own, to the microsecond, unless Terra did not say.
func (o *observation) checkTime(c connection, h simulator.Holding) {
	if c.ConnectedAt == nil {
		o.fault("a connection without a time: %+v", c)
		return
	}
	switch c.Certainty {
	case "signed":
		if !o.habits.CreatedAtInWebhooks || !c.ConnectedAt.Equal(h.ConnectedAt) {
			o.fault("a wrong signed time, want %s: %+v", h.ConnectedAt, c)
		}
	case "terra":
		if !o.habits.CreatedAtInAnswers || !c.ConnectedAt.Equal(h.ConnectedAt) {
			o.fault("a wrong time of Terra's API, want %s: %+v", h.ConnectedAt, c)
		}
	case "observed":
		if o.habits.CreatedAtInWebhooks {
			o.fault("a guessed time, though webhooks say it: %+v", c)
		}
		silence := false // Terra's API answered without it
		for _, a := range o.api.of(c.UserID) {
			if a.time && o.program.survived(a.at) {
				o.fault("a guessed time, though Terra's API has said it: %+v", c)
			}
			silence = silence || !a.time && (a.status == http.StatusOK || a.status == http.StatusNotFound)
		}
		if !silence && h.Reference != "" {
			o.fault("a guessed time, though Terra's API was not heard: %+v", c)
		}
		if c.ConnectedAt.Before(h.ConnectedAt.Truncate(time.Second)) || c.ConnectedAt.After(o.clock.now()) {
			o.fault("a guess that cannot be, of %s: %+v", h.ConnectedAt, c)
		}
	default:
		o.fault("a connection of unknown certainty: %+v", c)
	}
}

// naming is when an event that names a connection under one reference was first sent and first acknowledged.
type naming struct{ sent, acknowledged time.Time }

// named returns the namings by user_id and reference.
func (o *observation) named() map[string]map[string]naming {
	all := map[string]map[string]naming{}
	for _, a := range o.wire.all() {
		if a.forged() {
			continue
		}
		for _, u := range read(a).users() {
			if all[u.UserID] == nil {
				all[u.UserID] = map[string]naming{}
			}
			n := all[u.UserID][u.ReferenceID]
			if n.sent.IsZero() || a.sent.Before(n.sent) {
				n.sent = a.sent
			}
			if a.acknowledged() && (n.acknowledged.IsZero() || a.answeredAt.Before(n.acknowledged)) {
				n.acknowledged = a.answeredAt
			}
			all[u.UserID][u.ReferenceID] = n
		}
	}
	return all
}

// checkTenures: the references are those that the connection had, in their order. The last one of an open connection is known; so is the first one if it
// was told before any other; all of a patient watch's are known. Others may have passed before Handover could ask.
func (o *observation) checkTenures(c connection, hs []simulator.Holding, named map[string]naming) {
	rest := hs
	for _, reference := range c.Tenures {
		i := slices.IndexFunc(rest, func(h simulator.Holding) bool { return h.Reference == reference })
		if i < 0 {
			o.fault("the references are %q, really they were %v", c.Tenures, hs)
			return
		}
		rest = rest[i+1:]
	}
	var all []string
	for _, h := range hs {
		if h.Reference != "" {
			all = append(all, h.Reference)
		}
	}
	if len(all) == 0 {
		return
	}
	if last := all[len(all)-1]; !hs[0].Closed && (len(c.Tenures) == 0 || c.Tenures[len(c.Tenures)-1] != last) {
		o.fault("the last reference is not known: %q, really they were %q", c.Tenures, all)
	}
	o.unseen += len(all) - len(c.Tenures)
	first := named[all[0]]
	for reference, n := range named {
		if reference != "" && reference != all[0] && n.sent.Before(first.acknowledged) {
			first.acknowledged = time.Time{}
		}
	}
	for _, answer := range o.api.of(c.UserID) { // or Terra's API names another before
		if answer.reference != "" && answer.reference != all[0] && answer.at.Before(first.acknowledged) {
			first.acknowledged = time.Time{}
		}
	}
	if !first.acknowledged.IsZero() && (len(c.Tenures) == 0 || c.Tenures[0] != all[0]) {
		o.fault("the first reference is not known: %q, really they were %q; it was told %s", c.Tenures, all, o.wire.about(c.UserID))
	}
	if w := o.watch(c.UserID); w.patient && !w.phone() && !slices.Equal(c.Tenures, all) {
		o.fault("the references are %q, really they were %q, and there was time to ask", c.Tenures, all)
	}
}

func (o *observation) watch(userID string) *watch {
	a := o.truth[o.account[userID]]
	for _, w := range o.wearables {
		if w.provider == a.Provider && w.id == a.ID {
			return w
		}
	}
	return nil
}

// checkUnidentified: only one thing keeps an account from being known. Terra has deleted the connection before it answered whose account it is.
func (o *observation) checkUnidentified(c connection, h simulator.Holding) {
	o.unknowable++
	if !h.Closed {
		o.fault("the account of an open connection is not known: %+v", c)
	}
	if w := o.watch(c.UserID); w.patient && !w.phone() {
		o.fault("the account is not known, and there was time to ask: %+v", c)
	}
	if o.habits.AccountInWebhooks && o.habits.AthleteAfterAuth {
		o.fault("the account is not known, though a webhook named it: %+v", c)
	}
	asked := false
	for _, a := range o.api.of(c.UserID) {
		asked = asked || a.status == http.StatusNotFound || a.status == http.StatusOK && !a.account
		if a.account && o.program.survived(a.at) {
			o.fault("the account is not known, though Terra's API has named it: %+v", c)
		}
	}
	if !asked {
		o.fault("the account is not known, and Terra's API was not asked: %+v", c)
	}
	if c.State != "unsettled" && c.ClosedAt == nil {
		o.fault("an open connection without an account passes for settled: %+v", c)
	}
}

// holder is one reference of one connection that is known to hold an account.
type holder struct {
	connection
	tenure    int
	reference string
}

// place is where a connection stands in the order of an account's: by its time, then its user_id, but below what replaced it.
type place struct {
	at     time.Time
	userID string
	below  int
}

func (p place) compare(q place) int {
	return cmp.Or(p.at.Compare(q.at), strings.Compare(p.userID, q.userID), cmp.Compare(q.below, p.below))
}

func (o *observation) place(userID, account string, seen ...string) place {
	c := o.connections[userID]
	p := place{at: c.ConnectedAt.UTC(), userID: userID}
	for _, by := range o.replacer[userID] {
		r := o.connections[by]
		if slices.Contains(seen, by) || by == userID || !slices.Contains(r.Accounts, account) || len(r.Tenures) == 0 {
			continue
		}
		if top := o.place(by, account, append(seen, userID)...); p.compare(top) >= 0 {
			p = place{top.at, top.userID, top.below + 1}
		}
	}
	return p
}

func (o *observation) newer(account string, a, b holder) bool {
	return cmp.Or(o.place(a.UserID, account).compare(o.place(b.UserID, account)), strings.Compare(a.UserID, b.UserID), cmp.Compare(a.tenure, b.tenure)) > 0
}

// holders are those of an account, the newest one last.
func (o *observation) holders(account string) (hs []holder) {
	for _, userID := range slices.Sorted(maps.Keys(o.connections)) {
		c := o.connections[userID]
		if slices.Contains(c.Accounts, account) {
			for i, reference := range c.Tenures {
				hs = append(hs, holder{c, i + 1, reference})
			}
		}
	}
	slices.SortFunc(hs, func(a, b holder) int {
		if o.newer(account, a, b) {
			return 1
		}
		return -1
	})
	return hs
}

// checkAnnouncements: nothing is invented.
func (o *observation) checkAnnouncements() {
	for id, c := range o.changes {
		switch o.byID[id].Type {
		case "handover.connection.revoked.v1":
			if o.known(c.Connection, c.Account) && !o.holdings[c.Connection.UserID][0].Closed {
				o.fault("announced as ended, and is open: %+v", c)
			}
			continue
		case "handover.account.transferred.v1":
		default:
			o.fault("an unknown type of announcement: %s", o.byID[id].Type)
			continue
		}
		if c.Account == "" && c.Reason == "reauth" {
			o.checkReauth(c)
			continue
		}
		if !o.known(c.Previous, c.Account) || !o.known(c.Current, c.Account) {
			o.fault("that was in %s", o.byID[id].Data)
			continue
		}
		if o.account[c.Previous.UserID] != o.account[c.Current.UserID] {
			o.fault("invented, the connections are of two accounts: %+v", c)
		}
		if c.Previous.ReferenceID == c.Current.ReferenceID {
			o.fault("invented, the references are the same: %+v", c)
		}
		p, q := o.holdings[c.Previous.UserID][0], o.holdings[c.Current.UserID][0]
		older := p.ConnectedAt.Before(q.ConnectedAt) || p.UserID == q.UserID && c.Previous.Tenure < c.Current.Tenure
		switch c.Order {
		case "signed", "terra":
			if !older {
				o.fault("invented, the previous one is the newer one: %+v", c)
			}
			if c.Order == "signed" && c.Reason == "connected_by_other" && !o.habits.CreatedAtInWebhooks {
				o.fault("nothing was signed: %+v", c)
			}
		case "observed":
			if o.habits.CreatedAtInWebhooks {
				o.fault("called a guess, though webhooks say the times: %+v", c)
			}
		default:
			o.fault("an unknown order: %+v", c)
		}
	}
}

// known reports whether a party of an announcement is one of the truth.
func (o *observation) known(p party, account string) bool {
	c, hs := o.connections[p.UserID], o.holdings[p.UserID]
	switch {
	case len(hs) == 0, p.Tenure < 1 || p.Tenure > len(c.Tenures) || c.Tenures[p.Tenure-1] != p.ReferenceID:
		o.fault("invented, nobody was this: %+v; it is listed as %+v, and was really %v", p, c, hs)
		return false
	case account != "" && !slices.Contains(c.Accounts, account):
		o.fault("invented, it never held %s: %+v", account, p)
		return false
	}
	return true
}

// checkAccounts: nothing is missed, the newest one is never announced as superseded, and the owners are right.
func (o *observation) checkAccounts() {
	keys := map[string]string{}
	for i, a := range o.truth {
		key := ""
		for _, h := range a.Holdings {
			for _, k := range o.connections[h.UserID].Accounts {
				if key != "" && key != k {
					o.fault("one account with two keys, %s and %s", key, k)
				}
				key = k
			}
		}
		if key == "" {
			continue
		}
		if other, used := keys[key]; used {
			o.fault("the accounts of %s and %s have one key, %s", other, a.ID, key)
		}
		keys[key] = a.ID
		if hs := o.holders(key); len(hs) > 0 {
			o.checkAccount(key, hs, o.truth[i])
		} else if _, owned := o.owners[key]; owned {
			o.fault("%s has an owner, and had no holder", key)
		}
	}
	for key := range o.owners {
		if keys[key] == "" {
			o.fault("the account %s never was", key)
		}
	}
	o.checkReauths()
}

func (o *observation) checkAccount(key string, hs []holder, truth simulator.Account) {
	guessed := false // some time of the account's is a guess
	for _, h := range hs {
		guessed = guessed || h.Certainty == "observed"
	}
	now := hs[len(hs)-1]
	if owner := o.owners[key]; owner.UserID != now.UserID || owner.ReferenceID != now.reference || !owner.at().Equal(*now.ConnectedAt) {
		o.fault("the owner of %s is %+v, want %+v", key, owner, now)
	}
	// The truth about the owner, which does not rest on what the program says of times.
	last := ""
	for _, h := range truth.Holdings {
		if c := o.connections[h.UserID]; len(c.Accounts) > 0 && len(c.Tenures) > 0 {
			last = h.UserID
		}
	}
	w := o.watch(now.UserID)
	patient := w.patient && !w.phone() // of a phone that ended before it could be asked about, the time stays a guess
	if (patient || !guessed) && now.UserID != last {
		o.fault("the owner of %s is %+v, really it is %s", key, now, last)
	}

	for _, p := range hs {
		latest := !slices.ContainsFunc(hs, func(h holder) bool { return h.reference == p.reference && o.newer(key, h, p) })
		open := p.tenure == len(p.Tenures) && p.ClosedAt == nil
		told := false
		for id, c := range o.changes {
			e := o.byID[id]
			if c.Account != key {
				continue
			}
			if e.Type == "handover.connection.revoked.v1" {
				continue
			}
			if c.Previous.UserID == p.UserID && c.Previous.Tenure == p.tenure {
				i := slices.IndexFunc(hs, func(h holder) bool { return h.UserID == c.Current.UserID && h.tenure == c.Current.Tenure })
				if i < 0 {
					continue // reported as invented
				}
				switch newer := o.newer(key, hs[i], p); {
				case newer:
					told = true
				case c.Order == "observed" && c.Previous.before(c.Current) && (o.moved(key, c.Previous) || o.moved(key, c.Current)):
					o.corrected++ // by the times that were known then it was right
				case c.Order == "observed" && len(o.replacer[p.UserID])+len(o.replacer[hs[i].UserID]) > 0:
					o.corrected++ // or by the time, then, of what has replaced one of them
				default:
					o.fault("invented, the previous one is the newer one: %+v", c)
				}
			}
		}
		if p.reference != now.reference && (latest || open) && !told {
			o.fault("missed: %s (%s, tenure %d, %+v) no longer holds %s, which is %s's (%+v) now", p.reference, p.UserID, p.tenure, p.connection, key, now.reference, now.connection)
		}
		if p.tenure != len(p.Tenures) {
			continue
		}
		superseded := slices.ContainsFunc(hs, func(h holder) bool { return h.reference != p.reference && o.newer(key, h, p) })
		revoked := false
		for id, c := range o.changes {
			revoked = revoked || o.byID[id].Type == "handover.connection.revoked.v1" && c.Account == key && c.Connection.UserID == p.UserID
		}
		switch {
		case superseded && p.ClosedAt != nil && !revoked:
			o.fault("missed: the superseded %s has ended: %+v", p.UserID, p.connection)
		case revoked && !superseded && !guessed:
			o.fault("invented: %s was not superseded", p.UserID)
		}
	}
}

// before reports whether p is older than q by what their announcement says.
func (p party) before(q party) bool {
	return cmp.Or(p.at().Compare(q.at()), strings.Compare(p.UserID, q.UserID), cmp.Compare(p.Tenure, q.Tenure)) < 0
}

func (p party) at() time.Time {
	at, _ := time.Parse(time.RFC3339Nano, p.ConnectedAt) // null: before all others
	return at
}

// moved reports whether p has another place in the order of the account's by now than it has by the announcement.
func (o *observation) moved(account string, p party) bool {
	return o.place(p.UserID, account) != place{at: p.at(), userID: p.UserID}
}

// checkReauth checks an announcement that rests on a user_reauth alone: there was such a webhook, and both sides have had these references. For a phone they
// may be two devices.
func (o *observation) checkReauth(c change) {
	had := func(p party) bool {
		return p.Tenure > 0 && slices.ContainsFunc(o.holdings[p.UserID], func(h simulator.Holding) bool { return h.Reference == p.ReferenceID })
	}
	if !slices.Contains(o.replacer[c.Previous.UserID], c.Current.UserID) || !had(c.Previous) || !had(c.Current) || c.Previous.ReferenceID == c.Current.ReferenceID {
		o.fault("invented, no user_reauth said so: %+v", c)
		return
	}
	phone := o.watch(c.Previous.UserID).phone()
	if !phone && o.account[c.Previous.UserID] != o.account[c.Current.UserID] {
		o.fault("invented, the connections are of two accounts: %+v", c)
	}
}

// checkReauths: a user_reauth from one reference to another is announced by itself, whether or not the account is known.
func (o *observation) checkReauths() {
	for _, a := range o.wire.all() {
		w := read(a)
		if w.Type != "user_reauth" || a.forged() {
			continue
		}
		old, current := o.connections[w.OldUser.UserID], w.NewUser
		if len(old.Tenures) == 0 || current.ReferenceID == "" || old.ReferenceID == current.ReferenceID {
			continue
		}
		told := false
		for _, c := range o.changes {
			told = told || c.Account == "" && c.Reason == "reauth" && c.Previous.UserID == old.UserID && c.Previous.ReferenceID == old.ReferenceID &&
				c.Current.UserID == current.UserID && c.Current.ReferenceID == current.ReferenceID
		}
		if !told {
			o.fault("missed: %+v was replaced by %+v", old, *current)
		}
	}
}
