package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/sweep"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/telemetry/telemetrytest"
	"github.com/handover-dev/handover/internal/terra"
)

// quiet are the metrics of a run that found nothing to do: an alarm on any of them needs a zero too.
func quiet() map[string]float64 {
	return map[string]float64{
		"Sweeps Count": 1, "Unsettled Count": 0, "UnsettledAge Seconds": 0, "Settled Count": 0, "PutOff Count": 0, "SweepFailures Count": 0, "HeartbeatFailures Count": 0,
	}
}

// measure are the metrics of one run.
func (b *bench) measure() map[string]float64 {
	b.t.Helper()
	b.log.Reset()
	ctx, cancel := context.WithTimeout(b.t.Context(), 55*time.Second)
	defer cancel()
	_, _ = b.Run(ctx) // the metrics say what failed
	return telemetrytest.Metrics(b.t, b.log.String(), "handover")
}

// metrics are those of one run in words, without the ones that are as in a quiet run.
func (b *bench) metrics() string {
	b.t.Helper()
	got := b.measure()
	for name, usual := range quiet() {
		value, there := got[name]
		if !there {
			b.t.Errorf("%s is missing: %s", name, b.log)
		}
		if value == usual {
			delete(got, name)
		}
	}
	return telemetrytest.Words(got)
}

