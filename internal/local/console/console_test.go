package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handover-dev/handover/internal/local/topic"
	"github.com/handover-dev/handover/internal/ownership"
)

// nothing is a ledger and a topic without anything in them.
type nothing struct{}

func (nothing) Account(context.Context, string) (ownership.Account, bool, error) {
	return ownership.Account{}, false, nil
}
func (nothing) Accounts(context.Context) iter.Seq2[ownership.Account, error] {
	return func(func(ownership.Account, error) bool) {}
}
func (nothing) Connections(context.Context) iter.Seq2[ownership.Connection, error] {
	return func(func(ownership.Connection, error) bool) {}
}
func (nothing) Newest() iter.Seq2[topic.Published, error] {
	return func(func(topic.Published, error) bool) {}
}

// open makes a console before a gateway that reads the body and accepts everything.
func open(t *testing.T, o Options) *Console {
	t.Helper()
	if o.Gateway == nil {
		o.Gateway = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusOK)
		})
	}
	o.Ledger, o.Topic = nothing{}, nothing{}
	o.Fault = func(err error) { t.Errorf("fault: %v", err) }
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Console) post(body string) {
	c.Webhook().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/webhook", strings.NewReader(body)))
}

func (c *Console) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	c.Pages().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String()
}

func TestRingIsBounded(t *testing.T) {
	c := open(t, Options{})
	for range maxEntries + 50 {
		c.post(`{}`)
	}
	entries, last := c.ring.snapshot()
	if len(entries) != maxEntries || last != maxEntries+50 || entries[0].webhook.Number != 51 {
		t.Errorf("%d entries, the last %d, the first of webhook %d", len(entries), last, entries[0].webhook.Number)
	}
	if status, _ := c.get(t, "/console/webhooks/50"); status != http.StatusNotFound {
		t.Errorf("a webhook that is not kept any more: status %d", status)
	}
	large := strings.Repeat("x", maxBytes/4)
	for range 6 {
		c.post(large)
	}
	entries, _ = c.ring.snapshot()
	bytes := 0
	for _, e := range entries {
		bytes += e.size()
	}
	if bytes > maxBytes || bytes != c.ring.bytes || len(entries) != 3 {
		t.Errorf("%d entries with %d bytes (%d counted); at most %d bytes are kept", len(entries), bytes, c.ring.bytes, maxBytes)
	}
	r := httptest.NewRequest("POST", "/webhook", nil)
	r.Header.Set("X-Long", large+large+large)
	c.Webhook().ServeHTTP(httptest.NewRecorder(), r)
	if entries, _ = c.ring.snapshot(); len(entries) != 1 {
		t.Errorf("%d entries beside one with a long header", len(entries))
	}
	c.post(strings.Repeat("x", maxBytes+1))
	if entries, _ = c.ring.snapshot(); len(entries) != 1 {
		t.Errorf("%d entries beside one that takes all room", len(entries))
	}
}

// many is a ledger of many accounts, each with its owner, and of as many connections that wait.
type many struct{ nothing }

const ofMany = 5*maxRows + 7

func (many) Accounts(context.Context) iter.Seq2[ownership.Account, error] {
	return func(yield func(ownership.Account, error) bool) {
		for i := range ofMany {
			claim := ownership.Claim{UserID: "u", Tenures: []string{fmt.Sprintf("owner-%d.", i)}, ConnectedAt: time.Unix(int64(i*7%ofMany), 0)} // 7 and ofMany have no common divisor
			if !yield(ownership.Account{Key: fmt.Sprintf("GARMIN/k.%d", i), Claims: map[string]ownership.Claim{"u": claim}}, nil) {
				return
			}
		}
	}
}

