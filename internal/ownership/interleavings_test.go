package ownership_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
)

// small is a case small enough to play every interleaving of it: what is true, what Terra sends, and what may go wrong.
type small struct {
	name string
	truth
	events []*event

	workers int // at work at the same time
	faults  int // a call that fails, a reply that is lost, a limit of Terra's API, a crash before or after a call
	sweeps  int // of one connection, while webhooks are at work
	repeats int // webhooks delivered once more
}

// TestInterleavings plays every interleaving of small cases. The workers run the real Keeper and stop before each call of a port; at each of these steps
// any of them may go on or meet a fault, and any delivery, sweep, or change at Terra may begin. A state is what is stored, what was announced, what is
// under way and where each worker stands: everything that its ports have answered since it began. States are told apart exactly, not by a hash.
//
// In each state promise 4 must hold; at each write facts may only grow, at each acknowledgement promise 2 must hold, and at each announcement promise 3.
// From each end, calm sweeps must settle everything, nothing may have been missed, and nothing more may be said.
//
// The ordinary run has fewer workers and faults: HANDOVER_PROOF=1 plays all, which takes a minute.
func TestInterleavings(t *testing.T) {
	proof, least := os.Getenv("HANDOVER_PROOF") != "", 200_000
	if proof {
		least = 1_000_000
	}
	cases := smallCases(proof)
	explorers := make([]*explorer, len(cases))
	var (
		wait   sync.WaitGroup
		broken atomic.Bool
		next   atomic.Int64
	)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(cases) && !broken.Load(); i = int(next.Add(1)) - 1 {
				explorers[i] = explore(cases[i])
				if explorers[i].broken != "" {
					broken.Store(true)
				}
			}
		})
	}
	wait.Wait()
	states, steps, ends := 0, 0, 0
	for _, x := range explorers {
		switch {
		case x == nil: // another case is broken
		case x.broken != "":
			t.Errorf("%s: %s%s", x, x.broken, x.simplest().story())
		default:
			states, steps, ends = states+x.states, steps+x.steps, ends+x.ends
			t.Logf("%9d states, %9d steps, %5d ends: %s", x.states, x.steps, x.ends, x)
		}
	}
	t.Logf("%d states, %d steps, %d ends of %d cases", states, steps, ends, len(cases))
	if states < least && !t.Failed() {
		t.Errorf("only %d states, want at least %d", states, least)
	}
}

// Limits of what a state holds, and of how long it may take to the end.
const (
	longest         = 1000
	mostConnections = 4
	mostAccounts    = 2
	mostWorkers     = 3
	mostEvents      = 10
)

// state is one state of a case. Numbers other than counts are places in the lists of the explorer, 0 for nothing.
type state struct {
	rows     [mostConnections]uint16
	accounts [mostAccounts]uint16
	said     uint16
	workers  [mostWorkers]uint32 // in order: workers are alike
	waiting  [mostEvents]uint8   // deliveries not begun
	present  [mostConnections]uint8
	late     bool // Terra's API names what it names only later
	faults   uint8
	sweeps   uint8
	repeats  uint8
}

// explorer visits the states of one case.
type explorer struct {
	small
	history *history
	keys    []string // of accounts
	tasks   []*task  // sweeps by connection, then deliveries by event

	seen                map[state]struct{}
	ended               map[[3]any]bool
	states, steps, ends int
	trail               []func() string // how the present state was reached
	broken              violation

	rows     list[ownership.Connection]
	accounts list[ownership.Account]
	said     list[[]ownership.Announcement]
	owes     map[uint16]bool // whether the row of an account owes anything
	heard    map[hearing]bool
	answers  list[answer]
	calls    map[string]*call
	replies  map[reply]effect
	stands   []*stand

	done, failed, limited, lost int // answers
}

// list keeps values once each, by what they say.
type list[T any] struct {
	of     []T
	places map[string]int
}

func newList[T any]() list[T] { return list[T]{of: make([]T, 1), places: map[string]int{}} }

