package console

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the ring holds at most. Captured webhooks hold personal data: they are here and nowhere else, and go when others come.
const (
	maxEntries = 1000
	maxBytes   = 32 << 20
)

// ring keeps what happened last, numbered from 1 without gaps, so that a stream that breaks off can go on where it was.
type ring struct {
	mu      sync.Mutex
	run     string // names this run of the program: another one's numbers mean nothing here
	last    uint64 // the number of the newest entry, also when it is gone
	entries []entry
	bytes   int
	parts   map[string]uint64 // how often each part of the page has changed
	changed chan struct{}     // closed when anything has changed
}

// entry is one thing that happened: a webhook that was answered, or an announcement.
type entry struct {
	kind    string
	html    []byte   // its row on the page
	webhook *Webhook // nil for an announcement
	heard   *Heard   // nil for a webhook
}

func (e entry) size() int {
	size := len(e.html)
	if e.webhook != nil {
		size += len(e.webhook.Body)
		for name, values := range e.webhook.Request.Header {
			size += len(name) + len(strings.Join(values, ""))
		}
	}
	return size
}

func newRing() *ring {
	return &ring{run: rand.Text()[:8], parts: map[string]uint64{}, changed: make(chan struct{})}
}

// add keeps an entry, and lets go of the oldest ones that there is no room for any more. The newest always has room.
func (r *ring) add(e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	r.entries = append(r.entries, e)
	r.bytes += e.size()
	gone := 0
	for len(r.entries)-gone > 1 && (len(r.entries)-gone > maxEntries || r.bytes > maxBytes) {
		r.bytes -= r.entries[gone].size()
		gone++
	}
	r.entries = slices.Delete(r.entries, 0, gone) // what is deleted is zeroed: no body is held on to
	r.wake()
}

// touch tells that a part of the page has changed.
func (r *ring) touch(part string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts[part]++
	r.wake()
}

func (r *ring) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// snapshot returns what is kept, oldest first, and the number of the newest.
func (r *ring) snapshot() ([]entry, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.entries), r.last
}

// since returns the entries after number, how many of them are gone already, and what is closed at the next change.
func (r *ring) since(number uint64) (entries []entry, missed uint64, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.last - uint64(len(r.entries)) // the number before the oldest that is kept
	if number < first {
		missed, number = first-number, first
	}
	return slices.Clone(r.entries[min(number, r.last)-first:]), missed, r.changed
}

// position is the number in an event id of this run; false if the id is of another run, or none.
func (r *ring) position(id string) (uint64, bool) {
	run, text, _ := strings.Cut(id, "-")
	number, err := strconv.ParseUint(text, 10, 64)
	r.mu.Lock()
	defer r.mu.Unlock()
	return number, err == nil && run == r.run && number <= r.last
}

func (r *ring) id(number uint64) string { return r.run + "-" + strconv.FormatUint(number, 10) }

// refreshed lists the parts that have changed since seen, which it brings up to date.
func (r *ring) refreshed(seen map[string]uint64) (parts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for part, version := range r.parts {
		if seen[part] != version {
			seen[part], parts = version, append(parts, part)
		}
	}
	return parts
}

// stream sends server-sent events: "webhook" and "announcement" with the HTML of a row, "refresh" with the name of a part of the page that is to be fetched again,
// and "missed" with how many rows are lost for good ("" if nobody can say, because the program was started again). A browser that lost the connection says in
// Last-Event-ID where it was; the first time the page's script says it in ?after.
func (c *Console) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after")
	}
	number, known := c.ring.position(id)
	var b bytes.Buffer
	if !known {
		_, number = c.ring.snapshot()
		event(&b, "", "missed", nil)
	}
	seen := map[string]uint64{}
	c.ring.refreshed(seen)
	control := http.NewResponseController(w)
	alive := time.NewTicker(15 * time.Second)
	defer alive.Stop()
	for {
		entries, missed, changed := c.ring.since(number)
		if number += missed; missed > 0 {
			event(&b, c.ring.id(number), "missed", fmt.Append(nil, missed))
		}
		for _, e := range entries {
			number++
			event(&b, c.ring.id(number), e.kind, e.html)
		}
		for _, part := range c.ring.refreshed(seen) {
			event(&b, "", "refresh", []byte(part))
		}
		if _, err := w.Write(b.Bytes()); err != nil || control.Flush() != nil {
			return
		}
		b.Reset()
		select {
		case <-changed:
		case <-alive.C:
			b.WriteString(": still here\n\n") // a browser that is gone is noticed by it
		case <-r.Context().Done():
			return
		case <-c.ended:
			return
		}
	}
}

// event writes one server-sent event: https://html.spec.whatwg.org/multipage/server-sent-events.html
// A carriage return ends a line there as well: a body that has one, which anybody can send, must not begin a line of its own.
func event(b *bytes.Buffer, id, kind string, data []byte) {
	if id != "" {
		fmt.Fprintf(b, "id: %s\n", id)
	}
	fmt.Fprintf(b, "event: %s\n", kind)
	for line := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), "\n") {
		fmt.Fprintf(b, "data: %s\n", line)
	}
	b.WriteByte('\n')
}
