package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
)

// dataOf is a data event of about size bytes, with the user before or behind the data.
func dataOf(size int, userFirst bool) string {
	sample := `{"timestamp":"2026-11-22T07:04:11.000000+01:00","bpm":148.2,"note":"a \"quoted\" one / ü"},`
	samples := strings.TrimSuffix(strings.Repeat(sample, max(1, (size-300)/len(sample))), ",")
	who := `"user":` + user("4735eac4-31a2-47ef-8b11-51e98d84c680", "anna", "03:45:00")
	if userFirst {
		return `{"type":"activity","version":"2022-03-16",` + who + `,"data":[` + samples + `]}`
	}
	return `{"data":[` + samples + `],"version":"2022-03-16","type":"activity",` + who + `}`
}

func warmEvent(b *bench, body string) []byte {
	return gatewayEvent(map[string]string{
		"content-type": "application/json", "host": "x.execute-api.eu-central-1.amazonaws.com", "user-agent": "Terra", "x-forwarded-for": "192.0.2.1",
		"x-terra-signature": terra.Sign(secret, b.now, []byte(body)), "terra-signature": terra.Sign(secret, b.now, []byte(body)),
		"x-terra-trace-id": "5f0c3c1e-8a52-4c55-9d5b-0f5a7c1f7d11",
	}, body)
}

// A data event of a connection that is known costs at most 15 allocations and 1 KB, whatever its size.
func TestAllocationsOfWarmDataEvent(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for _, size := range []int{700, 16 << 10, 1 << 20} {
		for _, userFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes, user first %v", size, userFirst), func(t *testing.T) {
				b := newBench(t)
				body := dataOf(size, userFirst)
				b.deliver(body)
				b.deliver(body)
				b.Log = telemetry.NewLogger(io.Discard, "handover")
				original := warmEvent(b, body)
				event := bytes.Clone(original)
				ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(time.Hour)) // as on Lambda
				defer cancel()
				before := b.allCalls()
				var m0, m1 runtime.MemStats
				const runs = 50
				runtime.ReadMemStats(&m0)
				allocations := testing.AllocsPerRun(runs-1, func() {
					copy(event, original)
					if raw, err := b.Invoke(ctx, event); err != nil || len(raw) > 100 {
						t.Fatalf("answered %s, %v", raw, err)
					}
				})
				runtime.ReadMemStats(&m1)
				size := (m1.TotalAlloc - m0.TotalAlloc) / runs
				t.Logf("%v allocations, %d bytes", allocations, size)
				if allocations > 15 || size > 1024 {
					t.Errorf("%v allocations, %d bytes; want at most 15 and 1,024", allocations, size)
				}
				check(t, "ledger calls", b.calls(before), "")
			})
		}
	}
}

func BenchmarkWarmDataEvent(bm *testing.B) {
	for _, size := range []int{700, 16 << 10, 1 << 20, 4_500_000} {
		bm.Run(fmt.Sprint(size), func(bm *testing.B) {
			b := newBench(bm)
			body := dataOf(size, true)
			b.deliver(body)
			b.deliver(body)
			b.Log = telemetry.NewLogger(io.Discard, "handover")
			original := warmEvent(b, body)
			event := bytes.Clone(original)
			bm.SetBytes(int64(len(event)))
			bm.ReportAllocs()
			for bm.Loop() {
				copy(event, original)
				if _, err := b.Invoke(bm.Context(), event); err != nil {
					bm.Fatal(err)
				}
			}
		})
	}
}
