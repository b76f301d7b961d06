package terra

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

const (
	testUser = "4735eac4-31a2-47ef-8b11-51e98d84c680"
	testKey  = "key-9f31"
)

// newTerra starts a server that answers as handler does, and returns a client of it.
func newTerra(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return newClient(server.URL)
}

func newClient(baseURL string) *Client {
	credentials := func(context.Context) (string, string, error) { return "dev-1", testKey, nil }
	return &Client{BaseURL: baseURL, Credentials: credentials, HTTP: NewHTTPClient()}
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// checkDiscreet fails if an error says what must not reach a log.
func checkDiscreet(t *testing.T, err error, call string) {
	t.Helper()
	t.Log(err)
	if !strings.HasPrefix(err.Error(), call+": ") {
		t.Errorf("the error does not begin with the call: %v", err)
	}
	for _, secret := range []string{testUser, testKey, "user_id=", "tony_stark"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells %q: %v", secret, err)
		}
	}
}

func TestClientAsks(t *testing.T) {
	for _, test := range []struct {
		call func(*Client) (ownership.Profile, error)
		want string
	}{
		{func(c *Client) (ownership.Profile, error) { return c.Athlete(t.Context(), "a b&c=d") }, "GET /v2/athlete?to_webhook=false&user_id=a+b%26c%3Dd"},
		{func(c *Client) (ownership.Profile, error) { return c.UserInfo(t.Context(), testUser) }, "GET /v2/userInfo?user_id=" + testUser},
	} {
		for _, slash := range []string{"", "/"} {
			var got string
			client := newTerra(t, func(w http.ResponseWriter, r *http.Request) {
				got = r.Method + " " + r.URL.String()
				if r.Header.Get("dev-id") != "dev-1" || r.Header.Get("x-api-key") != testKey {
					t.Errorf("headers: %v", r.Header)
				}
				io.WriteString(w, `{"user":{"provider":"GARMIN"}}`)
			})
			client.BaseURL += "/v2" + slash
			profile, err := test.call(client)
			if err != nil || profile != (ownership.Profile{Provider: "GARMIN"}) {
				t.Errorf("got %+v, %v", profile, err)
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		}
	}
}

func TestClientAnswers(t *testing.T) {
	limited := func(retryAfter string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", retryAfter)
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}
	const user = `"user":{"user_id":"` + testUser + `","provider":"GARMIN","reference_id":"tony_stark","created_at":"2024-10-07T03:45:00.000000+00:00"}`
	full := ownership.Profile{Provider: "GARMIN", ReferenceID: "tony_stark", CreatedAt: time.Date(2024, 10, 7, 3, 45, 0, 0, time.UTC)}
	identified := full
	identified.ProviderUserID = "a1b2"

	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		profile ownership.Profile
		want    error // compared by errors.Is, or for *StatusError and *ownership.Limited by value
	}{
		"athlete":                   {answer: answer(200, `{"status":"success","type":"athlete",`+user+`,"athlete":{"provider_user_id":"a1b2"}}`), profile: identified},
		"athlete before user":       {answer: answer(200, `{"athlete":{"provider_user_id":"a1b2"},`+user+`}`), profile: identified},
		"account id null":           {answer: answer(200, `{`+user+`,"athlete":{"provider_user_id":null}}`), profile: full},
		"account id absent":         {answer: answer(200, `{`+user+`,"athlete":{}}`), profile: full},
		"account id an array":       {answer: answer(200, `{`+user+`,"athlete":{"provider_user_id":["a"]}}`), profile: full},
		"account id a number":       {answer: answer(200, `{`+user+`,"athlete":{"provider_user_id":12345678901234567890}}`), profile: ownership.Profile{Provider: "GARMIN", ReferenceID: "tony_stark", CreatedAt: full.CreatedAt, ProviderUserID: "12345678901234567890"}},
		"athlete null":              {answer: answer(200, `{`+user+`,"athlete":null}`), profile: full},
		"user info":                 {answer: answer(200, `{`+user+`,"is_authenticated":true}`), profile: full},
		"reference_id null":         {answer: answer(200, `{"user":{"user_id":"`+testUser+`","reference_id":null,"created_at":null}}`)},
		"athlete without user":      {answer: answer(200, `{"athlete":{"provider_user_id":"a1b2"}}`), profile: ownership.Profile{ProviderUserID: "a1b2"}},
		"type of an event":          {answer: answer(200, `{"type":"daily",`+user+`,"athlete":{"provider_user_id":"a1b2"}}`), profile: identified},
		"repeated names":            {answer: answer(200, `{"user":{"user_id":"x"},`+user+`}`), profile: full},
		"no user":                   {answer: answer(200, `{"is_authenticated":false}`), want: ErrUnusable},
		"empty user":                {answer: answer(200, `{"user":{}}`), want: ErrUnusable},
		"user a string":             {answer: answer(200, `{"user":"`+testUser+`"}`), want: ErrUnusable},
		"another user":              {answer: answer(200, `{"user":{"user_id":"x"},"athlete":{"provider_user_id":"a1b2"}}`), want: ErrUnusable},
		"status error":              {answer: answer(200, `{"status":"error",`+user+`}`), want: ErrUnusable},
		"reference_id too long":     {answer: answer(200, `{"user":{"reference_id":"`+strings.Repeat("r", 2049)+`"}}`), want: ErrReferenceTooLong},
		"garbage":                   {answer: answer(200, `<html>`+testUser), want: ErrNotJSON},
		"garbage behind":            {answer: answer(200, `{`+user+`}x`), want: ErrNotJSON},
		"array":                     {answer: answer(200, `[{`+user+`}]`), want: ErrNotJSON},
		"empty":                     {answer: answer(200, ``), want: ErrNotJSON},
		"half an object":            {answer: answer(200, `{`+user), want: ErrNotJSON},
		"very deep":                 {answer: answer(200, `{"type":"daily",`+user+`,"x":`+strings.Repeat("[", 20_000)), want: ErrNotJSON},
		"longer than 1 MiB":         {answer: answer(200, `{`+user+`,"x":"`+strings.Repeat("x", 1<<20)+`"}`), want: ErrUnusable},
		"1 MiB":                     {answer: answer(200, `{`+user+`}`+strings.Repeat(" ", 1<<20-len(user)-2)), profile: full},
		"a byte more":               {answer: answer(200, `{`+user+`}`+strings.Repeat(" ", 1<<20-len(user)-1)), want: ErrUnusable},
		"the longest reference_id":  {answer: answer(200, `{"user":{"reference_id":"`+strings.Repeat("r", 2048)+`"}}`), profile: ownership.Profile{ReferenceID: strings.Repeat("r", 2048)}},
		"unknown user":              {answer: answer(404, `{"status":"error"}`), want: ownership.ErrGone},
		"limited":                   {answer: answer(429, ``), want: &ownership.Limited{}},
		"limited, seconds":          {answer: limited("7"), want: &ownership.Limited{RetryAfter: 7 * time.Second}},
		"limited, a past date":      {answer: limited("Sun, 06 Nov 1994 08:49:37 GMT"), want: &ownership.Limited{}},
		"limited, a far date":       {answer: limited("Fri, 31 Dec 9999 23:59:59 GMT"), want: &ownership.Limited{RetryAfter: time.Hour}},
		"bad request":               {answer: answer(400, testUser), want: &StatusError{"GET /athlete", 400}},
		"unauthorised":              {answer: answer(401, testUser), want: &StatusError{"GET /athlete", 401}},
		"forbidden":                 {answer: answer(403, testUser), want: &StatusError{"GET /athlete", 403}},
		"server error":              {answer: answer(500, testUser), want: &StatusError{"GET /athlete", 500}},
		"unavailable":               {answer: answer(503, ``), want: &StatusError{"GET /athlete", 503}},
		"accepted, but no answer":   {answer: answer(202, `{`+user+`}`), want: &StatusError{"GET /athlete", 202}},
		"not modified":              {answer: answer(304, ``), want: &StatusError{"GET /athlete", 304}},
		"redirect without location": {answer: answer(302, ``), want: &StatusError{"GET /athlete", 302}},
		"connection closed":         {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, want: io.EOF},
		"answer broken off": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{`+user+`}`)
		}, want: io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			profile, err := newTerra(t, test.answer).Athlete(t.Context(), testUser)
			if profile != test.profile {
				t.Errorf("got  %+v\nwant %+v", profile, test.profile)
			}
			if test.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			checkSame(t, err, test.want)
			checkDiscreet(t, err, "GET /athlete")
			if errors.Is(err, ErrNotJSON) && !errors.Is(err, ErrUnusable) {
				t.Errorf("got %v, want %v too", err, ErrUnusable)
			}
		})
	}
}

// checkSame compares an error that carries values by them, and any other by errors.Is.
func checkSame(t *testing.T, got, want error) {
	t.Helper()
	var found error
	switch want.(type) {
	case *StatusError:
		found, _ = errors.AsType[*StatusError](got)
	case *ownership.Limited:
		found, _ = errors.AsType[*ownership.Limited](got)
	default:
		if !errors.Is(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		return
	}
	if !reflect.DeepEqual(found, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestDeauthenticate(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error // nil for success
	}{
		"success":         {answer(200, `{"status":"success"}`), nil},
		"no body":         {answer(200, ``), nil},
		"not JSON":        {answer(200, `OK`), nil},
		"error inside":    {answer(200, `{"status":"error","message":"`+testUser+`"}`), ErrUnusable},
		"half an error":   {answer(200, `{"status":"error","mess`), ErrUnusable},
		"unknown user":    {answer(404, `{"status":"error"}`), ownership.ErrGone},
		"limited":         {answer(429, ``), &ownership.Limited{}},
		"bad request":     {answer(400, testUser), &StatusError{"DELETE /auth/deauthenticateUser", 400}},
		"server error":    {answer(500, testUser), &StatusError{"DELETE /auth/deauthenticateUser", 500}},
		"accepted":        {answer(202, ``), &StatusError{"DELETE /auth/deauthenticateUser", 202}},
		"redirect":        {answer(307, ``), &StatusError{"DELETE /auth/deauthenticateUser", 307}},
		"connection lost": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			client := newTerra(t, func(w http.ResponseWriter, r *http.Request) {
				if got, want := r.Method+" "+r.URL.String(), "DELETE /v2/auth/deauthenticateUser?user_id=a+b%26c%3Dd"; got != want {
					t.Errorf("asked %s, want %s", got, want)
				}
				time.Sleep(20 * time.Millisecond) // longer than the timeout, which is for questions
				test.answer(w, r)
			})
			client.BaseURL += "/v2"
			client.HTTP.Timeout = 10 * time.Millisecond
			err := client.Deauthenticate(t.Context(), "a b&c=d")
			if test.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatalf("got no error, want %v", test.want)
			}
			checkSame(t, err, test.want)
			checkDiscreet(t, err, "DELETE /auth/deauthenticateUser")
		})
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed, x-api-key %q", r.Header.Get("x-api-key"))
	}))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		client := newTerra(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		_, err := client.UserInfo(t.Context(), testUser)
		checkSame(t, err, &StatusError{"GET /userInfo", status})
		checkDiscreet(t, err, "GET /userInfo")
	}

	client := newTerra(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://[bad/?"+r.URL.RawQuery)
		w.WriteHeader(http.StatusFound)
	})
	_, err := client.UserInfo(t.Context(), testUser)
	if err == nil {
		t.Fatal("an unreadable Location: got no error")
	}
	checkDiscreet(t, err, "GET /userInfo")
}

