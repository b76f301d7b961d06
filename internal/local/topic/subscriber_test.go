package topic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// The tests of delivery run in a bubble, where time passes only while everybody waits. So they are exact about time, take none, and fail if Close
// leaves a goroutine behind.

func TestDeliveriesKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net network
		topic := net.open(t, filepath.Join(t.TempDir(), "topic.db"), "http://a.test/", "http://b.test/")
		var publishers sync.WaitGroup
		for i := range 20 {
			publishers.Go(func() { publish(t, topic, fmt.Sprint(i)) })
		}
		publishers.Wait()
		synctest.Wait()

		want := listed(t, topic)
		if len(want) != 20 {
			t.Errorf("the topic lists %d announcements, want 20", len(want))
		}
		for _, url := range []string{"http://a.test/", "http://b.test/"} {
			if got := net.received(url); !slices.Equal(got, want) {
				t.Errorf("%s received %v, want %v", url, got, want)
			}
		}
	})
}

func TestDeliveryIsTriedUntilAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []func(*http.Request) (int, error){
			answer(500), answer(404), answer(302), refuse, hang, answer(199), answer(300), answer(204),
		}
		net := network{respond: func(r *http.Request, _ string) (int, error) {
			next := answers[0]
			answers = answers[1:]
			return next(r)
		}}
		topic := net.open(t, filepath.Join(t.TempDir(), "topic.db"), "http://a.test/")
		start := time.Now()
		publish(t, topic, "tony")
		time.Sleep(time.Hour)
		synctest.Wait()

		var got []time.Duration
		for _, request := range net.requests {
			got = append(got, request.at.Sub(start))
		}
		want := []time.Duration{
			0,
			200 * time.Millisecond,
			600 * time.Millisecond,
			1400 * time.Millisecond,
			3000 * time.Millisecond, // this one hangs for 10 s
			16200 * time.Millisecond,
			21200 * time.Millisecond,
			26200 * time.Millisecond,
		}
		if !slices.Equal(got, want) {
			t.Errorf("attempts at %v, want %v", got, want)
		}
		for _, request := range net.requests {
			if request.body != net.requests[0].body {
				t.Errorf("an attempt differs:\n%s\n%s", request.body, net.requests[0].body)
			}
		}
	})
}

func TestNobodyWaitsForAHangingMessageOrSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := network{respond: func(r *http.Request, reference string) (int, error) {
			if r.URL.Host == "hanging.test" || reference == "poison" {
				return hang(r)
			}
			return 200, nil
		}}
		topic := net.open(t, filepath.Join(t.TempDir(), "topic.db"), "http://hanging.test/", "http://a.test/")
		for _, reference := range []string{"poison", "tony", "pepper"} {
			publish(t, topic, reference)
		}
		time.Sleep(patience)
		synctest.Wait()

		if got, want := net.received("http://a.test/"), []string{"poison", "tony", "pepper"}; !slices.Equal(got, want) {
			t.Errorf("received %v, want %v", got, want)
		}
	})
}

func TestWhatIsOwedSurvivesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "topic.db")
		down := network{respond: func(_ *http.Request, reference string) (int, error) {
			if reference == "tony" {
				return 200, nil
			}
			return 503, nil
		}}
		topic := down.open(t, path, "http://a.test/")
		for _, reference := range []string{"tony", "pepper", "happy"} {
			publish(t, topic, reference)
		}
		synctest.Wait()
		certificate := topic.Certificate()
		closeNow(t, topic)

		// Without the subscriber nothing is delivered, and nothing forgotten. What is published meanwhile is not for it.
		var up network
		topic = up.open(t, path)
		publish(t, topic, "rhodey")
		closeNow(t, topic)

		topic = up.open(t, path, "http://a.test/", "http://b.test/")
		publish(t, topic, "may")
		synctest.Wait()
		if got, want := up.received("http://a.test/"), []string{"pepper", "happy", "may"}; !slices.Equal(got, want) {
			t.Errorf("the subscriber received %v, want %v", got, want)
		}
		if got, want := up.received("http://b.test/"), []string{"may"}; !slices.Equal(got, want) {
			t.Errorf("the new subscriber received %v, want %v", got, want)
		}
		if got, want := listed(t, topic), []string{"tony", "pepper", "happy", "rhodey", "may"}; !slices.Equal(got, want) {
			t.Errorf("the topic lists %v, want %v", got, want)
		}
		if string(certificate) != string(topic.Certificate()) {
			t.Error("the certificate has changed")
		}
		if first := down.requests[1]; first.body != up.requests[0].body {
			t.Errorf("delivered first\n%s\nand after Close\n%s", first.body, up.requests[0].body)
		}
	})
}