func (l *list[T]) place(value T) int {
	words := fmt.Sprintf("%+v", value)
	at, ok := l.places[words]
	if !ok {
		at = len(l.of)
		l.of = append(l.of, value)
		l.places[words] = at
	}
	return at
}

func (l *list[T]) short(value T) uint16 {
	at := l.place(value)
	if at > 65535 {
		panic("too many values for a state")
	}
	return uint16(at)
}

// task is what a worker does, from beginning to end.
type task struct {
	name  string
	event int // of a delivery; -1 for a sweep
	facts []ownership.Facts
	run   func(p *player)
	start uint32
}

// stand is where a worker stands: its task, and what its ports have answered. The same answers always lead to the same next call.
type stand struct {
	task   *task
	before uint32
	answer int
	acked  bool
	next   *call // nil: it has done its task
	after  map[int]uint32
}

// call is one call of a port.
type call struct {
	what, about  string
	user         int // of the connection's row
	account      int // of the account's row
	connection   ownership.Connection
	said         []string
	claim        ownership.Claim
	mark, was    ownership.Mark
	announcement ownership.Announcement
	number       int
}

func (c *call) asks() bool   { return c.what == "Athlete" || c.what == "UserInfo" }
func (c *call) writes() bool { return !c.asks() && c.what != "Connection" && c.what != "acknowledge" }

// answer is what a call returns.
type answer struct {
	row     ownership.Connection
	ok      bool
	account ownership.Account
	profile ownership.Profile
	err     error
}

// hearing is an acknowledgement or an announcement, and what was stored then.
type hearing struct {
	call *call
	task *task
	rows [mostConnections]uint16
}

// reply names a call and what it finds, and effect is what it does.
type reply struct {
	call int
	row  uint16
}

type effect struct {
	row    uint16
	answer int
}

func explore(c small) (x *explorer) {
	x = &explorer{
		small: c, seen: map[state]struct{}{}, ended: map[[3]any]bool{}, owes: map[uint16]bool{}, heard: map[hearing]bool{},
		rows: newList[ownership.Connection](), accounts: newList[ownership.Account](), said: newList[[]ownership.Announcement](), answers: newList[answer](),
		calls: map[string]*call{}, replies: map[reply]effect{}, stands: make([]*stand, 1),
	}
	keys, err := ownership.NewAccountKeys([]byte("thirty-two bytes of an account key"[:32]))
	if err != nil {
		panic(err)
	}
	x.history = &history{truth: &x.truth, keys: keys, now: noon.Add(time.Hour), tally: &tally{}}
	x.history.oracle = newOracle(x.history)
	x.done, x.failed = x.answers.place(answer{}), x.answers.place(answer{err: errFailed})
	x.limited, x.lost = x.answers.place(answer{err: &ownership.Limited{}}), x.answers.place(answer{err: errLost})
	x.prepare()
	defer func() {
		if r := recover(); r != nil {
			v, ok := r.(violation)
			if !ok {
				v = caught(r)
			}
			x.broken = v
		}
		x.states = len(x.seen)
		x.seen, x.ended = nil, nil
	}()
	first := state{faults: uint8(c.faults), sweeps: uint8(c.sweeps), repeats: uint8(c.repeats)}
	for i := range x.events {
		first.waiting[i] = 1
	}
	x.visit(first)
	return x
}

