package benchmark

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

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

// one measures one claim. It gets a number of its own, and is prepared unmeasured.
func (w *world) one(prepare, claim func(n int)) figures {
	n := int(w.n.Add(1))
	prepare(n)
	calls, asked, published, start := w.calls.Load(), w.asked.Load(), w.published.Load(), time.Now()
	claim(n)
	return figures{
		"ns/claim":             float64(time.Since(start).Nanoseconds()),
		"dynamodb-calls/claim": float64(w.calls.Load() - calls),
		"terra-calls/claim":    float64(w.asked.Load() - asked),
		"publishes/claim":      float64(w.published.Load() - published),
	}
}

// long asks for what takes many minutes: a million accounts, and an account that has had 10,000 holders.
func long() bool { return os.Getenv("HANDOVER_BENCH_LONG") == "true" }

// BenchmarkClaims is what the ledger costs per webhook, among few and many accounts.
func BenchmarkClaims(b *testing.B) {
	counts := []int{1_000, 100_000}
	if long() {
		counts = append(counts, 1_000_000)
	}
	var worlds []*world
	for _, count := range counts {
		w := newWorld(b)
		w.fill(b, count)
		worlds = append(worlds, w)
	}
	none := func(*world, int) {}
	owned := func(w *world, n int) { w.connect(b, fmt.Sprint("a", n), "1", "anna", 100) }
	for _, test := range []struct {
		name           string
		prepare, claim func(w *world, n int)
	}{
		{"first", none, owned},
		{"unchanged", owned, owned},
		{"change", owned, func(w *world, n int) { w.connect(b, fmt.Sprint("a", n), "2", "ben", 200) }},
		{"late", owned, func(w *world, n int) { w.connect(b, fmt.Sprint("a", n), "0", "zoe", 50) }},
	} {
		b.Run("claim="+test.name, func(b *testing.B) {
			var programs []program
			for i, w := range worlds {
				programs = append(programs, program{fmt.Sprintf("accounts=%d/by=handover", counts[i]), func() figures {
					return w.one(func(n int) { test.prepare(w, n) }, func(n int) { test.claim(w, n) })
				}})
			}
			inTurn(b, 200, programs...)
		})
	}
}

// fill puts accounts with a connection each into the tables, all like one that has been settled. Nobody asks for them again.
func (w *world) fill(b *testing.B, n int) {
	b.Helper()
	w.connect(b, "model", "1", "somebody", 0)
	models := map[string]map[string]types.AttributeValue{} // by table
	keys := map[string]string{accounts: "account", connections: "user_id"}
	for table := range keys {
		scanned, err := w.client.Scan(b.Context(), &dynamodb.ScanInput{TableName: &table})
		if err != nil || len(scanned.Items) != 1 {
			b.Fatalf("%d items in table %s, want 1; %v", len(scanned.Items), table, err)
		}
		models[table] = scanned.Items[0]
	}
	const batch = 25 / 2
	next, done := make(chan int), make(chan error)
	for range 4 {
		go func() {
			var failed error
			for from := range next {
				requests := map[string][]types.WriteRequest{}
				for i := from; i < min(from+batch, n); i++ {
					for table, key := range keys {
						item := maps.Clone(models[table])
						item[key] = &types.AttributeValueMemberS{Value: fmt.Sprint("GARMIN/other", i)}
						requests[table] = append(requests[table], types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
					}
				}
				if _, err := w.client.BatchWriteItem(b.Context(), &dynamodb.BatchWriteItemInput{RequestItems: requests}); err != nil {
					failed = err
				}
			}
			done <- failed
		}()
	}
	for i := 0; i < n; i += batch {
		next <- i
	}
	close(next)
	for range 4 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHistory is a change of owner on an account that has passed from hand to hand before, and each connection was ended, or none.
func BenchmarkHistory(b *testing.B) {
	for _, ended := range []bool{true, false} {
		b.Run(fmt.Sprint("ended=", ended), func(b *testing.B) { histories(b, ended) })
	}
}

func histories(b *testing.B, ended bool) {
	lengths := []int{1, 32, 100, 160}
	if long() {
		lengths = append(lengths, 10_000)
	}
	var programs []program
	for _, earlier := range lengths {
		w := newWorld(b)
		account, latest := "", 0
		holder := func(i int) (user, reference string) { return fmt.Sprint(i), fmt.Sprint("person", i) }
		connect := func() {
			user, reference := holder(latest)
			w.connect(b, account, user, reference, latest)
			latest++
		}
		end := func() {
			if !ended {
				return
			}
			user, _ := holder(latest - 1)
			w.close(b, account+"/"+user, latest-1)
		}
		history := func(n int) {
			account, latest = fmt.Sprint("a", n), 0
			for range earlier {
				connect()
				end()
			}
		}
		prepare := func(int) { end() }
		if earlier == 1 { // the next claim would have two before it: each gets an account of its own
			prepare = history
		} else {
			history(0)
		}
		programs = append(programs, program{fmt.Sprintf("earlier=%d/by=handover", earlier), func() figures {
			return w.one(prepare, func(int) { connect() })
		}})
	}
	inTurn(b, 100, programs...)
}

// close is what a deauth webhook does.
func (w *world) close(b *testing.B, userID string, second int) {
	r, _, err := w.keeper.Record(b.Context(), ownership.Facts{UserID: userID, ClosedAt: time.Unix(1_700_000_000+int64(second), 5e8).UTC()})
	if err == nil {
		_, err = w.keeper.Settle(b.Context(), r)
	}
	if err != nil {
		b.Fatal(err)
	}
}
