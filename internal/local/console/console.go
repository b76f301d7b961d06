// Package console is the page of the local program: what Terra sent, what Handover did with it and why, and what the backend heard; live, with stories to play.
//
//	console, err := console.New(console.Options{…})
//	mux.Handle("/webhook", console.Webhook())   // every request to it is captured, in memory, within bounds
//	mux.Handle("/", console.Pages())            // the page and its parts
//	server.Handler = console.Guard(mux)
//
// The page is made by html/template alone, whole or a part at a time: its script only puts those parts where they belong.
package console

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"iter"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/explain"
	"github.com/handover-dev/handover/internal/local/topic"
	"github.com/handover-dev/handover/internal/ownership"
)

// Options are what a console shows, and with what it acts. Stories and SecretVariable may be empty.
type Options struct {
	URL            string // of the program, without a slash at the end
	Secret         string // signs what is sent from here
	SecretVariable string // the environment variable that holds Secret in the commands that are copied; "" if it is the tool's default
	Gateway        http.Handler
	Event          func(r *http.Request, body []byte, at time.Time) ([]byte, error) // what the gateway makes of a request
	Ledger         Ledger
	Topic          Topic
	Stories        []Story
	Fault          func(error) // is told what fails, which no page says
}

// Ledger reads the row of an account, and lists all rows, in no order.
type Ledger interface {
	Account(ctx context.Context, key string) (ownership.Account, bool, error)
	Accounts(ctx context.Context) iter.Seq2[ownership.Account, error]
	Connections(ctx context.Context) iter.Seq2[ownership.Connection, error]
}

// Topic lists what was published, newest first.
type Topic interface {
	Newest() iter.Seq2[topic.Published, error]
}

// Console is the page and what it has captured.
type Console struct {
	options   Options
	templates *template.Template
	ring      *ring
	client    *http.Client
	now       func() time.Time
	ended     chan struct{}
	arrivals  atomic.Uint64 // numbers webhooks

	playing sync.Mutex // held while a story is played

	mu       sync.Mutex // of what follows
	refusals map[string]int
	play     *Play // the story that was played last, nil for none
}

//go:embed page.html console.css console.js icon.svg
var files embed.FS

// New makes a console.
func New(o Options) (*Console, error) {
	c := &Console{
		options: o, ring: newRing(), client: &http.Client{Timeout: 30 * time.Second}, now: time.Now, ended: make(chan struct{}), refusals: map[string]int{},
	}
	var err error
	c.templates, err = template.New("").Funcs(template.FuncMap{"time": clock, "short": short, "bytes": size, "lane": lane, "verdict": verdict, "brief": brief}).ParseFS(files, "page.html")
	return c, err
}

// Close ends the streams, which would else last as long as a browser is there.
func (c *Console) Close() { close(c.ended) }

// Webhook is the gateway, and what passes it is captured.
func (c *Console) Webhook() http.Handler { return http.HandlerFunc(c.capture) }

// Heard tells the console of an announcement that was published.
func (c *Console) Heard(e announce.Event) {
	message, err := e.JSON()
	if err != nil {
		c.options.Fault(err)
		return
	}
	heard := newHeard(topic.Published{Message: message, Attributes: e.Attributes})
	html, err := c.render("announcement", heard)
	if err != nil {
		c.options.Fault(err)
	}
	c.ring.add(entry{kind: "announcement", html: html, heard: &heard})
	c.ring.touch("state")
}

// Changed tells the console that the ledger may have changed.
func (c *Console) Changed() { c.ring.touch("state") }

