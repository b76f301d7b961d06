package simulator_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/terra"
)

// ask calls the API with the right key.
func ask(sim *simulator.Terra, method, target string) (status int, body string) {
	request := httptest.NewRequest(method, target, nil)
	request.Header.Set("dev-id", "dev")
	request.Header.Set("x-api-key", "key")
	w := httptest.NewRecorder()
	sim.API().ServeHTTP(w, request)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestAPI(t *testing.T) {
	sim := start(&receiver{}, simulator.Habits{Generation: simulator.KeepBoth, CreatedAtInAnswers: true, AccountInAnswers: true})
	anna, gone := sim.Connect("GARMIN", "watch", "anna"), sim.Connect("GARMIN", "watch", "ben")
	if err := sim.Delete(gone); err != nil {
		t.Fatal(err)
	}
	const scopes = `"ACTIVITY_EXPORT,HEALTH_EXPORT"`
	legacy := `{"scopes":` + scopes + `,"active":true,"last_webhook_update":null,"created_at":"2026-11-22T12:00:00.000000+00:00","user_id":"` + anna + `","reference_id":"anna","provider":"GARMIN"}`
	newer := `{"user_id":"` + anna + `","provider":"GARMIN","scopes":` + scopes + `,"created_at":"2026-11-22T12:00:00.000000+00:00","reference_id":"anna","active":true}`
	athlete := `{"first_name":"Anthony","last_name":"Stark","city":"Malibu","country":"United States","provider_user_id":"watch"}`
	for _, test := range []struct {
		call   string
		status int
		body   string
	}{
		{"GET /v2/athlete?user_id=" + anna + "&to_webhook=false", 200, `{"status":"success","type":"athlete","user":` + legacy + `,"athlete":` + athlete + `}`},
		{"GET /api/v2/athlete?user_id=" + anna + "&to_webhook=false", 200, `{"status":"success","type":"athlete","user":` + newer + `,"athlete":` + athlete + `}`},
		{"GET /v2/athlete?user_id=" + gone + "&to_webhook=false", 404, `{"status":"error","message":"user not found"}`},
		{"GET /v2/athlete", 400, `{"status":"error","message":"user_id is missing"}`},
		{"GET /api/v2/athlete", 400, `{"type":"about:blank","title":"Bad Request","detail":"user_id is missing"}`},
		{"GET /v2/userInfo?user_id=" + anna, 200, `{"user":` + legacy + `,"status":"success","is_authenticated":true}`},
		{"GET /v2/userInfo?user_id=unknown", 404, `{"status":"error","message":"user not found"}`},
		{"GET /v2/userInfo", 400, `{"status":"error","message":"user_id is missing"}`},
		{"GET /v2/userInfo?reference_id=anna", 200, `{"status":"success","users":[` + legacy + `]}`},
		{"GET /api/v2/userInfo?reference_id=anna", 200, `[` + newer + `]`},
		{"GET /v2/userInfo?reference_id=ben", 404, `{"status":"error","message":"user not found"}`},
		{"GET /v2/subscriptions", 200, `{"users":[` + legacy + `]}`},
		{"GET /api/v2/subscriptions", 200, `{"users":[` + newer + `]}`},
		{"GET /v2/subscriptions?page=0", 200, `{"users":[` + legacy + `]}`},
		{"GET /v2/subscriptions?page=1", 200, `{"users":[]}`},
		{"GET /api/v2/subscriptions?page=0&per_page=1", 200, `{"data":{"next":null,"max_page":0,"results":[` + newer + `]}}`},
		{"GET /v2/subscriptions?page=-1", 400, `{"status":"error","message":"invalid page or per_page"}`},
		{"GET /v2/subscriptions?page=0&per_page=x", 400, `{"status":"error","message":"invalid page or per_page"}`},
		{"DELETE /v2/auth/deauthenticateUser?user_id=" + anna, 200, `{"status":"success"}`},
		{"DELETE /v2/auth/deauthenticateUser?user_id=" + anna, 404, `{"status":"error","message":"user not found"}`},
	} {
		method, target, _ := strings.Cut(test.call, " ")
		if status, body := ask(sim, method, target); status != test.status || body != test.body {
			t.Errorf("%s: %d %s, want %d %s", test.call, status, body, test.status, test.body)
		}
	}
	if got := sim.Calls(); got["GET /athlete"] != 5 || got["DELETE /auth/deauthenticateUser"] != 2 {
		t.Errorf("calls %v", got)
	}
}

func TestPages(t *testing.T) {
	sim := start(&receiver{}, simulator.Habits{})
	for _, watch := range []string{"a", "b", "c"} {
		sim.Connect("GARMIN", watch, watch)
	}
	_, first := ask(sim, "GET", "/api/v2/subscriptions?page=0&per_page=2")
	_, second := ask(sim, "GET", "/api/v2/subscriptions?page=1&per_page=2")
	if !strings.HasPrefix(first, `{"data":{"next":1,"max_page":1,`) || strings.Count(first, "user_id") != 2 {
		t.Errorf("first page %s", first)
	}
	if !strings.HasPrefix(second, `{"data":{"next":null,"max_page":1,`) || strings.Count(second, "user_id") != 1 {
		t.Errorf("second page %s", second)
	}
}

func TestWrongKey(t *testing.T) {
	sim := start(&receiver{}, simulator.Habits{})
	w := httptest.NewRecorder()
	sim.API().ServeHTTP(w, httptest.NewRequest("GET", "/v2/subscriptions", nil))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("status %d", w.Code)
	}
}

