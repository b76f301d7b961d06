package ownership_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
)

// TestHistories plays random histories of the rule against a simulated truth: some connections of a few wearable accounts, every webhook that Terra
// may send about them, in any order and several times, to up to four workers that are interleaved at each call of a port. At any call a worker may
// fail, lose the reply, run out of time or crash. The promises are checked at each announcement and at each cleared work mark, and at the end, when
// Terra's API is well again and sweeps have done what was left.
//
// A history that breaks a promise is shrunk, told as a story, and kept in testdata/rapid, from where it is played first in each later run. More histories:
// -rapid.checks=1000000.
func TestHistories(t *testing.T) {
	kept, err := filepath.Glob("testdata/rapid/*/*.fail") // by whichever part found them
	if err != nil || len(kept) == 0 {
		t.Fatalf("no history is kept: %v", err)
	}
	for _, file := range kept {
		t.Run("kept/"+strings.TrimSuffix(filepath.Base(file), ".fail"), func(t *testing.T) {
			set(t, "rapid.failfile", func(string) string { return toTheEnd(t, file) })
			set(t, "rapid.checks", func(string) string { return "0" })
			var played tally
			if checkHistories(t, &played); played.histories != 1 && !t.Failed() {
				t.Error("it is not the drawing of a history: make it anew")
			}
		})
	}
	const least = 10_000
	parts := runtime.GOMAXPROCS(0)
	set(t, "rapid.checks", func(now string) string {
		n, _ := strconv.Atoi(now)
		return strconv.Itoa((max(n, least) + parts - 1) / parts)
	})
	tallies := make([]tally, parts)
	asked := false // or only for a kept one
	t.Run("part", func(t *testing.T) {
		asked = true
		for i := range tallies {
			t.Run(strconv.Itoa(i+1), func(t *testing.T) {
				t.Parallel()
				checkHistories(t, &tallies[i])
			})
		}
	})
	if asked && !t.Failed() {
		report(t, tallies, least)
	}
}

// toTheEnd is a copy of a kept history with draws for what comes after the promise was broken, for now it is not: zeros, of which each lets things take their course.
func toTheEnd(t *testing.T, file string) string {
	t.Helper()
	drawn, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	longer := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(longer, append(drawn, strings.Repeat("\n0x0", 10_000)...), 0o600); err != nil {
		t.Fatal(err)
	}
	return longer
}

// checkHistories plays histories as rapid's flags ask for.
func checkHistories(t *testing.T, sum *tally) {
	var crew crew
	defer crew.dismiss()
	histories := rapid.Custom(func(t *rapid.T) *history { return play(dice{t}, &crew, sum) })
	rapid.Check(t, func(t *rapid.T) {
		if h := histories.Draw(t, "history"); h.broken != "" {
			t.Fatal(h.broken)
		}
	})
}

// set changes one of rapid's flags while the test runs.
func set(t *testing.T, name string, change func(now string) string) {
	t.Helper()
	f := flag.Lookup(name)
	before := f.Value.String()
	if err := f.Value.Set(change(before)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(before) })
}

// dice draws what happens. What is named first is drawn somewhat oftener, and is what rapid shrinks to.
type dice struct{ t *rapid.T }

var indices = func() (generators [256]*rapid.Generator[int]) {
	all := make([]int, len(generators))
	for n := range generators {
		all[n] = n
		generators[n] = rapid.SampledFrom(all[:n+1])
	}
	return generators
}()

// below draws one of 0 … n-1.
func (d dice) below(n int) int {
	if n < 2 {
		return 0
	}
	return indices[n-1].Draw(d.t, "")
}

// oneIn is true about once in n draws.
func (d dice) oneIn(n int) bool { return d.below(n) == n-1 }

func choose[T any](d dice, from ...T) T { return from[d.below(len(from))] }

func shuffle[T any](d dice, s []T) []T {
	if len(s) < 2 {
		return s
	}
	return rapid.Permutation(s).Draw(d.t, "")
}

