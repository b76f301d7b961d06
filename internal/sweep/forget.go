package sweep

import (
	"context"
	"errors"

	"github.com/handover-dev/handover/internal/ownership"
)

// Input is what the sweep function is called with. The schedule's own event says nothing of this.
type Input struct {
	// Forget asks to erase everything held about one person: a data-protection request.
	Forget *Forget `json:"forget,omitempty"`
	// Settle asks for a sweep that tries everything that waits, whenever its next attempt would be.
	Settle bool `json:"settle,omitempty"`
	// Walk asks for a sweep that begins a walk over Terra's list of connections, unless one is under way: then it goes on with that.
	Walk bool `json:"walk,omitempty"`
}

// Forget names a person by reference_id, or a connection by user_id.
type Forget struct {
	ReferenceID string `json:"reference_id"`
	UserID      string `json:"user_id"`
	DryRun      bool   `json:"dry_run"` // count, and erase nothing
}

// Output is what the sweep function answers.
type Output struct {
	*Report                        // of a sweep
	Forgotten *ownership.Forgotten `json:"forgotten,omitempty"`
	Walk      *Walk                `json:"walk,omitempty"` // under way or, if none is, the last one; of a sweep
}

// Handle is the sweep function: it sweeps or, when asked to, forgets.
func (s *Sweep) Handle(ctx context.Context, in Input) (Output, error) {
	if in.Forget == nil {
		report, err := s.runAs(ctx, &run{tried: map[string]bool{}, eager: in.Settle, walk: in.Walk})
		walk, walkErr := s.LastWalk(ctx)
		return Output{Report: &report, Walk: &walk}, errors.Join(err, walkErr)
	}
	keeper, err := s.Keeper(ctx)
	if err != nil {
		return Output{}, err
	}
	forgotten, err := keeper.Forget(ctx, s.Register, ownership.Person{ReferenceID: in.Forget.ReferenceID, UserID: in.Forget.UserID}, in.Forget.DryRun)
	return Output{Forgotten: &forgotten}, err
}
