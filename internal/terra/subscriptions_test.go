package terra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// collect reads one page into a list.
func collect(ctx context.Context, c *Client, page, perPage int) (subscriptions []Subscription, p Page, err error) {
	p, err = c.Subscriptions(ctx, page, perPage, func(s Subscription) error {
		subscriptions = append(subscriptions, s)
		return nil
	})
	return subscriptions, p, err
}

func TestSubscriptionsReadsEveryShape(t *testing.T) {
	const (
		a    = `{"scopes":"A,B","active":true,"last_webhook_update":null,"created_at":"2024-10-07T03:45:00.000000+00:00","user_id":"a","reference_id":"tony_stark","provider":"GARMIN"}`
		b    = `{"user_id":"b"}`
		list = `[` + a + `,` + b + `]`
	)
	want := []Subscription{
		{"a", ownership.Profile{Provider: "GARMIN", ReferenceID: "tony_stark", CreatedAt: time.Date(2024, 10, 7, 3, 45, 0, 0, time.UTC)}},
		{UserID: "b"},
	}
	for body, last := range map[string]bool{
		list:                       false,
		`{"users":` + list + `}`:   false,
		`{"data":` + list + `}`:    false,
		`{"results":` + list + `}`: false,
		` {"status":"success","x":[1], "users" : ` + list + `,"y":{"users":[]}} `: false,
		`{"data":{"next":3,"max_page":4,"results":` + list + `}}`:                 false,
		`{"data":{"next":null,"max_page":2,"results":` + list + `}}`:              true,
		`{"data":{"results":` + list + `,"next":null}}`:                           true,
		`{"results":` + list + `,"max_page":2}`:                                   true,
		`{"results":` + list + `,"max_page":1}`:                                   true,
		`{"results":` + list + `,"max_page":3}`:                                   false,
		`{"results":` + list + `,"max_page":"many"}`:                              false,
		`{"results":` + list + `,"next":null,"max_page":3}`:                       false, // a contradiction
		`{"results":` + list + `,"next":3,"max_page":2}`:                          false, // another
	} {
		got, page, err := collect(t.Context(), newTerra(t, answer(200, body)), 2, 500)
		if err != nil || !slices.Equal(got, want) || page != (Page{Count: 2, First: "a", Last: last}) {
			t.Errorf("%s:\ngot %+v, %+v, %v", body, got, page, err)
		}
	}
}

func TestSubscriptionsSkipsWhatIsUnusable(t *testing.T) {
	const frame = `{"user_id":"long","x":""}`
	long := func(n int) string { return frame[:len(frame)-2] + strings.Repeat("x", n-len(frame)) + `"}` }
	for element, usable := range map[string]bool{
		`{}`:                       false,
		`null`:                     false,
		`7`:                        false,
		`"b"`:                      false,
		`[{"user_id":"b"}]`:        false,
		`{"user_id":null}`:         false,
		`{"user_id":""}`:           false,
		`{"user_id":7}`:            false,
		`{"user_id":["b"]}`:        false,
		`{"user":{"user_id":"b"}}`: false,
		`{"user_id":"` + strings.Repeat("b", 129) + `"}`:                     false,
		`{"user_id":"b","reference_id":"` + strings.Repeat("r", 2049) + `"}`: false,
		long(64<<10 + 1): false,
		long(500_000):    false,
		long(64 << 10):   true,
		`{"user_id":"b","reference_id":{"x":[]},"provider":null,"created_at":"yesterday"}`: true,
		"{\"user_id\":\"b\",\"reference_id\":\"\xff\"}":                                    true,
		`{"user_id":"a","user_id":"b"}`:                                                    true,
	} {
		got, page, err := collect(t.Context(), newTerra(t, answer(200, `{"users":[`+element+`,{"user_id":"c"}]}`)), 0, 500)
		want := Page{Count: 1, Unusable: 1, First: "c"}
		if usable {
			want = Page{Count: 2, First: got[0].UserID}
		}
		if err != nil || page != want || got[len(got)-1].UserID != "c" {
			t.Errorf("%.80s: got %+v, %v", element, page, err)
		}
	}
}

