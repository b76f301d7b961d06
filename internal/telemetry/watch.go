package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/terra"
)

// HeartbeatBody is the body of the webhook by which a stack finds out that its way in is open. It is signed as Terra's are and has the shape of its healthcheck,
// but Terra would never send these very bytes.
const HeartbeatBody = `{"type":"healthcheck","status":"success","message":"Handover is checking its way in"}`

// Watch counts what a Keeper tells the topic, and what fails there and at Terra's API. It is safe for use by many goroutines.
type Watch struct {
	transfers, revocations, guesses, unpublished atomic.Int32
	failed, limited, secret                      atomic.Int32
}

// Over is the keeper under watch.
func (w *Watch) Over(keeper *ownership.Keeper) *ownership.Keeper {
	watched := *keeper
	watched.Announcer, watched.Directory = announcer{keeper.Announcer, w}, directory{keeper.Directory, w}
	return &watched
}

// Asked counts what became of a question to Terra's API.
func (w *Watch) Asked(err error) {
	limited := (*ownership.Limited)(nil)
	switch {
	case err == nil, errors.Is(err, ownership.ErrGone):
	case errors.As(err, &limited):
		w.limited.Add(1)
	case errors.Is(err, terra.ErrCredentials):
		w.secret.Add(1)
	default:
		w.failed.Add(1)
	}
}

// Secret counts that Terra's secret could not be used.
func (w *Watch) Secret() { w.secret.Add(1) }

// Append appends what was counted and is not zero. A nil Watch has seen nothing.
func (w *Watch) Append(attrs []slog.Attr) []slog.Attr {
	if w == nil {
		return attrs
	}
	for _, counted := range []struct {
		metric Metric
		n      int32
	}{
		{Transfers, w.transfers.Load()}, {Revocations, w.revocations.Load()}, {Guesses, w.guesses.Load()}, {AnnouncementFailures, w.unpublished.Load()},
		{TerraFailures, w.failed.Load()}, {TerraLimited, w.limited.Load()}, {TerraSecretUnusable, w.secret.Load()},
	} {
		if counted.n > 0 {
			attrs = append(attrs, counted.metric.Of(int(counted.n)))
		}
	}
	return attrs
}

type announcer struct {
	ownership.Announcer
	watch *Watch
}

func (a announcer) Publish(ctx context.Context, announcement ownership.Announcement) error {
	err := a.Announcer.Publish(ctx, announcement)
	switch {
	case err != nil:
		a.watch.unpublished.Add(1)
	case announcement.Type == ownership.Revoked:
		a.watch.revocations.Add(1)
	default:
		a.watch.transfers.Add(1)
		if announcement.Order == ownership.Observed {
			a.watch.guesses.Add(1)
		}
	}
	return err
}

type directory struct {
	ownership.Directory
	watch *Watch
}

func (d directory) Athlete(ctx context.Context, userID string) (ownership.Profile, error) {
	p, err := d.Directory.Athlete(ctx, userID)
	d.watch.Asked(err)
	return p, err
}

func (d directory) UserInfo(ctx context.Context, userID string) (ownership.Profile, error) {
	p, err := d.Directory.UserInfo(ctx, userID)
	d.watch.Asked(err)
	return p, err
}
