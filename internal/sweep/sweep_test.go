package sweep_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/sweep"
	"github.com/handover-dev/handover/internal/telemetry"
)

// never is how often a bench walks, if it is not told otherwise.
const never = 100 * 365 * 24 * time.Hour

// bench is a sweep with everything around it within reach. It must be made inside of a bubble of synctest: its clock is time.Now.
type bench struct {
	*sweep.Sweep
	t      *testing.T
	ledger *ledgertest.Memory
	terra  *directory
	topic  *topic
	log    *bytes.Buffer
	keeper *ownership.Keeper
}

func newBench(t *testing.T) *bench {
	keys, err := ownership.NewAccountKeys(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, ledger: ledgertest.NewMemory(), terra: &directory{}, topic: &topic{}, log: &bytes.Buffer{}}
	b.keeper = &ownership.Keeper{
		Ledger: b.ledger, Announcer: b.topic, Directory: b.terra, Keys: keys, Now: time.Now,
		Backoff: ownership.Backoff{Base: 30 * time.Second, Max: time.Hour, Unnamed: 24 * time.Hour}, Grace: 15 * time.Second,
	}
	b.Sweep = &sweep.Sweep{
		Keeper: func(context.Context) (*ownership.Keeper, error) { return b.keeper, nil },
		Queue:  b.ledger, Log: telemetry.NewLogger(b.log, "handover"), Now: time.Now,
		Register: b.ledger, Terra: &list{}, WalkEvery: never, RoundEvery: never, NotRevokedAfter: 24 * time.Hour,
	}
	// The first walk and the first round are over.
	for _, name := range []string{"walk", "round"} {
		now, err := time.Now().MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.ledger.Keep(t.Context(), name, fmt.Sprintf(`{"number":1,"started_at":%q,"finished_at":%q}`, now, now)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// record records a connection that needs an answer of Terra's API, and lets a second pass.
func (b *bench) record(userID, reference string) {
	b.t.Helper()
	b.store(ownership.Facts{UserID: userID, Provider: "GARMIN", Reference: reference, ConnectedAt: time.Now(), Certainty: ownership.Signed})
}

// recordWhole records a connection that needs none.
func (b *bench) recordWhole(userID, reference, account string) {
	b.t.Helper()
	b.store(ownership.Facts{UserID: userID, Provider: "GARMIN", Reference: reference, ConnectedAt: time.Now(), Certainty: ownership.Signed, Accounts: []string{account}, Named: true})
}

func (b *bench) store(f ownership.Facts) {
	b.t.Helper()
	if _, _, err := b.keeper.Record(b.t.Context(), f); err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(time.Second)
}

// run runs the sweep as a function that has so much time.
func (b *bench) run(left time.Duration) sweep.Report {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), left)
	defer cancel()
	report, err := b.Run(ctx)
	if err != nil {
		b.t.Fatalf("Run: %v", err)
	}
	return report
}

func (b *bench) toDo() (userIDs []string) {
	b.t.Helper()
	for r, err := range b.ledger.Connections(b.t.Context()) {
		if err != nil {
			b.t.Fatal(err)
		}
		if r.ToDo {
			userIDs = append(userIDs, r.UserID)
		}
	}
	return userIDs
}

// directory is a Terra API at which every connection holds the account that has its name.
type directory struct {
	mu    sync.Mutex
	err   error
	gone  string        // a connection that it does not know
	takes time.Duration // -1: longer than anybody waits
	asked []string

	reference string // the present one, if Terra says
	nameless  bool   // Terra names no account
}

func (d *directory) Athlete(ctx context.Context, userID string) (ownership.Profile, error) {
	d.mu.Lock()
	d.asked = append(d.asked, userID)
	takes, err := d.takes, d.err
	if userID == d.gone {
		err = ownership.ErrGone
	}
	d.mu.Unlock()
	if takes < 0 {
		<-ctx.Done()
		return ownership.Profile{}, ctx.Err()
	}
	time.Sleep(takes)
	if d.nameless {
		userID = ""
	}
	return ownership.Profile{ProviderUserID: userID, ReferenceID: d.reference}, err
}

func (d *directory) UserInfo(ctx context.Context, userID string) (ownership.Profile, error) {
	return d.Athlete(ctx, userID)
}

type topic struct {
	mu   sync.Mutex
	err  error
	said []string
}

func (p *topic) Publish(_ context.Context, a ownership.Announcement) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.said = append(p.said, fmt.Sprintf("%s %s → %s", a.Type, a.Previous.UserID+a.Connection.UserID, a.Current.UserID))
	return nil
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// bubble is a test in simulated time.
func bubble(name string, t *testing.T, test func(t *testing.T, b *bench)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(t, newBench(t)) }) })
}