// Pages are the page, its parts and its files.
func (c *Console) Pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page)
	for name, kind := range map[string]string{"console.css": "text/css; charset=utf-8", "console.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"} {
		mux.HandleFunc("GET /console/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			http.ServeFileFS(w, r, files, name)
		})
	}
	mux.HandleFunc("GET /console/stream", c.stream)
	mux.HandleFunc("GET /console/state", func(w http.ResponseWriter, r *http.Request) {
		state, err := c.state(r.Context())
		c.part(w, "state", state, err)
	})
	mux.HandleFunc("GET /console/story", func(w http.ResponseWriter, _ *http.Request) { c.part(w, "story", c.played(), nil) })
	mux.HandleFunc("GET /console/webhooks/{number}", c.kept(c.detail))
	mux.HandleFunc("GET /console/webhooks/{number}/{copy}", c.kept(c.copied))
	mux.HandleFunc("POST /console/webhooks/{number}/replay", c.kept(c.replay))
	mux.HandleFunc("GET /console/announcements/{id}", c.announcement)
	mux.HandleFunc("GET /api/stories", func(w http.ResponseWriter, _ *http.Request) { c.json(w, http.StatusOK, c.options.Stories) })
	mux.HandleFunc("POST /api/stories/{name}", c.tell)
	return mux
}

// page is the whole page.
func (c *Console) page(w http.ResponseWriter, r *http.Request) {
	entries, last := c.ring.snapshot() // before the rest: what happens meanwhile comes again by the stream
	var hooks []*Webhook
	for _, e := range entries {
		if e.webhook != nil {
			hooks = append(hooks, e.webhook)
		}
	}
	slices.SortFunc(hooks, func(a, b *Webhook) int { return cmp.Compare(b.Number, a.Number) })
	var announcements []Heard
	for p, err := range c.options.Topic.Newest() {
		if err != nil {
			c.part(w, "page", nil, err)
			return
		}
		if announcements = append(announcements, newHeard(p)); len(announcements) == maxRows {
			break
		}
	}
	state, err := c.state(r.Context())
	c.part(w, "page", map[string]any{
		"URL": c.options.URL, "Last": c.ring.id(last), "Stories": c.options.Stories, "Play": c.played(), "Webhooks": hooks, "Announcements": announcements, "State": state,
	}, err)
}

// maxRows is how many accounts, connections that wait, and announcements a page shows.
const maxRows = 100

// state is what the page shows of the ledger, and counts.
type state struct {
	Accounts      []explain.Account // at most maxRows, those that changed hands last first
	AccountCount  int
	Unsettled     []ownership.Connection // at most maxRows, the next to be tried first; those that Terra names no account for are apart
	Unidentified  []ownership.Connection
	WaitingCount  int
	Webhooks      uint64 // since the program was started, as the refusals
	Refusals      map[string]int
	Refused       int
	Announcements uint64 // ever
	Now           time.Time
}

func (c *Console) state(ctx context.Context) (state, error) {
	s := state{Webhooks: c.arrivals.Load(), Now: c.now()}
	c.mu.Lock()
	s.Refusals = maps.Clone(c.refusals)
	c.mu.Unlock()
	for _, n := range s.Refusals {
		s.Refused += n
	}
	for p, err := range c.options.Topic.Newest() {
		if err != nil {
			return s, err
		}
		s.Announcements = p.Number
		break
	}
	accounts := top[ownership.Account]{compare: func(a, b ownership.Account) int {
		return cmp.Or(newest(b).Compare(newest(a)), strings.Compare(a.Key, b.Key))
	}}
	for row, err := range c.options.Ledger.Accounts(ctx) {
		if err != nil {
			return s, err
		}
		if len(row.Claims) > 0 {
			accounts.add(row)
		}
	}
	s.AccountCount = accounts.count
	waiting := map[string][]ownership.Connection{} // connections that hold an account which is shown, by its key, and have no claim in it yet
	for _, row := range accounts.first() {
		waiting[row.Key] = nil
	}
	soonest := func(a, b ownership.Connection) int {
		return cmp.Or(a.NextAttempt.Compare(b.NextAttempt), strings.Compare(a.UserID, b.UserID))
	}
	unsettled, unidentified := top[ownership.Connection]{compare: soonest}, top[ownership.Connection]{compare: soonest}
	for row, err := range c.options.Ledger.Connections(ctx) {
		switch {
		case err != nil:
			return s, err
		case !row.ToDo:
			continue
		case row.Waiting == ownership.NoAccount:
			unidentified.add(row)
		default:
			unsettled.add(row)
		}
		for _, account := range row.Accounts {
			if list, shown := waiting[account]; shown {
				waiting[account] = append(list, row)
			}
		}
	}
	s.Unsettled, s.Unidentified, s.WaitingCount = unsettled.first(), unidentified.first(), unsettled.count+unidentified.count
	for _, row := range accounts.first() {
		s.Accounts = append(s.Accounts, explain.Of(row, waiting[row.Key]))
	}
	return s, nil
}

