package benchmark

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/realparts"
)

// world is a ledger on a real DynamoDB engine, with a Terra that names accounts; it counts calls.
type world struct {
	keeper                     *ownership.Keeper
	client                     *dynamodb.Client
	calls, asked, published, n atomic.Int64
}

func newWorld(b *testing.B) *world {
	w := &world{}
	config := realparts.AWSConfig(realparts.DynamoDB(b))
	config.HTTPClient = &http.Client{Transport: counter{&w.calls, http.DefaultTransport}}
	w.client = dynamodb.NewFromConfig(config)
	if err := ledger.CreateTables(b.Context(), w.client, accounts, connections); err != nil {
		b.Fatal(err)
	}
	keys, err := ownership.NewAccountKeys(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	w.keeper = &ownership.Keeper{Ledger: ledger.NewDynamoDB(w.client, accounts, connections), Announcer: w, Directory: w, Keys: keys, Now: time.Now,
		Backoff: ownership.Backoff{Base: time.Second, Max: time.Minute, Unnamed: time.Hour}, Grace: time.Minute}
	return w
}

type counter struct {
	calls *atomic.Int64
	base  http.RoundTripper
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.calls.Add(1)
	return c.base.RoundTrip(r)
}

func (w *world) Publish(context.Context, ownership.Announcement) error {
	w.published.Add(1)
	return nil
}

// A user_id here is account/number: Terra knows whose account it is.
func (w *world) Athlete(_ context.Context, userID string) (ownership.Profile, error) {
	w.asked.Add(1)
	account, _, _ := strings.Cut(userID, "/")
	return ownership.Profile{Provider: "GARMIN", ProviderUserID: account}, nil
}

func (w *world) UserInfo(ctx context.Context, userID string) (ownership.Profile, error) {
	return w.Athlete(ctx, userID)
}

// connect is what an auth webhook does: user connected account at this second.
func (w *world) connect(b *testing.B, account, user, reference string, second int) {
	f := ownership.Facts{UserID: account + "/" + user, Provider: "GARMIN", Reference: reference,
		ConnectedAt: time.Unix(1_700_000_000+int64(second), 0).UTC(), Certainty: ownership.Signed}
	r, _, err := w.keeper.Record(b.Context(), f)
	if err != nil {
		b.Fatal(err)
	}
	if r.ToDo {
		if _, err := w.keeper.Settle(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// measure measures one kind of claim. Each gets a number of its own, and is prepared unmeasured.
func (w *world) measure(b *testing.B, prepare, claim func(n int)) {
	var times []time.Duration
	var calls, asked, published int64
	count := 0
	for b.Loop() {
		n := int(w.n.Add(1))
		prepare(n)
		c, a, p := w.calls.Load(), w.asked.Load(), w.published.Load()
		start := time.Now()
		claim(n)
		times = append(times, time.Since(start))
		calls, asked, published = calls+w.calls.Load()-c, asked+w.asked.Load()-a, published+w.published.Load()-p
		count++
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[count/2].Nanoseconds()), "median-ns/claim") // a machine that does other things makes some slow
	b.ReportMetric(float64(calls)/float64(count), "dynamodb-calls/claim")
	b.ReportMetric(float64(asked)/float64(count), "terra-calls/claim")
	b.ReportMetric(float64(published)/float64(count), "publishes/claim")
	b.ReportMetric(0, "ns/op")
}

// long asks for what takes many minutes: a million accounts, and an account that has had 10,000 holders.
func long() bool { return os.Getenv("HANDOVER_BENCH_LONG") == "true" }

// BenchmarkClaims is what the ledger costs per webhook, among few and many accounts.
func BenchmarkClaims(b *testing.B) {
	counts := []int{1_000, 100_000}
	if long() {
		counts = append(counts, 1_000_000)
	}
	for _, count := range counts {
		w := newWorld(b)
		w.fill(b, count)
		none := func(int) {}
		owned := func(n int) { w.connect(b, fmt.Sprint("a", n), "1", "anna", 100) }
		for _, test := range []struct {
			name           string
			prepare, claim func(n int)
		}{
			{"first", none, owned},
			{"unchanged", owned, owned},
			{"change", owned, func(n int) { w.connect(b, fmt.Sprint("a", n), "2", "ben", 200) }},
			{"late", owned, func(n int) { w.connect(b, fmt.Sprint("a", n), "0", "zoe", 50) }},
		} {
			b.Run(fmt.Sprintf("accounts=%d/claim=%s/by=handover", count, test.name), func(b *testing.B) { w.measure(b, test.prepare, test.claim) })
		}
	}
}

// fill puts accounts into the tables that nobody asks for again.
func (w *world) fill(b *testing.B, n int) {
	b.Helper()
	next := make(chan int)
	done := make(chan error, 16)
	for range cap(done) {
		go func() {
			var failed error
			for i := range next {
				claim := ownership.Claim{UserID: fmt.Sprint("other", i), Tenures: []string{"somebody"}, Certainty: ownership.Signed, ConnectedAt: time.Unix(1_700_000_000, 0), Version: 1}
				if _, err := w.keeper.Ledger.Claim(b.Context(), fmt.Sprint("GARMIN/other", i), claim); err != nil {
					failed = err
				}
			}
			done <- failed
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	for range cap(done) {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHistory is a change of owner on an account that has passed from hand to hand before.
func BenchmarkHistory(b *testing.B) {
	histories := []int{1, 32, 100}
	if long() {
		histories = append(histories, 10_000)
	}
	for _, earlier := range histories {
		w := newWorld(b)
		for i := range earlier {
			w.connect(b, "a", fmt.Sprint(i), fmt.Sprint("person", i), i)
			if _, err := w.close(b, fmt.Sprint("a/", i), i); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("earlier=%d/by=handover", earlier), func(b *testing.B) {
			w.measure(b, func(n int) {
				if n > 1 { // the one before ends, as earlier ones have
					if _, err := w.close(b, fmt.Sprint("a/new", n-1), earlier+n-1); err != nil {
						b.Fatal(err)
					}
				}
			}, func(n int) {
				w.connect(b, "a", fmt.Sprint("new", n), fmt.Sprint("new person", n), earlier+n)
			})
		})
	}
}

// close is what a deauth webhook does.
func (w *world) close(b *testing.B, userID string, second int) (ownership.Result, error) {
	r, _, err := w.keeper.Record(b.Context(), ownership.Facts{UserID: userID, ClosedAt: time.Unix(1_700_000_000+int64(second), 5e8).UTC()})
	if err != nil {
		return ownership.Result{}, err
	}
	return w.keeper.Settle(b.Context(), r)
}