func TestSubscriptionsRefuses(t *testing.T) {
	const a = `{"user_id":"a","reference_id":"tony_stark"}`
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		count  int // connections that were handed out before
		want   error
	}{
		"garbage":             {answer(200, `<html>`+testUser), 0, ErrUnusable},
		"empty":               {answer(200, ``), 0, ErrUnusable},
		"no list":             {answer(200, `{"status":"success"}`), 0, ErrUnusable},
		"a list that is null": {answer(200, `{"users":null}`), 0, ErrUnusable},
		"a text":              {answer(200, `"users"`), 0, ErrUnusable},
		"status error":        {answer(200, `{"status":"error","users":[]}`), 0, ErrUnusable},
		"status error behind": {answer(200, `{"users":[`+a+`],"status":"error"}`), 1, ErrUnusable},
		"status error above":  {answer(200, `{"status":"error","data":{"status":"success","results":[]}}`), 0, ErrUnusable},
		"truncated in a list": {answer(200, `{"users":[`+a+`,`+a), 2, ErrUnusable},
		"truncated in a user": {answer(200, `{"users":[`+a+`,`+a[:20]), 1, ErrUnusable},
		"truncated behind":    {answer(200, `{"users":[`+a+`]`), 1, ErrUnusable},
		"garbage behind":      {answer(200, `{"users":[`+a+`]}x`), 1, ErrUnusable},
		"two answers":         {answer(200, `{"users":[`+a+`]}{"users":[`+a+`]}`), 1, ErrUnusable},
		"too long a user":     {answer(200, `{"users":[`+a+`,{"x":"`+strings.Repeat("x", 3<<20)+`"}]}`), 1, ErrUnusable},
		"too long elsewhere":  {answer(200, `{"x":"`+strings.Repeat("x", 3<<20)+`","users":[`+a+`]}`), 0, ErrUnusable},
		"very deep":           {answer(200, strings.Repeat(`{"data":`, 20_000)), 0, ErrUnusable},
		"a wrong base URL":    {answer(404, ``), 0, &StatusError{"GET /subscriptions", 404}},
		"limited": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		}, 0, &ownership.Limited{RetryAfter: 7 * time.Second}},
		"unauthorised": {answer(401, testUser), 0, &StatusError{"GET /subscriptions", 401}},
		"server error": {answer(500, testUser), 0, &StatusError{"GET /subscriptions", 500}},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"users":[`+a)
		}, 1, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			got, page, err := collect(t.Context(), newTerra(t, test.answer), 0, 500)
			if len(got) != test.count || page.Count != test.count || page.Last {
				t.Errorf("got %v, %+v", got, page)
			}
			if err == nil {
				t.Fatal("got no error")
			}
			checkSame(t, err, test.want)
			checkDiscreet(t, err, "GET /subscriptions")
		})
	}
}

func TestSubscriptionsStopsWhenTold(t *testing.T) {
	enough := errors.New("enough")
	page, err := newTerra(t, answer(200, `[{"user_id":"a"},{"user_id":"b"},{"user_id":"c"}]`)).Subscriptions(t.Context(), 0, 500, func(s Subscription) error {
		if s.UserID == "b" {
			return enough
		}
		return nil
	})
	if err != enough || page != (Page{Count: 2, First: "a"}) {
		t.Errorf("got %+v, %v", page, err)
	}
}

// A list takes longer than the client's timeout, which is meant for questions; the context ends it.
func TestSubscriptionsTakesItsTime(t *testing.T) {
	client := newTerra(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `[{"user_id":"a"}`)
		http.NewResponseController(w).Flush()
		time.Sleep(50 * time.Millisecond)
		io.WriteString(w, `,{"user_id":"b"}`)
		if r.URL.Query().Get("page") == "0" {
			io.WriteString(w, `]`)
			return
		}
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	client.HTTP.Timeout = 10 * time.Millisecond
	if got, _, err := collect(t.Context(), client, 0, 500); err != nil || len(got) != 2 {
		t.Errorf("slow: got %v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	got, _, err := collect(ctx, client, 1, 500)
	if !errors.Is(err, context.DeadlineExceeded) || len(got) != 2 {
		t.Errorf("stuck: got %v, %v", got, err)
	}
	checkDiscreet(t, err, "GET /subscriptions")
}

// The list of an app with 100,000 connections in one answer is never held in memory.
func TestSubscriptionsNeedsNoMemoryForALongList(t *testing.T) {
	const users = 100_000
	client := newTerra(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"users":[`)
		for i := range users {
			if i > 0 {
				io.WriteString(w, ",")
			}
			fmt.Fprintf(w, `{"scopes":"A","active":true,"last_webhook_update":null,"created_at":"2024-10-07T03:45:00.000000+00:00","user_id":"4735eac4-31a2-47ef-8b11-%012d","reference_id":"user-%d","provider":"GARMIN"}`, i, i)
		}
		io.WriteString(w, `]}`)
	})
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, seen := held(), uint64(0), 0
	page, err := client.Subscriptions(t.Context(), 0, 500, func(Subscription) error {
		if seen++; seen%10_000 == 0 {
			most = max(most, held())
		}
		return nil
	})
	if err != nil || page.Count != users || page.Unusable != 0 {
		t.Fatalf("got %+v, %v", page, err)
	}
	t.Logf("%d kB held before, at most %d kB while reading", before>>10, most>>10)
	if most > before+8<<20 {
		t.Errorf("reading took %d kB", (most-before)>>10)
	}
}