// top keeps the first maxRows of what is added, and counts all.
type top[T any] struct {
	compare func(a, b T) int
	rows    []T
	count   int
}

func (t *top[T]) add(row T) {
	t.count++
	if t.rows = append(t.rows, row); len(t.rows) == 2*maxRows {
		t.rows = t.first()
	}
}

func (t *top[T]) first() []T {
	slices.SortFunc(t.rows, t.compare)
	return t.rows[:min(len(t.rows), maxRows)]
}

// newest is when the latest connection of an account was made.
func newest(a ownership.Account) (at time.Time) {
	for _, claim := range a.Claims {
		if claim.ConnectedAt.After(at) {
			at = claim.ConnectedAt
		}
	}
	return at
}

// Heard is an announcement as the page shows it.
type Heard struct {
	topic.Published
	ID   string
	Time time.Time // of the sending
	ownership.Announcement
}

func newHeard(p topic.Published) Heard {
	h := Heard{Published: p}
	h.ID, h.Announcement, _ = announce.Parse(p.Message) // if another version made it, it may be unreadable: it is shown as it is
	var sent struct{ Time time.Time }
	_ = json.Unmarshal(p.Message, &sent)
	h.Time = sent.Time
	return h
}

// announcement is what is shown of one announcement.
func (c *Console) announcement(w http.ResponseWriter, r *http.Request) {
	for p, err := range c.options.Topic.Newest() {
		if err != nil {
			c.part(w, "announcement-detail", nil, err)
			return
		}
		if heard := newHeard(p); heard.ID == r.PathValue("id") {
			c.part(w, "announcement-detail", map[string]any{"Heard": heard, "Text": textOf(p.Message)}, nil)
			return
		}
	}
	http.Error(w, "There is no such announcement.", http.StatusNotFound)
}

// kept answers for a webhook that is kept.
func (c *Console) kept(answer func(http.ResponseWriter, *http.Request, *Webhook)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.ParseUint(r.PathValue("number"), 10, 64) // 0 is no webhook's
		hook := c.webhook(func(h *Webhook) bool { return h.Number == number })
		if hook == nil {
			http.Error(w, "This webhook is not kept any more: only the latest are, and in memory.", http.StatusNotFound)
			return
		}
		answer(w, r, hook)
	}
}

// detail is what is shown of one webhook: also why the accounts that it was about are whose they are.
func (c *Console) detail(w http.ResponseWriter, r *http.Request, hook *Webhook) {
	var accounts []explain.Account
	for key := range strings.FieldsSeq(hook.line["account"]) {
		row, found, err := c.options.Ledger.Account(r.Context(), key)
		if err != nil {
			c.fail(w, err)
			return
		}
		if found {
			accounts = append(accounts, explain.Of(row, nil))
		}
	}
	c.part(w, "webhook-detail", map[string]any{
		"Hook": hook, "Text": textOf(hook.Body), "Headers": headers(hook), "Accounts": accounts,
		"Editable": utf8.Valid(hook.Body) && len(hook.Body) <= maxShown, "Body": string(hook.Body),
	}, nil)
}

