package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/sweep"
	"github.com/handover-dev/handover/internal/terra"
)

// list is Terra's list of connections.
type list struct {
	users    []string // "user_id reference_id account"; "-" is no reference_id
	unpaged  bool     // the API answers everything at once, whatever page is asked for
	perPage  int      // the most that a page has; 0: as many as asked for
	unusable int
	pages    []int // what was asked for
	err      error
	failAt   int // fail at this element, once
}

func (l *list) Subscriptions(_ context.Context, page, perPage int, each func(terra.Subscription) error) (terra.Page, error) {
	l.pages = append(l.pages, page)
	if l.err != nil {
		return terra.Page{}, l.err
	}
	if l.perPage > 0 {
		perPage = min(perPage, l.perPage)
	}
	users := l.users
	if !l.unpaged {
		users = users[min(page*perPage, len(users)):min((page+1)*perPage, len(users))]
	}
	answer := terra.Page{}
	if page == 0 {
		answer.Unusable = l.unusable
	}
	for i, user := range users {
		if l.failAt > 0 && i == l.failAt {
			l.failAt = 0
			return answer, terra.ErrUnusable
		}
		f := strings.Fields(user)
		listed := terra.Subscription{UserID: f[0], Profile: ownership.Profile{Provider: "GARMIN", CreatedAt: time.Date(2000, 1, 1, 0, 0, i+page, 0, time.UTC)}}
		if f[1] != "-" {
			listed.ReferenceID = f[1]
		}
		if err := each(listed); err != nil {
			return answer, err
		}
		answer.Count++
	}
	return answer, nil
}

func many(n int) (users []string) {
	for i := range n {
		users = append(users, fmt.Sprintf("u%05d anna%d", i, i))
	}
	return users
}

func (b *bench) walk(l sweep.Lister) {
	b.Terra, b.WalkEvery = l, 24*time.Hour
	time.Sleep(25 * time.Hour)
}

