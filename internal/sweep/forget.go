package sweep

import (
	"context"

	"github.com/handover-dev/handover/internal/ownership"
)

// Input is what the sweep function is called with. The schedule's own event says nothing of this.
type Input struct {
	// Forget asks to erase everything held about one person: a data-protection request.
	Forget *Forget `json:"forget"`
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
}

// Handle is the sweep function: it sweeps or, when asked to, forgets.
func (s *Sweep) Handle(ctx context.Context, in Input) (Output, error) {
	if in.Forget == nil {
		report, err := s.Run(ctx)
		return Output{Report: &report}, err
	}
	keeper, err := s.Keeper(ctx)
	if err != nil {
		return Output{}, err
	}
	forgotten, err := keeper.Forget(ctx, s.Register, ownership.Person{ReferenceID: in.Forget.ReferenceID, UserID: in.Forget.UserID}, in.Forget.DryRun)
	return Output{Forgotten: &forgotten}, err
}
