package sweep

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/handover-dev/handover/internal/telemetry"
)

// Round is the state of a round through all accounts, in search of superseded connections that are still open long after their announcement. It is kept in the
// ledger after every page, as a [Walk] is.
type Round struct {
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"` // zero while it is under way
	Cursor     string    `json:"cursor"`

	Accounts   int `json:"accounts"`    // rows looked at
	NotRevoked int `json:"not_revoked"` // superseded connections that are open although their time is over: a person should look
	Nudges     int `json:"nudges"`      // of these announced once more
	Ended      int `json:"ended"`       // found to have ended without a word
}

const (
	roundNote       = "round"
	accountsPerPage = 50
)

// round goes on with the round that is under way, or begins one if the last is long enough ago.
func (s *Sweep) round(ctx context.Context, r *run) error {
	var state Round
	found, err := s.recall(ctx, roundNote, &state)
	if err != nil {
		return err
	}
	if !found || !state.FinishedAt.IsZero() {
		if s.Now().Sub(state.StartedAt) < s.RoundEvery {
			return nil
		}
		state = Round{StartedAt: s.Now()}
	}
	for state.FinishedAt.IsZero() && !r.over(s.Now()) && ctx.Err() == nil {
		if err := s.page(ctx, r, &state); err != nil {
			return err
		}
		if err := s.keep(ctx, roundNote, state); err != nil {
			return err
		}
	}
	found = state.NotRevoked > 0 || state.Ended > 0
	if !state.FinishedAt.IsZero() && (found || s.EveryRun) {
		level := slog.LevelInfo
		if found {
			level = slog.LevelWarn
		}
		s.Log.LogAttrs(ctx, level, "round", slog.Int("not_revoked", state.NotRevoked), slog.Int("nudges", state.Nudges), slog.Int("ended", state.Ended),
			telemetry.NotRevoked.Of(state.NotRevoked))
	}
	return nil
}

// page looks at one page of accounts. One that fails is left to the next round.
func (s *Sweep) page(ctx context.Context, r *run, state *Round) error {
	rows, next, err := s.Register.AccountsFrom(ctx, state.Cursor, accountsPerPage)
	if err != nil {
		return fmt.Errorf("looking through the accounts: %w", err)
	}
	for _, row := range rows {
		reminder, err := r.keeper.Remind(ctx, row, s.NotRevokedAfter)
		s.report(ctx, r, "round", err)
		state.NotRevoked += reminder.Open
		state.Nudges += reminder.Nudges
		state.Ended += reminder.Ended
	}
	state.Accounts += len(rows)
	if state.Cursor = next; next == "" {
		state.FinishedAt = s.Now()
	}
	return nil
}
