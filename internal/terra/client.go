package terra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// Client speaks to Terra's REST API: it is an [ownership.Directory], lists all connections, and ends one. It never retries, for only its caller knows
// how much time is left. It is safe for concurrent use.
//
// Beside the Directory's errors its methods return a [*StatusError], [ErrUnusable], [ErrCredentials], or what kept an answer from coming: a context's error
// (context.DeadlineExceeded for every time-out) or a [*net.OpError].
type Client struct {
	// BaseURL is "https://api.tryterra.co/v2" or another of Terra's; a slash at its end does not matter.
	BaseURL string
	// Credentials returns the environment's dev-id and x-api-key.
	Credentials func(context.Context) (devID, apiKey string, err error)
	// HTTP sends the requests; see [NewHTTPClient]. Its Timeout is that of the questions about one connection. Its CheckRedirect is not used: no redirect is
	// ever followed, for it would carry the key away.
	HTTP *http.Client
}

var _ ownership.Directory = (*Client)(nil)

// NewHTTPClient returns an http.Client whose questions fit several times into the 8 s that Terra waits for the answer to a webhook: 500 ms to
// connect, 4 s in all.
func NewHTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 500 * time.Millisecond}).DialContext
	return &http.Client{Transport: transport, Timeout: 4 * time.Second}
}

// StatusError is an HTTP status that answers nothing, a redirect among them.
type StatusError struct {
	Call string // such as "GET /athlete"
	Code int
}

func (e *StatusError) Error() string { return fmt.Sprintf("%s: HTTP status %d", e.Call, e.Code) }

// ErrCredentials means that Terra was not asked, because its credentials cannot be had.
var ErrCredentials = errors.New("no credentials")

// ErrUnusable is an answer with status 200 that does not say what was asked.
var ErrUnusable = errors.New("unusable answer")

// maxAnswer is the most that is read of an answer, in bytes; a real one has 1 or 2 kB.
const maxAnswer = 1 << 20

// Athlete asks for the wearable account behind the connection: Terra's documentation, REST API > GET /athlete. With to_webhook at its default, true, the
// answer would go to the webhook instead.
func (c *Client) Athlete(ctx context.Context, userID string) (ownership.Profile, error) {
	return c.get(ctx, "/athlete", userID, url.Values{"user_id": {userID}, "to_webhook": {"false"}})
}

// UserInfo asks for the connection itself: Terra's documentation, REST API > GET /userInfo.
func (c *Client) UserInfo(ctx context.Context, userID string) (ownership.Profile, error) {
	return c.get(ctx, "/userInfo", userID, url.Values{"user_id": {userID}})
}

// Deauthenticate ends the connection: Terra's documentation, REST API > DELETE /auth/deauthenticateUser. Nil says that Terra accepted it, ErrGone that there is
// nothing to end. Asking again does no harm. Only ctx bounds the call: Terra may have to talk to the provider, and no webhook waits for it.
func (c *Client) Deauthenticate(ctx context.Context, userID string) error {
	const method, path = http.MethodDelete, "/auth/deauthenticateUser"
	body, err := c.read(ctx, 0, method, path, url.Values{"user_id": {userID}})
	if err != nil {
		return err
	}
	var doc document
	_ = doc.read(body, true) // beside the status there is nothing to know, so nothing to refuse
	if doc.Status == "error" {
		return fmt.Errorf("%s %s: %w: its status is error", method, path, ErrUnusable)
	}
	return nil
}

func (c *Client) get(ctx context.Context, path, userID string, query url.Values) (ownership.Profile, error) {
	body, err := c.read(ctx, c.HTTP.Timeout, http.MethodGet, path, query)
	if err != nil {
		return ownership.Profile{}, err
	}
	profile, err := parseAnswer(body, userID)
	if err != nil {
		return ownership.Profile{}, fmt.Errorf("GET %s: %w", path, err)
	}
	return profile, nil
}

