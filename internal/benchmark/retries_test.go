package benchmark

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"syscall"
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

// The SDK's retries fit into the time that Terra gives. An auth makes four calls in a row, each of which goes wrong in the same way: it is answered 200, and
// nothing of it is left to the sweep. That can be so only within the 7 seconds that the handler gives its calls.
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
			t.Parallel()
			proxy := &faults{engine: httputil.NewSingleHostReverseProxy(target), bad: bad, attempts: map[string]int{}}
			server := httptest.NewServer(proxy)
			defer server.Close()
			if status := auth(t, name, server.URL); status != 200 {
				t.Fatalf("answered %d, want 200", status)
			}
			settled(t, setup, name)
			if len(proxy.attempts) != 4 {
				t.Errorf("%d calls were made, want 4 in a row", len(proxy.attempts))
			}
			for _, n := range proxy.attempts {
				if n < 2 {
					t.Error("a call has met no fault")
				}
			}
		})
	}
	t.Run("a connection that is accepted late", func(t *testing.T) {
		t.Parallel()
		listener := full(t)
		late := time.AfterFunc(700*time.Millisecond, func() { // when an attempt to connect has been given up
			_ = http.Serve(listener, httputil.NewSingleHostReverseProxy(target)) // until the test closes it
		})
		defer late.Stop()
		if status := auth(t, "late", "http://"+listener.Addr().String()); status != 200 {
			t.Fatalf("answered %d, want 200", status)
		}
		settled(t, setup, "late")
	})
	t.Run("a connection that is never accepted", func(t *testing.T) {
		t.Parallel()
		if status := auth(t, "never", "http://"+full(t).Addr().String()); status != 500 {
			t.Errorf("answered %d, want 500 for what could not be stored", status)
		}
	})
}

// auth delivers the auth of a new connection to a handler whose ledger is at the endpoint, and returns the answer's status. It is given up when Terra would.
func auth(t *testing.T, userID, endpoint string) (status int) {
	t.Helper()
	config := awsconfig.OnLambda()
	config.Logger = logging.Nop{}
	rows := ledger.NewDynamoDB(dynamodb.NewFromConfig(config, func(o *dynamodb.Options) { o.BaseEndpoint = &endpoint }), accounts, connections)
	keys, err := ownership.NewAccountKeys(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	h := newHandover(t)
	h.Log, h.Peeker = slog.New(slog.DiscardHandler), rows
	h.Keeper = func(context.Context) (*ownership.Keeper, error) {
		return &ownership.Keeper{Ledger: rows, Directory: directory{}, Keys: keys, Now: time.Now, Grace: 15 * time.Second}, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	answer, err := h.Invoke(ctx, gatewayEvent(t, fmt.Appendf(nil,
		`{"type":"auth","status":"success","user":{"user_id":%q,"provider":"GARMIN","reference_id":"anna","created_at":"2026-11-22T10:00:00Z"}}`, userID), false))
	if err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v", err, ctx.Err())
	}
	t.Logf("answered after %s", time.Since(start).Round(time.Millisecond))
	var answered struct{ StatusCode int }
	if err := json.Unmarshal(answer, &answered); err != nil {
		t.Fatal(err)
	}
	return answered.StatusCode
}

// directory is a Terra that names an account for each connection.
type directory struct{}

func (directory) Athlete(_ context.Context, userID string) (ownership.Profile, error) {
	return ownership.Profile{Provider: "GARMIN", ProviderUserID: "watch of " + userID}, nil
}

func (d directory) UserInfo(ctx context.Context, userID string) (ownership.Profile, error) {
	return d.Athlete(ctx, userID)
}

// settled checks that nothing of a connection is left to do.
func settled(t *testing.T, client *dynamodb.Client, userID string) {
	t.Helper()
	r, found, err := ledger.NewDynamoDB(client, accounts, connections).Connection(t.Context(), userID)
	if err != nil || !found || r.ToDo || len(r.Accounts) != 1 {
		t.Errorf("the connection is stored %v, to do %v, of accounts %q, %v; want it settled", found, r.ToDo, r.Accounts, err)
	}
}

// full is a listener that accepts no connection until it is served: its queue of connections to accept is full.
func full(t *testing.T) net.Listener {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(socket), "listener")
	defer file.Close()
	if err := errors.Join(syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(socket, 0)); err != nil {
		t.Fatal(err)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	for range 100 {
		connection, err := net.DialTimeout("tcp", listener.Addr().String(), 200*time.Millisecond)
		if err != nil {
			return listener
		}
		t.Cleanup(func() { connection.Close() })
	}
	t.Skip("the queue of connections never fills on this system")
	return nil
}
