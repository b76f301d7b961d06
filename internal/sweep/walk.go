package sweep

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
)

// Lister lists every connection that Terra has, a page at a time: see [terra.Client.Subscriptions].
type Lister interface {
	Subscriptions(ctx context.Context, page, perPage int, each func(terra.Subscription) error) (terra.Page, error)
}

// Walk is the state of a walk over Terra's list of connections, kept in the ledger after every step: a run that is cut off anywhere is continued by the next
// where it stopped. The first walk fills the ledger of an app that is already live; the daily ones find what webhooks did not tell.
//
// First everything that Terra lists is recorded, and the queue settles it. Then the ledger's open connections are looked through for those that Terra did
// not list: each is asked about, and one that Terra does not know any more is closed.
type Walk struct {
	Number     int64     `json:"number"` // also what its connections are stamped with
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"` // zero while it is under way
	Phase      phase     `json:"phase"`
	NotBefore  time.Time `json:"not_before"` // after a failure: when it goes on

	Page   int      `json:"page"`   // listing: the page in hand
	Offset int      `json:"offset"` // listing: how many of its connections are done
	Seen   []uint64 `json:"seen"`   // listing: a digest of each page, so that a list that repeats itself is noticed, in whatever order
	Before Counts   `json:"before"` // listing: what Counts was before the page in hand
	Cursor string   `json:"cursor"` // looking through the ledger

	Counts Counts `json:"counts"`
}

type phase string

const (
	listing phase = "listing"
	absent  phase = "absent"
)

// Counts is what a walk has found.
type Counts struct {
	Known            int `json:"known"`             // listed, and in the ledger
	New              int `json:"new"`               // listed, and recorded now
	Changed          int `json:"changed"`           // listed, with something that the ledger did not hold, such as another reference_id
	WithoutReference int `json:"without_reference"` // listed without a reference_id: owns nothing
	Unusable         int `json:"unusable"`          // listed without a usable user_id: refused
	Closed           int `json:"closed"`            // not listed any more, and unknown to Terra: closed
	Doubtful         int `json:"doubtful"`          // not listed, but Terra knows it or could not say
	Open             int `json:"open"`              // open in the ledger, after all that
	Unidentifiable   int `json:"unidentifiable"`    // of these, such that Terra names no account
	Pages            int `json:"pages"`             // pages asked for
	Repeated         int `json:"repeated"`          // pages that came again, at which the walk stopped
}

const (
	walkNote  = "walk"
	perPage   = 500
	batch     = 100 // connections after which the walk's state is kept
	recorders = 8   // connections recorded at the same time

	// fresh is the age up to which a connection may be missing from Terra's list, and Terra not know it when asked: the next walk judges it.
	fresh = time.Hour

	afterFailure = 5 * time.Minute // how long the walk rests when Terra's list cannot be had
)

// errTimeOver ends a step of the walk that the next run goes on with.
var errTimeOver = errors.New("the time of this run is over")

// digest is a part of a hash: the sum of those of a page's connections is the page's, in whatever order they are listed. A page without a usable one has 0, and so
// the second such page ends the list.
func digest(userID string) uint64 {
	sum := sha256.Sum256([]byte(userID))
	return binary.BigEndian.Uint64(sum[:])
}