// history is one play: a truth, what Handover made of it, and how that was scheduled.
type history struct {
	*truth
	*oracle
	dice   dice
	keys   ownership.AccountKeys
	ledger *ledgertest.Memory
	now    time.Time
	tally  *tally
	crew   *crew

	workers []*worker
	ever    int // workers so far
	faults  int // faults that may still happen

	story  []line
	broken violation
}

// violation says which promise a history broke, and how.
type violation string

func (h *history) violated(format string, args ...any) {
	panic(violation(fmt.Sprintf(format, args...)))
}

// line is one line of a history's story, put into words only when somebody reads it.
type line struct {
	format string
	args   []any
}

func (h *history) tell(format string, args ...any) { h.story = append(h.story, line{format, args}) }

// GoString is the story, as rapid prints it.
func (h *history) GoString() string {
	var b strings.Builder
	b.WriteString("\n")
	for _, c := range h.connections {
		fmt.Fprintf(&b, "  %s\n", c)
	}
	for _, l := range h.story {
		fmt.Fprintf(&b, "  "+l.format+"\n", l.args...)
	}
	return b.String()
}

// The clock moves on by a step with each call of a port, and by a tick when nothing happens for long: every row that was put off is then due.
const (
	step = time.Millisecond
	tick = time.Hour
)

// play draws and plays one history.
func play(d dice, crew *crew, sum *tally) (h *history) {
	keys, err := ownership.NewAccountKeys([]byte("thirty-two bytes of an account key"[:32]))
	if err != nil {
		panic(err)
	}
	h = &history{truth: newTruth(d, keys), dice: d, keys: keys, ledger: ledgertest.NewMemory(), now: noon.Add(time.Hour), crew: crew, tally: sum}
	h.oracle = newOracle(h)
	defer func() {
		h.sendHome()
		if r := recover(); r != nil {
			v, ok := r.(violation)
			if !ok {
				panic(r)
			}
			h.broken = v
		}
	}()
	h.storm()
	h.calm()
	sum.histories++
	return h
}

// What may happen at each step.
type action int

const (
	goOn       action = iota // the worker whose turn it is makes its call
	turn                     // it is another worker's turn
	begin                    // a worker takes up the next delivery
	sweep                    // a sweep begins
	truthMoves               // a connection gets another reference_id
	apiChanges               // Terra's API becomes well, limited or down, or names what it named not yet
	timePasses               // an hour passes
	failure                  // the call fails, and was not applied
	lostReply                // the call fails, and was applied
	timeIsUp                 // this and all later calls of the worker fail
	crashBefore
	crashAfter
)

// actions is how often each happens. The first are drawn oftenest, see [dice].
var actions = slices.Concat(
	slices.Repeat([]action{goOn}, 30), slices.Repeat([]action{turn}, 16), slices.Repeat([]action{begin}, 16),
	slices.Repeat([]action{truthMoves}, 8),
	[]action{sweep, sweep, apiChanges, apiChanges, timePasses, failure, failure, lostReply, lostReply, timeIsUp, crashBefore, crashBefore, crashAfter, crashAfter},
)