// Each metric has its situation, and no other metric is sent in it.
func TestMetrics(t *testing.T) {
	settle := func(b *bench) { time.Sleep(time.Minute); b.run(time.Hour) }
	for name, test := range map[string]struct {
		prepare func(b *bench)
		want    string
	}{
		"nothing to do":     {func(*bench) {}, ""},
		"a new connection":  {func(b *bench) { b.record("u1", "anna"); time.Sleep(time.Minute) }, "Settled Count 1"},
		"one that is fresh": {func(b *bench) { b.record("u1", "anna") }, "Unsettled Count 1, UnsettledAge Seconds 1"},
		"a transfer, a guess and a revocation": {func(b *bench) {
			b.recordWhole("u1", "anna", "GARMIN/k.1")
			b.recordWhole("u2", "ben", "GARMIN/k.1")
			b.store(ownership.Facts{UserID: "u1", ClosedAt: time.Now()})
			b.store(ownership.Facts{UserID: "u3", Provider: "FITBIT", Reference: "cleo", Accounts: []string{"FITBIT/k.2"}})
			b.store(ownership.Facts{UserID: "u4", Provider: "FITBIT", Reference: "dan", Accounts: []string{"FITBIT/k.2"}, ConnectedAt: time.Now(), Certainty: ownership.Observed})
			time.Sleep(time.Minute)
		}, "Guesses Count 1, Revocations Count 1, Settled Count 4, Transfers Count 2"},
		"without a reference_id": {func(b *bench) { b.record("u1", ""); time.Sleep(time.Minute) }, "Settled Count 1, WithoutReference Count 1"},
		"a crowded account": {func(b *bench) {
			for i := range ownership.Crowded {
				b.recordWhole(fmt.Sprint("u", i), "anna", "GARMIN/k.1")
			}
			settle(b)
			b.recordWhole("last", "anna", "GARMIN/k.1")
			time.Sleep(time.Minute)
		}, "Crowded Count 1, Settled Count 1"},
		"Terra's API fails": {func(b *bench) {
			b.record("u1", "anna")
			b.terra.err = errors.New("HTTP status 503")
			time.Sleep(time.Minute)
		}, "PutOff Count 1, TerraFailures Count 1, Unsettled Count 1, UnsettledAge Seconds 61"},
		"Terra's API fails for two": {func(b *bench) {
			b.record("u1", "anna")
			b.record("u2", "ben")
			b.terra.err = errors.New("HTTP status 503")
			time.Sleep(time.Minute)
		}, "PutOff Count 2, TerraFailures Count 2, Unsettled Count 2, UnsettledAge Seconds 62"},
		"Terra's API limits calls": {func(b *bench) { // the second is not even asked
			b.record("u1", "anna")
			b.terra.err = &ownership.Limited{RetryAfter: time.Minute}
			time.Sleep(time.Minute)
		}, "PutOff Count 1, TerraLimited Count 1, Unsettled Count 1, UnsettledAge Seconds 61"},
		"Terra's secret cannot be used": {func(b *bench) {
			b.record("u1", "anna")
			b.terra.err = fmt.Errorf("GET /athlete: %w", terra.ErrCredentials)
			time.Sleep(time.Minute)
		}, "PutOff Count 1, TerraSecretUnusable Count 1, Unsettled Count 1, UnsettledAge Seconds 61"},
		"the topic fails": {func(b *bench) {
			b.recordWhole("u1", "anna", "GARMIN/k.1")
			b.recordWhole("u2", "ben", "GARMIN/k.1")
			b.keeper.Ledger = late{b.ledger}
			b.topic.err = errors.New("throttled")
			time.Sleep(time.Minute)
		}, "AnnouncementFailures Count 1, Settled Count 1, SweepFailures Count 1, Unsettled Count 1, UnsettledAge Seconds 61"},
		"the ledger fails": {func(b *bench) {
			b.recordWhole("u1", "anna", "GARMIN/k.1")
			b.ledger.Fault = func(op string) (error, error) {
				if op == "Claim" {
					return errors.New("away"), nil
				}
				return nil, nil
			}
			time.Sleep(time.Minute)
		}, "SweepFailures Count 1, Unsettled Count 1, UnsettledAge Seconds 61"},
		"the queue cannot be read": {func(b *bench) {
			b.ledger.Fault = func(op string) (error, error) {
				if op == "ToDo" {
					return errors.New("away"), nil
				}
				return nil, nil
			}
		}, "SweepFailures Count 1"},
		"the account key cannot be read": {func(b *bench) {
			b.record("u1", "anna")
			b.Keeper = func(context.Context) (*ownership.Keeper, error) { return nil, errors.New("no permission") }
		}, "AccountKeyUnusable Count 1, SweepFailures Count 1, Unsettled Count 1, UnsettledAge Seconds 1"},
		"the account key is another": {func(b *bench) {
			b.Keeper = func(context.Context) (*ownership.Keeper, error) { return nil, ownership.ErrWrongAccountKey }
		}, "AccountKeyMismatch Count 1, SweepFailures Count 1"},
		"a walk": {func(b *bench) {
			b.terra.nameless = true
			b.record("u1", "anna")
			b.recordWhole("u2", "ben", "GARMIN/k.1")
			b.recordWhole("u3", "cleo", "GARMIN/k.2")
			b.recordWhole("u4", "dan", "GARMIN/k.3")
			b.store(ownership.Facts{UserID: "u4", ClosedAt: time.Now()})
			settle(b)
			b.walk(&list{users: []string{"u1 anna", "u2 ben", "u3 cleo"}})
		}, "PutOff Count 1, Unidentifiable Count 1, UnidentifiableShare Percent 33.333"},
		"a walk over nothing":                  {func(b *bench) { b.walk(&list{}) }, ""},
		"a walk, while Terra's API fails":      {func(b *bench) { b.walk(&list{err: errors.New("HTTP status 503")}) }, "SweepFailures Count 1, TerraFailures Count 1"},
		"a walk, while Terra's API is limited": {func(b *bench) { b.walk(&list{err: &ownership.Limited{}}) }, "TerraLimited Count 1"},
		"a walk, while the ledger fails": {func(b *bench) {
			b.walk(&list{users: many(200)})
			b.ledger.Fault = func(op string) (error, error) {
				if op == "Stamp" {
					return errors.New("away"), nil
				}
				return nil, nil
			}
		}, "SweepFailures Count 1"},
		"a round": {func(b *bench) {
			b.recordWhole("u1", "anna", "GARMIN/k.1")
			b.recordWhole("u2", "ben", "GARMIN/k.1")
			settle(b)
			time.Sleep(25 * time.Hour)
			b.RoundEvery = time.Hour
		}, "NotRevoked Count 1, Transfers Count 1"}, // it is announced once more
		"a round without a find": {func(b *bench) { b.RoundEvery = 0 }, "NotRevoked Count 0"},
	} {
		bubble(name, t, func(t *testing.T, b *bench) {
			b.EveryRun = true
			test.prepare(b)
			if got := b.metrics(); got != test.want {
				t.Errorf("metrics:\n got %s\nwant %s", got, test.want)
			}
			for _, personal := range []string{"anna", "ben", "cleo", "dan", "u1", "u2"} {
				if strings.Contains(b.log.String(), personal) {
					t.Errorf("%s is in the log: %s", personal, b.log)
				}
			}
		})
	}
}