// prepare sets the truth, and what workers may do.
func (x *explorer) prepare() {
	x.byUser, x.truth.accounts, x.api = map[string]*connection{}, map[string]string{}, "well"
	for i, c := range x.connections {
		c.possible, c.guesses, c.recorded, c.gone, c.named = map[string]bool{}, nil, true, c.forgotten, false
		x.byUser[c.user] = c
		x.tasks = append(x.tasks, &task{name: "a sweep of " + c.user, event: -1, run: func(p *player) {
			if r, found, err := p.Connection(context.Background(), x.connections[i].user); err == nil && found {
				_, _ = p.keeper().Settle(context.Background(), r)
			}
		}})
	}
	for _, c := range x.connections {
		for _, id := range append(slices.Clone(c.told), c.id) {
			if id != "" {
				x.know(x.history.keys, c, id)
			}
		}
		c.present = max(0, len(c.references)-1)
	}
	x.keys = slices.Sorted(maps.Keys(x.truth.accounts))
	for i, e := range x.events {
		facts := e.facts(x.history.keys, e.signed)
		for _, m := range e.mentions() {
			m.c.named = m.c.named || m.named == m.c.present
		}
		x.tasks = append(x.tasks, &task{name: "delivery of " + e.String(), event: i, facts: facts, run: func(p *player) {
			receive(p.keeper(), e, facts, p.acknowledge)
		}})
	}
	for _, t := range x.tasks {
		t.start = x.stand(&stand{task: t})
	}
}

// stand finds out the next call of a worker that stands there.
func (x *explorer) stand(s *stand) uint32 {
	p := &player{explorer: x}
	for at := s; at.before != 0; at = x.stands[at.before] {
		p.answers = append(p.answers, at.answer)
	}
	func() {
		defer func() {
			if r := recover(); r != nil && r != (crash{}) {
				panic(r)
			}
		}()
		s.task.run(p)
	}()
	s.next, s.after = p.next, map[int]uint32{}
	x.stands = append(x.stands, s)
	return uint32(len(x.stands) - 1)
}

// then is where a worker stands after an answer.
func (x *explorer) then(at uint32, answer int) uint32 {
	s := x.stands[at]
	after, ok := s.after[answer]
	if !ok {
		after = x.stand(&stand{task: s.task, before: at, answer: answer, acked: s.acked || s.next.what == "acknowledge"})
		s.after[answer] = after
	}
	return after
}

// visit visits a state and all that follow.
func (x *explorer) visit(s state) {
	slices.Sort(s.workers[:])
	if _, ok := x.seen[s]; ok {
		return
	}
	x.seen[s] = struct{}{}
	if len(x.trail) > longest {
		x.history.violated("no end: it is still not done after %d steps", len(x.trail))
	}
	busy := 0
	for w := range s.workers {
		if s.workers[w] != 0 {
			busy++
		}
		if s.workers[w] == 0 || w > 0 && s.workers[w] == s.workers[w-1] {
			continue
		}
		x.step(s, w, goOn)
		if s.faults > 0 {
			c := x.stands[s.workers[w]].next
			fates := []action{failure, crashBefore}
			if c.what == "acknowledge" {
				fates = []action{crashBefore}
			}
			if c.writes() {
				fates = append(fates, lostReply, crashAfter)
			}
			for _, fate := range fates {
				x.step(s, w, fate)
			}
		}
	}
	done, free := busy == 0, busy < x.workers
	for i, e := range x.events {
		if s.waiting[i] > 0 {
			done = false
		}
		if !free || s.waiting[i] == 0 && s.repeats == 0 {
			continue
		}
		if slices.ContainsFunc(e.mentions(), func(m mention) bool { return m.named > int(s.present[x.number(m.c.user)]) }) {
			continue
		}
		n := s
		if n.waiting[i] > 0 {
			n.waiting[i]--
		} else {
			n.repeats--
		}
		x.begin(n, x.tasks[len(x.connections)+i])
	}
	for i, c := range x.connections {
		if s.sweeps > 0 && free && s.rows[i] != 0 && x.rows.of[s.rows[i]].ToDo {
			n := s
			n.sweeps--
			x.begin(n, x.tasks[i])
		}
		if int(s.present[i]) < len(c.references)-1 {
			done = false
			n := s
			n.present[i]++
			x.tell(func() string { return fmt.Sprintf("the truth: %s is now of %s", c.user, c.references[n.present[i]]) })
			x.visit(n)
			x.untell()
		}
	}
	if !s.late && slices.ContainsFunc(x.connections, func(c *connection) bool { return c.idLate || c.created == inAPILate }) {
		n := s
		n.late = true
		x.tell(func() string { return "the API names all it ever names" })
		x.visit(n)
		x.untell()
	}
	if done {
		x.end(s)
	}
}

