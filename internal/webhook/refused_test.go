package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/terra"
)

// problems are all refusals that there are: DESIGN's "Status answers", without those of the gateway.
func problems() map[string]answer {
	answers := map[string]answer{}
	for reason, text := range map[string]string{
		"not_gateway":         "400 Bad Request: The request is not an API Gateway event of payload format 2.0.",
		"not_json":            "400 Bad Request: The body is not one whole JSON object.",
		"no_user_id":          "400 Bad Request: The event has no usable user_id.",
		"reference_too_long":  "400 Bad Request: The event's reference_id is longer than 2048 bytes.",
		"no_signature":        "401 Unauthorized: The request has no X-Terra-Signature header.",
		"malformed_signature": "401 Unauthorized: The X-Terra-Signature header is not of the form t=…,v1=….",
		"wrong_signature":     "401 Unauthorized: The signature is not of a secret that is known here.",
		"signature_too_old":   "401 Unauthorized: The signature is too old.",
		"signature_too_new":   "401 Unauthorized: The signature is of the future.",
		"too_large":           "413 Request Entity Too Large: The body is too large.",
		"terra_secret":        "500 Internal Server Error: The event could not be verified.",
		"account_key":         "500 Internal Server Error: The event could not be stored.",
		"wrong_account_key":   "500 Internal Server Error: The event could not be stored.",
		"not_stored":          "500 Internal Server Error: The event could not be stored.",
	} {
		head, detail, _ := strings.Cut(text, ": ")
		number, title, _ := strings.Cut(head, " ")
		var status int
		if _, err := fmt.Sscan(number, &status); err != nil {
			panic(err)
		}
		body := fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"detail":%q}`, title, status, detail)
		answers[reason] = answer{status, map[string]string{"content-type": "application/problem+json"}, body}
	}
	return answers
}

// refused checks that an event is refused for the reason, with one line in the log, and nothing stored.
func (b *bench) refused(event []byte, reason string) {
	b.t.Helper()
	want, ok := problems()[reason]
	if !ok {
		b.t.Fatalf("no such reason: %s", reason)
	}
	before := b.rows()
	b.lines()
	got := b.send(event)
	check(b.t, "answer", got, want)
	line := b.line()
	check(b.t, "reason", line["reason"], any(reason))
	check(b.t, "status logged", line["status"], any(float64(want.Status)))
	wantOutcome, wantLevel := "refused", "WARN"
	if want.Status >= 500 {
		wantOutcome, wantLevel = "failed", "ERROR"
	}
	check(b.t, "outcome", line["outcome"], any(wantOutcome))
	check(b.t, "level", line["level"], any(wantLevel))
	checkList(b.t, "rows", b.rows(), before)
}

func TestSignatures(t *testing.T) {
	body := athlete(user("u1", "anna", "03:45:00"), "watch")
	at := noon()
	sign := func(secret string, ago time.Duration) string { return terra.Sign(secret, at.Add(-ago), []byte(body)) }
	good, wrong := sign(secret, 0), sign("another", 0)
	v1 := strings.TrimPrefix(good[strings.IndexByte(good, ','):], ",")
	wrongV1 := "v1=" + strings.Repeat("0", 64)
	both := func(signature, deprecated string) map[string]string {
		return map[string]string{"x-terra-signature": signature, "terra-signature": deprecated}
	}
	one := func(signature string) map[string]string { return map[string]string{"x-terra-signature": signature} }

	for name, test := range map[string]struct {
		headers map[string]string
		reason  string // "": accepted
	}{
		"lower-case name":             {headers: map[string]string{"x-terra-signature": good}},
		"name as it was sent":         {headers: map[string]string{"X-Terra-Signature": good}},
		"upper-case name":             {headers: map[string]string{"X-TERRA-SIGNATURE": good}},
		"deprecated name":             {headers: map[string]string{"terra-signature": good}},
		"deprecated name, mixed case": {headers: map[string]string{"Terra-Signature": good}},
		"both right":                  {headers: both(good, good)},
		"only the new one right":      {headers: both(good, wrong)},
		"only the deprecated right":   {headers: both(wrong, good)},
		"the new one malformed":       {headers: both("v0=x", good)},
		"the new one empty":           {headers: both("", good)},
		"the new one too old":         {headers: both(sign(secret, 27*time.Hour), good)},
		"fifty v1, the last right":    {headers: one(fmt.Sprintf("t=%d%s,%s", at.Unix(), strings.Repeat(","+wrongV1, 49), v1))},
		"other headers around":        {headers: map[string]string{"Accept": "*/*", "x-terra-signature": good, "x-terra-trace-id": "🙂", "x-custom": strings.Repeat("x", 10_000)}},
		"oldest second":               {headers: one(sign(secret, 26*time.Hour))},
		"newest second":               {headers: one(sign(secret, -5*time.Minute))},

		"no headers":                     {headers: nil, reason: "no_signature"},
		"no signature":                   {headers: map[string]string{"content-type": "application/json"}, reason: "no_signature"},
		"empty":                          {headers: one(""), reason: "no_signature"},
		"both empty":                     {headers: both("", ""), reason: "no_signature"},
		"malformed":                      {headers: one("nonsense"), reason: "malformed_signature"},
		"10 kB":                          {headers: one(strings.Repeat("t", 10_000)), reason: "malformed_signature"},
		"10 kB of v1":                    {headers: one(fmt.Sprintf("t=%d,v1=%s", at.Unix(), strings.Repeat("0", 10_000))), reason: "wrong_signature"},
		"only other schemes":             {headers: one(strings.Replace(good, "v1=", "v0=", 1)), reason: "malformed_signature"},
		"of another secret":              {headers: one(wrong), reason: "wrong_signature"},
		"of the empty secret":            {headers: one(sign("", 0)), reason: "wrong_signature"},
		"of another time":                {headers: one(strings.Replace(good, "t=1", "t=2", 1)), reason: "wrong_signature"},
		"deprecated, of another secret":  {headers: map[string]string{"terra-signature": wrong}, reason: "wrong_signature"},
		"both wrong":                     {headers: both(wrong, sign("third", 0)), reason: "wrong_signature"},
		"wrong and malformed":            {headers: both(wrong, "nonsense"), reason: "wrong_signature"},
		"malformed and wrong":            {headers: both("nonsense", wrong), reason: "wrong_signature"},
		"too old":                        {headers: one(sign(secret, 26*time.Hour+time.Second)), reason: "signature_too_old"},
		"too old, and deprecated wrong":  {headers: both(sign(secret, 27*time.Hour), wrong), reason: "signature_too_old"},
		"wrong, and deprecated too old":  {headers: both(wrong, sign(secret, 27*time.Hour)), reason: "signature_too_old"},
		"too new":                        {headers: one(sign(secret, -5*time.Minute-time.Second)), reason: "signature_too_new"},
		"too old, of another secret":     {headers: one(sign("another", 27*time.Hour)), reason: "wrong_signature"},
		"under a name that has it in it": {headers: map[string]string{"x-x-terra-signature": good, "terra_signature": good}, reason: "no_signature"},
	} {
		t.Run(name, func(t *testing.T) {
			for form, event := range map[string][]byte{"text": gatewayEvent(test.headers, body), "base64": encodedEvent(test.headers, body)} {
				b := newBench(t)
				if test.reason != "" {
					b.refused(event, test.reason)
				} else if got := b.send(event); got.Status != 200 {
					t.Errorf("%s: answered %d %s", form, got.Status, got.Body)
				} else {
					checkList(t, "rows", b.rows(), []string{"u1 GARMIN anna signed@03:45:00 holds watch"})
				}
			}
		})
	}
}

// overtaken is a secret that another webhook reads again between this one's Get and Refresh.
type overtaken struct{}

func (overtaken) Get(context.Context) (settings.Terra, error) {
	return settings.Terra{SigningSecrets: []string{"old"}}, nil
}

func (overtaken) Refresh(context.Context) (settings.Terra, bool, error) {
	return settings.Terra{SigningSecrets: []string{"new"}}, false, nil
}

// A webhook that somebody captured is sent again. Within the window it changes nothing, whatever has happened since; after it, it is refused.
func TestReplayOfACapturedWebhook(t *testing.T) {
	b := newBench(t)
	captured := b.signed(athlete(user("u1", "anna", "03:45:00"), "watch"))
	send := func(status int) {
		t.Helper()
		if got := b.send(bytes.Clone(captured)); got.Status != status {
			t.Errorf("at %s: answered %d, want %d", b.now.Format(time.DateTime), got.Status, status)
		}
	}
	send(200)
	b.deliver(athlete(user("u2", "ben", "05:00:00"), "watch"))
	b.deliver(deauth(user("u1", "anna", "")))
	rows, said := b.rows(), slices.Clone(b.topic.said)
	for _, later := range []struct {
		after  time.Duration
		status int
	}{{time.Hour, 200}, {25 * time.Hour, 200}, {27 * time.Hour, 401}} {
		b.now = noon().Add(later.after)
		send(later.status)
		checkList(t, "rows", b.rows(), rows)
		checkList(t, "announced", b.topic.said, said)
	}
}

// One byte of a body or of its encoding makes another body.
func TestForgeriesHaveNoEffect(t *testing.T) {
	body := athlete(user("u1", "anna", "03:45:00"), "watch")
	header := map[string]string{"x-terra-signature": terra.Sign(secret, noon(), []byte(body))}
	for name, event := range map[string][]byte{
		"another body":             gatewayEvent(header, strings.Replace(body, "anna", "ben", 1)),
		"a space more":             gatewayEvent(header, body+" "),
		"no body":                  gatewayEvent(header, ""),
		"base64 as text":           gatewayEvent(header, "eyJ0eXBlIjoiYXV0aCJ9"),
		"not JSON at all":          gatewayEvent(header, "\x00 nonsense"),
		"10,000-deep nesting":      gatewayEvent(header, strings.Repeat("[", 10_000)),
		"half a surrogate":         []byte(`{"headers":{"x-terra-signature":"` + header["x-terra-signature"] + `"},"body":"a\ufffd","isBase64Encoded":false}`),
		"no body member":           encode(map[string]any{"headers": header}),
		"null body":                encode(map[string]any{"headers": header, "body": nil}),
		"encoded, another body":    encodedEvent(header, strings.Replace(body, "anna", "ben", 1)),
		"encoded, a null behind":   encodedEvent(header, body+"\x00"),
		"encoded, without its end": encodedEvent(header, body[:len(body)-1]),
	} {
		t.Run(name, func(t *testing.T) { newBench(t).refused(event, "wrong_signature") })
	}
}

func TestNotGatewayEvents(t *testing.T) {
	good := string(newBench(t).signed(`{"type":"healthcheck"}`))
	for name, event := range map[string]string{
		"nothing":                  ``,
		"text":                     `hello`,
		"array":                    `[]`,
		"string":                   `"x"`,
		"truncated":                good[:len(good)/2],
		"without its end":          good[:len(good)-1],
		"headers are a list":       `{"headers":[],"body":"x"}`,
		"a signature of numbers":   `{"headers":{"x-terra-signature":1},"body":"x"}`,
		"encoded, but not base64":  `{"headers":{},"body":"!!!","isBase64Encoded":true}`,
		"base64 without its end":   `{"headers":{},"body":"YQ","isBase64Encoded":true}`,
		"10,000-deep nesting":      `{"x":` + strings.Repeat(`[`, 10_001) + strings.Repeat(`]`, 10_001) + `,"body":"x"}`,
		"a lone half of surrogate": `{"headers":{},"body":"\ud83d"}`,
		"a control character":      "{\"headers\":{},\"body\":\"a\nb\"}",
		"bytes that are not UTF-8": "{\"headers\":{},\"body\":\"a\xff\xff\xff\xff\xffb\"}",
	} {
		t.Run(name, func(t *testing.T) { newBench(t).refused([]byte(event), "not_gateway") })
	}
	for name, event := range map[string]string{
		"an empty object":            `{}`,
		"another event of Lambda's":  `{"Records":[{"eventSource":"aws:sqs","body":"x"}]}`,
		"null headers":               `{"headers":null,"body":"x","isBase64Encoded":null}`,
		"encoded is neither of both": `{"isBase64Encoded":{"headers":{"x-terra-signature":"t=1,v1=x"}},"body":"x"}`,
	} {
		t.Run(name, func(t *testing.T) { newBench(t).refused([]byte(event), "no_signature") })
	}
}

// Bodies that are signed, and bad in some way or only look so.
func TestOddBodies(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 10_000) + `1` + strings.Repeat(`}`, 10_000)
	long := strings.Repeat("r", 300)
	for name, test := range map[string]struct {
		body   string
		reason string   // "": accepted
		rows   []string // what is then stored
	}{
		"empty":                            {body: "", reason: "not_json"},
		"truncated":                        {body: auth(user("u1", "anna", ""))[:60], reason: "not_json"},
		"without its end":                  {body: strings.TrimSuffix(auth(user("u1", "anna", "")), "}"), reason: "not_json"},
		"two objects":                      {body: auth(user("u1", "anna", "")) + `{}`, reason: "not_json"},
		"array":                            {body: `[` + auth(user("u1", "anna", "")) + `]`, reason: "not_json"},
		"string":                           {body: `"auth"`, reason: "not_json"},
		"number":                           {body: `1`, reason: "not_json"},
		"null":                             {body: `null`, reason: "not_json"},
		"text":                             {body: `hello`, reason: "not_json"},
		"Python":                           {body: `{'type':'auth'}`, reason: "not_json"},
		"byte order mark":                  {body: "\ufeff" + auth(user("u1", "anna", "")), reason: "not_json"},
		"UTF-16":                           {body: "{\x00\"\x00", reason: "not_json"},
		"auth nested 10,000 deep":          {body: `{"type":"auth","x":` + deep + `,"user":` + user("u1", "anna", "") + `}`, reason: "not_json"},
		"a number as user_id":              {body: `{"type":"auth","user":{"user_id":7,"provider":"GARMIN"}}`, reason: "no_user_id"},
		"null as user_id":                  {body: `{"type":"auth","user":{"user_id":null}}`, reason: "no_user_id"},
		"empty user_id":                    {body: `{"type":"athlete","user":{"user_id":""}}`, reason: "no_user_id"},
		"200 characters of user_id":        {body: `{"type":"daily","user":{"user_id":"` + strings.Repeat("u", 200) + `"}}`, reason: "no_user_id"},
		"auth without user":                {body: `{"type":"auth","status":"success"}`, reason: "no_user_id"},
		"athlete with null user":           {body: `{"type":"athlete","user":null}`, reason: "no_user_id"},
		"a string as user":                 {body: `{"type":"deauth","user":"u1"}`, reason: "no_user_id"},
		"user_reauth without new_user":     {body: `{"type":"user_reauth","user":` + user("u1", "anna", "") + `}`, reason: "no_user_id"},
		"user_reauth, old without user_id": {body: reauth(user("u1", "anna", ""), `{"provider":"GARMIN"}`), reason: "no_user_id"},
		"3,000 characters of reference_id": {body: auth(user("u1", strings.Repeat("r", 3000), "")), reason: "reference_too_long"},

		"duplicate keys, the last counts": {
			body: `{"type":"healthcheck","type":"auth","user":{},"user":{"user_id":"u0","user_id":"u1","provider":"GARMIN","created_at":"2026-11-22T03:45:00Z"}}`,
			rows: []string{"u1 GARMIN - signed@03:45:00"},
		},
		"duplicate keys in data":      {body: `{"type":"daily","user":` + user("u1", "anna", "03:45:00") + `,"data":[{"a":1,"a":2}]}`, rows: []string{"u1 GARMIN anna signed@03:45:00"}},
		"data nested 10,000 deep":     {body: `{"type":"daily","user":` + user("u1", "anna", "03:45:00") + `,"data":` + deep + `}`, rows: []string{"u1 GARMIN anna signed@03:45:00"}},
		"data truncated":              {body: `{"type":"daily","user":` + user("u1", "anna", "03:45:00") + `,"data":[{`, rows: []string{"u1 GARMIN anna signed@03:45:00"}},
		"300 characters of reference": {body: auth(user("u1", long, "03:45:00")), rows: []string{"u1 GARMIN " + long + " signed@03:45:00"}},
		"emoji in a reference":        {body: auth(user("u1", "👩‍👧🚴🏽", "03:45:00")), rows: []string{"u1 GARMIN 👩‍👧🚴🏽 signed@03:45:00"}},
		"newlines in a reference":     {body: auth(user("u1", "a\n\"b\"\r\n\t\u0000c", "03:45:00")), rows: []string{"u1 GARMIN a\n\"b\"\r\n\t\x00c signed@03:45:00"}},
		"escaped reference":           {body: `{"type":"auth","user":{"user_id":"u1","provider":"GARMIN","reference_id":"\u00e4\/\ud83d\ude00","created_at":"2026-11-22T03:45:00Z"}}`, rows: []string{"u1 GARMIN ä/😀 signed@03:45:00"}},
		"a number as reference_id":    {body: `{"type":"auth","user":{"user_id":"u1","provider":"GARMIN","reference_id":12345678901234567890,"created_at":"2026-11-22T03:45:00Z"}}`, rows: []string{"u1 GARMIN 12345678901234567890 signed@03:45:00"}},
		"provider in lower case":      {body: `{"type":"auth","user":{"user_id":"u1","provider":"garmin","created_at":"2026-11-22T03:45:00Z"}}`, rows: []string{"u1 GARMIN - signed@03:45:00"}},
		"wrong types all over":        {body: `{"type":"auth","status":7,"reference_id":{},"user":{"user_id":"u1","provider":[],"reference_id":true,"created_at":{"x":1},"scopes":{}}}`, rows: []string{"u1 - - observed@12:00:00"}},
		"unreadable created_at":       {body: `{"type":"auth","user":{"user_id":"u1","provider":"GARMIN","created_at":"yesterday"}}`, rows: []string{"u1 GARMIN - observed@12:00:00"}},
		"invalid UTF-8 in data":       {body: "{\"type\":\"daily\",\"user\":" + user("u1", "anna", "03:45:00") + ",\"data\":[\"\xff\xfe\"]}", rows: []string{"u1 GARMIN anna signed@03:45:00"}},
		"invalid UTF-8 in an auth":    {body: "{\"type\":\"auth\",\"message\":\"\xff\xfe\",\"user\":" + user("u1", "anna", "03:45:00") + "}", rows: []string{"u1 GARMIN anna signed@03:45:00"}},
		"type of another type":        {body: `{"type":["auth"],"user":` + user("u1", "anna", "") + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			header := map[string]string{"x-terra-signature": terra.Sign(secret, noon(), []byte(test.body))}
			events := map[string][]byte{"base64": encodedEvent(header, test.body)}
			if !strings.Contains(test.body, "\xff") { // then it cannot come as text
				events["text"] = gatewayEvent(header, test.body)
			}
			for _, event := range events {
				b := newBench(t)
				b.terra.err = errors.New("not now")
				if test.reason != "" {
					b.refused(event, test.reason)
					continue
				}
				check(t, "answer", b.send(event).Status, 200)
				b.line()
				var rows []string
				for _, row := range b.rows() {
					rows = append(rows, strings.TrimSuffix(row, " (to do)"))
				}
				checkList(t, "rows", rows, test.rows)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	fill := func(size int) string {
		head, tail := `{"type":"healthcheck","x":"`, `"}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	b, body := newBench(t), fill(6_000_000)
	header := map[string]string{"x-terra-signature": terra.Sign(secret, b.now, []byte(body))}
	b.refused(gatewayEvent(header, body), "too_large")
	b.refused(encodedEvent(nil, body), "too_large") // before its signature costs time
	newBench(t).deliver(fill(5_999_999))
}

// A secret that is being rotated, was not there at first, or is broken for a while.
func TestSecrets(t *testing.T) {
	signedWith := func(b *bench, secret string) []byte {
		body := `{"type":"healthcheck"}`
		return gatewayEvent(map[string]string{"x-terra-signature": terra.Sign(secret, b.now, []byte(body))}, body)
	}
	accept := func(b *bench, secret string) {
		b.t.Helper()
		if got := b.send(signedWith(b, secret)); got.Status != 200 {
			b.t.Errorf("signed with %q: answered %d", secret, got.Status)
		}
	}
	holds := func(text string) func() (string, error) { return func() (string, error) { return text, nil } }

	t.Run("several", func(t *testing.T) {
		b := newBench(t)
		b.secret = holds(`{"signing_secrets":["","one","two"]}`)
		accept(b, "one")
		accept(b, "two")
		b.refused(signedWith(b, ""), "wrong_signature")
		b.refused(signedWith(b, "three"), "wrong_signature")
		check(t, "secret read", b.secretGot, 2)
	})
	t.Run("rotated", func(t *testing.T) {
		b := newBench(t)
		accept(b, secret)
		b.secret = holds(`{"signing_secrets":["new"]}`)
		accept(b, "new") // at once, though the other has only just been read
		b.refused(signedWith(b, secret), "wrong_signature")
		check(t, "secret read", b.secretGot, 2)
	})
	t.Run("rotated, under the deprecated header, beside a malformed one", func(t *testing.T) {
		for _, names := range [][2]string{{"x-terra-signature", "terra-signature"}, {"terra-signature", "x-terra-signature"}} {
			b := newBench(t)
			accept(b, secret)
			b.secret = holds(`{"signing_secrets":["new"]}`)
			b.now = b.now.Add(30 * time.Second)
			body := `{"type":"healthcheck"}`
			event := gatewayEvent(map[string]string{names[0]: "nonsense", names[1]: terra.Sign("new", b.now, []byte(body))}, body)
			check(t, names[1], b.send(event).Status, 200)
		}
	})
	t.Run("rotated under load: another webhook has read it meanwhile", func(t *testing.T) {
		b := newBench(t)
		b.Secrets = overtaken{}
		accept(b, "new")
		b.refused(signedWith(b, "forged"), "wrong_signature")
	})
	t.Run("forgeries do not read it all the time", func(t *testing.T) {
		b := newBench(t)
		accept(b, secret)
		for range 59 {
			b.now = b.now.Add(time.Second)
			b.refused(signedWith(b, "forged"), "wrong_signature")
		}
		check(t, "secret read", b.secretGot, 3) // at first, after 1 s and after 31
	})
	for name, broken := range map[string]func() (string, error){
		"unreadable":      func() (string, error) { return "", errors.New("no permission for arn:secret") },
		"empty":           holds(""),
		"not JSON":        holds(secret),
		"no secrets":      holds(`{"signing_secrets":[],"dev_id":"d","api_key":"k"}`),
		"an empty secret": holds(`{"signing_secrets":[""]}`),
		"null":            holds("null"),
	} {
		t.Run(name+", then right", func(t *testing.T) {
			b := newBench(t)
			b.secret = broken
			b.refused(signedWith(b, secret), "terra_secret")
			b.refused(signedWith(b, ""), "terra_secret")
			b.refused(gatewayEvent(nil, ""), "terra_secret")
			b.secret = holds(`{"signing_secrets":["` + secret + `"]}`)
			b.now = b.now.Add(time.Second)
			accept(b, secret)
		})
	}
	t.Run("unreadable later: the old one still counts", func(t *testing.T) {
		b := newBench(t)
		accept(b, secret)
		b.secret = func() (string, error) { return "", errors.New("throttled") }
		b.now = b.now.Add(time.Hour)
		accept(b, secret)
		b.refused(signedWith(b, "forged"), "wrong_signature")
	})
}

func TestWrongAccountKey(t *testing.T) {
	b := newBench(t)
	b.deliver(athlete(user("u1", "anna", "03:45:00"), "watch"))
	b.deliver(data(user("u1", "anna", "")))
	b.keyErr = fmt.Errorf("comparing the account key with the ledger's: %w", ownership.ErrWrongAccountKey)
	for _, body := range []string{
		auth(user("u2", "ben", "")), athlete(user("u2", "ben", ""), "watch"), deauth(user("u1", "anna", "")), data(user("u2", "ben", "")),
		reauth(user("u2", "ben", ""), user("u1", "anna", "")), auth(user("u1", "anna", "03:45:00")),
	} {
		b.refused(b.signed(body), "wrong_account_key")
	}
	b.deliver(data(user("u1", "anna", ""))) // it needs no account
	b.deliver(`{"type":"healthcheck"}`)
	b.keyErr = nil
	b.deliver(auth(user("u2", "ben", "")))
}

// No refusal says anything but its own text, whatever went wrong.
func TestProblemsAreJSON(t *testing.T) {
	for reason, p := range problems() {
		var fields map[string]any
		if err := json.Unmarshal([]byte(p.Body), &fields); err != nil {
			t.Errorf("%s: %v", reason, err)
		}
		check(t, reason, slices.Sorted(maps.Keys(fields)), []string{"detail", "status", "title", "type"})
	}
}