// read makes one request and reads the body of its answer, of which it keeps at most maxAnswer+1 bytes. Timeout and errors are open's.
func (c *Client) read(ctx context.Context, timeout time.Duration, method, path string, query url.Values) ([]byte, error) {
	answer, err := c.open(ctx, timeout, method, path, query)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	body, err := io.ReadAll(io.LimitReader(answer, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, withoutText(ctx, err))
	}
	return body, nil
}

// open makes one request and returns the body of an answer with status 200, which the caller closes; any other status is an error. Timeout bounds the request
// and the reading of its answer; 0 leaves that to ctx. Errors name the call.
func (c *Client) open(ctx context.Context, timeout time.Duration, method, path string, query url.Values) (io.ReadCloser, error) {
	call := method + " " + path
	resp, err := c.send(ctx, timeout, method, path, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // the network connection can then be used again
	switch {
	case resp.StatusCode == http.StatusNotFound && query.Has("user_id"): // of a list it is the base URL that is wrong
		return nil, fmt.Errorf("%s: %w", call, ownership.ErrGone)
	case resp.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%s: %w", call, &ownership.Limited{RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())})
	}
	return nil, &StatusError{Call: call, Code: resp.StatusCode}
}

func (c *Client) send(ctx context.Context, timeout time.Duration, method, path string, query url.Values) (*http.Response, error) {
	devID, apiKey, err := c.Credentials(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.BaseURL, "/")+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, errors.New("the base URL is not a URL")
	}
	req.Header.Set("dev-id", devID)
	req.Header.Set("x-api-key", apiKey)

	client := *c.HTTP
	client.Timeout = timeout
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return nil, withoutText(ctx, err)
	}
	return resp, nil
}

// withoutText keeps of an error of net/http what may be logged. The texts of net/http quote the URL, whose query names the user, and what the other side
// sent; the errors of net name addresses only.
func withoutText(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	if failure, ok := errors.AsType[net.Error](err); ok && failure.Timeout() {
		return context.DeadlineExceeded
	}
	for _, plain := range []error{context.Canceled, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, plain) {
			return plain
		}
	}
	if failure, ok := errors.AsType[*net.OpError](err); ok {
		return failure
	}
	return fmt.Errorf("no answer (%T)", err)
}

// parseAnswer reads an answer with status 200 of either call about userID:
//
//	{"user":{"user_id":…,"provider":…,"reference_id":…,"created_at":…},"athlete":{"provider_user_id":…},"status":…}
//
// Every member may be absent, but an answer that has neither a user that says anything nor an athlete, that tells of another user, or that calls itself an error
// is ErrUnusable, as is one that is not JSON (also ErrNotJSON) or longer than maxAnswer.
func parseAnswer(body []byte, userID string) (ownership.Profile, error) {
	if len(body) > maxAnswer {
		return ownership.Profile{}, fmt.Errorf("%w: longer than %d bytes", ErrUnusable, maxAnswer)
	}
	var doc document
	if err := doc.read(body, true); err != nil {
		return ownership.Profile{}, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	u := doc.User
	switch {
	case doc.Status == "error":
		return ownership.Profile{}, fmt.Errorf("%w: its status is error", ErrUnusable)
	case u == User{Present: u.Present} && !doc.athlete:
		return ownership.Profile{}, fmt.Errorf("%w: it has neither user nor athlete", ErrUnusable)
	case u.UserID != "" && u.UserID != userID:
		return ownership.Profile{}, fmt.Errorf("%w: it tells of another user", ErrUnusable)
	case len(u.ReferenceID) > maxReference:
		return ownership.Profile{}, fmt.Errorf("%w: %w", ErrUnusable, ErrReferenceTooLong)
	}
	return ownership.Profile{
		Provider:       u.Provider,
		ReferenceID:    u.ReferenceID,
		ProviderUserID: doc.ProviderUserID,
		CreatedAt:      u.CreatedAt,
	}, nil
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3: seconds, or an HTTP date) as a time to wait, at most an hour; 0 if it says nothing.
func retryAfter(value string, now time.Time) time.Duration {
	const most = time.Hour
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) { // out of range: the nearest
		return time.Duration(min(max(seconds, 0), int64(most/time.Second))) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), most)
}