func (many) Connections(context.Context) iter.Seq2[ownership.Connection, error] {
	return func(yield func(ownership.Connection, error) bool) {
		for i := range ofMany {
			row := ownership.Connection{UserID: fmt.Sprintf("u-%d.", i), Tenures: []string{"x"}, ToDo: true, NextAttempt: time.Unix(int64(i*7%ofMany), 0)}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// However much the ledger holds, the page shows a part of it: the newest accounts, and what is tried next.
func TestPageIsBounded(t *testing.T) {
	c := open(t, Options{})
	c.options.Ledger = many{}
	s, err := c.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.AccountCount != ofMany || s.WaitingCount != ofMany || len(s.Accounts) != maxRows || len(s.Unsettled) != maxRows {
		t.Errorf("%d of %d accounts, %d of %d connections that wait", len(s.Accounts), s.AccountCount, len(s.Unsettled), s.WaitingCount)
	}
	for i, a := range s.Accounts {
		if want := int64(ofMany - 1 - i); a.Owner.ConnectedAt.Unix() != want {
			t.Fatalf("account %d was connected at %d, want %d", i, a.Owner.ConnectedAt.Unix(), want)
		}
	}
	for i, row := range s.Unsettled {
		if row.NextAttempt.Unix() != int64(i) {
			t.Fatalf("connection %d is tried at %d", i, row.NextAttempt.Unix())
		}
	}
	if _, html := c.get(t, "/console/state"); !strings.Contains(html, fmt.Sprintf("<b>%d</b> accounts", ofMany)) || !strings.Contains(html, "the 100 newest are shown") {
		t.Error("the page does not say that it shows a part")
	}
}

// message is one server-sent event.
type message struct{ id, kind, data string }

// listen reads the stream from a position, as a browser that says it in Last-Event-ID. next is the next event.
func listen(t *testing.T, c *Console, lastEventID string) (next func() message) {
	t.Helper()
	server := httptest.NewServer(c.Pages())
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/console/stream?after=nonsense", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", lastEventID)
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("content type %q", kind)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) { // a browser's lines end at either
		end := bytes.IndexAny(data, "\r\n")
		if end < 0 {
			return 0, nil, nil
		}
		return end + 1, data[:end], nil
	})
	return func() message {
		t.Helper()
		var m message
		var data []string
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				m.id = value
			case "event":
				m.kind = value
			case "data", "data:":
				data = append(data, value)
			case "":
				if m.kind != "" && m.kind != "refresh" {
					m.data = strings.Join(data, "\n")
					return m
				}
				m, data = message{}, nil
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return m
	}
}

func TestStreamGoesOnWhereItWas(t *testing.T) {
	c := open(t, Options{})
	for range 3 {
		c.post(`{}`)
	}
	next := listen(t, c, c.ring.id(1))
	for _, number := range []uint64{2, 3} {
		if m := next(); m.kind != "webhook" || m.id != c.ring.id(number) || !strings.Contains(m.data, fmt.Sprintf(`id="webhook-%d"`, number)) {
			t.Errorf("got %+v, want webhook %d", m, number)
		}
	}
	c.post(`{}`)
	if m := next(); m.kind != "webhook" || m.id != c.ring.id(4) {
		t.Errorf("got %+v, want webhook 4, live", m)
	}
}

// Whatever somebody has posted, who may have no signature, is in the data of its own event, and begins none.
func TestStreamIsNotForged(t *testing.T) {
	for _, end := range []string{"\r", "\n", "\r\n"} {
		forged := strings.ReplaceAll("x||event: missed|id: FORGED-1|data: forged||data: y", "|", end)
		text, err := json.Marshal(forged)
		if err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct{ body, reason string }{
			"type":         {body: `{"type":` + string(text) + `}`},
			"reference_id": {body: `{"user":{"reference_id":` + string(text) + `}}`},
			"reason":       {body: `{}`, reason: forged},
		} {
			t.Run(fmt.Sprintf("%s %q", name, end), func(t *testing.T) {
				log := Log(slog.New(slog.DiscardHandler))
				c := open(t, Options{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					log.InfoContext(r.Context(), "webhook", "reason", test.reason)
					w.WriteHeader(http.StatusUnauthorized)
				})})
				c.post(test.body)
				c.post(`{}`)
				next := listen(t, c, c.ring.id(0))
				if m := next(); m.kind != "webhook" || m.id != c.ring.id(1) || !strings.Contains(m.data, "event: missed\nid: FORGED-1") {
					t.Errorf("got %+v, want webhook 1 with all of its text", m)
				}
				if m := next(); m.kind != "webhook" || m.id != c.ring.id(2) {
					t.Errorf("got %+v, want webhook 2", m)
				}
			})
		}
	}
}