// storm delivers every webhook until it is acknowledged, with everything that may go wrong.
func (h *history) storm() {
	h.faults = choose(h.dice, 0, 4, 1, 2, 8, 16)
	slots := choose(h.dice, 1, 4, 3, 2)
	current := 0
	for len(h.workers) > 0 || len(h.deliveries) > 0 {
		h.tally.steps++
		if len(h.story) > 20_000 {
			h.violated("no end: it is still not done after %d steps", len(h.story))
		}
		what := actions[h.dice.below(len(actions))]
		if len(h.workers) == 0 && (what == goOn || what == turn || what >= failure) {
			what = begin
		}
		if len(h.workers) >= slots && (what == begin || what == sweep) {
			what = turn
		}
		if what == begin && len(h.deliveries) == 0 {
			what = turn
		}
		if what >= failure && h.faults == 0 || what == truthMoves && len(h.moving()) == 0 {
			what = goOn
			if len(h.workers) == 0 {
				what = begin
			}
		}
		switch what {
		case turn:
			current = h.dice.below(len(h.workers))
			h.resume(&current, goOn)
		case begin:
			h.begin()
			current = len(h.workers) - 1
		case sweep:
			h.start("sweep", h.sweep)
			current = len(h.workers) - 1
		case truthMoves:
			if c := choose(h.dice, h.moving()...); c.present < len(c.references)-1 {
				h.present(c, c.present+1)
			} else {
				c.gone = true
				h.tell("the truth: the API has forgotten %s", c.user)
			}
		case apiChanges:
			h.changeAPI()
		case timePasses:
			h.now = h.now.Add(tick)
			h.tell("an hour passes: it is %s", clock(h.now))
		default:
			if what != goOn {
				h.faults--
			}
			h.resume(&current, what)
		}
	}
}

// calm lets sweeps do what is left, and then judges.
func (h *history) calm() {
	h.api, h.late, h.faults = "well", true, 0
	h.tell("the API is well and names all it ever names")
	const most = 3
	for round := 1; len(h.unsettled()) > 0 || round == 1; round++ {
		if round > most {
			h.violated("promise 2: %d rounds of sweeps have not settled %v", most, h.unsettled())
		}
		h.lastSweep()
	}
	said := len(h.said)
	h.lastSweep()
	if len(h.said) > said {
		h.violated("no end: when all was settled, there was still announced %s", announced{h.said[said], h.accounts[h.said[said].Account]})
	}
	h.judge()
}

func (h *history) lastSweep() {
	h.now = h.now.Add(tick)
	w := h.start("last sweep", h.sweep)
	for w.run != nil {
		h.tally.steps++
		only := 0
		h.resume(&only, goOn)
	}
}

// begin starts a worker on the next delivery.
func (h *history) begin() {
	d := h.deliveries[0]
	h.deliveries = h.deliveries[1:]
	h.tally.deliveries++
	for _, m := range d.mentions() {
		// Terra may name a reference_id a moment before its API does, but not for a connection of which nothing was heard.
		if c := m.c; m.named > c.present && len(h.rows[c.user].Tenures) == 0 {
			h.present(c, m.named)
		}
	}
	h.start(d.String(), func(w *worker) { h.deliver(w, d) })
}

// deliver delivers an event once.
func (h *history) deliver(w *worker, d *delivery) {
	seen := d.signed
	if d.resigned && d.tries > 0 || h.now.Before(seen) {
		seen = h.now
	}
	d.tries++
	var changes []int
	for _, m := range d.mentions() {
		changes = append(changes, m.c.changes)
	}
	w.undo = func() { h.deliveries = append(h.deliveries, d) } // not acknowledged: Terra tries again
	facts := d.facts(h.keys, seen)
	receive(h.keeper(w), d.event, facts, func() {
		w.undo = nil
		h.acknowledged(d.event, facts)
		for i, m := range d.mentions() {
			m.c.named = m.c.named || m.named == m.c.present && m.c.changes == changes[i]
		}
		h.tell("%s acknowledges", w.name)
	})
}

// receive does with what an event says what internal/webhook does. What it could not settle is left to a sweep.
func receive(keeper *ownership.Keeper, e *event, facts []ownership.Facts, acknowledge func()) {
	ctx := context.Background()
	if e.kind == "activity" || e.kind == "daily" {
		r, found, err := keeper.Ledger.Connection(ctx, facts[0].UserID)
		if err != nil {
			return
		}
		if found && !ownership.Adds(r, facts[0]) {
			acknowledge()
			return
		}
	}
	var toDo []ownership.Connection
	for _, f := range facts {
		r, _, err := keeper.Record(ctx, f)
		if err != nil {
			return
		}
		if r.ToDo {
			toDo = append([]ownership.Connection{r}, toDo...) // of a user_reauth the old one first
		}
	}
	acknowledge()
	_, _ = keeper.Settle(ctx, toDo...)
}