// While Terra's API is down everything is put off again and again, and the age of the oldest grows. What only waits for the name of an account has no age, but
// is unsettled again as soon as something else is to do about it.
func TestUnsettledAge(t *testing.T) {
	bubble("Terra's API is down for hours", t, func(t *testing.T, b *bench) {
		b.EveryRun = true
		began := time.Now()
		b.record("u1", "anna")
		b.terra.err = errors.New("HTTP status 503")
		wantAge := func(what string, want time.Duration) {
			t.Helper()
			if got := b.measure(); got["UnsettledAge Seconds"] != want.Seconds() {
				t.Fatalf("%s: %s, want an age of %s", what, telemetrytest.Words(got), want)
			}
		}
		for range 6 * 60 {
			time.Sleep(time.Minute)
			wantAge("while it is down", time.Since(began))
		}
		b.store(ownership.Facts{UserID: "u1", Provider: "GARMIN", Replaces: []string{"u0"}})
		wantAge("after more has come to do", time.Since(began))

		b.terra.err, b.terra.nameless = nil, true
		time.Sleep(2 * time.Hour)
		wantAge("when Terra names no account", 0)
		check(t, "unsettled", b.measure()["Unsettled Count"], 0.)
		for range 100 {
			time.Sleep(time.Hour)
			wantAge("days later", 0)
		}
		check(t, "to do", b.toDo(), []string{"u1"})

		b.terra.err = errors.New("HTTP status 503")
		time.Sleep(48 * time.Hour)
		wantAge("when even that cannot be asked", 0)
		time.Sleep(time.Minute)
		wantAge("a minute later", time.Minute)
		b.terra.err, b.terra.nameless = nil, false
		time.Sleep(2 * time.Hour)
		wantAge("when it is named", 0)
		check(t, "to do", b.toDo(), []string{})
	})
}

// wayIn is a public URL that answers with a status, and keeps the last webhook that it got. A webhook handler could not say more, for what it accepts has a test.
type wayIn struct {
	*httptest.Server
	status  int
	got     int
	last    []byte
	headers http.Header
}

func newWayIn(t *testing.T) *wayIn {
	w := &wayIn{status: 200}
	w.Server = httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			t.Errorf("%s: %v", r.Method, err)
		}
		w.got, w.last, w.headers = w.got+1, body, r.Header
		answer.Header().Set("Location", "/elsewhere")
		answer.WriteHeader(w.status)
	}))
	t.Cleanup(w.Close)
	return w
}

// The heartbeat is sent every five minutes, signed, and what becomes of it never fails a run.
func TestHeartbeat(t *testing.T) {
	const signingSecret = "a live secret"
	way := newWayIn(t)
	b := newBench(t)
	now := time.Now()
	b.Now, b.EveryRun = func() time.Time { return now }, true
	var secretErr error
	b.Heartbeat = sweep.NewHeartbeat(way.URL+"/webhook", func(context.Context) (string, error) { return signingSecret, secretErr })
	run := func(what string, got int, want string) {
		t.Helper()
		if metrics := b.metrics(); metrics != want {
			t.Errorf("%s: metrics %s, want %s", what, metrics, want)
		}
		check(t, what+": webhooks sent", way.got, got)
	}

	run("the first run", 1, "")
	check(t, "body", string(way.last), telemetry.HeartbeatBody)
	if _, err := terra.Verify(way.headers.Get("X-Terra-Signature"), way.last, []string{signingSecret}, now, terra.Window{Past: time.Minute, Future: time.Minute}); err != nil {
		t.Error(err)
	}
	for range 4 {
		now = now.Add(time.Minute - time.Second)
		run("a minute later", 1, "")
	}
	now = now.Add(time.Minute - time.Second)
	run("five minutes later", 2, "")

	sent := way.got
	for _, status := range []int{204, 308, 401, 403, 404, 429, 500, 503} {
		now, way.status = now.Add(5*time.Minute), status
		sent++
		run(fmt.Sprint("answered ", status), sent, "HeartbeatFailures Count 1")
		if want := fmt.Sprint("HTTP status ", status); !strings.Contains(b.log.String(), want) {
			t.Errorf("%q is not in %s", want, b.log)
		}
	}
	way.status = 200
	now = now.Add(time.Minute)
	run("the next minute", sent+1, "")

	now, secretErr = now.Add(5*time.Minute), errors.New("the secret is empty")
	run("without a secret", sent+1, "HeartbeatFailures Count 1, TerraSecretUnusable Count 1")
	if !strings.Contains(b.log.String(), "Terra's secret cannot be used: the secret is empty") {
		t.Error(b.log)
	}
	secretErr = nil
	way.Close()
	run("nobody listens", sent+1, "HeartbeatFailures Count 1")
	if report, err := b.Run(t.Context()); err != nil {
		t.Errorf("the run fails too: %+v, %v", report, err)
	}
}

// A run that found nothing is silent where nobody wants its metrics.
func TestQuietRun(t *testing.T) {
	bubble("nothing to do", t, func(t *testing.T, b *bench) {
		b.run(time.Hour)
		check(t, "log", b.log.String(), "")
		check(t, "the backlog is not read", b.ledger.Calls("Backlog"), 0)
	})
}
