package revoke_test

import (
	"errors"
	"testing"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/revoke"
	"github.com/handover-dev/handover/internal/telemetry/telemetrytest"
)

// Each metric has its situation, and no other metric is sent in it.
func TestMetrics(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(b *bench, a *ownership.Announcement)
		want    string
	}{
		"ended":                  {func(*bench, *ownership.Announcement) {}, "Ended Count 1"},
		"ended before":           {func(b *bench, _ *ownership.Announcement) { delete(b.terra.known, "anna-1") }, "Ended Count 1"},
		"a dry run":              {func(b *bench, _ *ownership.Announcement) { b.Terra = revoke.DryRun{} }, "WouldEnd Count 1"},
		"a guess":                {func(_ *bench, a *ownership.Announcement) { a.Order = ownership.Observed }, "LeftToAPerson Count 1"},
		"Terra's API fails":      {func(b *bench, _ *ownership.Announcement) { b.terra.fail = errors.New("HTTP status 503") }, "RevokeFailures Count 1"},
		"the end of one is lost": {func(b *bench, _ *ownership.Announcement) { b.terra.lose = errors.New("no answer") }, "RevokeFailures Count 1"},
		"the ledger fails": {func(b *bench, _ *ownership.Announcement) {
			b.ledger.Fault = func(string) (error, error) { return errors.New("away"), nil }
		}, "RevokeFailures Count 1"},
		"one connection": {func(_ *bench, a *ownership.Announcement) { a.Reason = ownership.Reassigned }, ""},
		"forgotten":      {func(b *bench, _ *ownership.Announcement) { b.forget("anna-1") }, ""},
		"the owner":      {func(b *bench, _ *ownership.Announcement) { b.forget("ben-2") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			a := b.transfer(b.connect("anna", 1), b.connect("ben", 2))
			test.prepare(b, &a)
			b.handle(message(t, a))
			if got := telemetrytest.Words(telemetrytest.Metrics(t, b.log.String(), "handover")); got != test.want {
				t.Errorf("metrics %s, want %s", got, test.want)
			}
		})
	}
	b := newBench(t)
	b.handle("not an event")
	if got := telemetrytest.Words(telemetrytest.Metrics(t, b.log.String(), "handover")); got != "RevokeFailures Count 1" {
		t.Errorf("what cannot be read: metrics %s", got)
	}
}
