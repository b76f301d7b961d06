package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/handover-dev/handover/internal/deployed"
	"github.com/handover-dev/handover/internal/realparts"
)

// cloud is what stands in for AWS: moto, and a DynamoDB engine. Its endpoints are in the environment, as the tool reads it; what those two do not know, or what is
// to be answered otherwise, is answered by the cloud itself.
type cloud struct {
	config, tables aws.Config

	mu          *sync.Mutex
	functions   map[string]*function
	noRecovery  map[string]bool   // tables without point-in-time recovery
	expires     map[string]string // tables that lose what has expired by another attribute, or by none: ""
	unconfirmed map[string]bool   // topics whose subscriptions wait for their confirmation
}

// function is a Lambda function.
type function struct {
	state       string
	environment map[string]string
	handle      func(context.Context, []byte) ([]byte, error)
	busy        int // so many calls are refused, for it is running as often as it may
	called      int
}

func newCloud(t *testing.T) cloud {
	t.Helper()
	moto, engine := realparts.Moto(t), realparts.DynamoDB(t)
	c := cloud{
		realparts.AWSConfig(moto), realparts.AWSConfig(engine), &sync.Mutex{}, map[string]*function{}, map[string]bool{}, map[string]string{}, map[string]bool{},
	}
	serve := func(handler http.Handler) string {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		return server.URL
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": serve(c.moto(t, moto)), "AWS_ENDPOINT_URL_DYNAMODB": serve(c.dynamoDB(t, engine)), "AWS_ENDPOINT_URL_LAMBDA": serve(c.lambda()),
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	return c
}

func passOn(t *testing.T, to string) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
}

// moto answers as moto does, but for subscriptions that are not confirmed: moto confirms all by itself. SNS lists those without an ARN.
func (c cloud) moto(t *testing.T, to string) http.Handler {
	proxy := passOn(t, to)
	subscription := regexp.MustCompile(`<SubscriptionArn>[^<]*</SubscriptionArn>`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body))
		c.mu.Lock()
		waits := form.Get("Action") == "ListSubscriptionsByTopic" && c.unconfirmed[form.Get("TopicArn")]
		c.mu.Unlock()
		if !waits {
			proxy.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		_, _ = w.Write(subscription.ReplaceAll(answer.Body.Bytes(), []byte(`<SubscriptionArn>PendingConfirmation</SubscriptionArn>`)))
	})
}

// dynamoDB answers as the engine does, and itself what the engine does not know: whether a table is backed up, and loses what has expired.
func (c cloud) dynamoDB(t *testing.T, to string) http.Handler {
	proxy := passOn(t, to)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if action != "DescribeContinuousBackups" && action != "DescribeTimeToLive" {
			proxy.ServeHTTP(w, r)
			return
		}
		var in struct{ TableName string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		c.mu.Lock()
		defer c.mu.Unlock()
		switch action {
		case "DescribeContinuousBackups":
			status := map[bool]string{false: "ENABLED", true: "DISABLED"}[c.noRecovery[in.TableName]]
			_ = json.NewEncoder(w).Encode(map[string]any{"ContinuousBackupsDescription": map[string]any{
				"ContinuousBackupsStatus": "ENABLED", "PointInTimeRecoveryDescription": map[string]any{"PointInTimeRecoveryStatus": status},
			}})
		case "DescribeTimeToLive":
			attribute, other := c.expires[in.TableName]
			switch {
			case !other:
				attribute = "expires_at"
			case attribute == "":
				_, _ = io.WriteString(w, `{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}`)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"TimeToLiveDescription": map[string]any{"TimeToLiveStatus": "ENABLED", "AttributeName": attribute}})
		}
	})
}

// lambda has the functions of the cloud, each under its alias.
func (c cloud) lambda() http.Handler {
	mux := http.NewServeMux()
	on := func(pattern string, answer func(w http.ResponseWriter, r *http.Request, f *function)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c.mu.Lock()
			f := c.functions[r.PathValue("name")]
			c.mu.Unlock()
			if f == nil || r.URL.Query().Get("Qualifier") != deployed.Alias {
				w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, `{"Type":"User","Message":"Function not found"}`)
				return
			}
			answer(w, r, f)
		})
	}
	on("GET /2015-03-31/functions/{name}/configuration", func(w http.ResponseWriter, r *http.Request, f *function) {
		_ = json.NewEncoder(w).Encode(map[string]any{"FunctionName": r.PathValue("name"), "State": f.state, "Environment": map[string]any{"Variables": f.environment}})
	})
	on("POST /2015-03-31/functions/{name}/invocations", func(w http.ResponseWriter, r *http.Request, f *function) {
		c.mu.Lock()
		f.called++
		busy := f.called <= f.busy
		c.mu.Unlock()
		if busy {
			w.Header().Set("X-Amzn-ErrorType", "TooManyRequestsException")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"Type":"User","message":"Rate Exceeded.","Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}`)
			return
		}
		in, _ := io.ReadAll(r.Body)
		out, err := f.handle(r.Context(), in)
		if err != nil {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
			out, _ = json.Marshal(map[string]string{"errorMessage": err.Error()})
		}
		_, _ = w.Write(out)
	})
	return mux
}