func (x *explorer) number(user string) int { return int(user[0] - 'a') }

func (x *explorer) tell(line func() string) { x.trail = append(x.trail, line) }

// untell takes the last line back. When a promise is broken it stays.
func (x *explorer) untell() { x.trail = x.trail[:len(x.trail)-1] }

func (x *explorer) begin(n state, t *task) {
	n.workers[0] = t.start // workers are in order, so the first is idle
	x.tell(func() string { return "begins: " + t.name })
	x.visit(n)
	x.untell()
}

// step lets a worker make its next call, with that fate.
func (x *explorer) step(s state, w int, fate action) {
	x.steps++
	x.tell(func() string {
		at := x.stands[s.workers[w]]
		return fmt.Sprintf("    %s: %s %s%s", at.task.name, at.next.what, at.next.about, map[action]string{
			failure: ": failed", crashBefore: ": crash before", crashAfter: ": crash after", lostReply: ": reply lost"}[fate])
	})
	x.visit(x.make(s, w, fate))
	x.untell()
}

// make makes a worker's next call.
func (x *explorer) make(s state, w int, fate action) state {
	at := x.stands[s.workers[w]]
	c, n := at.next, s
	if fate != goOn {
		n.faults--
	}
	answered := 0
	if fate == goOn || fate == lostReply || fate == crashAfter {
		answered = x.apply(&n, at, c)
	}
	switch fate {
	case crashBefore, crashAfter:
		n.workers[w] = 0
		if at.task.event >= 0 && !at.acked {
			n.waiting[at.task.event]++
		}
		return n
	case failure:
		answered = x.failed
		if c.asks() {
			answered = x.limited
		}
	case lostReply:
		answered = x.lost
	}
	n.workers[w] = x.then(s.workers[w], answered)
	if after := x.stands[n.workers[w]]; after.next == nil {
		n.workers[w] = 0
		if after.task.event >= 0 && !after.acked {
			n.waiting[after.task.event]++ // not acknowledged: Terra tries again
		}
	}
	return n
}