func TestStreamTellsWhatItLost(t *testing.T) {
	c := open(t, Options{})
	for range maxEntries + 7 {
		c.post(`{}`)
	}
	next := listen(t, c, c.ring.id(2))
	if m := next(); m.kind != "missed" || m.data != "5" {
		t.Errorf("got %+v, want 5 missed", m)
	}
	if m := next(); m.kind != "webhook" || m.id != c.ring.id(8) {
		t.Errorf("got %+v, want webhook 8", m)
	}
}

func TestStreamOfAnotherRun(t *testing.T) {
	for _, id := range []string{"OTHERRUN-2", "nonsense", "", "-1"} {
		t.Run(id, func(t *testing.T) {
			c := open(t, Options{})
			c.post(`{}`)
			next := listen(t, c, id)
			if m := next(); m.kind != "missed" || m.data != "" {
				t.Errorf("got %+v, want to hear that it was started again", m)
			}
			c.post(`{}`)
			if m := next(); m.kind != "webhook" || m.id != c.ring.id(2) {
				t.Errorf("got %+v, want webhook 2", m)
			}
		})
	}
}

// Streams end with the program, which would else wait for them.
func TestStreamEnds(t *testing.T) {
	c := open(t, Options{})
	ended := make(chan struct{})
	go func() {
		c.Pages().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/console/stream", nil))
		close(ended)
	}()
	c.Close()
	<-ended
}

// A stream on which nothing happens is kept alive.
func TestStreamStaysAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{})
		w := httptest.NewRecorder()
		go c.Pages().ServeHTTP(w, httptest.NewRequest("GET", "/console/stream", nil))
		time.Sleep(40 * time.Second)
		c.Close()
		synctest.Wait()
		if n := strings.Count(w.Body.String(), ": still here\n\n"); n != 2 {
			t.Errorf("%d signs of life in 40 s, want 2", n)
		}
	})
}

func TestGuard(t *testing.T) {
	passed := http.StatusTeapot
	guarded := Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(passed) }))
	for _, test := range []struct {
		method, path, host string
		header             map[string]string
		status             int
	}{
		{"GET", "/", "127.0.0.1:8080", nil, passed},
		{"GET", "/", "127.1.2.3", nil, passed},
		{"GET", "/", "localhost:8080", nil, passed},
		{"GET", "/", "localhost", nil, passed},
		{"GET", "/", "[::1]:8080", nil, passed},
		{"GET", "/", "[::1]", nil, passed},
		{"GET", "/", "rebound.example:8080", nil, http.StatusMisdirectedRequest},
		{"GET", "/api/connections", "127.0.0.1.rebound.example:8080", nil, http.StatusMisdirectedRequest},
		{"GET", "/console/stream", "localhost.rebound.example", nil, http.StatusMisdirectedRequest},
		{"GET", "/", "192.168.1.2:8080", nil, http.StatusMisdirectedRequest},
		{"GET", "/", "0.0.0.0:8080", nil, http.StatusMisdirectedRequest},
		{"GET", "/", "", nil, http.StatusMisdirectedRequest},
		{"POST", "/webhook", "some.tunnel.example", nil, passed},
		{"POST", "/webhook", "127.0.0.1:8080", map[string]string{"Sec-Fetch-Site": "cross-site"}, passed},
		{"POST", "/webhook/", "some.tunnel.example", nil, http.StatusMisdirectedRequest},
		{"POST", "/api/stories/crash", "127.0.0.1:8080", nil, passed}, // no browser
		{"POST", "/api/stories/crash", "127.0.0.1:8080", map[string]string{"Sec-Fetch-Site": "same-origin"}, passed},
		{"POST", "/api/stories/crash", "127.0.0.1:8080", map[string]string{"Sec-Fetch-Site": "cross-site"}, http.StatusForbidden},
		{"POST", "/api/stories/crash", "127.0.0.1:8080", map[string]string{"Sec-Fetch-Site": "same-site"}, http.StatusForbidden},
		{"POST", "/api/stories/crash", "127.0.0.1:8080", map[string]string{"Origin": "http://evil.example"}, http.StatusForbidden},
		{"POST", "/console/webhooks/1/replay", "127.0.0.1:8080", map[string]string{"Origin": "http://127.0.0.1:9999"}, http.StatusForbidden},
		{"DELETE", "/terra/v2/auth/deauthenticateUser", "127.0.0.1:8080", map[string]string{"Origin": "null"}, http.StatusForbidden},
	} {
		r := httptest.NewRequest(test.method, test.path, nil)
		r.Host = test.host
		for name, value := range test.header {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		if w.Code != test.status {
			t.Errorf("%s %s of host %q with %v: status %d, want %d", test.method, test.path, test.host, test.header, w.Code, test.status)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if strict := strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; ") && !strings.Contains(policy, "unsafe"); strict == (test.path == "/webhook") {
			t.Errorf("%s: the content policy is %q", test.path, policy)
		}
	}
}

