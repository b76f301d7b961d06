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

// Client asks Terra's API about one connection at a time: it is an [ownership.Directory]. It never retries, for only its caller knows how much
// time is left. It is safe for concurrent use.
//
// Beside the Directory's errors its methods return a [*StatusError], [ErrUnusable], or what kept an answer from coming: a context's error
// (context.DeadlineExceeded for every time-out) or a [*net.OpError].
type Client struct {
	// BaseURL is "https://api.tryterra.co/v2" or another of Terra's; a slash at its end does not matter.
	BaseURL string
	// Credentials returns the environment's dev-id and x-api-key.
	Credentials func(context.Context) (devID, apiKey string, err error)
	// HTTP sends the requests; see [NewHTTPClient]. Its CheckRedirect is not used: no redirect is ever followed, for it would carry the key away.
	HTTP *http.Client
}

var _ ownership.Directory = (*Client)(nil)

// NewHTTPClient returns an http.Client whose calls fit several times into the 8 s that Terra waits for the answer to a webhook: 500 ms to
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

func (c *Client) get(ctx context.Context, path, userID string, query url.Values) (ownership.Profile, error) {
	call := "GET " + path
	status, header, body, err := c.send(ctx, path, query)
	var profile ownership.Profile
	switch {
	case err != nil:
	case status == http.StatusOK:
		profile, err = parseAnswer(body, userID)
	case status == http.StatusNotFound:
		err = ownership.ErrGone
	case status == http.StatusTooManyRequests:
		err = &ownership.Limited{RetryAfter: retryAfter(header.Get("Retry-After"), time.Now())}
	default:
		return ownership.Profile{}, &StatusError{Call: call, Code: status}
	}
	if err != nil {
		return ownership.Profile{}, fmt.Errorf("%s: %w", call, err)
	}
	return profile, nil
}

// send makes one request and reads its answer, of which it keeps at most maxAnswer+1 bytes.
func (c *Client) send(ctx context.Context, path string, query url.Values) (status int, header http.Header, body []byte, err error) {
	devID, apiKey, err := c.Credentials(ctx)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("credentials: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.BaseURL, "/")+path+"?"+query.Encode(), nil)
	if err != nil {
		return 0, nil, nil, errors.New("the base URL is not a URL")
	}
	req.Header.Set("dev-id", devID)
	req.Header.Set("x-api-key", apiKey)

	client := *c.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, withoutText(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1)) // of a refusal too: the network connection can then be used again
	if err != nil && resp.StatusCode == http.StatusOK {
		return 0, nil, nil, withoutText(err)
	}
	return resp.StatusCode, resp.Header, body, nil
}

// withoutText keeps of an error of net/http what may be logged. The texts of net/http quote the URL, whose query names the user, and what the other side
// sent; the errors of net name addresses only.
func withoutText(err error) error {
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
