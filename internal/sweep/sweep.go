// Package sweep settles what webhooks had to leave: connections whose account was not known in time, and those that a crash cut off. It also walks over
// Terra's list of connections, for what webhooks did not tell, and looks for superseded connections that nobody ends.
package sweep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/telemetry"
)

// Sweep settles connections with a work mark, oldest first. Two sweeps at once do no harm.
type Sweep struct {
	Keeper func(ctx context.Context) (*ownership.Keeper, error) // fails while the account key cannot be had, or is the wrong one
	Queue  ownership.Queue
	Log    *slog.Logger
	Now    func() time.Time

	Register        ownership.Eraser
	Terra           Lister
	WalkEvery       time.Duration // between two walks over Terra's list of connections
	RoundEvery      time.Duration // between two rounds through the accounts
	NotRevokedAfter time.Duration // how long after its announcement a superseded connection may stay open

	Heartbeat *Heartbeat // nil: none is sent
	EveryRun  bool       // whether each run, walk and round writes its line, for the metrics in it; else only those that found something to do
}

// Report is what one run did.
type Report struct {
	Settled     int `json:"settled"`           // connections that owe nothing any more
	PutOff      int `json:"put_off"`           // connections that must wait, for Terra's API or for an account to be named
	Failed      int `json:"failed"`            // connections at which the ledger or the topic failed; they are tried again by a later run
	Transfers   int `json:"transfers"`         // announcements of a transfer
	Revocations int `json:"revocations"`       // announcements of a revocation
	Guesses     int `json:"guesses"`           // transfers among them whose order is only observed
	Asked       int `json:"asked"`             // questions to Terra's API, also those that were not put because of its limit
	Crowded     int `json:"crowded"`           // connections of an account whose row is too large: see ownership.Crowded
	Nameless    int `json:"without_reference"` // connections without a reference_id
}

const (
	page    = 50               // connections taken from the queue at once
	workers = 4                // connections settled at the same time
	each    = 10 * time.Second // for one connection
	margin  = each + time.Second
	answer  = 4 * time.Second // for one answer of Terra's API
	forever = 100 * 365 * 24 * time.Hour
	rest    = 5 * time.Second // how long Terra's API is left alone if it limits calls and does not say for how long, or if it does not answer
)

// Run settles what is due, until nothing is or the time is over: what is left is taken up by the next run.
func (s *Sweep) Run(ctx context.Context) (Report, error) {
	return s.runAs(ctx, &run{tried: map[string]bool{}})
}

func (s *Sweep) runAs(ctx context.Context, run *run) (Report, error) {
	if deadline, ok := ctx.Deadline(); ok {
		run.until = deadline.Add(-min(margin, time.Until(deadline)/2)) // so that the connection begun last has its time, but never all of it
	}
	var (
		beat    sync.WaitGroup
		beatErr error
	)
	if s.Heartbeat != nil {
		beat.Go(func() { beatErr = s.Heartbeat.Send(ctx, s.Now()) })
	}
	err := s.run(ctx, run)
	beat.Wait()
	s.write(ctx, run, err, beatErr)
	return run.report, err
}

func (s *Sweep) run(ctx context.Context, r *run) error {
	keeper, err := s.Keeper(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errKeeper, err)
	}
	r.keeper = r.watch.Over(keeper)
	r.keeper.Directory = &pause{Directory: r.keeper.Directory, now: s.Now}
	for more := true; more && !r.over(s.Now()) && ctx.Err() == nil; {
		if err := s.settleDue(ctx, r); err != nil {
			return err
		}
		more, err = s.step(ctx, r)
		s.report(ctx, r, "walk", err)
	}
	s.report(ctx, r, "round", s.round(ctx, r))
	return nil
}

// errKeeper means that the account key cannot be had, or is the wrong one.
var errKeeper = errors.New("the account key cannot be used")

// report logs that a walk or a round has failed, unless the caller has broken it off. It is gone on with later: that is no failure of the sweep.
func (s *Sweep) report(ctx context.Context, r *run, what string, err error) {
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		r.broken++
		s.Log.LogAttrs(ctx, slog.LevelError, what, slog.String("outcome", "failed"), slog.String("error", err.Error()))
	}
}

// settleDue settles what is due, until nothing is or the time is over.
func (s *Sweep) settleDue(ctx context.Context, r *run) error {
	for !r.over(s.Now()) {
		until, limit := s.Now(), page+r.report.Failed // those that failed still stand before the others
		if r.eager {
			until, limit = s.Now().Add(forever), page+len(r.tried) // and so do those that are put off once more
		}
		due, err := s.Queue.ToDo(ctx, until, limit)
		if err != nil {
			return fmt.Errorf("reading the queue: %w", err)
		}
		fresh := r.untried(due)
		if len(fresh) == 0 {
			break
		}
		r.settle(ctx, fresh, s)
	}
	return nil
}