func TestRun(t *testing.T) {
	bubble("nothing to do", t, func(t *testing.T, b *bench) {
		check(t, "report", b.run(55*time.Second), sweep.Report{})
		check(t, "log", b.log.String(), "")
	})

	bubble("a fresh row is left to its webhook", t, func(t *testing.T, b *bench) {
		b.record("u1", "anna")
		check(t, "report", b.run(55*time.Second), sweep.Report{})
		time.Sleep(15 * time.Second)
		check(t, "report", b.run(55*time.Second), sweep.Report{Settled: 1, Asked: 1})
	})

	bubble("oldest first", t, func(t *testing.T, b *bench) {
		b.terra.takes = time.Second // four at a time
		var want []string
		for i := range 12 {
			userID := fmt.Sprintf("u%02d", (i*7)%12) // neither in the order of user_ids nor against it
			b.record(userID, "anna")
			want = append(want, userID)
		}
		time.Sleep(time.Minute)
		check(t, "report", b.run(55*time.Second), sweep.Report{Settled: 12, Asked: 12})
		for group := range slices.Chunk(b.terra.asked, 4) {
			slices.Sort(group)
		}
		for group := range slices.Chunk(want, 4) {
			slices.Sort(group)
		}
		check(t, "asked, by fours", b.terra.asked, want)
	})

	bubble("more than a page", t, func(t *testing.T, b *bench) {
		for i := range 230 {
			b.recordWhole(fmt.Sprintf("u%d", i), "anna", fmt.Sprintf("GARMIN/k.%d", i))
		}
		time.Sleep(time.Minute)
		check(t, "report", b.run(55*time.Second), sweep.Report{Settled: 230})
		check(t, "to do", b.toDo(), []string{})
		check(t, "queries", b.ledger.Calls("ToDo"), 6)
	})

	bubble("all that it counts", t, func(t *testing.T, b *bench) {
		b.recordWhole("u1", "anna", "GARMIN/k.1")
		b.recordWhole("u2", "ben", "GARMIN/k.1") // a transfer, and a revocation
		b.store(ownership.Facts{UserID: "u1", ClosedAt: time.Now()})
		b.store(ownership.Facts{UserID: "u3", Provider: "FITBIT", Reference: "cleo", Accounts: []string{"FITBIT/k.2"}})
		b.store(ownership.Facts{UserID: "u4", Provider: "FITBIT", Reference: "dan", Accounts: []string{"FITBIT/k.2"}, ConnectedAt: time.Now(), Certainty: ownership.Observed}) // a guess
		time.Sleep(time.Minute)
		report := b.run(55 * time.Second)
		check(t, "report", report, sweep.Report{Settled: 4, Transfers: 2, Revocations: 1, Guesses: 1, Asked: 2})
		slices.Sort(b.topic.said)
		check(t, "announced", strings.Join(b.topic.said, ", "), "handover.account.transferred.v1 u1 → u2, handover.account.transferred.v1 u3 → u4, handover.connection.revoked.v1 u1 → ")
		raw, err := json.Marshal(report)
		check(t, "as JSON", string(raw)+fmt.Sprint(err), `{"settled":4,"put_off":0,"failed":0,"transfers":2,"revocations":1,"guesses":1,"asked":2,"crowded":0,"without_reference":0}<nil>`)
		if got := b.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"msg":"sweep","settled":4,"put_off":0,"failed":0,"transfers":2,"revocations":1,"guesses":1,"asked":2,"crowded":0,"without_reference":0,`) {
			t.Errorf("log %s", got)
		}
	})

	bubble("a crowded account", t, func(t *testing.T, b *bench) {
		for i := range ownership.Crowded + 1 { // all open, all of one reference: none can be dropped
			b.recordWhole(fmt.Sprintf("u%03d", i), "anna", "GARMIN/k.1")
		}
		time.Sleep(time.Minute)
		if got := b.run(55 * time.Second); got.Crowded < 1 || got.Crowded > 4 || got.Settled != ownership.Crowded+1 {
			t.Errorf("report %+v", got)
		}
	})
}

func TestStopsInTime(t *testing.T) {
	bubble("slow answers", t, func(t *testing.T, b *bench) {
		for i := range 100 {
			b.record(fmt.Sprintf("u%d", i), "anna")
		}
		time.Sleep(time.Minute)
		b.terra.takes = 3900 * time.Millisecond
		start := time.Now()
		report := b.run(55 * time.Second)
		if took := time.Since(start); took < 40*time.Second || took > 54*time.Second {
			t.Errorf("took %v of 55s", took)
		}
		if report.Failed != 0 || report.PutOff != 0 || report.Settled < 40 || report.Settled != 100-len(b.toDo()) {
			t.Errorf("report %+v, to do %d", report, len(b.toDo()))
		}
		b.terra.takes = 0
		check(t, "the next run", b.run(55*time.Second), sweep.Report{Settled: 100 - report.Settled, Asked: 100 - report.Settled})
	})

	bubble("the ledger hangs", t, func(t *testing.T, b *bench) {
		for i := range 40 {
			b.recordWhole(fmt.Sprintf("u%d", i), "anna", "GARMIN/k.1")
		}
		time.Sleep(time.Minute)
		b.ledger.Fault = func(op string) (error, error) {
			if op == "Claim" {
				time.Sleep(10 * time.Second)
				return context.DeadlineExceeded, nil
			}
			return nil, nil
		}
		start := time.Now()
		report := b.run(55 * time.Second)
		if took := time.Since(start); took > 55*time.Second || report.Failed < 16 || report.Settled != 0 {
			t.Errorf("took %v of 55s, report %+v", took, report)
		}
	})

	// However little time there is, half of it is used: a run that never began anything would report success for ever.
	bubble("little time", t, func(t *testing.T, b *bench) {
		for i := range 100 {
			b.record(fmt.Sprintf("u%d", i), "anna")
		}
		time.Sleep(time.Minute)
		b.terra.takes = time.Second
		start := time.Now()
		report := b.run(10 * time.Second)
		if took := time.Since(start); took < 5*time.Second || took > 7*time.Second {
			t.Errorf("took %v of 10s", took)
		}
		if report.Failed != 0 || report.PutOff != 0 || report.Settled < 16 || report.Settled != 100-len(b.toDo()) {
			t.Errorf("report %+v, to do %d", report, len(b.toDo()))
		}
	})

	bubble("no time", t, func(t *testing.T, b *bench) {
		b.record("u1", "anna")
		time.Sleep(time.Minute)
		check(t, "report", b.run(0), sweep.Report{})
		check(t, "to do", b.toDo(), []string{"u1"})
	})

	bubble("ended from outside", t, func(t *testing.T, b *bench) {
		for i := range 100 {
			b.record(fmt.Sprintf("u%d", i), "anna")
		}
		time.Sleep(time.Minute)
		b.terra.takes = time.Second
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2500*time.Millisecond, cancel)
		start := time.Now()
		_, err := b.Run(ctx) // no deadline: the local program
		if took := time.Since(start); took > 4*time.Second || !errors.Is(err, context.Canceled) {
			t.Errorf("took %v, error %v", took, err)
		}
	})
}

func TestTerraAPI(t *testing.T) {
	for name, limit := range map[string]time.Duration{"a limit with its time": 30 * time.Second, "a limit without": 0} {
		bubble(name, t, func(t *testing.T, b *bench) {
			b.terra.takes = 100 * time.Millisecond // so that the run goes on after the limit
			for i := range 60 {
				b.record(fmt.Sprintf("u%02d", i), "anna")
				b.recordWhole(fmt.Sprintf("w%02d", i), "anna", "GARMIN/k.1")
			}
			time.Sleep(time.Minute)
			b.terra.err = &ownership.Limited{RetryAfter: limit}
			report := b.run(55 * time.Second)
			if len(b.terra.asked) > 4 { // those under way
				t.Errorf("asked %v", b.terra.asked)
			}
			check(t, "report", report, sweep.Report{Settled: 60, PutOff: 60, Asked: 60})
			for _, userID := range b.toDo() {
				row, _, err := b.ledger.Connection(t.Context(), userID)
				if wait := time.Until(row.NextAttempt); err != nil || wait < limit-time.Second || !strings.HasPrefix(row.Waiting, "asking Terra: terra limits the rate of calls") {
					t.Errorf("%s waits %v: %s (%v)", userID, wait, row.Waiting, err)
				}
			}
		})
	}

	bubble("no answer", t, func(t *testing.T, b *bench) {
		for i := range 200 {
			b.record(fmt.Sprintf("u%03d", i), "anna")
		}
		b.recordWhole("whole", "anna", "GARMIN/k.1")
		time.Sleep(time.Minute)
		b.terra.takes = -1
		check(t, "report", b.run(55*time.Second), sweep.Report{Settled: 1, PutOff: 200, Asked: 200})
		if len(b.terra.asked) > 8 {
			t.Errorf("asked %d times", len(b.terra.asked))
		}
		row, _, err := b.ledger.Connection(t.Context(), "u000")
		if err != nil || row.Waiting != "asking Terra: context deadline exceeded" || row.Attempts != 1 {
			t.Errorf("%v, row %+v", err, row)
		}
	})

	bubble("asked again after the limit, in the same run", t, func(t *testing.T, b *bench) {
		b.record("u1", "anna")
		time.Sleep(30 * time.Second)
		b.record("u2", "ben") // due 15 s later than the run begins
		b.terra.err = &ownership.Limited{RetryAfter: time.Second}
		go func() {
			time.Sleep(2 * time.Second)
			b.terra.mu.Lock()
			b.terra.err = nil
			b.terra.mu.Unlock()
		}()
		check(t, "first", b.run(55*time.Second), sweep.Report{PutOff: 1, Asked: 1})
		time.Sleep(time.Minute)
		check(t, "second", b.run(55*time.Second), sweep.Report{Settled: 2, Asked: 2})
	})
}

func TestFailures(t *testing.T) {
	bubble("a row that fails is not tried twice, and stands in nobody's way", t, func(t *testing.T, b *bench) {
		for i := range 120 { // more than two pages of them
			b.record(fmt.Sprintf("bad%03d", i), "anna")
		}
		for i := range 70 {
			b.record(fmt.Sprintf("good%02d", i), "anna")
		}
		time.Sleep(time.Minute)
		queue := &failing{Memory: b.ledger}
		b.keeper.Ledger = queue
		check(t, "report", b.run(55*time.Second), sweep.Report{Settled: 70, Failed: 120, Asked: 190})
		check(t, "tried", queue.tried, 120)
		check(t, "to do", len(b.toDo()), 120)
		b.keeper.Ledger = b.ledger
		check(t, "the next run", b.run(55*time.Second), sweep.Report{Settled: 120, Asked: 120})
	})

	bubble("the topic", t, func(t *testing.T, b *bench) {
		b.recordWhole("u1", "anna", "GARMIN/k.1")
		b.recordWhole("u2", "ben", "GARMIN/k.1")
		time.Sleep(time.Minute)
		b.keeper.Ledger = late{b.ledger}
		b.topic.err = errors.New("throttled while announcing anna to \"ben\" (u2)")
		check(t, "report", b.run(55*time.Second), sweep.Report{Settled: 1, Failed: 1})
		if log := b.log.String(); strings.Contains(log, "(u2)") || !strings.Contains(log, `"outcome":"failed","error":"publishing handover.account.transferred.v1: throttled while announcing `) {
			t.Errorf("log %s", log)
		}
		time.Sleep(time.Minute)
		b.topic.err = nil
		check(t, "the next run", b.run(55*time.Second), sweep.Report{Settled: 1, Transfers: 1})
	})

	bubble("the queue", t, func(t *testing.T, b *bench) {
		away := errors.New("away")
		b.ledger.Fault = func(string) (error, error) { return away, nil }
		if report, err := b.Run(t.Context()); !errors.Is(err, away) || report != (sweep.Report{}) {
			t.Errorf("got %+v, %v", report, err)
		}
	})

	bubble("no account key", t, func(t *testing.T, b *bench) {
		wrong := errors.New("wrong key")
		b.Keeper = func(context.Context) (*ownership.Keeper, error) { return nil, wrong }
		if _, err := b.Run(t.Context()); !errors.Is(err, wrong) {
			t.Errorf("got %v", err)
		}
	})

	bubble("a row that is gone, or settled by now", t, func(t *testing.T, b *bench) {
		b.Queue = stale{"gone", "u1"}
		b.recordWhole("u1", "anna", "GARMIN/k.1")
		check(t, "first", b.run(55*time.Second), sweep.Report{Settled: 2})
		check(t, "second", b.run(55*time.Second), sweep.Report{Settled: 2})
		check(t, "claims", b.ledger.Calls("Claim"), 1)
	})
}