// apply does what a call does, and checks it.
func (x *explorer) apply(n *state, at *stand, c *call) int {
	switch {
	case c.what == "acknowledge":
		if h := (hearing{c, at.task, n.rows}); !x.heard[h] {
			x.oracle(*n).acknowledged(x.events[at.task.event], at.task.facts)
			x.heard[h] = true
		}
		return x.done
	case c.asks():
		key := reply{c.number, uint16(n.present[c.user])}
		if n.late {
			key.row |= 1 << 8
		}
		e, ok := x.replies[key]
		if !ok {
			e.answer = x.answers.place(x.ask(*n, c))
			x.replies[key] = e
		}
		return e.answer
	case c.what == "Publish":
		if h := (hearing{c, nil, n.rows}); !x.heard[h] {
			x.oracle(*n).hear(c.announcement)
			x.heard[h] = true
		}
		key := reply{c.number, n.said}
		e, ok := x.replies[key]
		if !ok {
			e = effect{n.said, x.done}
			if said := x.said.of[n.said]; !slices.Contains(said, c.announcement) {
				said = append(slices.Clone(said), c.announcement)
				slices.SortFunc(said, func(a, b ownership.Announcement) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
				e.row = x.said.short(said)
			}
			x.replies[key] = e
		}
		n.said = e.row
		return e.answer
	}
	stored := &n.rows[c.user]
	if c.account >= 0 {
		stored = &n.accounts[c.account]
	}
	key := reply{c.number, *stored}
	e, ok := x.replies[key]
	if !ok {
		e = x.effect(c, *stored)
		x.replies[key] = e
	}
	if changed := *stored != e.row; changed {
		*stored = e.row
		x.check(*n)
	}
	return e.answer
}

// effect finds out what a call of the ledger does to a row, on a ledger that passes the conformance suite.
func (x *explorer) effect(c *call, stored uint16) effect {
	m := ledgertest.NewMemory()
	m.Now = func() time.Time { return x.history.now }
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var a answer
	if c.account >= 0 {
		key := x.keys[c.account]
		if stored != 0 {
			for _, claim := range x.accounts.of[stored].Claims {
				_, err := m.Claim(ctx, key, claim)
				must(err)
			}
			for _, mark := range x.accounts.of[stored].Marks {
				_, err := m.Mark(ctx, key, mark, ownership.Mark{})
				must(err)
			}
		}
		switch c.what {
		case "Claim":
			a.account, a.err = m.Claim(ctx, key, c.claim)
		case "Mark":
			a.account, a.err = m.Mark(ctx, key, c.mark, c.was)
		default:
			panic(violation("promise 4: " + c.what + " of a small row"))
		}
		must(a.err)
		return effect{x.accounts.short(a.account), x.answers.place(a)}
	}
	if stored != 0 {
		_, _, err := m.Insert(ctx, x.rows.of[stored])
		must(err)
	}
	switch c.what {
	case "Insert":
		a.row, a.ok, a.err = m.Insert(ctx, c.connection)
	case "Update":
		a.row, a.ok, a.err = m.Update(ctx, c.connection)
	case "Finish":
		a.row, a.ok, a.err = m.Finish(ctx, c.connection, c.said)
	case "Postpone":
		a.row, a.ok, a.err = m.Postpone(ctx, c.connection, c.said)
	case "Connection":
		a.row, a.ok, a.err = m.Connection(ctx, c.connection.UserID)
	}
	must(a.err)
	e := effect{stored, x.answers.place(a)}
	if a.ok && c.what != "Connection" {
		o := newOracle(x.history)
		if stored != 0 {
			o.rows[a.row.UserID] = x.rows.of[stored]
		}
		o.wrote(a.row)
		e.row = x.rows.short(a.row)
	}
	return e
}

// ask is Terra's API.
func (x *explorer) ask(s state, c *call) (a answer) {
	of := x.connections[c.user]
	if of.gone {
		return answer{err: ownership.ErrGone}
	}
	a.profile.Provider = of.provider
	if len(of.references) > 0 {
		a.profile.ReferenceID = of.references[s.present[c.user]]
	}
	if (of.created == inAPI || of.created == inAPILate && s.late) && (c.what == "UserInfo" || x.athleteTime) {
		a.profile.CreatedAt = of.made
	}
	if c.what == "Athlete" && (!of.idLate || s.late) {
		a.profile.ProviderUserID = of.id
	}
	return a
}

// oracle is what watches, told of a state.
func (x *explorer) oracle(s state) *oracle {
	o := &oracle{history: x.history, rows: map[string]ownership.Connection{}, account: map[string]ownership.Account{}, ids: x.history.ids, data: x.history.data}
	for i, at := range s.rows {
		if at != 0 {
			o.rows[x.connections[i].user] = x.rows.of[at]
		}
	}
	for _, at := range s.accounts {
		if at != 0 {
			o.account[x.accounts.of[at].Key] = x.accounts.of[at]
		}
	}
	o.said = slices.Clip(x.said.of[s.said])
	return o
}

// check checks promise 4 in a state: whatever the row of an account owes, a connection that has a claim there and still its work mark will announce; and
// a connection without a work mark has nothing left to do.
func (x *explorer) check(s state) {
	for _, at := range s.accounts {
		if at == 0 {
			continue
		}
		owes, known := x.owes[at]
		if !known {
			owes = len(x.accounts.of[at].Due()) > 0
			x.owes[at] = owes
		}
		if !owes {
			continue
		}
		owed := false
		for user := range x.accounts.of[at].Claims {
			owed = owed || x.rows.of[s.rows[x.number(user)]].ToDo
		}
		if !owed {
			row := x.accounts.of[at]
			x.history.violated("promise 4: nobody has a work mark who owes: %s", announced{row.Due()[0].Announcement, x.truth.accounts[row.Key]})
		}
	}
	for _, at := range s.rows {
		if at == 0 || x.rows.of[at].ToDo || x.rows.of[at].Reference() == "" {
			continue
		}
		x.checkSettled(s, &x.rows.of[at])
	}
}

func (x *explorer) checkSettled(s state, r *ownership.Connection) {
	said := func(current string, tenure int, reason ownership.Reason) bool {
		return slices.ContainsFunc(x.said.of[s.said], func(a ownership.Announcement) bool {
			return a.Account == "" && a.Reason == reason && a.Previous.UserID == r.UserID && a.Previous.Tenure == tenure && a.Current.UserID == current
		})
	}
	last := len(r.Tenures)
	for _, by := range r.ReplacedBy {
		heir := x.rows.of[s.rows[x.number(by.UserID)]]
		switch {
		case by.Reference == "":
			x.history.violated("promise 4: %s is settled, but it is not known to whom it passed", r.UserID)
		case by.Reference != r.Reference() && !said(by.UserID, last, ownership.Reauth):
			x.history.violated("promise 4: %s is settled, but its passing to %s was not announced", r.UserID, by.UserID)
		case !r.Phone() && !covers(heir.Accounts, r.Accounts):
			x.history.violated("promise 4: %s is settled, but %s did not inherit its accounts", r.UserID, by.UserID)
		}
	}
	if len(r.Accounts) == 0 {
		for i, reference := range r.Tenures {
			if reference != r.Reference() && !said(r.UserID, i+1, ownership.Reassigned) {
				x.history.violated("promise 4: %s is settled, but its passing from %s was not announced", r.UserID, reference)
			}
		}
	}
	for _, account := range r.Accounts {
		at := s.accounts[slices.Index(x.keys, account)]
		if at == 0 || x.accounts.of[at].Claims[r.UserID].Version < r.Version {
			x.history.violated("promise 4: %s is settled, but its claim of %s is not what its row says", r.UserID, x.truth.accounts[account])
		}
	}
}

// end lets calm sweeps do what is left, and judges.
func (x *explorer) end(s state) {
	key := [3]any{s.rows, s.accounts, s.said}
	if x.ended[key] {
		return
	}
	x.ended[key] = true
	x.ends++
	s.late, s.faults = true, 0
	x.tell(func() string { return "all is delivered, and calm sweeps do what is left" })
	const most = 3
	sweeps := func() {
		for i := range x.connections {
			if s.rows[i] == 0 || !x.rows.of[s.rows[i]].ToDo {
				continue
			}
			for s.workers[0] = x.tasks[i].start; s.workers[0] != 0; {
				s = x.make(s, 0, goOn)
			}
		}
	}
	unsettled := func() []string {
		x.history.rows = x.oracle(s).rows
		return x.history.unsettled()
	}
	for range most {
		sweeps()
	}
	if left := unsettled(); len(left) > 0 {
		x.history.violated("promise 2: %d rounds of sweeps have not settled %v", most, left)
	}
	said := s.said
	sweeps()
	if s.said != said {
		x.history.violated("no end: when all was settled, there was still something announced")
	}
	o := x.oracle(s)
	x.history.rows = o.rows
	o.judge()
	x.untell()
}

// simplest is the same case with as few faults, sweeps and repeats as still break a promise.
func (x *explorer) simplest() *explorer {
	for _, fewer := range []func(*small) *int{
		func(c *small) *int { return &c.repeats }, func(c *small) *int { return &c.sweeps }, func(c *small) *int { return &c.faults }, func(c *small) *int { return &c.workers },
	} {
		for {
			c := x.small
			if *fewer(&c)--; *fewer(&c) < 0 {
				break
			}
			simpler := explore(c)
			if simpler.broken == "" {
				break
			}
			x = simpler
		}
	}
	return x
}

// story tells how a promise was broken, as a story.
func (x *explorer) story() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nthe simplest: %s\n  %s\n", x, x.broken)
	for _, c := range x.connections {
		fmt.Fprintf(&b, "  %s\n", c)
	}
	for _, line := range x.trail {
		fmt.Fprintf(&b, "  %s\n", line())
	}
	return b.String()
}

