package local_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/handover-dev/handover/internal/local"
)

// function is a Lambda function that remembers what it was asked.
type function struct {
	events [][]byte
	answer string
	err    error
	ended  error // the context's error
}

func (f *function) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	f.events = append(f.events, event)
	f.ended = ctx.Err()
	return []byte(f.answer), f.err
}

const accepted = `{"statusCode":200,"headers":{"content-type":"application/json"},"body":"{}"}`

func post(body, contentType string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://localhost:8080/webhook?a=1&a=2", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// The event has the shape that AWS documents, value by value:
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html, format 2.0
func TestEventIsAPIGateways(t *testing.T) {
	r := post(`{"type":"auth","name":"ü <&>"}`, "application/json")
	r.RemoteAddr = "192.0.2.1:4711"
	r.Header.Set("X-Terra-Signature", "t=1,v1=aa")
	r.Header.Set("User-Agent", "agent")
	r.Header.Add("X-Twice", "one")
	r.Header.Add("X-Twice", "two")
	raw, err := local.Event(r, []byte(`{"type":"auth","name":"ü <&>"}`), time.Date(2020, 3, 12, 20, 3, 58, 390e6, time.FixedZone("", 3600)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/gateway-event.json")
	if err != nil {
		t.Fatal(err)
	}
	var gotValue, wantValue any
	if err := errors.Join(json.Unmarshal(raw, &gotValue), json.Unmarshal(want, &wantValue)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(gotValue, wantValue) {
		t.Errorf("got %s\nwant %s", raw, want)
	}
}

func TestBase64(t *testing.T) {
	for name, test := range map[string]struct {
		contentType, encoding, body string
		base64                      bool
	}{
		"JSON":                    {contentType: "application/json", body: `{}`},
		"JSON with charset":       {contentType: "Application/JSON; charset=utf-8", body: `{}`},
		"text":                    {contentType: "text/plain", body: "x"},
		"XML":                     {contentType: "application/xml", body: "<x/>"},
		"JavaScript":              {contentType: "application/javascript", body: "x"},
		"JSON, empty":             {contentType: "application/json"},
		"JSON, not UTF-8":         {contentType: "application/json", body: "\xff", base64: true},
		"JSON, compressed":        {contentType: "application/json", encoding: "gzip", body: "x", base64: true},
		"bytes":                   {contentType: "application/octet-stream", body: `{}`, base64: true},
		"a form (curl's default)": {contentType: "application/x-www-form-urlencoded", body: `{}`, base64: true},
		"another kind of JSON":    {contentType: "application/vnd.api+json", body: `{}`, base64: true},
		"no content type":         {body: `{}`, base64: true},
		"a broken content type":   {contentType: "/;", body: `{}`, base64: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := post(test.body, test.contentType)
			if test.encoding != "" {
				r.Header.Set("Content-Encoding", test.encoding)
			}
			raw, err := local.Event(r, []byte(test.body), time.Now())
			var got events.APIGatewayV2HTTPRequest
			if err := errors.Join(err, json.Unmarshal(raw, &got)); err != nil {
				t.Fatal(err)
			}
			want := test.body
			if test.base64 {
				want = base64.StdEncoding.EncodeToString([]byte(test.body))
			}
			if got.IsBase64Encoded != test.base64 || got.Body != want {
				t.Errorf("base64 %v, body %q; want %v, %q", got.IsBase64Encoded, got.Body, test.base64, want)
			}
		})
	}
}

func TestGateway(t *testing.T) {
	problem := func(status string, number string) string {
		return `{"status":` + number + `,"title":"` + status + `","type":"about:blank"}` + "\n"
	}
	for name, test := range map[string]struct {
		request  *http.Request
		function function
		status   int
		header   http.Header
		body     string
		asked    int
	}{
		"what the function answers": {
			request: post(`{}`, "application/json"), asked: 1, status: 418, body: "tea",
			function: function{answer: `{"statusCode":418,"headers":{"content-type":"text/plain","x-a":"b"},"body":"tea"}`},
			header:   http.Header{"Content-Type": {"text/plain"}, "X-A": {"b"}},
		},
		"GET": {
			request: httptest.NewRequest(http.MethodGet, "/webhook", nil), status: 405, body: problem("Method Not Allowed", "405"),
			header: http.Header{"Content-Type": {"application/problem+json"}, "Allow": {"POST"}},
		},
		"PUT": {
			request: httptest.NewRequest(http.MethodPut, "/webhook", strings.NewReader("{}")), status: 405, body: problem("Method Not Allowed", "405"),
			header: http.Header{"Content-Type": {"application/problem+json"}, "Allow": {"POST"}},
		},
		"more than Lambda takes": {
			request: post(strings.Repeat("x", 6<<20), "text/plain"), status: 413, body: problem("Request Entity Too Large", "413"),
			header: http.Header{"Content-Type": {"application/problem+json"}},
		},
		"more than Lambda takes, once it is base64": {
			request: post(strings.Repeat("x", 5<<20), "application/octet-stream"), status: 413, body: problem("Request Entity Too Large", "413"),
			header: http.Header{"Content-Type": {"application/problem+json"}},
		},
		"more than 10 MB": {
			request: post(strings.Repeat("x", 10<<20+1), "text/plain"), status: 413, body: problem("Request Entity Too Large", "413"),
			header: http.Header{"Content-Type": {"application/problem+json"}},
		},
		"a body that breaks off": {
			request: httptest.NewRequest(http.MethodPost, "/webhook", io.MultiReader(strings.NewReader(`{"type"`), broken{})), status: 400, body: problem("Bad Request", "400"),
			header: http.Header{"Content-Type": {"application/problem+json"}},
		},
		"a function that fails": {
			request: post(`{}`, "application/json"), function: function{answer: accepted, err: errors.New("internal text")}, asked: 1,
			status: 500, body: problem("Internal Server Error", "500"), header: http.Header{"Content-Type": {"application/problem+json"}},
		},
		"an answer that is none": {
			request: post(`{}`, "application/json"), function: function{answer: `nonsense`}, asked: 1,
			status: 500, body: problem("Internal Server Error", "500"), header: http.Header{"Content-Type": {"application/problem+json"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			local.NewGateway(&test.function).ServeHTTP(w, test.request)
			header := w.Header()
			header.Del("Connection") // net/http closes after a body that was not read
			if w.Code != test.status || w.Body.String() != test.body || !reflect.DeepEqual(header, test.header) || len(test.function.events) != test.asked {
				t.Errorf("got %d %v %q, function asked %d times\nwant %d %v %q, %d", w.Code, header, w.Body, len(test.function.events), test.status, test.header, test.body, test.asked)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// The greatest bodies that still come through, whole.
func TestGreatBodies(t *testing.T) {
	for contentType, size := range map[string]int{"application/json": 6<<20 - 2000, "application/octet-stream": 4_700_000} {
		f := &function{answer: accepted}
		body := strings.Repeat("x", size)
		w := httptest.NewRecorder()
		local.NewGateway(f).ServeHTTP(w, post(body, contentType))
		if w.Code != 200 || len(f.events) != 1 {
			t.Fatalf("%s: answered %d", contentType, w.Code)
		}
		sent := body
		if contentType != "application/json" {
			sent = base64.StdEncoding.EncodeToString([]byte(body))
		}
		if !bytes.Contains(f.events[0], []byte(`"body":"`+sent+`"`)) {
			t.Errorf("%s: another body came through", contentType)
		}
	}
}

// A caller who hangs up does not stop the function.
func TestHangUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := &function{answer: accepted}
	local.NewGateway(f).ServeHTTP(httptest.NewRecorder(), post(`{}`, "application/json").WithContext(ctx))
	if len(f.events) != 1 || f.ended != nil {
		t.Errorf("asked %d times, context %v", len(f.events), f.ended)
	}
}

// waits is a function that answers when it may.
type waits struct{ begun, may chan struct{} }

func (f waits) Invoke(context.Context, []byte) ([]byte, error) {
	f.begun <- struct{}{}
	<-f.may
	return []byte(accepted), nil
}

// In a rush events wait for their turn, and each is answered.
func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const requests, atOnce = 200, 64
		f := waits{make(chan struct{}, requests), make(chan struct{}, requests)}
		gateway := local.NewGateway(f)
		var answered atomic.Int64
		for range requests {
			go func() {
				w := httptest.NewRecorder()
				gateway.ServeHTTP(w, post(`{}`, "application/json"))
				if w.Code == 200 {
					answered.Add(1)
				}
			}()
		}
		synctest.Wait()
		if len(f.begun) != atOnce {
			t.Errorf("%d at once, want %d", len(f.begun), atOnce)
		}
		for range requests {
			f.may <- struct{}{}
		}
		synctest.Wait()
		if answered.Load() != requests {
			t.Errorf("%d answered, want %d", answered.Load(), requests)
		}
	})
}