// Terra waits 8 s for the answer to a webhook: a question that is not answered takes half of that.
func TestClientHasATimeout(t *testing.T) {
	if got := NewHTTPClient().Timeout; got != 4*time.Second {
		t.Errorf("got %v, want 4 s", got)
	}
}

func TestClientTimesOut(t *testing.T) {
	stuck := func(headers bool) *Client {
		return newTerra(t, func(w http.ResponseWriter, r *http.Request) {
			if headers {
				w.WriteHeader(http.StatusOK)
				http.NewResponseController(w).Flush()
			}
			<-r.Context().Done() // until the client has given up
		})
	}
	silent, half := stuck(false), stuck(true)
	silent.HTTP.Timeout, half.HTTP.Timeout = time.Hour, time.Hour // what ends them is the context
	hasty := stuck(false)
	hasty.HTTP.Timeout = 30 * time.Millisecond
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}

	for name, test := range map[string]struct {
		client *Client
		ctx    context.Context
		want   error
	}{
		"no answer until the deadline":         {silent, soon(), context.DeadlineExceeded},
		"half an answer until the deadline":    {half, soon(), context.DeadlineExceeded},
		"no answer until the client's timeout": {hasty, t.Context(), context.DeadlineExceeded},
		"context ended before":                 {silent, ended, context.Canceled},
	} {
		_, err := test.client.Athlete(test.ctx, testUser)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		checkDiscreet(t, err, "GET /athlete")
	}
}