func (x *explorer) String() string {
	return fmt.Sprintf("%s; %d workers, %d faults, %d sweeps, %d repeats", x.name, x.workers, x.faults, x.sweeps, x.repeats)
}

// player is the ports of a worker that is played again: what they have answered so far, they answer again. At the next call it stops.
type player struct {
	explorer *explorer
	answers  []int // the last is the next
	next     *call
}

func (p *player) keeper() *ownership.Keeper {
	return &ownership.Keeper{Ledger: p, Announcer: p, Directory: p, Keys: p.explorer.history.keys, Now: func() time.Time { return p.explorer.history.now }}
}

func (p *player) call(c call) answer {
	if last := len(p.answers) - 1; last >= 0 {
		a := p.explorer.answers.of[p.answers[last]]
		p.answers = p.answers[:last]
		return a
	}
	if p.next == nil { // a call while the worker ends is not made
		words := fmt.Sprintf("%+v", c)
		if _, ok := p.explorer.calls[words]; !ok {
			c.number = len(p.explorer.calls)
			p.explorer.calls[words] = &c
		}
		p.next = p.explorer.calls[words]
	}
	panic(crash{})
}

func (p *player) acknowledge() { p.call(call{what: "acknowledge", account: -1}) }

func (p *player) connection(what string, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	a := p.call(call{what: what, about: c.UserID, user: p.explorer.number(c.UserID), account: -1, connection: c, said: said})
	return a.row, a.ok, a.err
}

