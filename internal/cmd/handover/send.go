package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/terra"
)

const sendHelp = `
  $ handover send athlete -set user.reference_id=alice
  200 in 4 ms: http://127.0.0.1:8080/webhook took an athlete of alice
  $ handover send user_reauth -set new_user.reference_id=bob -set old_user.reference_id=alice
  200 in 6 ms: http://127.0.0.1:8080/webhook took a user_reauth of bob
  $ handover send auth -to https://example.com/webhook -secret "$TERRA_SECRET"
  401 in 90 ms: https://example.com/webhook refused an auth of tony_stark: The signature is not of a secret that is known here.
  $ handover send athlete -o event >event.json && sam local invoke WebhookFunction -e event.json
  $ handover send deauth -o curl
  curl -i http://127.0.0.1:8080/webhook -H 'Content-Type: application/json' -H 'X-Terra-Signature: t=…,v1=…' --data-binary '{"type":"deauth",…}'

Usage: handover send SCENARIO [flags]

SCENARIO is a type of event that Terra documents. The body is Terra's published example of it, about a new connection made just now, whose wearable account is
always the same: send athlete for two of your users, and the account passes from one to the other.

  `

// sendFor bounds one sending: Terra itself waits 8 s.
const sendFor = 30 * time.Second

type sending struct {
	url, secret, bodyFile, dialect, output, forge string
	sets                                          list
	age                                           time.Duration
	times                                         int
}

func (t tool) send(ctx context.Context, args []string) error {
	var s sending
	f := t.flags("send", sendHelp+strings.Join(simulator.Types(), " ")+"\n")
	f.BoolVar(&f.asJSON, "json", false, "the answer as JSON")
	f.StringVar(&s.url, "to", strings.TrimRight(t.localURL(), "/")+"/webhook", "`URL` of the webhook (or $HANDOVER_URL and /webhook)")
	f.secret("signing `secret` (default: $HANDOVER_SIGNING_SECRET, or else the local program's)", func(secret string) { s.secret = secret })
	f.Var(&s.sets, "set", "`path=value` in the body, such as user.reference_id=alice; path:=value for anything but a text, such as user.reference_id:=null; may be given several times")
	f.StringVar(&s.bodyFile, "body", "", "`file` with the body, - for the standard input; SCENARIO is then left out")
	f.StringVar(&s.dialect, "dialect", "newer", "`generation` of Terra's API whose example it is: newer or legacy")
	f.DurationVar(&s.age, "age", 0, "sign as if it were this long ago; a negative `duration` is in the future")
	f.StringVar(&s.forge, "forge", "", "spoil it: unsigned, altered, secret, or scheme (each must be answered 401)")
	f.IntVar(&s.times, "times", 1, "send the same this `number` of times")
	f.StringVar(&s.output, "o", "", "do not send, but print it: as an `event` of API Gateway for sam local invoke, as a curl command line, or as a body")
	given, err := f.parse(args, "[SCENARIO]")
	if err != nil {
		return err
	}
	if _, err := f.webURL("-to", s.url, "http://127.0.0.1:8080/webhook"); err != nil {
		return err
	}
	if s.times < 1 {
		return usage("send", "-times is %d: it should be at least 1", s.times)
	}
	if s.output != "" && (f.asJSON || s.times > 1) {
		return usage("send", "-json and -times are for sending, and with -o nothing is sent")
	}
	s.secret = cmp.Or(s.secret, firstOf(t.getenv("HANDOVER_SIGNING_SECRET")), local.Secret)
	body, err := t.body(s, given[0])
	if err != nil {
		return err
	}
	at := time.Now().Add(-s.age)
	signature := terra.Sign(s.secret, at, body)
	switch s.forge {
	case "":
	case "unsigned":
		signature = ""
	case "altered":
		body = append(body, ' ')
	case "secret":
		signature = terra.Sign("not "+s.secret, at, body)
	case "scheme":
		signature = strings.Replace(signature, "v1=", "v0=", 1)
	default:
		return usage("send", "-forge is %q: it should be unsigned, altered, secret or scheme", s.forge)
	}
	switch s.output {
	case "":
		return t.post(ctx, s, f.asJSON, body, signature)
	case "event":
		event, err := local.SignedEvent(s.url, body, signature, at)
		if err != nil {
			return err
		}
		_, err = t.stdout.Write(event)
		return err
	case "curl":
		fmt.Fprintln(t.stdout, local.Curl(s.url, signature, body))
		return nil
	case "body":
		fmt.Fprintf(t.stdout, "%s\n", body)
		return nil
	}
	return usage("send", "-o is %q: it should be event, curl or body", s.output)
}

// farIndex is a place in a list that is too far behind: the list is filled up to it.
var farIndex = regexp.MustCompile(`(^|\.)\d{5,}(\.|$)`)

// firstOf is the first of values with commas between.
func firstOf(values string) string {
	first, _, _ := strings.Cut(values, ",")
	return first
}

