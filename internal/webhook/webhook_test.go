package webhook_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/telemetry/telemetrytest"
	"github.com/handover-dev/handover/internal/terra"
	"github.com/handover-dev/handover/internal/webhook"
)

const secret = "test-signing-secret"

// noon is when the tests begin.
func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// bench is a handler with everything around it within reach.
type bench struct {
	*webhook.Handler
	t         testing.TB
	ledger    *ledgertest.Memory
	terra     *directory
	topic     *topic
	secrets   *settings.TerraSecret
	secret    func() (string, error) // the text of Terra's secret
	secretGot int                    // how often it was read
	keys      ownership.AccountKeys
	keyErr    error // why there is no Keeper
	log       bytes.Buffer
	now       time.Time
}

func newBench(t testing.TB) *bench {
	keys, err := ownership.NewAccountKeys(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	seen, err := webhook.NewSeen(100, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		t: t, keys: keys, ledger: ledgertest.NewMemory(), terra: &directory{profiles: map[string]ownership.Profile{}}, topic: &topic{},
		secret: func() (string, error) { return `{"signing_secrets":["` + secret + `"]}`, nil }, now: noon(),
	}
	clock := func() time.Time { return b.now }
	keeper := &ownership.Keeper{
		Ledger: b.ledger, Announcer: b.topic, Directory: b.terra, Keys: keys, Now: clock,
		Backoff: ownership.Backoff{Base: time.Second, Max: time.Minute, Unnamed: time.Hour}, Grace: 15 * time.Second,
	}
	b.secrets = &settings.TerraSecret{Now: clock, Read: func(context.Context) (string, error) {
		b.secretGot++
		return b.secret()
	}}
	b.Handler = &webhook.Handler{
		Secrets: b.secrets, Window: terra.Window{Past: 26 * time.Hour, Future: 5 * time.Minute}, Peeker: b.ledger, Seen: seen,
		Keeper: func(context.Context) (*ownership.Keeper, error) {
			if b.keyErr != nil {
				return nil, b.keyErr
			}
			return keeper, nil
		},
		Log: telemetry.NewLogger(&b.log, "handover"), Now: clock,
	}
	return b
}

// answer is the function's answer to API Gateway.
type answer struct {
	Status  int               `json:"statusCode"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// send passes an event to the handler.
func (b *bench) send(event []byte) answer {
	b.t.Helper()
	raw, err := b.Invoke(b.t.Context(), bytes.Clone(event)) // which changes it
	if err != nil {
		b.t.Fatalf("Invoke returned an error: %v", err)
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		b.t.Fatalf("the answer %s: %v", raw, err)
	}
	return a
}

// deliver sends a webhook that is signed now, and checks that it is accepted.
func (b *bench) deliver(body string) {
	b.t.Helper()
	if a := b.send(b.signed(body)); a.Status != 200 {
		b.t.Fatalf("%s: answered %d %s", body, a.Status, a.Body)
	}
}

func (b *bench) signed(body string) []byte {
	return gatewayEvent(map[string]string{"x-terra-signature": terra.Sign(secret, b.now, []byte(body))}, body)
}

// gatewayEvent is the event that API Gateway makes of a request with a JSON body.
func gatewayEvent(headers map[string]string, body string) []byte {
	return encode(map[string]any{
		"version": "2.0", "routeKey": "POST /webhook", "rawPath": "/webhook", "rawQueryString": "", "headers": headers,
		"requestContext": map[string]any{"stage": "$default", "http": map[string]any{"method": "POST", "path": "/webhook"}},
		"body":           body, "isBase64Encoded": false,
	})
}

// encodedEvent is gatewayEvent for a body that is not text.
func encodedEvent(headers map[string]string, body string) []byte {
	return encode(map[string]any{"version": "2.0", "headers": headers, "body": base64.StdEncoding.EncodeToString([]byte(body)), "isBase64Encoded": true})
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // a value of this test that is not JSON
	}
	return raw
}

// lines are the log lines since the last call, each as its attributes without time and without metrics.
func (b *bench) lines() (lines []map[string]any) {
	b.t.Helper()
	for line := range strings.Lines(b.log.String()) {
		var attrs map[string]any
		if err := json.Unmarshal([]byte(line), &attrs); err != nil {
			b.t.Fatalf("log line %s: %v", line, err)
		}
		for metric := range telemetrytest.Metrics(b.t, line, "handover") {
			name, _, _ := strings.Cut(metric, " ")
			delete(attrs, name)
		}
		for _, name := range []string{"time", "_aws", "Stack"} {
			delete(attrs, name)
		}
		lines = append(lines, attrs)
	}
	b.log.Reset()
	return lines
}

// line is the one log line since the last call.
func (b *bench) line() map[string]any {
	b.t.Helper()
	lines := b.lines()
	if len(lines) != 1 || lines[0]["msg"] != "webhook" {
		b.t.Fatalf("logged %v, want one line", lines)
	}
	return lines[0]
}

// calls are the calls of the ledger, Insert and so on, since before.
func (b *bench) calls(before map[string]int) string {
	var calls []string
	for op, n := range b.allCalls() {
		if n > before[op] {
			calls = append(calls, fmt.Sprintf("%s %d", op, n-before[op]))
		}
	}
	slices.Sort(calls)
	return strings.Join(calls, ", ")
}

func (b *bench) allCalls() map[string]int {
	calls := map[string]int{}
	for _, op := range []string{"Insert", "Update", "Finish", "Postpone", "Connection", "Peek", "Claim", "Mark", "Drop"} {
		calls[op] = b.ledger.Calls(op)
	}
	return calls
}

// rows are the connections in the ledger in words, in the order of user_ids:
//
//	u1 GARMIN anna signed@03:45:00 holds watch
func (b *bench) rows() (rows []string) {
	b.t.Helper()
	for r, err := range b.ledger.Connections(b.t.Context()) {
		if err != nil {
			b.t.Fatal(err)
		}
		text := r.UserID + " " + cmp.Or(r.Provider, "-") + " " + cmp.Or(strings.Join(r.Tenures, ">"), "-")
		if r.Certainty != ownership.Unknown {
			text += fmt.Sprintf(" %s@%s", r.Certainty, r.ConnectedAt.Format(time.TimeOnly))
		}
		add := func(word string, list ...string) {
			if len(list) > 0 {
				text += " " + word + " " + strings.Join(list, " ")
			}
		}
		for _, account := range r.Accounts {
			for _, id := range []string{"watch", "other-watch", "device-1", "device-2", "4211907"} {
				account = strings.ReplaceAll(account, b.keys.Account(r.Provider, id), id)
			}
			add("holds", account)
		}
		add("replaces", r.Replaces...)
		for _, s := range r.ReplacedBy {
			add("replaced by", s.UserID, s.Reference)
		}
		if r.Closed() {
			add("closed", r.ClosedAt.Format(time.TimeOnly))
		}
		add("suspects", r.Suspects...)
		if r.ToDo {
			text += " (to do)"
		}
		rows = append(rows, text)
	}
	return rows
}

// directory is a Terra API.
type directory struct {
	mu       sync.Mutex
	profiles map[string]ownership.Profile // who is not here is gone
	err      error
	hang     bool // until the caller's time is over
	asked    []string
}

func (d *directory) ask(ctx context.Context, call, userID string) (ownership.Profile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, call+" "+userID)
	if d.hang {
		<-ctx.Done()
		return ownership.Profile{}, ctx.Err()
	}
	p, ok := d.profiles[userID]
	switch {
	case d.err != nil:
		return ownership.Profile{}, d.err
	case !ok:
		return ownership.Profile{}, ownership.ErrGone
	case call == "userInfo":
		p.ProviderUserID = ""
	}
	return p, nil
}

func (d *directory) Athlete(ctx context.Context, userID string) (ownership.Profile, error) {
	return d.ask(ctx, "athlete", userID)
}

func (d *directory) UserInfo(ctx context.Context, userID string) (ownership.Profile, error) {
	return d.ask(ctx, "userInfo", userID)
}

// topic remembers announcements in words:
//
//	transferred connected_by_other signed u1/anna → u2/ben
type topic struct {
	mu   sync.Mutex
	err  error
	hang bool
	said []string
}

func (p *topic) Publish(ctx context.Context, a ownership.Announcement) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if p.err != nil {
		return p.err
	}
	holder := func(h ownership.Holder) string {
		if h.Tenure != 1 {
			return fmt.Sprintf("%s/%s#%d", h.UserID, h.ReferenceID, h.Tenure)
		}
		return h.UserID + "/" + h.ReferenceID
	}
	if a.Type == ownership.Revoked {
		p.said = append(p.said, "revoked "+holder(a.Connection))
		return nil
	}
	text := fmt.Sprintf("transferred %s %s %s → %s", a.Reason, a.Order, holder(a.Previous), holder(a.Current))
	if a.Account == "" {
		text += " (no account)"
	}
	p.said = append(p.said, text)
	return nil
}

func check[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func checkList(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// user is the user of an event. Without an at there is no created_at.
func user(id, reference, at string) string {
	u := map[string]any{"user_id": id, "provider": "GARMIN", "reference_id": reference}
	if reference == "" {
		delete(u, "reference_id")
	}
	if at != "" {
		u["created_at"] = "2026-11-22T" + at + ".000000+00:00"
	}
	return string(encode(u))
}

func auth(user string) string { return `{"type":"auth","status":"success","user":` + user + `}` }

func athlete(user, id string) string {
	return `{"type":"athlete","user":` + user + `,"athlete":{"first_name":"Tony","provider_user_id":` + string(encode(id)) + `}}`
}

func reauth(current, old string) string {
	return `{"type":"user_reauth","status":"warning","new_user":` + current + `,"old_user":` + old + `}`
}

func deauth(user string) string { return `{"type":"deauth","status":"success","user":` + user + `}` }

func data(user string) string { return `{"type":"daily","user":` + user + `,"data":[{"steps":1}]}` }

// TestEvents is DESIGN's table "What each event does", row by row.
func TestEvents(t *testing.T) {
	apple := func(id, reference string) string {
		return strings.Replace(user(id, reference, ""), "GARMIN", "APPLE", 1)
	}
	watch := ownership.Profile{ProviderUserID: "watch"}
	for name, test := range map[string]struct {
		given    []string // delivered before, as the body is
		profiles map[string]ownership.Profile
		unwatch  bool          // WATCH_DATA_EVENTS is false
		age      time.Duration // of the signature
		body     string

		outcome string
		rows    []string
		said    []string // since before the body
		calls   string   // of the ledger, by the body
		asked   []string // of Terra, by the body
	}{
		"auth": {
			profiles: map[string]ownership.Profile{"u1": watch},
			body:     auth(user("u1", "anna", "03:45:00")),
			outcome:  "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u1"},
		},
		"auth again": {
			profiles: map[string]ownership.Profile{"u1": watch}, given: []string{auth(user("u1", "anna", "03:45:00"))},
			body:    auth(user("u1", "anna", "03:45:00")),
			outcome: "known", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Insert 1",
		},
		"auth of an account that somebody had": {
			profiles: map[string]ownership.Profile{"u1": watch, "u2": watch}, given: []string{auth(user("u1", "anna", "03:45:00"))},
			body:    auth(user("u2", "ben", "05:00:00")),
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch", "u2 GARMIN ben signed@05:00:00 holds watch"},
			said:  []string{"transferred connected_by_other signed u1/anna → u2/ben"},
			calls: "Claim 1, Finish 1, Insert 1, Mark 1, Update 1", asked: []string{"athlete u2"},
		},
		"auth that Terra's API dates": {
			profiles: map[string]ownership.Profile{"u1": {ProviderUserID: "watch", CreatedAt: noon().Add(-time.Hour)}},
			body:     auth(user("u1", "anna", "")),
			outcome:  "recorded", rows: []string{"u1 GARMIN anna terra@11:00:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u1"},
		},
		"auth without created_at, signed before": {
			profiles: map[string]ownership.Profile{"u1": watch}, age: time.Hour,
			body:    auth(user("u1", "anna", "")),
			outcome: "recorded", rows: []string{"u1 GARMIN anna observed@11:00:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u1", "userInfo u1"},
		},
		"auth without created_at, signed ahead of the clock": {
			profiles: map[string]ownership.Profile{"u1": watch}, age: -4 * time.Minute,
			body:    auth(user("u1", "anna", "")),
			outcome: "recorded", rows: []string{"u1 GARMIN anna observed@12:00:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u1", "userInfo u1"},
		},
		"auth without created_at again, signed anew": {
			profiles: map[string]ownership.Profile{"u1": watch}, given: []string{auth(user("u1", "anna", ""))}, age: time.Hour,
			body:    auth(user("u1", "anna", "")),
			outcome: "known", rows: []string{"u1 GARMIN anna observed@12:00:00 holds watch"},
			calls: "Insert 1",
		},
		"auth whose account Terra does not name": {
			profiles: map[string]ownership.Profile{"u1": {}},
			body:     auth(user("u1", "anna", "03:45:00")),
			outcome:  "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 (to do)"},
			calls: "Insert 1, Postpone 1", asked: []string{"athlete u1"},
		},
		"auth with the legacy reference_id": {
			profiles: map[string]ownership.Profile{"u1": watch},
			body:     `{"type":"auth","status":"success","user":` + user("u1", "", "03:45:00") + `,"reference_id":"anna"}`,
			outcome:  "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u1"},
		},
		"auth with both reference_ids": {
			profiles: map[string]ownership.Profile{"u1": watch},
			body:     `{"type":"auth","status":"success","user":` + user("u1", "anna", "03:45:00") + `,"reference_id":"legacy"}`,
			outcome:  "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u1"},
		},
		"auth without any reference_id": {
			profiles: map[string]ownership.Profile{"u1": watch},
			body:     `{"type":"auth","status":"success","user":{"user_id":"u1","provider":"GARMIN","reference_id":"","created_at":"2026-11-22T03:45:00Z"},"reference_id":null}`,
			outcome:  "recorded", rows: []string{"u1 GARMIN - signed@03:45:00 holds watch"},
			calls: "Finish 1, Insert 1, Update 1", asked: []string{"athlete u1"},
		},
		"auth that failed": {
			body:    `{"type":"auth","status":"error","reason":"denied","user":` + user("u1", "anna", "") + `}`,
			outcome: "nothing_to_store",
		},
		"auth that failed, legacy": {
			body:    `{"type":"auth","status":"error","reason":"denied","reference_id":"anna"}`,
			outcome: "nothing_to_store",
		},
		"auth_cancelled": {
			body:    `{"type":"auth_cancelled","status":"error","reason":"denied","reference_id":"anna"}`,
			outcome: "nothing_to_store",
		},

		"athlete": {
			body:    athlete(user("u1", "anna", "03:45:00"), "watch"),
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1",
		},
		"athlete with a number for an id": {
			body:    `{"type":"athlete","user":` + user("u1", "anna", "03:45:00") + `,"athlete":{"provider_user_id":4211907}}`,
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds 4211907"},
			calls: "Claim 1, Finish 1, Insert 1",
		},
		"athlete without created_at: no guess": {
			body:    athlete(user("u1", "anna", ""), "watch"),
			outcome: "recorded", rows: []string{"u1 GARMIN anna holds watch"},
			calls: "Claim 1, Finish 1, Insert 1", asked: []string{"userInfo u1"},
		},
		"athlete without id": {
			profiles: map[string]ownership.Profile{"u1": watch},
			body:     `{"type":"athlete","user":` + user("u1", "anna", "03:45:00") + `,"athlete":{"provider_user_id":null}}`,
			outcome:  "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u1"},
		},
		"athlete with an empty id: no shared key": {
			given:   []string{athlete(user("u2", "ben", "03:00:00"), "")},
			body:    athlete(user("u1", "anna", "03:45:00"), ""),
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 (to do)", "u2 GARMIN ben signed@03:00:00 (to do)"},
			calls: "Insert 1, Postpone 1", asked: []string{"athlete u1"},
		},
		"athlete after its auth": {
			profiles: map[string]ownership.Profile{"u1": {}}, given: []string{auth(user("u1", "anna", "03:45:00"))},
			body:    athlete(user("u1", "anna", "03:45:00"), "watch"),
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1",
		},

		"user_reauth": {
			given:    []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			profiles: map[string]ownership.Profile{"u2": watch},
			body:     reauth(user("u2", "anna", "05:00:00"), user("u1", "anna", "03:45:00")),
			outcome:  "recorded",
			rows: []string{
				"u1 GARMIN anna signed@03:45:00 holds watch replaced by u2 anna closed 12:00:00",
				"u2 GARMIN anna signed@05:00:00 holds watch replaces u1",
			},
			calls: "Claim 2, Finish 2, Insert 3, Update 3", asked: []string{"athlete u2"},
		},
		"user_reauth from one reference to another": {
			profiles: map[string]ownership.Profile{"u1": {}, "u2": {}},
			body:     reauth(user("u2", "ben", ""), user("u1", "anna", "")), age: time.Minute,
			outcome: "recorded",
			rows:    []string{"u1 GARMIN anna replaced by u2 ben closed 11:59:00", "u2 GARMIN ben observed@11:59:00 replaces u1 (to do)"},
			said:    []string{"transferred reauth signed u1/anna → u2/ben (no account)"},
			calls:   "Finish 1, Insert 2, Postpone 1", asked: []string{"athlete u1", "userInfo u1", "athlete u2", "userInfo u2"},
		},
		"user_reauth without old_user": {
			profiles: map[string]ownership.Profile{"u2": watch},
			body:     reauth(user("u2", "ben", ""), "null"),
			outcome:  "recorded", rows: []string{"u2 GARMIN ben observed@12:00:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u2", "userInfo u2"},
		},
		"user_reauth with one user_id twice: an auth": {
			profiles: map[string]ownership.Profile{"u2": watch},
			body:     reauth(user("u2", "ben", ""), user("u2", "anna", "")),
			outcome:  "recorded", rows: []string{"u2 GARMIN ben observed@12:00:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u2", "userInfo u2"},
		},
		"user_reauth of phones: two devices": {
			given:    []string{athlete(apple("u1", "anna"), "device-1")},
			profiles: map[string]ownership.Profile{"u2": {ProviderUserID: "device-2"}},
			body:     reauth(apple("u2", "anna"), apple("u1", "anna")),
			outcome:  "recorded",
			rows:     []string{"u1 APPLE anna holds device-1 replaced by u2 anna closed 12:00:00", "u2 APPLE anna observed@12:00:00 holds device-2 replaces u1"},
			calls:    "Claim 2, Finish 2, Insert 2, Update 2", asked: []string{"userInfo u1", "athlete u2", "userInfo u2"},
		},
		"user_reauth again": {
			given: []string{athlete(user("u1", "anna", "03:45:00"), "watch"), reauth(user("u2", "anna", "05:00:00"), user("u1", "anna", "03:45:00"))},
			body:  reauth(user("u2", "anna", "05:00:00"), user("u1", "anna", "03:45:00")), outcome: "known",
			rows: []string{
				"u1 GARMIN anna signed@03:45:00 holds watch replaced by u2 anna closed 12:00:00",
				"u2 GARMIN anna signed@05:00:00 holds watch replaces u1",
			},
			calls: "Insert 2",
		},

		"deauth": {
			given:   []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			body:    deauth(user("u1", "anna", "")),
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch closed 12:00:00"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1",
		},
		"deauth again, later: the earliest end counts": {
			given: []string{athlete(user("u1", "anna", "03:45:00"), "watch"), deauth(user("u1", "anna", ""))},
			body:  deauth(user("u1", "anna", "")), age: -time.Minute,
			outcome: "known", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch closed 12:00:00"},
			calls: "Insert 1",
		},
		"deauth of who was superseded": {
			given:   []string{athlete(user("u1", "anna", "03:45:00"), "watch"), athlete(user("u2", "ben", "05:00:00"), "watch")},
			body:    deauth(user("u1", "anna", "")),
			outcome: "recorded",
			rows:    []string{"u1 GARMIN anna signed@03:45:00 holds watch closed 12:00:00", "u2 GARMIN ben signed@05:00:00 holds watch"},
			said:    []string{"revoked u1/anna"}, calls: "Claim 1, Finish 1, Insert 1, Mark 1, Update 1",
		},
		"deauth of a connection never seen, without reference and provider": {
			body: `{"type":"deauth","status":"success","user":{"user_id":"u1","provider":null,"last_webhook_update":null,"scopes":null}}`, age: time.Minute,
			outcome: "recorded", rows: []string{"u1 - - closed 11:59:00"},
			calls: "Finish 1, Insert 1",
		},
		"auth after its deauth": {
			given:   []string{`{"type":"deauth","user":{"user_id":"u1"}}`, athlete(user("u2", "ben", "05:00:00"), "watch")},
			body:    athlete(user("u1", "anna", "03:45:00"), "watch"),
			outcome: "recorded",
			rows:    []string{"u1 GARMIN anna signed@03:45:00 holds watch closed 12:00:00", "u2 GARMIN ben signed@05:00:00 holds watch"},
			said:    []string{"transferred connected_by_other signed u1/anna → u2/ben", "revoked u1/anna"},
			calls:   "Claim 1, Finish 1, Insert 1, Mark 2, Update 1",
		},
		"access_revoked": {
			given:   []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			body:    `{"type":"access_revoked","status":"warning","user":` + user("u1", "anna", "") + `}`,
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch closed 12:00:00"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1",
		},

		"data of a connection never seen": {
			profiles: map[string]ownership.Profile{"u1": watch},
			body:     data(user("u1", "anna", "")),
			outcome:  "recorded", rows: []string{"u1 GARMIN anna holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Peek 1, Update 1", asked: []string{"athlete u1", "userInfo u1"},
		},
		"data of a connection that is known": {
			given:   []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			body:    data(user("u1", "anna", "")),
			outcome: "known", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Peek 1",
		},
		"data of a connection that this instance knows": {
			given:   []string{athlete(user("u1", "anna", "03:45:00"), "watch"), data(user("u1", "anna", ""))},
			body:    data(user("u1", "anna", "03:45:00")),
			outcome: "known", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
		},
		"data without a reference_id": {
			given:   []string{athlete(user("u1", "anna", "03:45:00"), "watch"), data(user("u1", "anna", ""))},
			body:    data(user("u1", "", "")),
			outcome: "known", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
		},
		"data that dates a connection": {
			given:   []string{athlete(user("u1", "anna", ""), "watch"), data(user("u1", "anna", ""))},
			body:    data(user("u1", "anna", "03:45:00")),
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Peek 1, Update 1",
		},
		"data with another reference_id, which Terra confirms": {
			given:    []string{athlete(user("u1", "anna", "03:45:00"), "watch"), data(user("u1", "anna", ""))},
			profiles: map[string]ownership.Profile{"u1": {ReferenceID: "ben"}},
			body:     data(user("u1", "ben", "")),
			outcome:  "recorded", rows: []string{"u1 GARMIN anna>ben signed@03:45:00 holds watch"},
			said:  []string{"transferred reassigned signed u1/anna → u1/ben#2"},
			calls: "Claim 1, Finish 1, Insert 1, Mark 1, Peek 1, Update 2", asked: []string{"userInfo u1"},
		},
		"data with another reference_id, which Terra denies": {
			given:    []string{athlete(user("u1", "anna", "03:45:00"), "watch"), data(user("u1", "anna", ""))},
			profiles: map[string]ownership.Profile{"u1": {ReferenceID: "anna"}},
			body:     data(user("u1", "late", "")),
			outcome:  "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Peek 1, Update 2", asked: []string{"userInfo u1"},
		},
		"data with another reference_id, of a user that is gone": {
			given:   []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			body:    data(user("u1", "late", "")),
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Peek 1, Update 2", asked: []string{"userInfo u1"},
		},
		"auth with another reference_id is not believed either": {
			given:    []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			profiles: map[string]ownership.Profile{"u1": {ReferenceID: "anna"}},
			body:     auth(user("u1", "late", "03:45:00")),
			outcome:  "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 2", asked: []string{"userInfo u1"},
		},
		"data, not watched": {unwatch: true, body: data(user("u1", "anna", "")), outcome: "not_watched"},
		"auth, while data is not watched": {
			unwatch: true, profiles: map[string]ownership.Profile{"u1": watch},
			body:    auth(user("u1", "anna", "03:45:00")),
			outcome: "recorded", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Claim 1, Finish 1, Insert 1, Update 1", asked: []string{"athlete u1"},
		},
		"connection_error: still connected": {
			given:   []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			body:    `{"type":"connection_error","status":"warning","user":` + user("u1", "anna", "") + `}`,
			outcome: "known", rows: []string{"u1 GARMIN anna signed@03:45:00 holds watch"},
			calls: "Peek 1",
		},

		"no user":                      {body: `{"type":"s3_payload","url":"https://example.com/x"}`, outcome: "nothing_to_store"},
		"null user":                    {body: `{"type":"processing","user":null}`, outcome: "nothing_to_store"},
		"healthcheck":                  {body: `{"type":"healthcheck","status":"success"}`, outcome: "nothing_to_store"},
		"unknown type":                 {body: `{"type":"new_kind","payload":1}`, outcome: "nothing_to_store"},
		"unknown type with a user":     {body: `{"type":"new_kind","user":` + user("u1", "anna", "") + `}`, outcome: "nothing_to_store"},
		"unknown type with half a one": {body: `{"type":"new_kind","user":{"user_id":7}}`, outcome: "nothing_to_store"},
		"no type":                      {body: `{}`, outcome: "nothing_to_store"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if test.unwatch {
				b.Seen = nil
			}
			maps.Copy(b.terra.profiles, test.profiles)
			for _, body := range test.given {
				b.deliver(body)
			}
			before := b.allCalls()
			b.terra.asked, b.topic.said = nil, nil
			b.lines()

			header := map[string]string{"x-terra-signature": terra.Sign(secret, b.now.Add(-test.age), []byte(test.body))}
			check(t, "answer", b.send(gatewayEvent(header, test.body)), answer{200, map[string]string{"content-type": "application/json"}, "{}"})
			check(t, "ledger calls", b.calls(before), test.calls)
			checkList(t, "asked of Terra", b.terra.asked, test.asked)
			checkList(t, "announced", b.topic.said, test.said)
			checkList(t, "rows", b.rows(), test.rows)
			line := b.line()
			check(t, "outcome", line["outcome"], any(test.outcome))
			check(t, "status logged", line["status"], any(float64(200)))
		})
	}
}

// A connection is believed known for a while only: other instances record changes too.
func TestSeenForgets(t *testing.T) {
	b := newBench(t)
	b.deliver(athlete(user("u1", "anna", "03:45:00"), "watch"))
	for i, wantPeeks := range []int{1, 1, 2, 2} {
		b.deliver(data(user("u1", "anna", "")))
		if got := b.ledger.Calls("Peek"); got != wantPeeks {
			t.Errorf("after event %d: %d reads, want %d", i+1, got, wantPeeks)
		}
		b.now = b.now.Add(40 * time.Second)
	}
}
