package simulator_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/terra"
)

func TestDelivery(t *testing.T) {
	r := &receiver{}
	sim := start(r, simulator.Habits{})
	sim.Connect("GARMIN", "watch", "anna")
	deliver(t, sim)
	if len(r.requests) != 1 {
		t.Fatalf("%d requests", len(r.requests))
	}
	got := r.requests[0]
	if got.Method != "POST" || got.URL.Path != "/webhook" || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("X-Terra-Trace-Id") == "" {
		t.Errorf("%s %s %v", got.Method, got.URL, got.Header)
	}
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, name := range []string{"X-Terra-Signature", "Terra-Signature"} {
		at, err := terra.Verify(got.Header.Get(name), []byte(r.bodies[0]), []string{"secret"}, noon, terra.Window{})
		if err != nil || !at.Equal(noon) {
			t.Errorf("%s: %v, %v", name, at, err)
		}
	}
}

// A webhook that is never acknowledged is sent on Terra's schedule, signed anew each time, and then given up.
func TestRetrySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		r := &receiver{status: func(*http.Request) int { at = append(at, time.Since(began)); return http.StatusFound }}
		sim := simulator.New(simulator.Config{Secret: "secret", WebhookURL: "http://handover.test/", Minute: time.Minute, Transport: r})
		sim.Connect("GARMIN", "watch", "anna")
		deliver(t, sim)

		want := []time.Duration{0}
		for _, wait := range simulator.Schedule() {
			want = append(want, want[len(want)-1]+wait)
		}
		if !slices.Equal(at, want) {
			t.Errorf("sent after %v, want %v", at, want)
		}
		if last := want[len(want)-1]; last < 8*time.Hour || last > 24*time.Hour {
			t.Errorf("the last retry comes after %v", last)
		}
		first, last := r.requests[0].Header, r.requests[len(r.requests)-1].Header
		if first.Get("X-Terra-Signature") == last.Get("X-Terra-Signature") || first.Get("X-Terra-Trace-Id") != last.Get("X-Terra-Trace-Id") {
			t.Errorf("first %v, last %v", first, last)
		}
		if got, want := sim.Stats(), (simulator.Stats{Webhooks: 1, Deliveries: 1, Attempts: 10, GivenUp: 1}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

func TestFaultsOfDelivery(t *testing.T) {
	for name, test := range map[string]struct {
		faults simulator.Faults
		check  func(t *testing.T, sent []string, s simulator.Stats, took time.Duration)
	}{
		"none": {simulator.Faults{}, func(t *testing.T, sent []string, s simulator.Stats, took time.Duration) {
			if !slices.IsSorted(sent) || len(sent) != 20 || took != 0 {
				t.Errorf("sent %q in %v", sent, took)
			}
		}},
		"duplicates": {simulator.Faults{Duplicate: 1}, func(t *testing.T, sent []string, s simulator.Stats, _ time.Duration) {
			if len(sent) != 40 || s.Deliveries != 40 || len(slices.Compact(slices.Sorted(slices.Values(sent)))) != 20 {
				t.Errorf("sent %q, stats %+v", sent, s)
			}
		}},
		"disorder": {simulator.Faults{Disorder: 3}, func(t *testing.T, sent []string, _ simulator.Stats, _ time.Duration) {
			if slices.IsSorted(sent) {
				t.Errorf("sent in order: %q", sent)
			}
			for i, body := range slices.Sorted(slices.Values(sent)) {
				if late := slices.Index(sent, body) - i; late > 3 {
					t.Errorf("%q is overtaken by %d", body, late)
				}
			}
		}},
		"loss": {simulator.Faults{Lose: 1}, func(t *testing.T, sent []string, s simulator.Stats, took time.Duration) {
			if len(sent) != 20 || s.Attempts != 40 || took != 2*time.Minute {
				t.Errorf("%d sent in %v, stats %+v", len(sent), took, s)
			}
		}},
		"delay": {simulator.Faults{Delay: time.Hour}, func(t *testing.T, sent []string, _ simulator.Stats, took time.Duration) {
			if slices.IsSorted(sent) || took == 0 || took >= time.Hour {
				t.Errorf("sent %q in %v", sent, took)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &receiver{}
				sim := simulator.New(simulator.Config{Minute: time.Minute, Senders: 1, Transport: r})
				sim.SetFaults(test.faults)
				for i := range 20 {
					sim.Failed(string(rune('a' + i)))
				}
				began := time.Now()
				deliver(t, sim)
				test.check(t, r.bodies, sim.Stats(), time.Since(began))
			})
		})
	}
}

// No forgery passes the check of its signature, none is tried again, and none counts as pending.
func TestForgeries(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	r := &receiver{}
	r.status = func(request *http.Request) int {
		body := []byte(r.bodies[len(r.bodies)-1])
		if _, err := terra.Verify(request.Header.Get("X-Terra-Signature"), body, []string{"secret"}, noon, terra.Window{}); err != nil {
			return http.StatusUnauthorized
		}
		return http.StatusOK
	}
	sim := start(r, simulator.Habits{})
	sim.SetFaults(simulator.Faults{Forge: 1})
	for range 20 {
		sim.Connect("GARMIN", "watch", "anna")
	}
	if sim.Pending() != sim.Stats().Webhooks {
		t.Errorf("%d pending of %d", sim.Pending(), sim.Stats().Webhooks)
	}
	deliver(t, sim)
	if s := sim.Stats(); s.Forged != s.Webhooks || s.ForgedAccepted != 0 || s.Acknowledged != s.Webhooks || s.Attempts != 2*s.Webhooks {
		t.Errorf("stats %+v", s)
	}
	if got := slices.Compact(slices.Sorted(slices.Values(r.bodies))); len(got) < 2*20 {
		t.Errorf("%d different bodies", len(got))
	}
}

func TestForgeryAccepted(t *testing.T) {
	sim := start(&receiver{}, simulator.Habits{})
	sim.SetFaults(simulator.Faults{Forge: 1})
	sim.Connect("GARMIN", "watch", "anna")
	deliver(t, sim)
	if s := sim.Stats(); s.ForgedAccepted != 1 {
		t.Errorf("stats %+v", s)
	}
}

// What was on its way when Run was stopped is sent by the next one.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &receiver{status: func(*http.Request) int { cancel(); return http.StatusInternalServerError }}
		sim := simulator.New(simulator.Config{Transport: r})
		sim.Connect("GARMIN", "watch", "anna")
		if err := sim.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		if sim.Pending() != 1 {
			t.Errorf("%d pending", sim.Pending())
		}
		r.status = nil
		deliver(t, sim)
	})
}

// Over real connections: actions, two Delivers and a Run at the same time.
func TestConcurrently(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	sim := simulator.New(simulator.Config{WebhookURL: server.URL, Habits: simulator.Habits{AthleteAfterAuth: true}})
	sim.SetFaults(simulator.Faults{Duplicate: 0.2, Lose: 0.2, Delay: time.Millisecond, Disorder: 3, Forge: 0.2})
	ctx, cancel := context.WithCancel(t.Context())
	var running, acting sync.WaitGroup
	running.Go(func() { sim.Run(ctx) })
	for range 4 {
		acting.Go(func() {
			for range 25 {
				sim.Connect("GARMIN", "watch", "anna")
			}
			if err := sim.Deliver(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	acting.Wait()
	if s := sim.Stats(); sim.Pending() != 0 || s.GivenUp != 0 || s.Webhooks < 200 {
		t.Errorf("stats %+v", s)
	}
	cancel()
	running.Wait()
}