// body is the body that is asked for, before it is signed.
func (t tool) body(s sending, scenario string) ([]byte, error) {
	body, err := t.plainBody(s, scenario)
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(s.sets) > 0 && (!gjson.ValidBytes(body) || trimmed[0] != '{' && trimmed[0] != '[') {
		return nil, usage("send", "-set needs a body that is a JSON object or list, and this one is neither")
	}
	for _, set := range s.sets {
		path, value, ok := strings.Cut(set, "=")
		raw := strings.HasSuffix(path, ":")
		path = strings.TrimSuffix(path, ":")
		switch {
		case !ok || path == "":
			return nil, usage("send", "-set is %q: it should be path=value, such as user.reference_id=alice", set)
		case farIndex.MatchString(strings.ReplaceAll(path, `\`, "")):
			return nil, usage("send", "-set %s: the highest place in a list is 9999; a field whose name is a number is written with a colon, such as data.:12345", path)
		case raw && !gjson.Valid(value):
			return nil, usage("send", "-set %s: after := JSON is due, such as null or 5; for a text use =", set)
		case raw:
			body, err = sjson.SetRawBytes(body, path, []byte(value))
		default:
			body, err = sjson.SetBytes(body, path, value)
		}
		if err != nil {
			return nil, usage("send", "-set %s: %v", set, err)
		}
	}
	return body, nil
}

func (t tool) plainBody(s sending, scenario string) ([]byte, error) {
	switch {
	case s.bodyFile != "" && scenario != "":
		return nil, usage("send", "give a SCENARIO or -body, not both")
	case s.bodyFile == "-":
		return io.ReadAll(t.stdin)
	case s.bodyFile != "":
		return os.ReadFile(s.bodyFile)
	case scenario == "":
		return nil, usage("send", "SCENARIO is missing. It is one of %s", strings.Join(simulator.Types(), " "))
	}
	dialect, ok := map[string]simulator.Dialect{"newer": simulator.Newer, "legacy": simulator.Legacy}[s.dialect]
	if !ok {
		return nil, usage("send", "-dialect is %q: it should be newer or legacy", s.dialect)
	}
	if !slices.Contains(simulator.Types(), scenario) {
		return nil, usage("send", "there is no scenario %q. It is one of %s", scenario, strings.Join(simulator.Types(), " "))
	}
	return dialect.Body(scenario, simulator.User{
		UserID: newUUID(), Provider: "GARMIN", ReferenceID: "tony_stark", CreatedAt: time.Now(), Scopes: "ACTIVITY_EXPORT,HEALTH_EXPORT", Session: newUUID(),
	}), nil
}

// newUUID makes a version 4 UUID (RFC 9562).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// answer is what a webhook answered.
type answer struct {
	URL    string `json:"url"`
	Status int    `json:"status"`
	MS     int64  `json:"ms"`
	Type   string `json:"type"`
	Body   string `json:"body"` // what was answered, at most 4 kB

	location string // of a redirect
}

// why is what an answer says of itself: RFC 9457's detail, or the address of a redirect; "" if it says nothing.
func (a answer) why() string {
	if a.location != "" {
		return "it redirects to " + a.location + ", and Terra does not follow"
	}
	if gjson.Valid(a.Body) {
		return gjson.Get(a.Body, "detail").String()
	}
	return ""
}

func (t tool) post(ctx context.Context, s sending, asJSON bool, body []byte, signature string) error {
	refused, hint := 0, ""
	for range s.times {
		got, err := post(ctx, s.url, body, signature)
		if err != nil {
			return fmt.Errorf("%w\nIs anything running at %s? handover serve starts the local program", err, s.url)
		}
		took, why := "took", ""
		if got.Status/100 != 2 {
			took, why = "refused", got.why()
			refused++
		}
		if why != "" {
			why = ": " + why
		}
		if got.Status == http.StatusUnauthorized {
			hint = "\nhandover verify says what is wrong with a signature"
		}
		if asJSON {
			if err := t.json(got); err != nil {
				return err
			}
			continue
		}
		t.say("%d in %d ms: %s %s %s%s%s\n", got.Status, got.MS, s.url, took, article(cmp.Or(got.Type, "body")), of(body), why)
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d refused%s", refused, s.times, hint)
	}
	return nil
}

func article(noun string) string {
	if strings.ContainsRune("aeio", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// of names whose connection a body is about.
func of(body []byte) string {
	for _, path := range []string{"user.reference_id", "new_user.reference_id", "reference_id", "data.reference_id"} {
		if reference := gjson.GetBytes(body, path).String(); reference != "" {
			return " of " + reference
		}
	}
	return ""
}

func post(ctx context.Context, url string, body []byte, signature string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, sendFor)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	if signature != "" {
		request.Header.Set("X-Terra-Signature", signature)
		request.Header.Set("Terra-Signature", signature)
	}
	begun := time.Now()
	response, err := newHTTPClient().Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	return answer{
		URL: url, Status: response.StatusCode, MS: time.Since(begun).Milliseconds(), Type: gjson.GetBytes(body, "type").String(), Body: string(text),
		location: response.Header.Get("Location"),
	}, err
}