func TestText(t *testing.T) {
	for name, test := range map[string]struct {
		body                        string
		before, mark, after, pretty string
		fault                       string
	}{
		"keys in their order": {body: `{"z":1.50,"a":[]}`, before: `{"z":1.50,"a":[]}`, pretty: "{\n  \"z\": 1.50,\n  \"a\": []\n}"},
		"a key twice":         {body: `{"a":1,"a":2}`, before: `{"a":1,"a":2}`, pretty: "{\n  \"a\": 1,\n  \"a\": 2\n}"},
		"a wrong character":   {body: "{\"a\":\n  é}", before: "{\"a\":\n  ", mark: "é", after: "}", fault: "Line 2, column 3: invalid character 'Ã' looking for beginning of value"},
		"cut off":             {body: `{"a":`, before: `{"a":`, mark: "⟨end⟩", fault: "Line 1, column 6: unexpected end of JSON input"},
		"empty":               {mark: "⟨end⟩", fault: "Line 1, column 1: unexpected end of JSON input"},
		"more after it":       {body: `{} x`, before: `{} `, mark: "x", fault: "Line 1, column 4: invalid character 'x' after top-level value"},
		"no text":             {body: "{\"a\":\"\xff\"}", before: `{"a":"\xff"}`, pretty: "{\n  \"a\": \"\\xff\"\n}"},
	} {
		got := textOf([]byte(test.body))
		want := text{Before: test.before, Mark: test.mark, After: test.after, Pretty: test.pretty, Fault: test.fault, Size: len(test.body)}
		if got != want {
			t.Errorf("%s: got %+v\nwant %+v", name, got, want)
		}
	}
	long := `["` + strings.Repeat("x", maxShown) + `"]`
	if got := textOf([]byte(long)); !got.Cut || len(got.Before) != maxShown || got.Pretty != "" || got.Fault != "" {
		t.Errorf("a long body: %d bytes shown, cut %v, %q", len(got.Before), got.Cut, got.Fault)
	}
	if got := textOf([]byte(long + "}")); !got.Cut || got.Mark != "}" || len(got.Before) > maxShown {
		t.Errorf("a long body with a fault at its end: %d bytes shown, mark %q", len(got.Before), got.Mark)
	}
	// Anybody can send this, and indented it would have 160 MB.
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	if got := textOf([]byte(deep)); got.Pretty != "" || got.Before != deep || got.Fault != "" {
		t.Errorf("a deep body: %d bytes pretty, %q", len(got.Pretty), got.Fault)
	}
	brackets := `{"a":"` + strings.Repeat(`[[\"{`, 10_000) + `"}`
	if got := textOf([]byte(brackets)); len(got.Pretty) != len(brackets)+5 {
		t.Errorf("brackets in a text: %d bytes pretty of %d", len(got.Pretty), len(brackets))
	}
}

// What a body says is text on the page, and never a part of it.
func TestBodiesAreEscaped(t *testing.T) {
	c := open(t, Options{})
	c.post(`{"type":"<script>alert(1)</script>","user":{"reference_id":"\"><img src=x onerror=alert(2)>"}}`)
	for _, path := range []string{"/", "/console/webhooks/1"} {
		if status, html := c.get(t, path); status != http.StatusOK || strings.Contains(html, "<script>alert") || strings.Contains(html, "<img src=x") {
			t.Errorf("%s: status %d\n%s", path, status, html)
		}
	}
}