// step goes on with the walk that is under way by one page, or begins one if the last is long enough ago. It reports whether there is more to do now.
func (s *Sweep) step(ctx context.Context, r *run) (more bool, err error) {
	w, err := s.LastWalk(ctx)
	if err != nil {
		return false, err
	}
	if !w.FinishedAt.IsZero() || w.Number == 0 {
		if s.Now().Sub(w.StartedAt) < s.WalkEvery && !r.walk {
			return false, nil
		}
		r.walk = false
		w = Walk{Number: max(s.Now().Unix(), w.Number+1), StartedAt: s.Now(), Phase: listing}
	}
	if s.Now().Before(w.NotBefore) {
		return false, nil
	}
	switch w.Phase {
	case listing:
		err = s.list(ctx, r, &w)
	default:
		err = s.lookThrough(ctx, r, &w)
	}
	limited := (*ownership.Limited)(nil)
	switch {
	case errors.As(err, &limited):
		w.NotBefore = s.Now().Add(max(limited.RetryAfter, time.Second))
	case err != nil && !errors.Is(err, errTimeOver):
		w.NotBefore = s.Now().Add(min(afterFailure, s.WalkEvery))
	}
	if keepErr := s.keep(ctx, walkNote, w); keepErr != nil {
		return false, errors.Join(err, keepErr)
	}
	if errors.Is(err, errTimeOver) || limited != nil {
		return false, nil
	}
	if !w.FinishedAt.IsZero() {
		c := w.Counts
		attrs := []slog.Attr{
			slog.Int("known", c.Known), slog.Int("new", c.New), slog.Int("changed", c.Changed),
			slog.Int("without_reference", c.WithoutReference), slog.Int("unusable", c.Unusable), slog.Int("closed", c.Closed), slog.Int("doubtful", c.Doubtful),
			slog.Int("unidentifiable", c.Unidentifiable), slog.Int("pages", c.Pages), slog.Int("repeated", c.Repeated),
		}
		if c.Known+c.New > 0 { // else nothing was looked through
			attrs = append(attrs, telemetry.Unidentifiable.Of(c.Unidentifiable), telemetry.UnidentifiableShare.Share(c.Unidentifiable, c.Open))
		}
		s.Log.LogAttrs(ctx, slog.LevelInfo, "walk", attrs...)
	}
	return err == nil && w.FinishedAt.IsZero(), err
}

// LastWalk reads the state of the walk that is under way, or else of the last one.
func (s *Sweep) LastWalk(ctx context.Context) (Walk, error) {
	var w Walk
	_, err := s.recall(ctx, walkNote, &w)
	return w, err
}

// recall reads into state what was kept under the name, and reports whether there was anything.
func (s *Sweep) recall(ctx context.Context, name string, state any) (bool, error) {
	text, err := s.Register.Note(ctx, name)
	if err != nil || text == "" {
		return false, err
	}
	if err := json.Unmarshal([]byte(text), state); err != nil {
		return false, fmt.Errorf("reading where the %s stopped: %w", name, err)
	}
	return true, nil
}

// keep keeps state under the name.
func (s *Sweep) keep(ctx context.Context, name string, state any) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := s.Register.Keep(ctx, name, string(text)); err != nil {
		return fmt.Errorf("keeping where the %s stopped: %w", name, err)
	}
	return nil
}

// list records one page of Terra's list, or goes on with it. An API that knows no pages answers with everything at once: then that is the page.
func (s *Sweep) list(ctx context.Context, r *run, w *Walk) error {
	var (
		index   int
		sum     uint64
		pending []terra.Subscription
	)
	if w.Offset == 0 {
		w.Before = w.Counts
	}
	flush := func() error {
		counts, err := s.record(ctx, r.keeper, w.Number, pending)
		if err != nil {
			return err
		}
		w.Counts.Known += counts.Known
		w.Counts.New += counts.New
		w.Counts.Changed += counts.Changed
		w.Counts.WithoutReference += counts.WithoutReference
		w.Offset += len(pending)
		pending = pending[:0]
		if r.over(s.Now()) {
			return errTimeOver
		}
		return s.keep(ctx, walkNote, w)
	}
	w.Counts.Pages++
	var ownErr error // not Terra's
	page, err := s.Terra.Subscriptions(ctx, w.Page, perPage, func(listed terra.Subscription) error {
		sum += digest(listed.UserID)
		if index++; index <= w.Offset+len(pending) {
			return nil // done by an earlier run
		}
		pending = append(pending, listed)
		if len(pending) == batch {
			ownErr = flush()
		}
		return ownErr
	})
	if ownErr == nil {
		r.watch.Asked(err)
	}
	if err != nil {
		return fmt.Errorf("listing Terra's connections: %w", err)
	}
	if len(pending) > 0 {
		if err := flush(); err != nil && !errors.Is(err, errTimeOver) {
			return err
		}
	}
	w.Counts.Unusable += page.Unusable
	empty := page.Count+page.Unusable == 0
	repeats := !empty && slices.Contains(w.Seen, sum)
	if repeats {
		pages, again := w.Counts.Pages, w.Counts.Repeated+1
		w.Counts = w.Before
		w.Counts.Pages, w.Counts.Repeated = pages, again
	}
	if page.Last || repeats || empty || page.Count > perPage {
		w.Phase, w.Offset, w.Seen = absent, 0, nil
		if w.Counts.Known+w.Counts.New == 0 { // an empty list is no proof that everybody has gone: more likely, the credentials are of another environment
			w.FinishedAt = s.Now()
		}
		return nil
	}
	w.Page, w.Offset, w.Seen = w.Page+1, 0, append(w.Seen, sum)
	return nil
}