func (b *bench) counts() sweep.Walk {
	b.t.Helper()
	w, err := b.LastWalk(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

func TestWalk(t *testing.T) {
	bubble("everything that Terra lists is recorded, then settled", t, func(t *testing.T, b *bench) {
		l := &list{users: append(many(1100), "nobody -"), unusable: 1}
		b.walk(l)
		b.run(time.Hour)
		w := b.counts()
		check(t, "counts", w.Counts, sweep.Counts{New: 1101, WithoutReference: 1, Unusable: 1, Open: 1101, Pages: 4})
		check(t, "pages", l.pages, []int{0, 1, 2, 3})
		check(t, "calls before anything is settled", len(b.terra.asked), 0)
		time.Sleep(time.Minute)
		report := b.run(time.Hour)
		check(t, "settled", report.Settled, 1101)
		check(t, "calls", len(b.terra.asked), 1101)
		b.walk(l)
		b.run(time.Hour)
		check(t, "the next day", b.counts().Counts, sweep.Counts{Known: 1101, WithoutReference: 1, Unusable: 1, Open: 1101, Pages: 4})
		check(t, "calls", len(b.terra.asked), 1101)
	})

	bubble("an API that knows no pages is walked once", t, func(t *testing.T, b *bench) {
		for _, n := range []int{3, 499, 500, 501, 1700} {
			l := &list{users: many(n), unpaged: true}
			b.walk(l)
			b.run(time.Hour)
			w := b.counts()
			check(t, fmt.Sprintf("%d listed", n), w.Counts.Known+w.Counts.New, n)
			if len(l.pages) > 2 || w.FinishedAt.IsZero() {
				t.Errorf("%d connections took the pages %v", n, l.pages)
			}
		}
	})

	bubble("an API with smaller pages than asked for is walked to its end", t, func(t *testing.T, b *bench) {
		b.walk(&list{users: many(950), perPage: 100})
		b.run(time.Hour)
		check(t, "new", b.counts().Counts.New, 950)
	})

	bubble("a walk that is cut off anywhere goes on where it stopped", t, func(t *testing.T, b *bench) {
		l := &list{users: many(900), failAt: 250}
		b.walk(l)
		b.run(time.Hour)
		w := b.counts()
		check(t, "stopped at", []int{w.Page, w.Offset}, []int{0, 200})
		check(t, "again at once", b.run(time.Hour), sweep.Report{Settled: 0})
		time.Sleep(6 * time.Minute)
		b.run(time.Hour)
		w = b.counts()
		check(t, "counts", []int{w.Counts.New, w.Counts.Known}, []int{900, 0})
		check(t, "pages", l.pages, []int{0, 0, 1, 2})
	})

	bubble("a limit is waited for", t, func(t *testing.T, b *bench) {
		l := &list{users: many(3), err: &ownership.Limited{RetryAfter: 40 * time.Second}}
		b.walk(l)
		b.run(time.Hour)
		l.err = nil
		time.Sleep(39 * time.Second)
		b.run(time.Hour)
		check(t, "too early", len(l.pages), 1)
		time.Sleep(2 * time.Second)
		b.run(time.Hour)
		check(t, "new", b.counts().Counts.New, 3)
	})

	bubble("a list that cannot be had is no failure of the sweep", t, func(t *testing.T, b *bench) {
		b.record("u1", "anna")
		b.walk(&list{err: errors.New("down")})
		check(t, "settled all the same", b.run(time.Hour).Settled, 1)
		if !strings.Contains(b.log.String(), `"walk","outcome":"failed"`) {
			t.Errorf("the log does not say so: %s", b.log)
		}
	})

	bubble("a walk that the caller breaks off has not failed", t, func(t *testing.T, b *bench) {
		ctx, cancel := context.WithCancel(t.Context())
		b.walk(breaksOff(cancel))
		_, _ = b.Run(ctx)
		if strings.Contains(b.log.String(), `"ERROR"`) {
			t.Errorf("the log says that it has: %s", b.log)
		}
	})
}

// breaksOff is a list whose caller ends while it waits.
type breaksOff context.CancelFunc

func (end breaksOff) Subscriptions(ctx context.Context, _, _ int, _ func(terra.Subscription) error) (terra.Page, error) {
	end()
	return terra.Page{}, ctx.Err()
}

func TestAbsent(t *testing.T) {
	bubble("who is not listed and unknown to Terra is closed, and its revocation announced", t, func(t *testing.T, b *bench) {
		b.recordWhole("u1", "anna", "GARMIN/k.1")
		b.recordWhole("u2", "bert", "GARMIN/k.1")
		time.Sleep(time.Minute)
		b.run(time.Hour)
		b.walk(&list{users: []string{"u2 bert"}})
		b.terra.err = ownership.ErrGone
		b.run(time.Hour)
		check(t, "closed", b.counts().Counts.Closed, 1)
		if !slices.Contains(b.topic.said, string(ownership.Revoked)+" u1 → ") {
			t.Errorf("said %q", b.topic.said)
		}
	})

	bubble("who is not listed but known to Terra stays", t, func(t *testing.T, b *bench) {
		b.recordWhole("u1", "anna", "GARMIN/k.1")
		time.Sleep(time.Minute)
		b.run(time.Hour)
		b.walk(&list{users: []string{"u2 bert"}})
		b.run(time.Hour)
		check(t, "counts", b.counts().Counts, sweep.Counts{New: 1, Doubtful: 1, Open: 2, Pages: 2})
	})

	bubble("who connected just now is left to the next walk", t, func(t *testing.T, b *bench) {
		b.walk(&list{users: []string{"u2 bert"}})
		b.recordWhole("u1", "anna", "GARMIN/k.1")
		b.terra.err = ownership.ErrGone
		b.run(time.Hour)
		check(t, "closed", b.counts().Counts.Closed, 0)
		time.Sleep(25 * time.Hour)
		b.run(time.Hour)
		check(t, "closed a day later", b.counts().Counts.Closed, 1)
	})

	bubble("an empty list closes nobody", t, func(t *testing.T, b *bench) {
		b.recordWhole("u1", "anna", "GARMIN/k.1")
		time.Sleep(time.Minute)
		b.run(time.Hour)
		b.walk(&list{})
		b.terra.err = ownership.ErrGone
		b.run(time.Hour)
		row, _, err := b.ledger.Connection(t.Context(), "u1")
		if err != nil || row.Closed() || b.counts().FinishedAt.IsZero() {
			t.Errorf("row %+v, error %v, walk %+v", row, err, b.counts())
		}
	})
}

func TestRound(t *testing.T) {
	superseded := func(t *testing.T, b *bench) {
		b.recordWhole("u1", "anna", "GARMIN/k.1")
		b.recordWhole("u2", "bert", "GARMIN/k.1")
		time.Sleep(time.Minute)
		b.run(time.Hour)
		check(t, "said", len(b.topic.said), 1)
		b.RoundEvery = time.Hour
	}
	bubble("a superseded connection that stays open is announced once more, not sooner and not more often", t, func(t *testing.T, b *bench) {
		superseded(t, b)
		for range 30 {
			time.Sleep(time.Hour)
			b.run(30 * time.Minute)
			if time.Sleep(0); len(b.topic.said) > 1 {
				break
			}
		}
		check(t, "said", b.topic.said, []string{b.topic.said[0], b.topic.said[0]})
		for range 30 {
			time.Sleep(time.Hour)
			b.run(30 * time.Minute)
		}
		check(t, "said in all", len(b.topic.said), 2)
		if !strings.Contains(b.log.String(), `"not_revoked":1`) {
			t.Errorf("it is not counted: %s", b.log)
		}
	})

	bubble("one that has ended without a word is closed", t, func(t *testing.T, b *bench) {
		superseded(t, b)
		b.terra.gone = "u1"
		time.Sleep(26 * time.Hour)
		b.run(time.Hour)
		check(t, "said", b.topic.said[1:], []string{string(ownership.Revoked) + " u1 → "})
	})
}

func TestForget(t *testing.T) {
	bubble("a person is erased everywhere, and detection goes on", t, func(t *testing.T, b *bench) {
		b.recordWhole("u1", "anna", "GARMIN/k.1")
		b.recordWhole("u2", "bert", "GARMIN/k.1")
		b.store(ownership.Facts{UserID: "u1", ClosedAt: time.Now(), ReplacedBy: []ownership.Successor{{UserID: "u2", Reference: "bert"}}})
		b.store(ownership.Facts{UserID: "u2", Replaces: []string{"u1"}})
		time.Sleep(time.Minute)
		b.run(time.Hour)
		dry, err := b.Handle(t.Context(), sweep.Input{Forget: &sweep.Forget{ReferenceID: "anna", DryRun: true}})
		if err != nil {
			t.Fatal(err)
		}
		wet, err := b.Handle(t.Context(), sweep.Input{Forget: &sweep.Forget{ReferenceID: "anna"}})
		if err != nil {
			t.Fatal(err)
		}
		check(t, "dry run and real run", *dry.Forgotten, *wet.Forgotten)
		check(t, "forgotten", *wet.Forgotten, ownership.Forgotten{Connections: 1, Claims: 1, Traces: 2})
		time.Sleep(time.Minute)
		b.run(time.Hour)
		everything := fmt.Sprint(b.everything())
		if strings.Contains(everything, "anna") || strings.Contains(everything, "u1") {
			t.Errorf("something is left: %s", everything)
		}
		said := len(b.topic.said)
		b.recordWhole("u3", "carl", "GARMIN/k.1")
		time.Sleep(time.Minute)
		b.run(time.Hour)
		check(t, "said", b.topic.said[said:], []string{string(ownership.Transferred) + " u2 → u3"})
	})

	bubble("a former user of a connection is erased, the present one stays", t, func(t *testing.T, b *bench) {
		b.store(ownership.Facts{UserID: "u1", Provider: "GARMIN", Reference: "anna", ConnectedAt: time.Now(), Certainty: ownership.Signed, Accounts: []string{"GARMIN/k.1"}})
		b.terra.reference = "bert"
		b.store(ownership.Facts{UserID: "u1", Reference: "bert"})
		time.Sleep(time.Minute)
		b.run(time.Hour)
		reassigned := string(ownership.Transferred) + " u1 → u1"
		check(t, "said", b.topic.said, []string{reassigned, reassigned}) // the fake names one more account
		if _, err := b.Handle(t.Context(), sweep.Input{Forget: &sweep.Forget{ReferenceID: "anna"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		b.run(time.Hour)
		everything := fmt.Sprint(b.everything())
		if strings.Contains(everything, "anna") || !strings.Contains(everything, "bert") {
			t.Errorf("left: %s", everything)
		}
		b.recordWhole("u2", "carl", "GARMIN/k.1")
		time.Sleep(time.Minute)
		b.run(time.Hour)
		check(t, "said", b.topic.said[2:], []string{string(ownership.Transferred) + " u1 → u2"})
	})

	bubble("who asks for nothing gets an error", t, func(t *testing.T, b *bench) {
		if _, err := b.Handle(t.Context(), sweep.Input{Forget: &sweep.Forget{}}); err == nil {
			t.Error("no error")
		}
	})
}

// everything is all that the ledger holds.
func (b *bench) everything() (all []any) {
	for row, err := range b.ledger.Connections(b.t.Context()) {
		all = append(all, row, err)
	}
	for row, err := range b.ledger.Accounts(b.t.Context()) {
		all = append(all, row, err)
	}
	return all
}