// late is a ledger that u2's claims reach after all others of the moment: so it is u2 that finds what is due.
type late struct{ *ledgertest.Memory }

func (l late) Claim(ctx context.Context, account string, c ownership.Claim) (ownership.Account, error) {
	if c.UserID == "u2" {
		time.Sleep(time.Nanosecond) // of a bubble's clock
	}
	return l.Memory.Claim(ctx, account, c)
}

// failing is a ledger that fails at rows whose user_ids begin with "bad".
type failing struct {
	*ledgertest.Memory
	mu    sync.Mutex
	tried int
}

func (f *failing) Update(ctx context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	if strings.HasPrefix(c.UserID, "bad") {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tried++
		return ownership.Connection{}, false, errors.New("item too large")
	}
	return f.Memory.Update(ctx, c)
}

// stale is a queue that lags behind.
type stale []string

func (s stale) ToDo(context.Context, time.Time, int) ([]string, error) { return s, nil }
func (s stale) Backlog(context.Context) (int, time.Time, error)        { return 0, time.Time{}, nil }

// Two sweeps at once, and webhooks between: everything is settled once it is over, and each transfer announced.
func TestTwoAtOnce(t *testing.T) {
	bubble("", t, func(t *testing.T, b *bench) {
		for i := range 100 {
			b.recordWhole(fmt.Sprintf("a%02d", i), "anna", fmt.Sprintf("GARMIN/k.%d", i))
			b.recordWhole(fmt.Sprintf("b%02d", i), "ben", fmt.Sprintf("GARMIN/k.%d", i))
		}
		time.Sleep(time.Minute)
		var wg sync.WaitGroup
		var reports [3]sweep.Report
		for i := range reports {
			wg.Go(func() {
				var err error
				if reports[i], err = b.Run(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		check(t, "to do", b.toDo(), []string{})
		announced := map[string]bool{}
		for _, a := range b.topic.said {
			announced[a] = true
		}
		check(t, "different announcements", len(announced), 100)
		transfers := 0
		for _, r := range reports {
			transfers += r.Transfers
			if r.Failed+r.PutOff > 0 {
				t.Errorf("report %+v", r)
			}
		}
		check(t, "announcements counted", transfers, len(b.topic.said))
	})
}
