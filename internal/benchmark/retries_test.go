package benchmark

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/logging"

	"github.com/handover-dev/handover/internal/awsconfig"
	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/realparts"
)

// faults stands before a DynamoDB engine and does something bad to the first attempts of every call.
type faults struct {
	engine http.Handler
	bad    func(attempt int, w http.ResponseWriter, r *http.Request, engine http.Handler) bool // whether it was bad

	mu       sync.Mutex
	attempts map[string]int // by the body of the call, which is the same each time
}

func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	f.attempts[r.Header.Get("X-Amz-Target")+string(body)]++
	attempt := f.attempts[r.Header.Get("X-Amz-Target")+string(body)]
	f.mu.Unlock()
	if !f.bad(attempt, w, r, f.engine) {
		f.engine.ServeHTTP(w, r)
	}
}

// The SDK's retries, at every call of a webhook that makes a new connection, fit into the time that Terra gives. That a connection which is never accepted is
// given up in time is tested in awsconfig.
func TestRetriesFitIntoEightSeconds(t *testing.T) {
	for name, value := range map[string]string{"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"} {
		t.Setenv(name, value)
	}
	engine := realparts.DynamoDB(t)
	setup := dynamodb.NewFromConfig(realparts.AWSConfig(engine))
	if err := ledger.CreateTables(t.Context(), setup, accounts, connections); err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(engine)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]func(attempt int, w http.ResponseWriter, r *http.Request, engine http.Handler) bool{
		"two throttles": func(attempt int, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			if attempt <= 2 {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}`)
			}
			return attempt <= 2
		},
		"two 500s": func(attempt int, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			if attempt <= 2 {
				w.WriteHeader(http.StatusInternalServerError)
			}
			return attempt <= 2
		},
		"a reset": func(attempt int, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			if attempt == 1 {
				if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
					err = errors.Join(connection.(*net.TCPConn).SetLinger(0), connection.Close()) // closing then sends a reset
					if err != nil {
						t.Error(err)
					}
				}
			}
			return attempt == 1
		},
		"a reply that never comes": func(attempt int, _ http.ResponseWriter, r *http.Request, engine http.Handler) bool {
			if attempt == 1 {
				engine.ServeHTTP(httptest.NewRecorder(), r) // it was done all the same
				<-r.Context().Done()
			}
			return attempt == 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := &faults{engine: httputil.NewSingleHostReverseProxy(target), bad: bad, attempts: map[string]int{}}
			server := httptest.NewServer(proxy)
			defer server.Close()
			config := awsconfig.OnLambda()
			config.Logger = logging.Nop{}
			rows := ledger.NewDynamoDB(dynamodb.NewFromConfig(config, func(o *dynamodb.Options) { o.BaseEndpoint = &server.URL }), accounts, connections)
			keys, err := ownership.NewAccountKeys(make([]byte, 32))
			if err != nil {
				t.Fatal(err)
			}
			h := newHandover(t)
			h.Log, h.Peeker = slog.New(slog.DiscardHandler), rows
			h.Keeper = func(context.Context) (*ownership.Keeper, error) {
				return &ownership.Keeper{Ledger: rows, Keys: keys, Now: time.Now, Grace: 15 * time.Second}, nil
			}

			user := "user of " + name
			body := fmt.Appendf(nil, `{"type":"athlete","user":{"user_id":%q,"provider":"GARMIN","reference_id":"anna","created_at":"2026-11-22T10:00:00Z"},`+
				`"athlete":{"provider_user_id":%q}}`, user, "watch of "+name)
			start := time.Now()
			answer, err := h.Invoke(t.Context(), gatewayEvent(t, body, false))
			took := time.Since(start)
			if err != nil || !bytes.Contains(answer, []byte(`"statusCode":200`)) || took > patience {
				t.Fatalf("answered %s, %v after %s; want 200 within %s", answer, err, took, patience)
			}
			r, found, err := ledger.NewDynamoDB(setup, accounts, connections).Connection(t.Context(), user)
			if err != nil || !found || r.ToDo {
				t.Errorf("the connection is stored %v, to do %v, %v; want it settled", found, r.ToDo, err)
			}
			if len(proxy.attempts) < 3 {
				t.Errorf("%d calls were made, want at least 3 in a row", len(proxy.attempts))
			}
			t.Logf("%d calls, each with faults: answered after %s", len(proxy.attempts), took.Round(time.Millisecond))
		})
	}
}
