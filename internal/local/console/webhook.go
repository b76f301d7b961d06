package console

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/terra"
)

// Webhook is one request to /webhook, and what came of it.
type Webhook struct {
	Number  uint64        // in the order of arrival, from 1
	Arrived time.Time     // when its first byte was seen
	Took    time.Duration // until it was answered
	Status  int           // of the answer; 0: it got none
	Request *http.Request // without its body
	Body    []byte        // as it came

	line map[string]string // the attributes of the function's log line; empty if the function was not asked
}

// claims is what a body says, also if nobody has verified it.
type claims struct {
	Type    string
	User    claimed
	NewUser claimed `json:"new_user"`
	OldUser claimed `json:"old_user"`
}

type claimed struct {
	UserID      string `json:"user_id"`
	ReferenceID string `json:"reference_id"`
}

// claims reads a body unless it is long.
func (w *Webhook) claims() (c claims) {
	if len(w.Body) < 64<<10 {
		_ = json.Unmarshal(w.Body, &c) // what is not as expected stays empty
	}
	return c
}

// Type is the event's type.
func (w *Webhook) Type() string {
	return cmp.Or(w.claims().Type, w.line["type"], "no type")
}

// Reference is the reference_id of whom it is about, "" if there is none.
func (w *Webhook) Reference() string {
	c := w.claims()
	return cmp.Or(c.User.ReferenceID, c.NewUser.ReferenceID)
}

// UserIDs are those of the connections that it is about, with spaces between.
func (w *Webhook) UserIDs() string {
	c := w.claims()
	return strings.Join([]string{c.User.UserID, c.NewUser.UserID, c.OldUser.UserID}, " ")
}

// Outcome is what the function logged of it: "recorded", "known", "refused" and so on.
func (w *Webhook) Outcome() string {
	switch {
	case w.Status == 0:
		return "no answer"
	case w.line["outcome"] != "":
		return strings.ReplaceAll(w.line["outcome"], "_", " ")
	}
	return "refused"
}

// Reason is why it was refused, or why something has to wait; "" if neither.
func (w *Webhook) Reason() string {
	switch {
	case w.line["reason"] != "":
		return w.line["reason"]
	case w.line["waiting"] != "":
		return w.line["waiting"]
	case w.Status == 0:
		return "the function ended before it answered"
	case w.Status != http.StatusOK && len(w.line) == 0:
		return "gateway: " + strings.ToLower(http.StatusText(w.Status))
	}
	return ""
}

// OK reports whether Terra was told that all is well.
func (w *Webhook) OK() bool { return w.Status == http.StatusOK }

// Signed is the time that the signature's header claims, zero if there is none. Terra signs whole seconds.
func (w *Webhook) Signed() time.Time {
	t, _, _ := strings.Cut(w.signature(), ",")
	seconds, err := strconv.ParseInt(strings.TrimPrefix(strings.TrimSpace(t), "t="), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

func (w *Webhook) signature() string {
	if s := w.Request.Header.Get("X-Terra-Signature"); s != "" {
		return s
	}
	return w.Request.Header.Get("Terra-Signature")
}

// Milliseconds is Took for people.
func (w *Webhook) Milliseconds() string {
	return strconv.FormatFloat(float64(w.Took.Microseconds())/1000, 'f', 1, 64)
}

// Did says what Handover did with it, in words, out of its log line.
func (w *Webhook) Did() string {
	number := func(key string) int { n, _ := strconv.Atoi(w.line[key]); return n }
	var did []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			did = append(did, one)
		case n > 1:
			did = append(did, fmt.Sprintf(many, n))
		}
	}
	switch outcome := w.line["outcome"]; {
	case w.Status == 0:
		did = append(did, "ends before it can answer")
	case outcome == "refused" && w.Status == http.StatusUnauthorized:
		did = append(did, "reads nothing of it: "+w.line["reason"])
	case !w.OK():
		did = append(did, "refuses it: "+w.Reason())
	case outcome == "recorded":
		did = append(did, "stores what is new")
	case outcome == "known":
		did = append(did, "finds nothing new in it")
	default:
		did = append(did, strings.ReplaceAll(outcome, "_", " "))
	}
	add(number("asked"), "asks Terra's API once", "asks Terra's API %d times")
	add(number("transfers"), "announces a change of owner", "announces %d changes of owner")
	add(number("revocations"), "announces that an old connection has ended", "announces that %d old connections have ended")
	if w.line["waiting"] != "" {
		did = append(did, "leaves the rest to the sweep ("+w.line["waiting"]+")")
	}
	if w.OK() {
		did = append(did, "answers 200")
	} else if w.Status != 0 {
		did = append(did, fmt.Sprintf("answers %d", w.Status))
	}
	return strings.Join(did, ", ")
}

