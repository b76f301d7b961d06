// Package sweep settles what webhooks had to leave: connections whose account was not known in time, and those that a crash cut off. It also walks over
// Terra's list of connections, for what webhooks did not tell, and looks for superseded connections that nobody ends.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
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
}

// Report is what one run did.
type Report struct {
	Settled   int `json:"settled"`   // connections that owe nothing any more
	PutOff    int `json:"put_off"`   // connections that must wait, for Terra's API or for an account to be named
	Failed    int `json:"failed"`    // connections at which the ledger or the topic failed; they are tried again by the next run
	Transfers int `json:"transfers"` // announcements of a transfer
}

const (
	page    = 50              // connections taken from the queue at once
	workers = 4               // connections settled at the same time
	margin  = 5 * time.Second // left of the function's time when the last connection is begun
	each    = 4 * time.Second // for one connection
)

// Run settles what is due, until nothing is or the time is over: what is left is taken up by the next run.
func (s *Sweep) Run(ctx context.Context) (Report, error) {
	keeper, err := s.Keeper(ctx)
	if err != nil {
		return Report{}, err
	}
	polite := *keeper
	polite.Directory = &pause{Directory: keeper.Directory, now: s.Now}
	run := run{keeper: &polite, tried: map[string]bool{}}
	if deadline, ok := ctx.Deadline(); ok {
		run.until = deadline.Add(-margin)
	}
	for more := true; more && !run.over(s.Now()) && ctx.Err() == nil; {
		if err := s.settleDue(ctx, &run); err != nil {
			return run.report, err
		}
		more, err = s.step(ctx, &run)
		s.report(ctx, "walk", err)
	}
	_, err = s.round(ctx, &run)
	s.report(ctx, "round", err)
	if run.report != (Report{}) {
		s.Log.LogAttrs(ctx, slog.LevelInfo, "sweep", slog.Int("settled", run.report.Settled), slog.Int("put_off", run.report.PutOff),
			slog.Int("failed", run.report.Failed), slog.Int("transfers", run.report.Transfers))
	}
	return run.report, nil
}

// report logs that a walk or a round has failed. It is gone on with later: that is no failure of the sweep.
func (s *Sweep) report(ctx context.Context, what string, err error) {
	if err != nil {
		s.Log.LogAttrs(ctx, slog.LevelError, what, slog.String("outcome", "failed"), slog.String("error", err.Error()))
	}
}

// settleDue settles what is due, until nothing is or the time is over.
func (s *Sweep) settleDue(ctx context.Context, r *run) error {
	for !r.over(s.Now()) {
		due, err := s.Queue.ToDo(ctx, s.Now(), page)
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

	mu     sync.Mutex
	report Report
}

func (r *run) over(now time.Time) bool { return !r.until.IsZero() && now.After(r.until) }

// untried returns the connections that this run has not tried: one that failed stays due, and is left to the next run.
func (r *run) untried(due []string) (fresh []string) {
	for _, userID := range due {
		if !r.tried[userID] {
			r.tried[userID] = true
			fresh = append(fresh, userID)
		}
	}
	return fresh
}

// settle settles the connections, a few at the same time.
func (r *run) settle(ctx context.Context, userIDs []string, s *Sweep) {
	next := make(chan string)
	var wg sync.WaitGroup
	for range min(workers, len(userIDs)) {
		wg.Go(func() {
			for userID := range next {
				result, err := r.one(ctx, userID)
				r.count(result, err)
				if err != nil {
					s.Log.LogAttrs(ctx, slog.LevelError, "sweep", slog.String("outcome", "failed"), slog.String("error", err.Error()))
				}
			}
		})
	}
	for _, userID := range userIDs {
		if r.over(s.Now()) || ctx.Err() != nil {
			break
		}
		next <- userID
	}
	close(next)
	wg.Wait()
}

func (r *run) one(ctx context.Context, userID string) (ownership.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, each)
	defer cancel()
	row, found, err := r.keeper.Ledger.Connection(ctx, userID)
	if err != nil || !found {
		return ownership.Result{}, err
	}
	return r.keeper.Settle(ctx, row)
}

func (r *run) count(result ownership.Result, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Transfers += result.Transfers
	switch {
	case err != nil:
		r.report.Failed++
	case result.Waiting != "":
		r.report.PutOff++
	default:
		r.report.Settled++
	}
}

// pause is a Directory that stops asking Terra for as long as Terra wants, for its limit is on all calls together, and for a while when Terra fails time and again:
// each failure can cost seconds. Connections that need no answer are settled meanwhile.
type pause struct {
	ownership.Directory
	now func() time.Time

	mu       sync.Mutex
	until    time.Time
	failures int // in a row
}

const (
	tooManyFailures = 3
	pauseForFailure = 20 * time.Second
)

func (p *pause) Athlete(ctx context.Context, userID string) (ownership.Profile, error) {
	return p.ask(ctx, userID, p.Directory.Athlete)
}

func (p *pause) UserInfo(ctx context.Context, userID string) (ownership.Profile, error) {
	return p.ask(ctx, userID, p.Directory.UserInfo)
}

func (p *pause) ask(ctx context.Context, userID string, call func(context.Context, string) (ownership.Profile, error)) (ownership.Profile, error) {
	p.mu.Lock()
	left := p.until.Sub(p.now())
	p.mu.Unlock()
	if left > 0 {
		return ownership.Profile{}, &ownership.Limited{RetryAfter: left}
	}
	profile, err := call(ctx, userID)
	p.mu.Lock()
	defer p.mu.Unlock()
	limited := (*ownership.Limited)(nil)
	switch {
	case err == nil || errors.Is(err, ownership.ErrGone):
		p.failures = 0
	case errors.As(err, &limited):
		p.until = p.now().Add(limited.RetryAfter)
	default:
		if p.failures++; p.failures >= tooManyFailures {
			p.until = p.now().Add(pauseForFailure)
		}
	}
	return profile, err
}
