package benchmark

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/terra"
)

// patience is what Terra gives a webhook: the one time that a test of this package insists on.
const patience = 8 * time.Second

// TestBurst sends webhooks all at once, through the local front, with a real DynamoDB engine behind it, and misses none: whoever was the owner before the last
// one is announced. What this machine is too slow to store in time is answered 500, and sent again as Terra would. All of it, Terra, engine and function, shares the
// machine's few cores, so the 8 seconds are insisted on only where the machine is known to be quiet: with HANDOVER_BENCH_LONG=true.
func TestBurst(t *testing.T) {
	for name, test := range map[string]struct{ webhooks, accounts int }{
		"200 for one account":      {200, 1},
		"2,000 for 2,000 accounts": {2000, 2000},
	} {
		t.Run(name, func(t *testing.T) {
			long := os.Getenv("HANDOVER_BENCH_LONG") == "true"
			if !long && test.webhooks > 200 {
				t.Skip("takes a minute: HANDOVER_BENCH_LONG=true runs it, with Terra's 8 s as a bound")
			}
			url := serve(t)
			created := func(i int) time.Time {
				return time.Now().Add(time.Duration(i-test.webhooks-10) * time.Second).UTC().Truncate(time.Second)
			}
			var slowest time.Duration
			again := 0
			for round := range max(1, 2*test.accounts/test.webhooks) { // for accounts of their own a second owner makes the change
				left := make(chan []byte, test.webhooks)
				for i := range test.webhooks {
					left <- fmt.Appendf(nil, `{"type":"athlete","user":{"user_id":"user-%d-%d","provider":"GARMIN","reference_id":"person-%d-%d","created_at":%q},`+
						`"athlete":{"provider_user_id":"watch-%d"}}`, round, i, round, i, created(i).Add(time.Duration(round)*time.Second).Format(time.RFC3339), i%test.accounts)
				}
				for len(left) > 0 {
					var wait sync.WaitGroup
					var mu sync.Mutex
					for range len(left) {
						body := <-left
						wait.Go(func() {
							took, status := deliver(t, url, body)
							mu.Lock()
							defer mu.Unlock()
							slowest = max(slowest, took)
							if status == http.StatusInternalServerError {
								again++
								left <- body
							} else if status != http.StatusOK {
								t.Errorf("answered %d", status)
							}
						})
					}
					wait.Wait()
					if again > 10*test.webhooks {
						t.Fatal("most are answered 500")
					}
				}
			}
			if slowest > patience && long {
				t.Errorf("the slowest answer took %s, want at most %s", slowest, patience)
			}

			necessary := test.webhooks - 1 // every reference but the last owner's has lost the one account
			if test.accounts > 1 {
				necessary = test.webhooks
			}
			var announced, lost map[string]bool
			for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
				announced, lost = announcements(t, url)
				if len(lost) >= necessary || time.Now().After(deadline) {
					break
				}
			}
			if len(lost) != necessary {
				t.Errorf("announced for %d references, want %d", len(lost), necessary)
			}
			t.Logf("slowest answer %s; %d sent again; %d announcements, %d necessary (%+.1f %%)", slowest.Round(time.Millisecond), again, len(announced), necessary,
				100*float64(len(announced)-necessary)/float64(necessary))
		})
	}
}

// serve starts the local program on a real DynamoDB engine and returns its URL.
func serve(t *testing.T) (url string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	api := httptest.NewServer(http.NotFoundHandler()) // a Terra that knows nobody
	t.Cleanup(api.Close)
	config := local.Config{
		Listen: realparts.FreeAddress(t), Data: t.TempDir(), SigningSecrets: []string{secret}, TerraAPI: api.URL, NoSimulator: true,
		DynamoDBEndpoint: realparts.DynamoDB(t), SweepEvery: time.Second,
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- local.Run(ctx, config, io.Discard, slog.New(slog.DiscardHandler))
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the local program: %v", err)
		}
	})
	realparts.WaitUntilListening(t, config.Listen, done)
	return "http://" + config.Listen
}

// deliver sends a webhook and returns the time and the status of its answer.
func deliver(t *testing.T, url string, body []byte) (took time.Duration, status int) {
	start := time.Now()
	request, err := http.NewRequest(http.MethodPost, url+"/webhook", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Terra-Signature", terra.Sign(secret, start, body))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return time.Since(start), response.StatusCode
}

// announcements are the ids of all that was announced, and the references that were announced to have lost an account.
func announcements(t *testing.T, url string) (ids, lost map[string]bool) {
	t.Helper()
	response, err := http.Get(url + "/api/announcements")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var list []struct {
		ID   string
		Data struct {
			Previous struct {
				ReferenceID string `json:"reference_id"`
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	ids, lost = map[string]bool{}, map[string]bool{}
	for _, a := range list {
		if a.Data.Previous.ReferenceID == "" { // the end of a connection that the simulated Terra does not know
			continue
		}
		ids[a.ID] = true
		lost[a.Data.Previous.ReferenceID] = true
	}
	return ids, lost
}
