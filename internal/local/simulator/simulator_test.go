package simulator_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
)

// receiver is a webhook endpoint without a network. It keeps what was sent and answers with status.
type receiver struct {
	status func(*http.Request) int // nil: always 200

	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func (r *receiver) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request)
	r.bodies = append(r.bodies, string(body))
	status := http.StatusOK
	if r.status != nil {
		status = r.status(request)
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Request: request}, nil
}

// start makes a Terra that delivers one webhook at a time to r.
func start(r *receiver, habits simulator.Habits) *simulator.Terra {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return simulator.New(simulator.Config{
		Secret: "secret", WebhookURL: "http://handover.test/webhook", DevID: "dev", APIKey: "key", Seed: 1, Habits: habits,
		Now: func() time.Time { return noon }, Minute: time.Microsecond, Senders: 1, Transport: r,
	})
}

func deliver(t *testing.T, sim *simulator.Terra) {
	t.Helper()
	if err := sim.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sim.Pending(); n != 0 {
		t.Fatalf("%d deliveries pending", n)
	}
}

// told retells webhooks in short: their types, and the references that they name, the new one of a user_reauth first.
func told(t *testing.T, bodies []string) []string {
	t.Helper()
	var result []string
	for _, body := range bodies {
		type user struct {
			ReferenceID string `json:"reference_id"`
		}
		var event struct {
			Type    string
			User    user
			NewUser user `json:"new_user"`
			OldUser user `json:"old_user"`
		}
		if err := json.Unmarshal([]byte(body), &event); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		result = append(result, strings.Join(strings.Fields(event.Type+" "+event.User.ReferenceID+" "+event.NewUser.ReferenceID+" "+event.OldUser.ReferenceID), " "))
	}
	return result
}

// history retells the truth about one account: its references, those of ended connections in brackets.
func history(a simulator.Account) string {
	var result []string
	for _, h := range a.Holdings {
		if h.Closed {
			h.Reference = "(" + h.Reference + ")"
		}
		result = append(result, h.Reference)
	}
	return strings.Join(result, " ")
}

func TestGenerations(t *testing.T) {
	for name, test := range map[string]struct {
		generation simulator.Generation
		webhooks   []string // of ben's connection, after anna's
		truth      string
	}{
		"replaced silently":    {simulator.ReplaceSilently, []string{"auth ben"}, "(anna) ben"},
		"replaced with deauth": {simulator.ReplaceWithDeauth, []string{"auth ben", "deauth anna"}, "(anna) ben"},
		"replaced with reauth": {simulator.ReplaceWithReauth, []string{"auth ben", "user_reauth ben anna"}, "(anna) ben"},
		"both kept":            {simulator.KeepBoth, []string{"auth ben"}, "anna ben"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &receiver{}
			sim := start(r, simulator.Habits{Generation: test.generation, Dialect: simulator.Newer})
			sim.Connect("GARMIN", "watch", "anna")
			sim.Connect("GARMIN", "watch", "ben")
			deliver(t, sim)
			if got, want := told(t, r.bodies), append([]string{"auth anna"}, test.webhooks...); !slices.Equal(got, want) {
				t.Errorf("webhooks %q, want %q", got, want)
			}
			if got := history(sim.Truth()[0]); got != test.truth {
				t.Errorf("truth %q, want %q", got, test.truth)
			}
		})
	}
}

// In every generation the same account under the same reference is a user_reauth.
func TestReconnect(t *testing.T) {
	for generation := simulator.ReplaceSilently; generation <= simulator.KeepBoth; generation++ {
		r := &receiver{}
		sim := start(r, simulator.Habits{Generation: generation, AthleteAfterAuth: true})
		first, second := sim.Connect("OURA", "ring", "anna"), sim.Connect("OURA", "ring", "anna")
		deliver(t, sim)
		if first == second {
			t.Error("the user_id is the same")
		}
		want := []string{"auth anna", "athlete anna", "auth anna", "athlete anna", "user_reauth anna anna"}
		if got := told(t, r.bodies); !slices.Equal(got, want) {
			t.Errorf("webhooks %q, want %q", got, want)
		}
		if got := history(sim.Truth()[0]); got != "(anna) anna" {
			t.Errorf("truth %q", got)
		}
	}
}

