package webhook_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/telemetry/telemetrytest"
	"github.com/handover-dev/handover/internal/terra"
)

// Each metric has its situation, and no other metric is sent in it.
func TestMetrics(t *testing.T) {
	watch := map[string]ownership.Profile{"u2": {ProviderUserID: "watch", CreatedAt: noon()}}
	anna := athlete(user("u1", "anna", "03:45:00"), "watch")
	for name, test := range map[string]struct {
		given    []string
		prepare  func(b *bench)
		profiles map[string]ownership.Profile
		body     string
		header   map[string]string // nil: a signature of now
		want     string
	}{
		"a data event":      {given: []string{anna}, body: data(user("u1", "anna", "")), want: "Accepted Count 1"},
		"a new connection":  {profiles: watch, body: auth(user("u2", "ben", "05:00:00")), want: "Accepted Count 1"},
		"an unknown type":   {body: `{"type":"new_kind"}`, want: "Accepted Count 1"},
		"Terra's check":     {body: `{"type":"healthcheck","status":"success","message":"Terra is checking this destination"}`, want: "Accepted Count 1"},
		"the own heartbeat": {body: telemetry.HeartbeatBody, want: "Heartbeats Count 1"},
		"a heartbeat that somebody else made": {
			body: telemetry.HeartbeatBody, header: map[string]string{"x-terra-signature": terra.Sign("foreign", noon(), []byte(telemetry.HeartbeatBody))},
			want: "SignatureFailures Count 1",
		},
		"a heartbeat of an hour ahead": {
			body: telemetry.HeartbeatBody, header: map[string]string{"x-terra-signature": terra.Sign(secret, noon().Add(time.Hour), []byte(telemetry.HeartbeatBody))},
			want: "ClockRefusals Count 1",
		},
		"a transfer": {given: []string{anna}, profiles: watch, body: auth(user("u2", "ben", "05:00:00")), want: "Accepted Count 1, Transfers Count 1"},
		"a transfer in an order that is a guess": {
			given: []string{anna}, profiles: map[string]ownership.Profile{"u2": {ProviderUserID: "watch"}}, body: auth(user("u2", "ben", "")),
			want: "Accepted Count 1, Guesses Count 1, Transfers Count 1",
		},
		"a revocation": {
			given: []string{anna, athlete(user("u2", "ben", "05:00:00"), "watch")}, body: deauth(user("u1", "anna", "")),
			want: "Accepted Count 1, Revocations Count 1",
		},
		"a connection without a reference_id": {profiles: watch, body: auth(user("u2", "", "05:00:00")), want: "Accepted Count 1, WithoutReference Count 1"},
		"a crowded account":                   {given: crowd(), body: athlete(user("u2", "anna", "05:00:00"), "watch"), want: "Accepted Count 1, Crowded Count 1"},
		"Terra's API fails": {
			prepare: func(b *bench) { b.terra.err = errors.New("HTTP status 503") }, body: auth(user("u2", "ben", "05:00:00")), want: "Accepted Count 1, TerraFailures Count 1",
		},
		"Terra's API limits calls": {
			prepare: func(b *bench) { b.terra.err = &ownership.Limited{} }, body: auth(user("u2", "ben", "05:00:00")), want: "Accepted Count 1, TerraLimited Count 1",
		},
		"Terra does not know the connection": {body: auth(user("u2", "ben", "05:00:00")), want: "Accepted Count 1"},
		"the topic fails": {
			given: []string{anna}, profiles: watch, prepare: func(b *bench) { b.topic.err = errors.New("throttled") },
			body: auth(user("u2", "ben", "05:00:00")), want: "Accepted Count 1, AnnouncementFailures Count 1",
		},
		"the ledger fails": {
			prepare: func(b *bench) { b.ledger.Fault = func(string) (error, error) { return errors.New("away"), nil } },
			body:    auth(user("u2", "ben", "05:00:00")), want: "Answered500 Count 1",
		},
		"no signature":          {header: map[string]string{}, body: anna, want: "SignatureFailures Count 1"},
		"a malformed signature": {header: map[string]string{"x-terra-signature": "v1"}, body: anna, want: "SignatureFailures Count 1"},
		"a wrong signature":     {header: map[string]string{"x-terra-signature": terra.Sign("foreign", noon(), []byte(anna))}, body: anna, want: "SignatureFailures Count 1"},
		"a signature of last year": {
			header: map[string]string{"x-terra-signature": terra.Sign(secret, noon().AddDate(-1, 0, 0), []byte(anna))}, body: anna, want: "ClockRefusals Count 1",
		},
		"a body that is too large": {body: strings.Repeat(" ", 6_000_000), want: "BodiesTooLarge Count 1"},
		"a body that is not JSON":  {body: "hello", want: ""},
		"no user_id":               {body: auth(`{}`), want: ""},
		"Terra's secret is empty": {
			prepare: func(b *bench) {
				b.secret = func() (string, error) { return `{"signing_secrets":[]}`, nil }
				b.now = b.now.Add(time.Hour)
			},
			body: anna, want: "Answered500 Count 1, TerraSecretUnusable Count 1",
		},
		"the account key cannot be read": {
			prepare: func(b *bench) { b.keyErr = errors.New("no permission") }, body: anna, want: "AccountKeyUnusable Count 1, Answered500 Count 1",
		},
		"the account key is another": {
			prepare: func(b *bench) { b.keyErr = fmt.Errorf("comparing: %w", ownership.ErrWrongAccountKey) },
			body:    anna, want: "AccountKeyMismatch Count 1, Answered500 Count 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for _, body := range test.given {
				b.deliver(body)
			}
			maps.Copy(b.terra.profiles, test.profiles)
			if test.prepare != nil {
				test.prepare(b)
			}
			b.log.Reset()
			event := b.signed(test.body)
			if test.header != nil {
				event = gatewayEvent(test.header, test.body)
			}
			b.send(event)
			check(t, "metrics", telemetrytest.Words(telemetrytest.Metrics(t, b.log.String(), "handover")), test.want)
		})
	}
}

// crowd are as many connections of one account as make it crowded, all open, and all of one end user.
func crowd() (bodies []string) {
	for i := range ownership.Crowded {
		bodies = append(bodies, athlete(user(fmt.Sprint("u1-", i), "anna", "03:45:00"), "watch"))
	}
	return bodies
}