// copied answers with a webhook in another form.
func (c *Console) copied(w http.ResponseWriter, r *http.Request, hook *Webhook) {
	var content []byte
	var err error
	kind, name := "text/plain; charset=utf-8", ""
	switch r.PathValue("copy") {
	case "curl":
		content = []byte(c.curl(hook))
	case "command":
		content = []byte(c.command(hook))
	case "event.json":
		kind, name = "application/json", fmt.Sprintf("webhook-%d.json", hook.Number)
		content, err = c.event(hook)
	case "body":
		kind, name = "application/octet-stream", fmt.Sprintf("webhook-%d.body", hook.Number)
		content = hook.Body
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		c.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", kind)
	if name != "" {
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	}
	_, _ = w.Write(content)
}

// replay sends a webhook once more: as it came or, with ?signed, with the body of this request, signed anew. It answers with the new webhook's number.
func (c *Console) replay(w http.ResponseWriter, r *http.Request, hook *Webhook) {
	body, header := hook.Body, hook.Request.Header
	if r.URL.Query().Has("signed") {
		changed, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10<<20))
		if err != nil {
			http.Error(w, "The body is too large.", http.StatusRequestEntityTooLarge)
			return
		}
		body, header = changed, c.Sign(changed)
	}
	again, err := c.Send(r.Context(), body, header)
	if err != nil {
		c.fail(w, err)
		return
	}
	c.json(w, http.StatusOK, map[string]uint64{"number": again.Number})
}

func (c *Console) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

// part answers with the HTML of a template.
func (c *Console) part(w http.ResponseWriter, name string, data any, err error) {
	var html []byte
	if err == nil {
		html, err = c.render(name, data)
	}
	if err != nil {
		c.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(html)
}

func (c *Console) fail(w http.ResponseWriter, err error) {
	if !errors.Is(err, context.Canceled) {
		c.options.Fault(err)
	}
	http.Error(w, "Something failed here: the program's log says more.", http.StatusInternalServerError)
}

func (c *Console) render(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	err := c.templates.ExecuteTemplate(&b, name, data)
	return bytes.TrimSpace(b.Bytes()), err
}

// headers are the lines of a webhook's header, sorted.
func headers(w *Webhook) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(w.Request.Header)) {
		for _, value := range w.Request.Header[name] {
			lines = append(lines, name+": "+value)
		}
	}
	return lines
}

// verdict is what the rule has decided about a holder, in a few words.
func verdict(h explain.Holder) string {
	words := map[ownership.Verdict]string{
		ownership.Owner: "owns the account now", ownership.SameReference: "the present owner is the same person: nothing to announce",
		ownership.HeldAgain: "held it once more later: announced from there",
		ownership.Announced: "announced as passed on", ownership.Owed: "still to be announced as passed on",
	}[h.Transfer.Verdict]
	if h.Transfer.To != nil && h.Transfer.To.ReferenceID != "" {
		words += " to " + h.Transfer.To.ReferenceID
	}
	switch h.End.Verdict {
	case ownership.Announced:
		words += ", and as ended"
	case ownership.Owed:
		words += "; its end is still to be announced"
	}
	return words
}

// clock is a time of this machine's day, or a date with it.
func clock(t time.Time) string {
	t = t.Local()
	if time.Since(t).Abs() > 20*time.Hour {
		return t.Format("2006-01-02 15:04:05")
	}
	if t.Nanosecond() == 0 {
		return t.Format("15:04:05")
	}
	return t.Format("15:04:05.000")
}

// brief is an explanation with the beginnings of user_ids: the whole ones stand in the chain.
func brief(text string) string {
	return regexp.MustCompile(`\bconnection ([0-9a-f]{8})-[0-9a-f-]{27}`).ReplaceAllString(text, "$1…")
}

// short is the beginning of a long id; of an account's key it leaves out the provider.
func short(id string) string {
	_, account, isAccount := strings.Cut(id, "/")
	if isAccount {
		return account[:min(len(account), 9)] + "…"
	}
	if len(id) > 10 {
		return id[:8] + "…"
	}
	return id
}

// size is a number of bytes for people.
func size(n int) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1_000_000:
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