func TestPhones(t *testing.T) {
	t.Run("another reference, silently", func(t *testing.T) {
		r := &receiver{}
		sim := start(r, simulator.Habits{SilentPhones: true, CreatedAtInWebhooks: true})
		phone := sim.Connect("APPLE", "phone", "anna")
		if sim.Connect("APPLE", "phone", "ben") != phone {
			t.Error("the user_id has changed")
		}
		if err := sim.Data(phone); err != nil {
			t.Fatal(err)
		}
		deliver(t, sim)
		if got, want := told(t, r.bodies), []string{"auth anna", "activity ben"}; !slices.Equal(got, want) {
			t.Errorf("webhooks %q, want %q", got, want)
		}
		holdings := sim.Truth()[0].Holdings
		if len(holdings) != 2 || holdings[0].Tenure != 1 || holdings[1].Tenure != 2 || !holdings[0].ConnectedAt.Equal(holdings[1].ConnectedAt) {
			t.Errorf("truth %+v", holdings)
		}
	})
	t.Run("another phone of one owner", func(t *testing.T) {
		r := &receiver{}
		sim := start(r, simulator.Habits{Generation: simulator.KeepBoth})
		sim.Connect("SAMSUNG", "old phone", "anna")
		sim.Connect("SAMSUNG", "new phone", "anna")
		deliver(t, sim)
		if got, want := told(t, r.bodies), []string{"auth anna", "auth anna", "user_reauth anna anna"}; !slices.Equal(got, want) {
			t.Errorf("webhooks %q, want %q", got, want)
		}
		if truth := sim.Truth(); len(truth) != 2 || history(truth[0]) != "(anna)" || history(truth[1]) != "anna" {
			t.Errorf("truth %+v", truth)
		}
	})
}

func TestEnds(t *testing.T) {
	r := &receiver{}
	sim := start(r, simulator.Habits{Generation: simulator.KeepBoth, Dialect: simulator.Newer})
	for reference, end := range map[string]func(string) error{"anna": sim.Disconnect, "ben": sim.Revoke, "carl": sim.Delete} {
		user := sim.Connect("GARMIN", reference+"'s watch", reference)
		if err := end(user); err != nil {
			t.Error(err)
		}
		for name, action := range map[string]func(string) error{"Disconnect": sim.Disconnect, "Data": sim.Data, "Athlete": sim.Athlete} {
			if err := action(user); !errors.Is(err, simulator.ErrNotConnected) {
				t.Errorf("%s after the end of %s: %v", name, reference, err)
			}
		}
	}
	sim.Failed("dora")
	deliver(t, sim)
	got := told(t, r.bodies)
	slices.Sort(got)
	if want := []string{"access_revoked ben", "auth anna", "auth ben", "auth carl", "auth_cancelled", "deauth anna"}; !slices.Equal(got, want) {
		t.Errorf("webhooks %q, want %q", got, want)
	}
}

func TestEdit(t *testing.T) {
	r := &receiver{}
	sim := start(r, simulator.Habits{Generation: simulator.KeepBoth})
	anna := sim.Connect("GARMIN", "watch", "anna")
	sim.Connect("GARMIN", "watch", "ben")
	for range 2 { // the second one changes nothing
		if err := sim.Edit(anna, "annabel"); err != nil {
			t.Fatal(err)
		}
	}
	deliver(t, sim)
	if len(r.bodies) != 2 {
		t.Errorf("webhooks %q", r.bodies)
	}
	if got := history(sim.Truth()[0]); got != "anna annabel ben" {
		t.Errorf("truth %q", got)
	}
}

// life runs a Terra with every mischief and returns what was sent.
func life(t *testing.T, seed uint64) []string {
	r := &receiver{}
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Config{Seed: seed, Minute: time.Minute, Senders: 1, Transport: r,
			Habits: simulator.Habits{Generation: simulator.ReplaceWithDeauth, AthleteAfterAuth: true, CreatedAtInWebhooks: true}})
		sim.SetFaults(simulator.Faults{Duplicate: 0.3, Lose: 0.3, Delay: time.Hour, Disorder: 5, Forge: 0.3})
		for i := range 50 {
			user := sim.Connect("GARMIN", string(rune('a'+i%7)), string(rune('A'+i%5)))
			if err := sim.Data(user); err != nil {
				t.Fatal(err)
			}
		}
		deliver(t, sim)
	})
	return r.bodies
}

func TestSameSeedSameLife(t *testing.T) {
	first := life(t, 7)
	if !slices.Equal(first, life(t, 7)) {
		t.Error("two lives of one seed differ")
	}
	if slices.Equal(first, life(t, 8)) {
		t.Error("the lives of two seeds are the same")
	}
}
