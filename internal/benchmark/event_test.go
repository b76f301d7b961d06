// Package benchmark measures Handover beside two other programs that take the same events: plain, what a good engineer writes in an afternoon, and floor,
// the least that can be done. It is tests only; "make bench" runs it.
package benchmark

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sys/unix"

	"github.com/handover-dev/handover/internal/benchmark/testdata/floor"
	"github.com/handover-dev/handover/internal/benchmark/testdata/plain"
	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
	"github.com/handover-dev/handover/internal/webhook"
)

// handler is lambda.Handler.
type handler interface {
	Invoke(ctx context.Context, event []byte) ([]byte, error)
}

// BenchmarkEvent is a data event of a connection that the cache knows, from the event's bytes to the answer's. Plain and Handover both log a line about it, or
// neither does; floor never does.
func BenchmarkEvent(b *testing.B) {
	logs := []struct {
		name string
		*slog.Logger
	}{{"line", telemetry.NewLogger(io.Discard, "handover")}, {"none", slog.New(slog.DiscardHandler)}}
	for _, size := range sizes() {
		for _, user := range []position{first, last} {
			for _, body := range []string{"text", "base64"} {
				event := gatewayEvent(b, dataEvent(size.size, user), body == "base64")
				for _, log := range logs {
					b.Run("size="+size.name+"/user="+string(user)+"/body="+body+"/log="+log.name, func(b *testing.B) {
						plain, ours := newPlain(b), newHandover(b)
						plain.Log, ours.Log = log.Logger, log.Logger
						inTurn(b, 10, program{"by=plain", invoke(b, plain, event)}, program{"by=handover", invoke(b, ours, event)},
							program{"by=floor", invoke(b, &floor.Handler{Secret: []byte(secret)}, event)})
					})
					if size.size > 700 {
						break // a line makes no difference
					}
				}
			}
		}
	}
}

// invoke measures a handler alone, a batch of events at a time: by the wall clock, and what all threads use. Each call gets an event of its own, made before,
// for handlers may change it.
func invoke(b *testing.B, h handler, event []byte) func() figures {
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour) // as in Lambda, there is a deadline
	b.Cleanup(cancel)
	batch := make([][]byte, max(1, 1<<20/len(event)))
	for i := range batch {
		batch[i] = make([]byte, len(event))
	}
	return func() figures {
		for _, payload := range batch {
			copy(payload, event)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		used, start := processorTime(b), time.Now()
		for _, payload := range batch {
			answer, err := h.Invoke(ctx, payload)
			if err != nil || !bytes.Contains(answer, []byte(`"statusCode":200`)) {
				b.Fatalf("answered %s, %v", answer, err)
			}
		}
		took := time.Since(start)
		used = processorTime(b) - used
		runtime.ReadMemStats(&after)
		n := float64(len(batch))
		return figures{
			"ns/event": float64(took.Nanoseconds()) / n, "cpu-ns/event": float64(used.Nanoseconds()) / n,
			"B/event": float64(after.TotalAlloc-before.TotalAlloc) / n, "allocs/event": float64(after.Mallocs-before.Mallocs) / n,
		}
	}
}

// processorTime is what this process has used, in all its threads: the work of the garbage collector counts.
func processorTime(t testing.TB) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

func newPlain(t testing.TB) *plain.Handler {
	t.Helper()
	known, err := lru.New[string, string](20_000)
	if err != nil {
		t.Fatal(err)
	}
	return &plain.Handler{Secret: secret, Known: known}
}

// newHandover is the handler with everything it has on Lambda, log lines included, except that its ledger is in memory.
func newHandover(t testing.TB) *webhook.Handler {
	t.Helper()
	seen, err := webhook.NewSeen(20_000, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ownership.NewAccountKeys(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	rows := ledgertest.NewMemory()
	user := ownership.Connection{UserID: "4735eac4-31a2-47ef-8b11-51e98d84c680", Provider: "GARMIN", Tenures: []string{"user-81f2"}, Version: 1}
	if _, _, err := rows.Insert(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	keeper := &ownership.Keeper{Ledger: rows, Keys: keys, Now: time.Now}
	return &webhook.Handler{
		Secrets: &settings.TerraSecret{Now: time.Now, Read: func(context.Context) (string, error) { return `{"signing_secrets":["` + secret + `"]}`, nil }},
		Window:  terra.Window{Past: settings.DefaultReplayWindow, Future: settings.FutureWindow},
		Keeper:  func(context.Context) (*ownership.Keeper, error) { return keeper, nil },
		Peeker:  rows,
		Seen:    seen,
		Log:     telemetry.NewLogger(io.Discard, "handover"),
		Now:     time.Now,
	}
}