// The page has nothing that the content policy forbids, and nothing from elsewhere.
func TestPageKeepsItsPolicy(t *testing.T) {
	c := open(t, Options{URL: "http://127.0.0.1:8080"})
	_, html := c.get(t, "/")
	css, _ := files.ReadFile("console.css")
	script, _ := files.ReadFile("console.js")
	for _, forbidden := range []string{"<style", " style=", " onclick=", "javascript:", "eval(", "@import", "url("} {
		if strings.Contains(html+string(css)+string(script), forbidden) {
			t.Errorf("the page has %q", forbidden)
		}
	}
	if n := strings.Count(html, "<script"); n != 1 || strings.Contains(html+string(css)+string(script), "https://") {
		t.Errorf("%d scripts, or something from elsewhere", n)
	}
	for _, path := range []string{"/console/console.js", "/console/console.css", "/console/icon.svg"} {
		if status, _ := c.get(t, path); status != http.StatusOK || !strings.Contains(html, path) {
			t.Errorf("%s: status %d", path, status)
		}
	}
}

func TestPlayTellsWhenItDoesNotAgree(t *testing.T) {
	want := Outcome{Answers: "200", Owner: "bob", Heard: "nothing", Left: "nothing"}
	for name, test := range map[string]struct {
		real   Outcome
		err    error
		agrees string
	}{
		"as expected":     {real: want, agrees: `data-agrees="true"`},
		"another owner":   {real: Outcome{Answers: "200", Owner: "alice", Heard: "nothing", Left: "nothing"}, agrees: `data-agrees="false"`},
		"another answer":  {real: Outcome{Answers: "500", Owner: "bob", Heard: "nothing", Left: "nothing"}, agrees: `data-agrees="false"`},
		"something heard": {real: Outcome{Answers: "200", Owner: "bob", Heard: "x", Left: "nothing"}, agrees: `data-agrees="false"`},
		"something left":  {real: Outcome{Answers: "200", Owner: "bob", Heard: "nothing", Left: "x"}, agrees: `data-agrees="false"`},
		"broken off":      {real: want, err: errors.New("it broke"), agrees: `data-agrees="false"`},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, Options{Stories: []Story{{Name: "a", Title: "A story", Expect: want, Play: func(context.Context, *Play) (Outcome, error) { return test.real, test.err }}}})
			w := httptest.NewRecorder()
			c.Pages().ServeHTTP(w, httptest.NewRequest("POST", "/api/stories/a", nil))
			if _, html := c.get(t, "/console/story"); w.Code != http.StatusOK || !strings.Contains(html, test.agrees) {
				t.Errorf("status %d, want %s in %s", w.Code, test.agrees, html)
			}
		})
	}
}

func TestStoriesThatCannotBePlayed(t *testing.T) {
	playing, end := make(chan struct{}), make(chan struct{})
	c := open(t, Options{Stories: []Story{
		{Name: "needy", Title: "A needy story", Needs: "needs something."},
		{Name: "long", Title: "A long story", Play: func(context.Context, *Play) (Outcome, error) {
			close(playing)
			<-end
			return Outcome{}, nil
		}},
	}})
	post := func(name string) int {
		w := httptest.NewRecorder()
		c.Pages().ServeHTTP(w, httptest.NewRequest("POST", "/api/stories/"+name, nil))
		return w.Code
	}
	go post("long")
	<-playing
	for name, status := range map[string]int{"unknown": http.StatusNotFound, "needy": http.StatusConflict, "long": http.StatusConflict} {
		if got := post(name); got != status {
			t.Errorf("%s: status %d, want %d", name, got, status)
		}
	}
	close(end)
	if _, html := c.get(t, "/"); !strings.Contains(html, `data-story="needy" disabled`) || !strings.Contains(html, "What is grey needs something.") {
		t.Error("the page does not say what the needy story needs")
	}
}
