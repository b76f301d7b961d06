package endtoend

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/settings"
	product "github.com/handover-dev/handover/internal/stack"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
)

// counter is a proxy before the engines that notes each call: "UpdateItem accounts", or "Publish".
type counter struct {
	mu    sync.Mutex
	calls []string
}

// before starts a proxy before endpoint and returns its URL.
func (c *counter) before(t *testing.T, endpoint string) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`"TableName":"([^"]*)"`)
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, call, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if call == "" { // SNS
			form, _ := url.ParseQuery(string(body))
			call = form.Get("Action")
		} else if name := table.FindSubmatch(body); name != nil {
			call += " " + string(name[1])
		}
		c.mu.Lock()
		c.calls = append(c.calls, call)
		c.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// take returns the calls since it was last called, sorted.
func (c *counter) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := slices.Sorted(slices.Values(c.calls))
	c.calls = nil
	return calls
}

// TestCalls counts the calls to AWS and to Terra that an event costs, over the wire.
func TestCalls(t *testing.T) {
	s := newStack(t)
	var counter counter
	for _, variable := range s.environment {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
			value = counter.before(t, value)
		}
		t.Setenv(name, value)
	}
	settings, err := settings.FromEnvironment(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	parts := product.New(t.Context(), settings, telemetry.NewLogger(t.Output(), settings.Stack))
	handler, err := parts.Webhook()
	if err != nil {
		t.Fatal(err)
	}
	started := counter.take()
	t.Logf("a start: %s", list(started))

	sim := simulator.New(simulator.Config{DevID: devID, APIKey: apiKey, Habits: simulator.Habits{
		Generation: simulator.KeepBoth, AccountInAnswers: true,
	}})
	s.terra.Store(sim)
	connect := func(account, reference string) simulator.User {
		return simulator.User{UserID: sim.Connect("GARMIN", account, reference), Provider: "GARMIN", ReferenceID: reference, CreatedAt: time.Now()}
	}
	anna, ben, carol := connect("watch", "anna"), connect("watch", "ben"), connect("another watch", "carol")
	dave := connect("watch", "dave")

	const (
		insert  = "PutItem connections"
		update  = "UpdateItem connections"
		claim   = "UpdateItem accounts" // and a mark
		peek    = "GetItem connections"
		publish = "Publish"
		ask     = "GET /athlete"
	)
	for _, step := range []struct {
		name string
		body []byte
		want []string
	}{
		{"a new connection, by auth", simulator.Newer.Auth(anna), []string{ask, insert, claim, update, update}},
		{"the same auth again", simulator.Newer.Auth(anna), []string{insert}},
		{"its first data event", simulator.Newer.Body("activity", anna), []string{peek}},
		{"a data event on a warm cache", simulator.Newer.Body("sleep", anna), nil},
		{"a data event on a warm cache, in the legacy dialect", simulator.Legacy.Body("daily", anna), nil},
		{"a change, by auth", simulator.Newer.Auth(ben), []string{ask, publish, insert, claim, claim, update, update}},
		{"the same change again", simulator.Newer.Auth(ben), []string{insert}},
		{"the former owner's auth again", simulator.Legacy.Auth(anna), []string{insert}},
		{"a new connection, by athlete", simulator.Newer.Athlete(carol, "another watch"), []string{insert, claim, update}},
		{"its auth", simulator.Newer.Auth(carol), []string{insert}},
		{"the same athlete again", simulator.Newer.Athlete(carol, "another watch"), []string{insert}},
		{"a change, by athlete", simulator.Newer.Athlete(dave, "watch"), []string{publish, insert, claim, claim, update}},
		{"an event without a user", simulator.Newer.Example("healthcheck"), nil},
		{"a failed auth", simulator.Newer.AuthError("erin", "access_denied"), nil},
		{"a deauth of the owner", simulator.Newer.Deauth(carol), []string{insert, update, claim, update}},
		{"the same deauth again", simulator.Newer.Deauth(carol), []string{insert}},
	} {
		asked := sim.Calls()
		status := post(t, local.NewGateway(handler), step.body)
		calls := counter.take()
		for call, n := range sim.Calls() {
			for range n - asked[call] {
				calls = append(calls, call)
			}
		}
		slices.Sort(calls)
		want := slices.Sorted(slices.Values(step.want))
		if status != http.StatusOK || !slices.Equal(calls, want) {
			t.Errorf("%s: answered %d after %s, want %s", step.name, status, list(calls), list(want))
		}
		t.Logf("%-55s %s", step.name+":", list(calls))
	}
	for _, m := range s.topic.receive() {
		validate(t, "schema/account-transferred.v1.json", m.body)
	}
}

// post sends a signed webhook through the gateway and returns the status of the answer.
func post(t *testing.T, gateway http.Handler, body []byte) int {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhook", bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Terra-Signature", terra.Sign(local.Secret, time.Now(), body))
	answer := httptest.NewRecorder()
	gateway.ServeHTTP(answer, request)
	return answer.Code
}

// list writes calls with their numbers.
func list(calls []string) string {
	if len(calls) == 0 {
		return "no call"
	}
	var parts []string
	for i := 0; i < len(calls); {
		n := 1
		for i+n < len(calls) && calls[i+n] == calls[i] {
			n++
		}
		parts = append(parts, fmt.Sprintf("%d × %s", n, calls[i]))
		i += n
	}
	return strings.Join(parts, ", ")
}
