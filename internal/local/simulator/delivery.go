package simulator

import (
	"bytes"
	"container/heap"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/handover-dev/handover/internal/terra"
)

// Faults is the mischief done to webhooks and answers. Probabilities are from 0 (never) to 1 (always). What happens to a webhook is decided
// when it is queued.
type Faults struct {
	Duplicate float64       // a webhook is delivered twice
	Lose      float64       // the first attempt of a webhook gets lost, and Terra tries again later
	Delay     time.Duration // a webhook is first sent after a random time of up to this
	Disorder  int           // a webhook that waits may be overtaken by up to this many later ones
	Forge     float64       // somebody sends a forged copy of a webhook: altered, wrongly signed or not signed

	Slow         time.Duration // each answer of the API takes this long
	Fail         float64       // the API answers 500
	Limit        float64       // the API answers 429
	RetryAfter   time.Duration // and asks to wait this long, in whole seconds; 0: it does not say
	Garbage      float64       // the API answers 200 with something of no use, or about somebody else
	NullAccounts bool          // GET /athlete has no provider_user_id
}

// SetFaults changes the mischief from now on.
func (t *Terra) SetFaults(f Faults) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = f
}

// Faults returns the mischief of now.
func (t *Terra) Faults() Faults {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.faults
}

// Stats counts webhooks.
type Stats struct {
	Webhooks       int // what the actions caused
	Deliveries     int // the same and their duplicates
	Attempts       int // tries to send anything, lost ones included
	Acknowledged   int // deliveries answered with 2xx
	GivenUp        int // deliveries for which Terra's schedule ended
	Forged         int // forgeries sent
	ForgedAccepted int // forgeries answered with 2xx: each is a security hole
}

// Stats returns the counts so far.
func (t *Terra) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Pending counts the deliveries that are neither acknowledged nor given up. Forgeries are nobody's to acknowledge.
func (t *Terra) Pending() int {
	s := t.Stats()
	return s.Deliveries - s.Acknowledged - s.GivenUp
}

// Schedule is how long Terra waits before each retry. It documents "about 8 to 10 times over 8 to 24 hours, doubling".
func Schedule() []time.Duration {
	var waits []time.Duration
	for wait := 2 * time.Minute; len(waits) < 9; wait *= 2 {
		waits = append(waits, wait)
	}
	return waits
}

// Run sends webhooks as they become due, until ctx ends; it returns ctx's error.
func (t *Terra) Run(ctx context.Context) error { return t.send(ctx, false) }

// Deliver sends webhooks until none is left: each is acknowledged or given up, each forgery is sent. If ctx ends before, Deliver returns its
// error, and what is left stays queued. It may be called while Run runs.
func (t *Terra) Deliver(ctx context.Context) error { return t.send(ctx, true) }

// delivery is one copy of a webhook on its way.
type delivery struct {
	body    []byte
	trace   string    // the same in each attempt and each duplicate
	forgery forgery   // how it is forged, if it is
	lost    bool      // the first attempt gets lost
	due     time.Time // when it is sent next; zero: at once
	place   int       // its place among those that are due at the same time
	retries int       // of Terra's schedule
}

// enqueue queues a webhook and its unwanted company. Each webhook has its own random numbers, so that its fate does not depend on how fast
// others are sent.
func (t *Terra) enqueue(body []byte) {
	if t.apart != nil {
		*t.apart = append(*t.apart, body)
		return
	}
	t.stats.Webhooks++
	random := rand.New(rand.NewPCG(t.config.Seed, uint64(t.stats.Webhooks)))
	trace := uuid(random)
	push := func(f forgery) {
		d := &delivery{body: body, trace: trace, forgery: f, place: t.stats.Webhooks + random.IntN(t.faults.Disorder+1)}
		d.lost = random.Float64() < t.faults.Lose && f == genuine
		if t.faults.Delay > 0 {
			d.due = time.Now().Add(time.Duration(random.Int64N(int64(t.faults.Delay))))
		}
		if f == genuine {
			t.stats.Deliveries++
		}
		heap.Push(&t.queue, d)
	}
	push(genuine)
	if random.Float64() < t.faults.Duplicate {
		push(genuine)
	}
	if random.Float64() < t.faults.Forge {
		push(1 + forgery(random.IntN(int(forgeries-1))))
	}
	t.change()
}