func (p *player) Insert(_ context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	return p.connection("Insert", c, nil)
}

func (p *player) Update(_ context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	return p.connection("Update", c, nil)
}

func (p *player) Finish(_ context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	return p.connection("Finish", c, said)
}

func (p *player) Postpone(_ context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	return p.connection("Postpone", c, said)
}

func (p *player) Connection(_ context.Context, userID string) (ownership.Connection, bool, error) {
	return p.connection("Connection", ownership.Connection{UserID: userID}, nil)
}

func (p *player) account(what, account, about string, c call) (ownership.Account, error) {
	c.what, c.about = what, about+" of "+p.explorer.truth.accounts[account]
	c.account = slices.Index(p.explorer.keys, account)
	if c.account < 0 {
		panic(violation("promise 3: a claim of an account that nobody named"))
	}
	a := p.call(c)
	return a.account, a.err
}

func (p *player) Claim(_ context.Context, account string, c ownership.Claim) (ownership.Account, error) {
	return p.account("Claim", account, c.UserID, call{claim: c})
}

func (p *player) Mark(_ context.Context, account string, m, was ownership.Mark) (ownership.Account, error) {
	return p.account("Mark", account, m.Name, call{mark: m, was: was})
}

func (p *player) Drop(_ context.Context, account string, c ownership.Claim, _ []string) error {
	_, err := p.account("Drop", account, c.UserID, call{claim: c})
	return err
}

func (p *player) Publish(_ context.Context, a ownership.Announcement) error {
	return p.call(call{what: "Publish", about: announced{a, p.explorer.truth.accounts[a.Account]}.String(), account: -1, announcement: a}).err
}

func (p *player) Athlete(_ context.Context, userID string) (ownership.Profile, error) {
	a := p.call(call{what: "Athlete", about: userID, user: p.explorer.number(userID), account: -1})
	return a.profile, a.err
}

func (p *player) UserInfo(_ context.Context, userID string) (ownership.Profile, error) {
	a := p.call(call{what: "UserInfo", about: userID, user: p.explorer.number(userID), account: -1})
	return a.profile, a.err
}
