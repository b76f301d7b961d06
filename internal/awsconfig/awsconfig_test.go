//go:build unix

package awsconfig_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go/logging"

	"github.com/handover-dev/handover/internal/awsconfig"
)

// reply is what a server does with one attempt.
type reply func(w http.ResponseWriter, r *http.Request)

func works(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }

func throttles(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprint(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}`)
}

func breaks(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }

func resets(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = connection.(*net.TCPConn).SetLinger(0) // closing then sends a reset
		connection.Close()
	}
}

func staysSilent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func stopsHalfway(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "2")
	fmt.Fprint(w, `{`)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// tears hands over a part of the reply and closes the connection.
func tears(w http.ResponseWriter, _ *http.Request) {
	connection, buffered, err := http.NewResponseController(w).Hijack()
	if err == nil {
		fmt.Fprint(buffered, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{")
		_ = buffered.Flush()
		connection.Close()
	}
}

// The bounds on time are generous: they tell the limits of this package from those of the SDK, no more.
func TestCallsEndInTime(t *testing.T) {
	config := load(t)
	for name, test := range map[string]struct {
		replies  []reply // to each attempt; the last one to all further ones
		works    bool
		attempts int64
		within   time.Duration
	}{
		"a reply":               {[]reply{works}, true, 1, 2 * time.Second},
		"two throttles":         {[]reply{throttles, throttles, works}, true, 3, 2 * time.Second},
		"two server errors":     {[]reply{breaks, breaks, works}, true, 3, 2 * time.Second},
		"a reset":               {[]reply{resets, works}, true, 2, 2 * time.Second},
		"a reply that is lost":  {[]reply{staysSilent, works}, true, 2, 4 * time.Second},
		"a reply cut off":       {[]reply{stopsHalfway, works}, true, 2, 4 * time.Second},
		"a reply torn off":      {[]reply{tears, works}, true, 2, 2 * time.Second},
		"throttles for ever":    {[]reply{throttles}, false, 6, 4 * time.Second},
		"resets for ever":       {[]reply{resets}, false, 6, 4 * time.Second},
		"silence for ever":      {[]reply{staysSilent}, false, 6, 10 * time.Second},
		"all that can go wrong": {[]reply{throttles, breaks, resets, staysSilent, stopsHalfway, works}, true, 6, 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var attempts atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client has gone
				n := int(attempts.Add(1))
				test.replies[min(n, len(test.replies))-1](w, r)
			}))
			defer server.Close()

			start := time.Now()
			err := call(t.Context(), config, server.URL)
			took := time.Since(start)
			if (err == nil) != test.works || attempts.Load() != test.attempts || took > test.within {
				t.Errorf("%v after %d attempts and %s, want working %v after %d within %s",
					err, attempts.Load(), took, test.works, test.attempts, test.within)
			}
		})
	}
	t.Run("no connection", func(t *testing.T) {
		t.Parallel()
		start := time.Now()
		err := call(t.Context(), config, "http://"+neverAccepts(t))
		var timeout net.Error
		if took := time.Since(start); !errors.As(err, &timeout) || !timeout.Timeout() || took > 8*time.Second {
			t.Errorf("%v after %s, want a timeout within 8 s", err, took)
		}
	})
	t.Run("the caller's deadline", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			staysSilent(w, r)
		}))
		defer server.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := call(ctx, config, server.URL)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second {
			t.Errorf("%v after %s, want %v within 2 s", err, took, context.DeadlineExceeded)
		}
	})
}

// However many calls of a process have failed, the next one is still tried again: the SDK's own quota of retries would be used up here.
func TestRetriesDoNotRunOut(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Amz-Sdk-Request"), "attempt=3") {
			works(w, r)
		} else {
			throttles(w, r)
		}
	}))
	defer server.Close()
	client := dynamodb.NewFromConfig(load(t), func(o *dynamodb.Options) { o.BaseEndpoint = &server.URL })
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			for range 15 {
				if err := get(t.Context(), client); err != nil {
					t.Error(err)
				}
			}
		})
	}
	calls.Wait()
}

// load loads the configuration of an environment that says what Lambda's does, and nothing of the developer's.
func load(t *testing.T) aws.Config {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_REGION":            "eu-central-1",
		"AWS_ACCESS_KEY_ID":     "test",
		"AWS_SECRET_ACCESS_KEY": "test",
	} {
		t.Setenv(name, value)
	}
	config := awsconfig.OnLambda()
	config.Logger = logging.Nop{} // the SDK warns of each reply cut off, and of checksums that the servers here do not send
	return config
}

func call(ctx context.Context, config aws.Config, endpoint string) error {
	return get(ctx, dynamodb.NewFromConfig(config, func(o *dynamodb.Options) { o.BaseEndpoint = &endpoint }))
}

func get(ctx context.Context, client *dynamodb.Client) error {
	_, err := client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String("table"),
		Key:       map[string]types.AttributeValue{"key": &types.AttributeValueMemberS{Value: "value"}},
	})
	return err
}

// neverAccepts returns an address at which a connection is never made: its queue of connections to accept is full.
func neverAccepts(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(socket, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 100 {
		connection, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { connection.Close() })
	}
	t.Skip("the queue of connections never fills on this system")
	return ""
}

// Each client finds its endpoint by the names that the SDK gives them: its own before the one for all.
func TestEndpoints(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "token",
		"AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_DYNAMODB": "", "AWS_ENDPOINT_URL_SNS": "", "AWS_ENDPOINT_URL_SECRETS_MANAGER": "",
	} {
		t.Setenv(name, value) // and back after the test
		if value == "" {
			os.Unsetenv(name)
		}
	}
	check := func(want ...string) {
		t.Helper()
		c := awsconfig.OnLambda()
		got := []string{
			aws.ToString(dynamodb.NewFromConfig(c).Options().BaseEndpoint),
			aws.ToString(sns.NewFromConfig(c).Options().BaseEndpoint),
			aws.ToString(secretsmanager.NewFromConfig(c).Options().BaseEndpoint),
		}
		if !slices.Equal(got, want) {
			t.Errorf("endpoints of DynamoDB, SNS and Secrets Manager: %q, want %q", got, want)
		}
	}
	check("", "", "")
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://d")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://s")
	check("http://d", "", "http://s")
	t.Setenv("AWS_ENDPOINT_URL", "http://all")
	check("http://d", "http://all", "http://s")

	c := awsconfig.OnLambda()
	got, err := c.Credentials.Retrieve(t.Context())
	if err != nil || got.AccessKeyID != "id" || got.SecretAccessKey != "key" || got.SessionToken != "token" || c.Region != "eu-central-1" {
		t.Errorf("region %s, credentials of %s, %v; want the environment's", c.Region, got.AccessKeyID, err)
	}
	t.Setenv("AWS_DEFAULT_REGION", "eu-west-1")
	if region := awsconfig.OnLambda().Region; region != "eu-central-1" {
		t.Errorf("region %s beside another default", region)
	}
	t.Setenv("AWS_REGION", "")
	if region := awsconfig.OnLambda().Region; region != "eu-west-1" {
		t.Errorf("region %s of the default", region)
	}
}