// What the API is asked to do shows in webhooks: a deauth, and a profile that to_webhook=false has not kept back.
func TestAnswersByWebhook(t *testing.T) {
	r := &receiver{}
	sim := start(r, simulator.Habits{Dialect: simulator.Newer})
	anna := sim.Connect("GARMIN", "watch", "anna")
	ask(sim, "GET", "/v2/athlete?user_id="+anna)
	ask(sim, "DELETE", "/v2/auth/deauthenticateUser?user_id="+anna)
	deliver(t, sim)
	if got := strings.Join(told(t, r.bodies), ", "); got != "auth anna, athlete anna, deauth anna" {
		t.Errorf("webhooks %s", got)
	}
	if got := history(sim.Truth()[0]); got != "(anna)" {
		t.Errorf("truth %s", got)
	}
}

func TestFaultsOfAPI(t *testing.T) {
	sim := start(&receiver{}, simulator.Habits{AccountInAnswers: true})
	target := "/v2/athlete?to_webhook=false&user_id=" + sim.Connect("GARMIN", "watch", "anna")
	for name, test := range map[string]struct {
		faults simulator.Faults
		status int
		text   string
	}{
		"fail":          {simulator.Faults{Fail: 1}, 500, `"error"`},
		"limit":         {simulator.Faults{Limit: 1}, 429, `"error"`},
		"null accounts": {simulator.Faults{NullAccounts: true}, 200, `"provider_user_id":null`},
	} {
		sim.SetFaults(test.faults)
		if status, body := ask(sim, "GET", target); status != test.status || !strings.Contains(body, test.text) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	sim.SetFaults(simulator.Faults{Garbage: 1})
	for range 20 {
		if status, body := ask(sim, "GET", target); status != 200 || strings.Contains(body, `"watch"`) {
			t.Errorf("garbage: %d %s", status, body)
		}
	}
}

// The real client understands the API at both of its bases, and believes no garbage.
func TestRealClient(t *testing.T) {
	sim := start(&receiver{}, simulator.Habits{CreatedAtInAnswers: true, AccountInAnswers: true})
	anna := sim.Connect("GARMIN", "watch", "anna")
	server := httptest.NewServer(sim.API())
	defer server.Close()
	for _, base := range []string{"/v2", "/api/v2"} {
		client := terra.Client{
			BaseURL:     server.URL + base,
			Credentials: func(context.Context) (string, string, error) { return "dev", "key", nil },
			HTTP:        server.Client(),
		}
		sim.SetFaults(simulator.Faults{})
		want := ownership.Profile{Provider: "GARMIN", ReferenceID: "anna", ProviderUserID: "watch", CreatedAt: sim.Truth()[0].Holdings[0].ConnectedAt}
		if got, err := client.Athlete(t.Context(), anna); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", base, got, err, want)
		}
		if _, err := client.UserInfo(t.Context(), "unknown"); !errors.Is(err, ownership.ErrGone) {
			t.Errorf("%s: unknown user: %v", base, err)
		}
		sim.SetFaults(simulator.Faults{Limit: 1, RetryAfter: 1500 * time.Millisecond})
		var limited *ownership.Limited
		if _, err := client.Athlete(t.Context(), anna); !errors.As(err, &limited) || limited.RetryAfter != 2*time.Second {
			t.Errorf("%s: limited: %v", base, err)
		}
		sim.SetFaults(simulator.Faults{Garbage: 1})
		for range 20 {
			if got, err := client.Athlete(t.Context(), anna); got != (ownership.Profile{}) || err != nil && !errors.Is(err, terra.ErrUnusable) {
				t.Errorf("%s: garbage is believed: %+v, %v", base, got, err)
			}
		}
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := start(&receiver{}, simulator.Habits{})
		sim.SetFaults(simulator.Faults{Slow: 9 * time.Second})
		began := time.Now()
		ask(sim, "GET", "/v2/subscriptions")
		if took := time.Since(began); took != 9*time.Second {
			t.Errorf("answered after %v", took)
		}
	})
}