// Apart runs an action and returns the webhooks that it causes, which are not queued: the caller sends them, when and how he likes. Two calls must not overlap, and
// what others cause at that moment is among them.
func (t *Terra) Apart(action func()) (bodies [][]byte) {
	t.setApart(&bodies)
	defer t.setApart(nil)
	action()
	return bodies
}

func (t *Terra) setApart(bodies *[][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apart = bodies
}

// change wakes whoever waits for a change of the queue.
func (t *Terra) change() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// send runs the senders until ctx ends or, if untilNone, until nothing is left.
func (t *Terra) send(ctx context.Context, untilNone bool) error {
	var senders sync.WaitGroup
	for range t.config.Senders {
		senders.Go(func() {
			for d := t.next(ctx, untilNone); d != nil; d = t.next(ctx, untilNone) {
				t.answered(ctx, d, t.attempt(ctx, d))
			}
		})
	}
	senders.Wait()
	return ctx.Err()
}

// next waits for a delivery to be due and takes it off the queue. It returns nil once ctx has ended or, if untilNone, once nothing is left.
func (t *Terra) next(ctx context.Context, untilNone bool) *delivery {
	for ctx.Err() == nil {
		t.mu.Lock()
		d, wait := t.queue.pop()
		if d != nil {
			t.sending++
		}
		none := d == nil && len(t.queue) == 0 && t.sending == 0
		changed := t.changed
		t.mu.Unlock()

		if d != nil || none && untilNone {
			return d
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-wait:
		}
	}
	return nil
}

// attempt sends a delivery once and reports whether it was answered with 2xx.
func (t *Terra) attempt(ctx context.Context, d *delivery) bool {
	if d.lost && d.retries == 0 {
		return false
	}
	body, signature := d.forgery.message(t.config.Secret, t.config.Now(), d.body)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.config.WebhookURL, bytes.NewReader(body))
	if err != nil {
		return false
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Terra-Trace-Id", d.trace)
	if signature != "" {
		request.Header.Set("X-Terra-Signature", signature)
		request.Header.Set("Terra-Signature", signature)
	}
	response, err := t.client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body) // so that the connection is used again
	return response.StatusCode/100 == 2
}

// answered decides what becomes of a delivery after an attempt.
func (t *Terra) answered(ctx context.Context, d *delivery, acknowledged bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.change()
	t.sending--
	schedule := Schedule()
	switch {
	case !acknowledged && ctx.Err() != nil: // broken off by us: it stays queued
		heap.Push(&t.queue, d)
		return
	case d.forgery != genuine:
		t.stats.Forged++
		if acknowledged {
			t.stats.ForgedAccepted++
		}
	case acknowledged:
		t.stats.Acknowledged++
	case d.retries == len(schedule):
		t.stats.GivenUp++
	default:
		d.due = time.Now().Add(time.Duration(schedule[d.retries].Minutes() * float64(t.config.Minute)))
		d.retries++
		heap.Push(&t.queue, d)
	}
	t.stats.Attempts++
}

// forgery is a way to forge a webhook.
type forgery int

const (
	genuine     forgery = iota
	altered             // another body under the true signature
	otherSecret         // another body, signed with a secret that is not Terra's
	otherScheme         // another body, well signed, but not under v1
	unsigned            // another body without a signature
	forgeries           // their number
)

// message is the body and the signature that are sent for a webhook. A forged body gives everything in it to Mallory.
func (f forgery) message(secret string, at time.Time, body []byte) (sent []byte, signature string) {
	if f == genuine {
		return body, terra.Sign(secret, at, body)
	}
	forged := append(bytes.ReplaceAll(body, []byte(`"reference_id":"`), []byte(`"reference_id":"mallory-`)), ' ')
	switch f {
	case altered:
		return forged, terra.Sign(secret, at, body)
	case otherSecret:
		return forged, terra.Sign("not "+secret, at, forged)
	case otherScheme:
		return forged, strings.Replace(terra.Sign(secret, at, forged), "v1=", "v0=", 1)
	default: // unsigned
		return forged, ""
	}
}

// queue is a heap of deliveries, the next one first.
type queue []*delivery

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(d any)   { *q = append(*q, d.(*delivery)) }

func (q queue) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].place < q[j].place
}

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// pop takes the next delivery off the queue if it is due. If none is, wait tells when the next one will be; nil if there is none.
func (q *queue) pop() (due *delivery, wait <-chan time.Time) {
	if len(*q) == 0 {
		return nil, nil
	}
	if left := time.Until((*q)[0].due); left > 0 {
		return nil, time.After(left)
	}
	return heap.Pop(q).(*delivery), nil
}
