package terra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/handover-dev/handover/internal/ownership"
)

// Subscription is one connection of the environment, as Terra lists it. Its Profile names no account: the list does not.
type Subscription struct {
	UserID string
	ownership.Profile
}

// Page is what one answer of [Client.Subscriptions] held.
type Page struct {
	Count    int    // connections that were handed out
	Unusable int    // elements that were not: without a usable user_id, with a reference_id of more than 2048 bytes, longer than 64 KiB, or no object
	First    string // user_id of the first connection handed out; two pages with the same one show an API that repeats itself
	Last     bool   // Terra says that no page follows; if it does not say, an empty page is the end
}

// maxElement is the most that an element of a list may have, in bytes; a real one has about 250.
const maxElement = 64 << 10

// Subscriptions reads one page of the list of all connections, counted from 0, and hands each connection to each as it is read: Terra's documentation,
// REST API > GET /subscriptions. An API that knows no pages answers with the whole list, however long: it is never held in memory, and only ctx bounds
// the call. The list may be the answer itself, or its users, data, results or data.results.
//
// An element that is unusable is counted and skipped, never guessed at. An error of each ends the reading and is returned as it is. After any error, of
// an answer that is cut off (ErrUnusable) or calls itself an error at its end too, connections may already have been handed out: the Page counts them.
func (c *Client) Subscriptions(ctx context.Context, page, perPage int, each func(Subscription) error) (Page, error) {
	const path = "/subscriptions"
	answer, err := c.open(ctx, 0, http.MethodGet, path, url.Values{"page": {strconv.Itoa(page)}, "per_page": {strconv.Itoa(perPage)}})
	if err != nil {
		return Page{}, err
	}
	defer answer.Close()

	input := &ration{from: answer, left: maxAnswer}
	l := list{
		input:  input,
		d:      jsontext.NewDecoder(input, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
		number: page,
		each:   each,
	}
	err = l.read(ctx)
	switch {
	case l.stopped != nil:
		return l.page, l.stopped
	case err != nil:
		return l.page, fmt.Errorf("GET %s: %w", path, err)
	}
	l.page.Last = l.told && !l.more
	return l.page, nil
}

// list is an answer to GET /subscriptions while it is read.
type list struct {
	input  *ration
	d      *jsontext.Decoder
	number int // of the page
	each   func(Subscription) error

	page    Page
	found   bool  // there is a list
	failed  bool  // the answer calls itself an error
	told    bool  // the answer tells whether a page follows
	more    bool  // it tells that one does
	stopped error // the error of each
}

// read reads the whole answer.
func (l *list) read(ctx context.Context) error {
	err := l.value()
	if err == nil {
		if _, end := l.d.ReadToken(); end != io.EOF {
			err = errors.New("something follows")
		}
	}
	switch {
	case errors.Is(l.input.failure, errTooLong):
		return fmt.Errorf("%w: %w", ErrUnusable, errTooLong)
	case l.input.failure != nil:
		return withoutText(ctx, l.input.failure)
	case err != nil:
		return fmt.Errorf("%w: not JSON, or cut off, after byte %d", ErrUnusable, l.d.InputOffset())
	case l.failed:
		return fmt.Errorf("%w: its status is error", ErrUnusable)
	case !l.found:
		return fmt.Errorf("%w: it has no list", ErrUnusable)
	}
	return nil
}

// value reads what may be a list or have one as a member; anything else is skipped.
func (l *list) value() error {
	switch l.d.PeekKind() {
	case '[':
		return l.elements()
	case '{':
		return object(l.d, l.member)
	}
	return skip(l.d)
}

func (l *list) member(name []byte) error {
	switch string(name) {
	case "users", "data", "results":
		return l.value()
	case "status":
		status, err := text(l.d)
		l.failed = l.failed || status == "error"
		return err
	case "next":
		l.tell(l.d.PeekKind() != 'n')
	case "max_page":
		last, err := id(l.d)
		if n, notNumber := strconv.Atoi(last); notNumber == nil {
			l.tell(n > l.number)
		}
		return err
	}
	return skip(l.d)
}

// tell notes what the answer says about pages that follow. Where it contradicts itself, one does: an empty page is proof that none did.
func (l *list) tell(more bool) { l.told, l.more = true, l.more || more }

func (l *list) elements() error {
	l.found = true
	if _, err := l.d.ReadToken(); err != nil {
		return err
	}
	for l.d.PeekKind() != ']' {
		start := l.d.InputOffset()
		l.input.left = maxAnswer
		u, err := user(l.d)
		if err != nil {
			return err
		}
		if !u.Present || u.check() != nil || l.d.InputOffset()-start > maxElement {
			l.page.Unusable++
			continue
		}
		if l.page.Count == 0 {
			l.page.First = u.UserID
		}
		l.page.Count++
		s := Subscription{u.UserID, ownership.Profile{Provider: u.Provider, ReferenceID: u.ReferenceID, CreatedAt: u.CreatedAt}}
		if l.stopped = l.each(s); l.stopped != nil {
			return l.stopped
		}
	}
	_, err := l.d.ReadToken()
	return err
}

// errTooLong is an answer of which one element, or what stands outside the list, has no end in sight.
var errTooLong = fmt.Errorf("more than %d bytes without an element", maxAnswer)

// ration is a reader that fails once left bytes have been read: a decoder holds one value in memory, whatever its length, and here it is the length of the
// whole that has no limit.
type ration struct {
	from    io.Reader
	left    int
	failure error // what kept an answer from being read to its end
}

func (r *ration) Read(p []byte) (n int, err error) {
	if r.left <= 0 {
		r.failure = errTooLong
		return 0, errTooLong
	}
	n, err = r.from.Read(p[:min(len(p), r.left)])
	r.left -= n
	if err != nil && err != io.EOF {
		r.failure = err
	}
	return n, err
}