// run is the state of one Run.
type run struct {
	keeper *ownership.Keeper
	until  time.Time // when no further connection is begun; zero: never
	tried  map[string]bool
	eager  bool // what waits is tried before its time
	walk   bool // a walk is to begin, if none is under way
	watch  telemetry.Watch
	broken int // walks, rounds and other things that failed as a whole

	mu     sync.Mutex
	report Report
}

func (r *run) over(now time.Time) bool { return !r.until.IsZero() && now.After(r.until) }

// untried returns a page of the connections that this run has not tried: one that failed stays due, and is left to a later run.
func (r *run) untried(due []string) (fresh []string) {
	for _, userID := range due {
		if len(fresh) < page && !r.tried[userID] {
			r.tried[userID] = true
			fresh = append(fresh, userID)
		}
	}
	return fresh
}

// settle settles the connections, a few at the same time, as long as there is time.
func (r *run) settle(ctx context.Context, userIDs []string, s *Sweep) {
	next := make(chan string)
	var wg sync.WaitGroup
	for range min(workers, len(userIDs)) {
		wg.Go(func() {
			for userID := range next {
				if r.over(s.Now()) || ctx.Err() != nil {
					continue
				}
				row, result, err := s.one(ctx, r.keeper, userID)
				r.count(result, err)
				if err != nil {
					personal := slices.Concat([]string{userID}, row.Tenures, row.Suspects)
					s.Log.LogAttrs(ctx, slog.LevelError, "sweep", slog.String("outcome", "failed"), slog.String("error", telemetry.Without(err.Error(), personal...)))
				}
			}
		})
	}
	for _, userID := range userIDs {
		next <- userID
	}
	close(next)
	wg.Wait()
}

// one settles one connection. A row that has expired with its work mark is erased, or it would stay in the queue.
func (s *Sweep) one(ctx context.Context, keeper *ownership.Keeper, userID string) (ownership.Connection, ownership.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, each)
	defer cancel()
	row, found, err := keeper.Ledger.Connection(ctx, userID)
	if err != nil {
		return row, ownership.Result{}, err
	}
	if !found {
		return row, ownership.Result{}, s.Register.Erase(ctx, userID)
	}
	result, err := keeper.Settle(ctx, row)
	return row, result, err
}

func (r *run) count(result ownership.Result, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Transfers += result.Transfers
	r.report.Revocations += result.Revocations
	r.report.Guesses += result.Guesses
	r.report.Asked += result.Asked
	if result.Crowded {
		r.report.Crowded++
	}
	if result.Nameless {
		r.report.Nameless++
	}
	switch {
	case err != nil:
		r.report.Failed++
	case result.Waiting != "":
		r.report.PutOff++
	default:
		r.report.Settled++
	}
}

// pause is a Directory that stops asking Terra for as long as Terra wants, for its limit is on all calls together, and for a rest when it does not answer.
// Connections that need no answer are settled meanwhile.
type pause struct {
	ownership.Directory
	now func() time.Time

	mu      sync.Mutex
	until   time.Time
	because error // why there is a pause; nil: Terra's limit
}

func (p *pause) Athlete(ctx context.Context, userID string) (ownership.Profile, error) {
	return p.ask(ctx, userID, p.Directory.Athlete)
}

func (p *pause) UserInfo(ctx context.Context, userID string) (ownership.Profile, error) {
	return p.ask(ctx, userID, p.Directory.UserInfo)
}

func (p *pause) ask(ctx context.Context, userID string, call func(context.Context, string) (ownership.Profile, error)) (ownership.Profile, error) {
	if err := p.paused(); err != nil {
		return ownership.Profile{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	profile, err := call(ctx, userID)
	if limited := (*ownership.Limited)(nil); errors.As(err, &limited) {
		p.begin(cmp.Or(limited.RetryAfter, rest), nil)
	} else if errors.Is(err, context.DeadlineExceeded) {
		p.begin(rest, err)
	}
	return profile, err
}

// paused returns why Terra is not asked now, nil if it is.
func (p *pause) paused() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.until.Sub(p.now())
	if left > 0 && p.because == nil {
		return &ownership.Limited{RetryAfter: left}
	}
	if left > 0 {
		return p.because
	}
	return nil
}

// begin begins a pause, if it ends later than the one that may be under way.
func (p *pause) begin(length time.Duration, because error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := p.now().Add(length); until.After(p.until) {
		p.until, p.because = until, because
	}
}