// record records connections that Terra lists, several at the same time.
func (s *Sweep) record(ctx context.Context, keeper *ownership.Keeper, walk int64, listed []terra.Subscription) (Counts, error) {
	var (
		mu     sync.Mutex
		counts Counts
		errs   []error
		wg     sync.WaitGroup
		next   = make(chan terra.Subscription)
	)
	for range min(recorders, len(listed)) {
		wg.Go(func() {
			for one := range next {
				found, news, err := s.recordOne(ctx, keeper, walk, one)
				mu.Lock()
				switch {
				case err != nil:
					errs = append(errs, err)
				case !found:
					counts.New++
				case news:
					counts.Changed++
					counts.Known++
				default:
					counts.Known++
				}
				if one.ReferenceID == "" {
					counts.WithoutReference++
				}
				mu.Unlock()
			}
		})
	}
	for _, one := range listed {
		next <- one
	}
	close(next)
	wg.Wait()
	return counts, errors.Join(errs...)
}

// recordOne stamps a connection that Terra lists and, if the list says something new, records that: what Terra's API says is sure.
func (s *Sweep) recordOne(ctx context.Context, keeper *ownership.Keeper, walk int64, listed terra.Subscription) (found, news bool, err error) {
	f := ownership.Facts{UserID: listed.UserID, Provider: listed.Provider, Reference: listed.ReferenceID}
	if !listed.CreatedAt.IsZero() {
		f.ConnectedAt, f.Certainty = listed.CreatedAt, ownership.Terra
	}
	r, found, err := s.Register.Stamp(ctx, listed.UserID, walk)
	if err != nil {
		return false, false, err
	}
	if found && !ownership.Adds(r, f) {
		return true, false, nil
	}
	if _, news, err = keeper.Record(ctx, f); err == nil && !found {
		_, _, err = s.Register.Stamp(ctx, listed.UserID, walk)
	}
	return found, news, err
}

// lookThrough looks through one page of the ledger for open connections that Terra did not list.
func (s *Sweep) lookThrough(ctx context.Context, r *run, w *Walk) error {
	rows, next, err := s.Register.ConnectionsFrom(ctx, w.Cursor, batch)
	if err != nil {
		return fmt.Errorf("looking through the connections: %w", err)
	}
	var counts Counts
	for _, row := range rows {
		if row.Closed() {
			continue
		}
		if row.Listed < w.Number && !row.ConnectedAt.After(w.StartedAt.Add(-min(fresh, s.WalkEvery))) {
			if r.over(s.Now()) {
				return errTimeOver // this page again
			}
			_, err := r.keeper.Directory.UserInfo(ctx, row.UserID)
			limited := (*ownership.Limited)(nil)
			switch {
			case errors.As(err, &limited):
				return limited // this page again, when Terra allows it
			case errors.Is(err, ownership.ErrGone):
				if err := r.keeper.End(ctx, row.UserID); err != nil {
					return fmt.Errorf("closing a connection that Terra does not list: %w", err)
				}
				counts.Closed++
				continue
			default:
				counts.Doubtful++
			}
		}
		counts.Open++
		if row.ToDo && row.Since.IsZero() {
			counts.Unidentifiable++
		}
	}
	w.Counts.Closed += counts.Closed
	w.Counts.Doubtful += counts.Doubtful
	w.Counts.Open += counts.Open
	w.Counts.Unidentifiable += counts.Unidentifiable
	if w.Cursor = next; next == "" {
		w.FinishedAt = s.Now()
	}
	return nil
}
