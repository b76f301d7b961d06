package sweep

import (
	"context"
	"errors"
	"log/slog"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/telemetry"
)

// write writes the line of a run, with its metrics. err is why the run could not go on, beatErr why the way in could not be tried.
func (s *Sweep) write(ctx context.Context, r *run, err, beatErr error) {
	done := r.report
	if !s.EveryRun && (err != nil || done == (Report{})) { // then the caller reports the error
		return
	}
	attrs := []slog.Attr{
		slog.Int("settled", done.Settled), slog.Int("put_off", done.PutOff), slog.Int("failed", done.Failed), slog.Int("transfers", done.Transfers),
		slog.Int("revocations", done.Revocations), slog.Int("guesses", done.Guesses), slog.Int("asked", done.Asked), slog.Int("crowded", done.Crowded),
		slog.Int("without_reference", done.Nameless),
	}
	count := func(metric telemetry.Metric, n int) {
		if n > 0 {
			attrs = append(attrs, metric.Of(n))
		}
	}
	level := slog.LevelInfo
	if err := errors.Join(err, beatErr); err != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	switch {
	case errors.Is(err, ownership.ErrWrongAccountKey):
		count(telemetry.AccountKeyMismatch, 1)
	case errors.Is(err, errKeeper):
		count(telemetry.AccountKeyUnusable, 1)
	}
	if err != nil {
		r.broken++
	}
	if errors.Is(beatErr, ErrSecret) {
		r.watch.Secret()
	}
	if s.EveryRun {
		rows, since, err := s.Queue.Backlog(ctx)
		s.report(ctx, r, "sweep", err)
		if err == nil {
			age := 0
			if rows > 0 {
				age = max(0, int(s.Now().Sub(since).Seconds()))
			}
			attrs = append(attrs, telemetry.Unsettled.Of(rows), telemetry.UnsettledAge.Of(age))
		}
	}
	failedBeats := 0
	if beatErr != nil {
		failedBeats = 1
	}
	attrs = append(attrs, telemetry.Sweeps.Of(1), telemetry.Settled.Of(done.Settled), telemetry.PutOff.Of(done.PutOff),
		telemetry.SweepFailures.Of(done.Failed+r.broken), telemetry.HeartbeatFailures.Of(failedBeats))
	count(telemetry.WithoutReference, done.Nameless)
	count(telemetry.Crowded, done.Crowded)
	s.Log.LogAttrs(ctx, level, "sweep", r.watch.Append(attrs)...)
}