func TestCloseLetsDeliveriesFinishUntilItsContextEnds(t *testing.T) {
	for name, test := range map[string]struct{ limit, want time.Duration }{
		"in time": {limit: 5 * time.Second, want: 3 * time.Second},
		"cut off": {limit: 2 * time.Second, want: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := network{respond: func(r *http.Request, _ string) (int, error) {
					select {
					case <-time.After(3 * time.Second):
						return 200, nil
					case <-r.Context().Done():
						return 0, r.Context().Err()
					}
				}}
				path := filepath.Join(t.TempDir(), "topic.db")
				topic := net.open(t, path, "http://a.test/")
				publish(t, topic, "tony")
				synctest.Wait()

				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), test.limit)
				defer cancel()
				if err := topic.Close(ctx); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took != test.want {
					t.Errorf("Close took %v, want %v", took, test.want)
				}
			})
		})
	}
}

// network plays all subscribers. A request is answered by respond, or with 200 if that is nil.
type network struct {
	respond func(r *http.Request, reference string) (status int, err error)

	mu       sync.Mutex
	requests []request
}

type request struct {
	url, body string
	reference string // the reference_id of the previous holder
	at        time.Time
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var envelope notification
	if err := json.Unmarshal(body, &envelope); err != nil {
		return nil, err
	}
	got := request{url: r.URL.String(), body: string(body), reference: reference(envelope.Message), at: time.Now()}
	n.mu.Lock()
	n.requests = append(n.requests, got)
	n.mu.Unlock()

	status := 200
	if n.respond != nil {
		if status, err = n.respond(r, got.reference); err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Location": {"/elsewhere"}}, Body: http.NoBody}, nil
}

// received lists the references that url was sent.
func (n *network) received(url string) (references []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.requests {
		if r.url == url {
			references = append(references, r.reference)
		}
	}
	return references
}

func (n *network) open(t *testing.T, path string, subscribers ...string) *Topic {
	t.Helper()
	topic, err := open(path, Options{
		Source:      "handover",
		Subscribers: subscribers,
		Log:         slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, func() http.RoundTripper { return n })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, topic) })
	return topic
}

func answer(status int) func(*http.Request) (int, error) {
	return func(*http.Request) (int, error) { return status, nil }
}

func refuse(*http.Request) (int, error) { return 0, errors.New("connection refused") }

func hang(r *http.Request) (int, error) {
	<-r.Context().Done()
	return 0, r.Context().Err()
}

// closeNow closes without waiting for the deliveries under way.
func closeNow(t *testing.T, topic *Topic) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := topic.Close(ctx); err != nil {
		t.Error(err)
	}
}

// publish announces that a watch has passed from the person of that reference_id to another.
func publish(t *testing.T, topic *Topic, reference string) {
	t.Helper()
	err := topic.Publish(t.Context(), ownership.Announcement{
		Type:     ownership.Transferred,
		Account:  "GARMIN/k7c1.1f2e",
		Provider: "GARMIN",
		Reason:   ownership.ConnectedByOther,
		Order:    ownership.Signed,
		Previous: ownership.Holder{UserID: "4735eac4", ReferenceID: reference, Tenure: 1},
		Current:  ownership.Holder{UserID: "9c8b7a65", ReferenceID: "morgan", Tenure: 1},
	})
	if err != nil {
		t.Error(err)
	}
}

// listed is what the topic lists, by the reference_id of the previous holder.
func listed(t *testing.T, topic *Topic) (references []string) {
	t.Helper()
	list, err := topic.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range list {
		references = append(references, reference(string(event)))
	}
	return references
}

func reference(event string) string {
	_, rest, _ := strings.Cut(event, `"reference_id":"`)
	reference, _, _ := strings.Cut(rest, `"`)
	return reference
}