// sweep does what a sweep does.
func (h *history) sweep(w *worker) {
	keeper := h.keeper(w)
	ctx := context.Background()
	due, err := w.ToDo(ctx, h.now, 50)
	if err != nil {
		return
	}
	for _, userID := range due {
		if r, found, err := w.Connection(ctx, userID); err == nil && found {
			_, _ = keeper.Settle(ctx, r) // what failed stays due
		}
	}
}

func (h *history) keeper(w *worker) *ownership.Keeper {
	return &ownership.Keeper{
		Ledger: w, Announcer: w, Directory: w, Keys: h.keys, Now: func() time.Time { return h.now },
		Backoff: ownership.Backoff{Base: tick / 4, Max: tick / 2, Unnamed: tick / 2},
	}
}

// moving lists the connections that will yet have another reference_id, or be forgotten.
func (h *history) moving() (moving []*connection) {
	for _, c := range h.connections {
		if c.present < len(c.references)-1 || c.forgotten && !c.gone {
			moving = append(moving, c)
		}
	}
	return moving
}

func (h *history) present(c *connection, index int) {
	c.present, c.named = index, false
	c.changes++
	h.tell("the truth: %s is now of %s", c.user, c.reference())
}

func (h *history) changeAPI() {
	switch what := choose(h.dice, "well", "limited", "down", "late"); what {
	case "late":
		h.late = true
		h.tell("the API names all it ever names")
	default:
		h.api = what
		h.tell("the API is %s", what)
	}
}

// unsettled lists the connections with a work mark, but for those that nobody can settle: Terra names no account, or nobody knows to whom it passed.
func (h *history) unsettled() (left []string) {
	for _, user := range slices.Sorted(maps.Keys(h.rows)) {
		if r := h.rows[user]; r.ToDo && !h.hopeless(r) {
			left = append(left, user+" ("+cmp.Or(r.Waiting, "never tried")+")")
		}
	}
	return left
}

// hopeless: nobody ever names the account, or whom it passed to. Where a successor's row has its reference_id by now, the next sweep will tell of it.
func (h *history) hopeless(r ownership.Connection) bool {
	waits := false
	for _, s := range r.ReplacedBy {
		if s.Reference == "" && h.rows[s.UserID].Reference() != "" {
			return false
		}
		waits = waits || s.Reference == ""
	}
	c := h.byUser[r.UserID]
	return waits || len(r.Accounts) == 0 && !r.Closed() && (c.id == "" || c.gone)
}

// tally counts what was played.
type tally struct {
	histories, steps, deliveries int
	faults, announced, checked   map[string]int
}

func count(m *map[string]int, name string) {
	if *m == nil {
		*m = map[string]int{}
	}
	(*m)[name]++
}

// report logs what was played, and fails the test if it was too little.
func report(t *testing.T, tallies []tally, least int) {
	t.Helper()
	var sum tally
	faults, announced, checked := map[string]int{}, map[string]int{}, map[string]int{}
	for _, of := range tallies {
		sum.histories += of.histories
		sum.steps += of.steps
		sum.deliveries += of.deliveries
		add(faults, of.faults)
		add(announced, of.announced)
		add(checked, of.checked)
	}
	t.Logf("%d histories, %d deliveries of webhooks, %d steps", sum.histories, sum.deliveries, sum.steps)
	t.Logf("faults: %s", words(faults))
	t.Logf("announced: %s", words(announced))
	t.Logf("checked: %s", words(checked))
	if sum.histories < least && !testing.Short() {
		t.Errorf("only %d histories were played, of at least %d", sum.histories, least)
	}
}

func add(sum, more map[string]int) {
	for name, n := range more {
		sum[name] += n
	}
}

func words(counts map[string]int) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(words, ", ")
}

// caught turns a panic of the rule into a violation.
func caught(r any) violation { return violation(fmt.Sprintf("panic: %v\n%s", r, debug.Stack())) }