// key is of the context of a captured request: its value is the *Webhook.
type key struct{}

// Captured reports whether a context is that of a webhook, and not, say, of the sweep.
func Captured(ctx context.Context) bool { return ctx.Value(key{}) != nil }

// capture passes a request on to the gateway, and keeps what came and what was answered.
func (c *Console) capture(w http.ResponseWriter, r *http.Request) {
	hook := &Webhook{Number: c.arrivals.Add(1), Arrived: c.now(), line: map[string]string{}}
	hook.Request = r.Clone(context.Background())
	hook.Request.Body, hook.Request.TLS = nil, nil
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), 10<<20))) // no larger than it has to be: it is kept
	r = r.WithContext(context.WithValue(r.Context(), key{}, hook))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r.Body, &body), r.Body}
	answer := &answer{ResponseWriter: w}
	defer func() { // also of one that ends in a panic
		hook.Took, hook.Status, hook.Body = c.now().Sub(hook.Arrived), answer.status, body.Bytes()
		c.keep(hook)
	}()
	c.options.Gateway.ServeHTTP(answer, r)
}

func (c *Console) keep(hook *Webhook) {
	if !hook.OK() {
		c.mu.Lock()
		c.refusals[hook.Reason()]++
		c.mu.Unlock()
	}
	html, err := c.render("webhook", hook)
	if err != nil {
		c.options.Fault(err)
	}
	c.ring.add(entry{kind: "webhook", html: html, webhook: hook})
	c.ring.touch("state")
}

// answer remembers the status of an answer.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Log is log, and what it says about a captured webhook is shown with that.
func Log(log *slog.Logger) *slog.Logger { return slog.New(tap{log.Handler()}) }

type tap struct{ slog.Handler }

func (tap) Enabled(context.Context, slog.Level) bool { return true }

func (t tap) Handle(ctx context.Context, r slog.Record) error {
	if hook, ok := ctx.Value(key{}).(*Webhook); ok {
		r.Attrs(func(a slog.Attr) bool { hook.line[a.Key] = a.Value.String(); return true })
	}
	if !t.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return t.Handler.Handle(ctx, r)
}

// webhook is a webhook that is kept; nil if there is none (any more).
func (c *Console) webhook(match func(*Webhook) bool) *Webhook {
	entries, _ := c.ring.snapshot()
	for _, e := range entries {
		if e.webhook != nil && match(e.webhook) {
			return e.webhook
		}
	}
	return nil
}

// traceHeader names one delivery of Terra's. It is not signed.
const traceHeader = "X-Terra-Trace-Id"

// Send posts a webhook to this program, as Terra does, and returns what came of it: also if it got no answer. header holds at least its Content-Type.
func (c *Console) Send(ctx context.Context, body []byte, header http.Header) (*Webhook, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.options.URL+"/webhook", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	trace := rand.Text()
	r.Header = header.Clone()
	r.Header.Set(traceHeader, trace)
	r.GetBody = nil // or the transport would try a second time after a connection that breaks
	response, sendErr := c.client.Do(r)
	if sendErr == nil {
		response.Body.Close()
	}
	for range 100 {
		if hook := c.webhook(func(w *Webhook) bool { return w.Request.Header.Get(traceHeader) == trace }); hook != nil {
			return hook, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil, errors.Join(errors.New("the webhook did not arrive"), sendErr)
}

// Sign is the header of a webhook with this body that is signed now.
func (c *Console) Sign(body []byte) http.Header {
	signature := terra.Sign(c.options.Secret, c.now(), body)
	return http.Header{"Content-Type": {"application/json"}, "X-Terra-Signature": {signature}, "Terra-Signature": {signature}}
}
