package local

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

// The limits of the real gateway and of Lambda: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html and
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const (
	maxGatewayBody = 10 << 20
	maxEvent       = 6<<20 + 100
)

// concurrency is how many events the function has at once; further ones wait. Lambda has an instance for each. Here all share one machine, and more would only
// keep each other from being stored in time.
const concurrency = 64

// NewGateway is a thin API Gateway HTTP API in front of a function: it builds the very event, payload format 2.0, that the function gets on AWS. It
// stands at a route that takes POST only.
func NewGateway(function lambda.Handler) http.Handler {
	running := make(chan struct{}, concurrency)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			gatewayError(w, http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxGatewayBody))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			gatewayError(w, http.StatusRequestEntityTooLarge)
			return
		} else if err != nil {
			gatewayError(w, http.StatusBadRequest)
			return
		}
		event, err := Event(r, body, time.Now())
		if err != nil {
			gatewayError(w, http.StatusInternalServerError)
			return
		}
		if len(event) > maxEvent {
			gatewayError(w, http.StatusRequestEntityTooLarge)
			return
		}
		running <- struct{}{}
		defer func() { <-running }()
		// A caller who hangs up does not stop a function.
		answer, err := function.Invoke(context.WithoutCancel(r.Context()), event)
		if err != nil {
			gatewayError(w, http.StatusInternalServerError)
			return
		}
		var response events.APIGatewayV2HTTPResponse
		if err := json.Unmarshal(answer, &response); err != nil {
			gatewayError(w, http.StatusInternalServerError)
			return
		}
		for name, value := range response.Headers {
			w.Header().Set(name, value)
		}
		w.WriteHeader(response.StatusCode)
		_, _ = io.WriteString(w, response.Body)
	})
}

// gatewayError is the gateway's own answer, where the function is not asked.
func gatewayError(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status})
}

// Event is the event that API Gateway makes of a request at the time now: header names in lower case, values of one name joined by commas, and the body as
// text or, if its content type is not text, as base64.
func Event(r *http.Request, body []byte, now time.Time) ([]byte, error) {
	headers := make(map[string]string, len(r.Header)+1)
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	headers["host"] = r.Host
	headers["content-length"] = strconv.Itoa(len(body))
	source, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		source = r.RemoteAddr
	}
	route := r.Method + " " + r.URL.Path
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: route, RawPath: r.URL.Path, RawQueryString: r.URL.RawQuery, Headers: headers,
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: route, AccountID: "000000000000", APIID: "local", DomainName: r.Host, Stage: "$default",
			RequestID: "local", Time: now.UTC().Format("02/Jan/2006:15:04:05 -0700"), TimeEpoch: now.UnixMilli(),
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: r.Method, Path: r.URL.Path, Protocol: r.Proto, SourceIP: source, UserAgent: r.UserAgent(),
			},
		},
		Body: string(body), IsBase64Encoded: !isText(r.Header, body),
	}
	if event.IsBase64Encoded {
		event.Body = base64.StdEncoding.EncodeToString(body)
	}
	return json.Marshal(event)
}

// isText reports whether API Gateway passes a body on as text.
func isText(header http.Header, body []byte) bool {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	text := strings.HasPrefix(kind, "text/") || kind == "application/json" || kind == "application/javascript" || kind == "application/xml"
	return err == nil && text && header.Get("Content-Encoding") == "" && utf8.Valid(body)
}