func TestClientCannotAsk(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "http://" + listener.Addr().String()
	listener.Close()

	_, err = newClient(refusing).Athlete(t.Context(), testUser)
	if _, ok := errors.AsType[*net.OpError](err); !ok {
		t.Errorf("nobody listens: got %v, want a *net.OpError", err)
	}
	checkDiscreet(t, err, "GET /athlete")

	for _, base := range []string{"http://[bad", "gopher://" + testUser, ""} {
		if _, err = newClient(base).Athlete(t.Context(), testUser); err == nil {
			t.Fatalf("base URL %q: got no error", base)
		}
		checkDiscreet(t, err, "GET /athlete")
	}

	noSecret := errors.New("no such secret")
	client := newClient(refusing)
	client.Credentials = func(context.Context) (string, string, error) { return "", "", noSecret }
	if _, err = client.Athlete(t.Context(), testUser); !errors.Is(err, noSecret) {
		t.Errorf("no credentials: got %v, want %v", err, noSecret)
	}

	client.Credentials = func(context.Context) (string, string, error) { return "dev", testKey + "\n", nil }
	if _, err = client.Athlete(t.Context(), testUser); err == nil {
		t.Fatal("a key that no header can carry: got no error")
	}
	checkDiscreet(t, err, "GET /athlete")
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"-5":                             0,
		"90":                             90 * time.Second,
		"3600":                           time.Hour,
		"3601":                           time.Hour,
		"9223372036854775807":            time.Hour,
		"99999999999999999999":           time.Hour,
		"-99999999999999999999":          0,
		"soon":                           0,
		"1.5":                            0,
		"Sun, 22 Nov 2026 10:00:30 GMT":  30 * time.Second,
		"Sunday, 22-Nov-26 10:00:30 GMT": 30 * time.Second,
		"Sun, 22 Nov 2026 09:59:59 GMT":  0,
		"Sun, 22 Nov 2026 11:00:01 GMT":  time.Hour,
		"Fri, 31 Dec 9999 23:59:59 GMT":  time.Hour,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

// FuzzAnswer checks that nothing but a JSON object about the user who was asked for becomes a Profile, and that every refusal has its type.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{`{"status":"success","user":{"user_id":"u","provider":"GARMIN"},"athlete":{"provider_user_id":1}}`, `{"user":{"user_id":"x"}}`,
		`{"athlete":{}}`, `[]`, `{"user":{"user_id":"u","created_at":"2024-10-07 03:45:00"},"is_authenticated":true}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		profile, err := parseAnswer(body, "u")
		if err != nil {
			if !errors.Is(err, ErrUnusable) || profile != (ownership.Profile{}) {
				t.Fatalf("got %+v, %v", profile, err)
			}
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("%+v out of what is not JSON: %v", profile, err)
		}
		var user map[string]any
		json.Unmarshal(members["user"], &user) // an answer without user is about the one who was asked for
		if userID, ok := user["user_id"].(string); ok && userID != "" && userID != "u" {
			t.Fatalf("%+v out of an answer about %q", profile, userID)
		}
	})
}
