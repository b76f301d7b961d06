package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/terra"
)

const verifyHelp = `
  $ handover verify body.json -signature 't=1730000000,v1=5f0c…' -secret "$TERRA_SECRET" -past 0
  signed by this secret at 2024-10-27 03:33:20Z
  $ handover send athlete -o event | handover verify -event -
  signed by this secret at 2026-11-22 10:00:00Z
  $ handover verify body.json -signature "$HEADER" -secret "$TERRA_SECRET"
  handover: signature of no live secret
  It is signed without the newline at the end of the body: the file was saved by an editor. Compare the raw bytes.

Usage: handover verify [BODY] [flags]

BODY is a file with the raw bytes of the body, - for the standard input (the default). Exit code 1 says that it is not verified.
`

type verdict struct {
	Verified bool       `json:"verified"`
	SignedAt *time.Time `json:"signed_at"`
	Rule     string     `json:"rule,omitempty"` // the one that fails
	Hint     string     `json:"hint,omitempty"`
}

func (t tool) verify(_ context.Context, args []string) error {
	var (
		secrets           []string
		signature, event  string
		past, future, ago time.Duration
	)
	f := t.flags("verify", verifyHelp)
	f.BoolVar(&f.asJSON, "json", false, "the verdict as JSON")
	f.secret("signing `secret`; may be given several times (default: $HANDOVER_SIGNING_SECRET, or else the local program's)", func(secret string) { secrets = append(secrets, secret) })
	f.StringVar(&signature, "signature", "", "the `header` X-Terra-Signature or Terra-Signature")
	f.StringVar(&event, "event", "", "`file` with an event of API Gateway, which has both header and body; - for the standard input")
	f.span(&past, "past", settings.DefaultReplayWindow, "`age` that a signature may have; 0 is any age")
	f.span(&future, "future", settings.FutureWindow, "`duration` that it may be ahead of the clock")
	f.DurationVar(&ago, "age", 0, "judge as if it were this long ago")
	given, err := f.parse(args, "[BODY]")
	if err != nil {
		return err
	}
	if len(secrets) == 0 {
		secrets = strings.Split(cmp.Or(t.getenv("HANDOVER_SIGNING_SECRET"), local.Secret), ",")
	}
	var body []byte
	switch {
	case event != "" && (given[0] != "" || signature != ""):
		return usage("verify", "-event has header and body: give neither BODY nor -signature beside it")
	case event != "":
		if signature, body, err = t.event(event); err != nil {
			return err
		}
	default:
		if body, err = t.read(cmp.Or(given[0], "-")); err != nil {
			return err
		}
	}
	if past == 0 {
		past = 200 * 365 * 24 * time.Hour
	}
	now := time.Now().Add(-ago)
	at, failed := terra.Verify(signature, body, secrets, now, terra.Window{Past: past, Future: future})
	v := verdict{Verified: failed == nil}
	if !at.IsZero() {
		v.SignedAt = &at
	}
	if failed != nil {
		v.Rule, v.Hint = failed.Error(), hint(failed, signature, body, secrets, at, now, past, future)
	}
	if f.asJSON {
		if err := t.json(v); err != nil {
			return err
		}
	} else if v.Verified {
		t.say("signed by %s at %s\n", map[bool]string{true: "this secret", false: "one of these secrets"}[len(secrets) == 1], instant(v.SignedAt))
	}
	if failed != nil {
		return fmt.Errorf("%w\n%s", failed, v.Hint)
	}
	return nil
}

func (t tool) read(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(t.stdin)
	}
	return os.ReadFile(file)
}

// event reads the signature and the raw body out of an API Gateway event.
func (t tool) event(file string) (signature string, body []byte, err error) {
	text, err := t.read(file)
	if err != nil {
		return "", nil, err
	}
	var e struct {
		Headers         map[string]string `json:"headers"`
		Body            string            `json:"body"`
		IsBase64Encoded bool              `json:"isBase64Encoded"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return "", nil, fmt.Errorf("%s is not an event of API Gateway: %w", file, err)
	}
	for name, value := range e.Headers {
		switch strings.ToLower(name) {
		case "x-terra-signature":
			signature = value
		case "terra-signature":
			signature = cmp.Or(signature, value)
		}
	}
	body = []byte(e.Body)
	if e.IsBase64Encoded {
		if body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			return "", nil, fmt.Errorf("the body of %s says that it is base64, and is not: %w", file, err)
		}
	}
	return signature, body, nil
}

// hint says what is most likely wrong, and what to do.
func hint(failed error, signature string, body []byte, secrets []string, at, now time.Time, past, future time.Duration) string {
	switch {
	case errors.Is(failed, terra.ErrNoSignature):
		return "Give the header by -signature 't=…,v1=…', or by -event an event that has it. A request without it is not Terra's."
	case errors.Is(failed, terra.ErrMalformed):
		return fmt.Sprintf("It has %d times t= and %d times v1=: one t of digits and at least one v1 are due, with commas between. A v0 or v2 proves nothing.",
			strings.Count(","+strings.ReplaceAll(signature, " ", ""), ",t="), strings.Count(","+strings.ReplaceAll(signature, " ", ""), ",v1="))
	case errors.Is(failed, terra.ErrTooOld):
		return fmt.Sprintf("The signature is genuine, but %s old, and %s is the limit (-past). Is it a replay, or is a clock wrong?", now.Sub(at).Round(time.Second), past)
	case errors.Is(failed, terra.ErrTooNew):
		return fmt.Sprintf("The signature is genuine, but %s ahead of this clock, and %s is the limit (-future). Is this clock right?", at.Sub(now).Round(time.Second), future)
	}
	// A mismatch. What would make it match? Each of these has happened to somebody.
	forever := terra.Window{Past: 1 << 62, Future: 1 << 62}
	matches := func(header string, body []byte, secrets []string) bool {
		_, err := terra.Verify(header, body, secrets, now, forever)
		return err == nil
	}
	trimmed := make([]string, len(secrets))
	for i, secret := range secrets {
		trimmed[i] = strings.TrimSpace(secret)
	}
	var compact bytes.Buffer
	_ = json.Compact(&compact, body) // not JSON: then it is empty, and matches nothing
	decoded, _ := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(body)))
	switch {
	case matches(signature, body, trimmed):
		return "It is signed by the secret without the space or newline around it: take that away where the secret is kept."
	case matches(signature, bytes.TrimRight(body, "\r\n"), secrets):
		return "It is signed without the newline at the end of the body: the file was saved by an editor. Compare the raw bytes."
	case matches(signature, append(bytes.Clone(body), '\n'), secrets):
		return "It is signed with a newline at the end of the body, which has been lost. Compare the raw bytes."
	case matches(signature, bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), secrets):
		return "It is signed with \\n where the body has \\r\\n: something has changed the ends of the lines. Compare the raw bytes."
	case matches(signature, compact.Bytes(), secrets):
		return "It is signed as compact JSON: something has read the body and written it anew. Compare the raw bytes."
	case matches(signature, decoded, secrets):
		return "The body is still base64 (API Gateway's isBase64Encoded): decode it first."
	case matches(strings.ToLower(signature), body, secrets):
		return "The signature is of this secret, but in upper-case digits, which Terra does not write."
	}
	return "Either the secret is another destination's, or was reset, or the body has been changed on its way. Terra shows the secret at the webhook destination; the raw bytes count."
}
