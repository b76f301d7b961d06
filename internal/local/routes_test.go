package local_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/terra"
)

// screen is where a program prints, which runs meanwhile.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// start starts the local program without a story, and returns its URL. It is ended with the test.
func start(t *testing.T) string {
	t.Helper()
	config := defaults()
	config.NoSimulator = true
	return startWith(t, config)
}

// startTold starts the local program with a simulated Terra, and returns its URL once its first story is told.
func startTold(t *testing.T) string {
	t.Helper()
	return startWith(t, defaults())
}

func startWith(t *testing.T, config local.Config) string {
	t.Helper()
	return startIn(t, config, t.TempDir(), slog.New(slog.DiscardHandler))
}

func startIn(t *testing.T, config local.Config, folder string, log *slog.Logger) string {
	t.Helper()
	url, end := run(t, config, folder, log)
	t.Cleanup(end)
	return url
}

// run starts the local program. end is a SIGTERM, and waits for the program to end in order.
func run(t *testing.T, config local.Config, folder string, log *slog.Logger) (url string, end func()) {
	t.Helper()
	config.Listen, config.Data = "127.0.0.1:0", folder
	ctx, cancel := context.WithCancel(context.Background())
	out, ended := &screen{}, make(chan error, 1)
	go func() { ended <- local.Run(ctx, config, out, log) }()
	end = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the program ended with %v", err)
		}
	}
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	for range 1000 {
		if url := address.FindString(out.String()); url != "" && (config.NoSimulator || strings.Contains(out.String(), "Waiting for your own webhooks")) {
			return url, end
		}
		select {
		case err := <-ended:
			t.Fatalf("the program ended: %v\n%s", err, out)
		case <-time.After(10 * time.Millisecond):
		}
	}
	end()
	t.Fatalf("no URL printed:\n%s", out)
	return "", nil
}

// Nobody keeps the program from ending in order: no client that is half way through a request, or has only connected, and no subscriber that does not answer.
func TestEndsInOrder(t *testing.T) {
	for name, first := range map[string]string{
		"half a webhook":   "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nabc",
		"half a header":    "POST /webhook HT",
		"half a TLS hello": "\x16\x03\x01",
		"nothing":          "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := defaults()
			config.NoSimulator = true
			url, end := run(t, config, t.TempDir(), slog.New(slog.DiscardHandler))
			client, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := client.Write([]byte(first)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond) // the server reads it; if it does not yet, all the better for it
			end()
		})
	}
	t.Run("a subscriber that hangs", func(t *testing.T) {
		t.Parallel()
		asked := make(chan struct{}, 100)
		subscriber := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			asked <- struct{}{}
			<-r.Context().Done()
		}))
		defer subscriber.Close()
		config := defaults()
		config.Subscribers = []string{subscriber.URL}
		_, end := run(t, config, t.TempDir(), slog.New(slog.DiscardHandler))
		<-asked
		began := time.Now()
		end()
		if took := time.Since(began); took > 9*time.Second { // 2 s and a busy machine; a subscriber may take 10 s
			t.Errorf("it took %v to end", took)
		}
	})
}

// The fixed paths, and what is answered to what is none of them.
func TestRoutes(t *testing.T) {
	url := start(t)
	client := &http.Client{Timeout: 10 * time.Second}
	for _, test := range []struct {
		call, body  string
		status      int
		contentType string
	}{
		{"GET /", "", 200, "text/html; charset=utf-8"},
		{"GET /healthz", "", 200, "text/plain; charset=utf-8"},
		{"GET /api/announcements", "", 200, "application/json"},
		{"GET /api/accounts", "", 200, "application/json"},
		{"GET /api/connections", "", 200, "application/json"},
		{"GET /api/connections?state=unsettled", "", 200, "application/json"},
		{"POST /webhook", `{"type":"healthcheck"}`, 200, "application/json"},
		{"GET /webhook", "", 405, "application/problem+json"},
		{"DELETE /webhook", "", 405, "application/problem+json"},
		{"POST /webhook/", `{"type":"healthcheck"}`, 404, "application/problem+json"},
		{"POST /", `{"type":"healthcheck"}`, 405, "application/problem+json"},
		{"POST /api/announcements", "", 405, "application/problem+json"},
		{"DELETE /api/accounts", "", 405, "application/problem+json"},
		{"GET /api/sweep", "", 405, "application/problem+json"},
		{"DELETE /api/stories", "", 405, "application/problem+json"},
		{"GET /api/stories/crash", "", 405, "application/problem+json"},
		{"POST /healthz", "", 405, "application/problem+json"},
		{"GET /api/nothing", "", 404, "application/problem+json"},
		{"GET /api/connections?state=closed", "", 400, "application/problem+json"},
		{"GET /nowhere", "", 404, "application/problem+json"},
		{"GET /terra/v2/athlete", "", 404, "application/problem+json"}, // no simulator
		{"POST /webhook", strings.Repeat("x", 10<<20+1), 413, "application/problem+json"},
	} {
		method, path, _ := strings.Cut(test.call, " ")
		request, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Terra-Signature", terra.Sign(local.Secret, time.Now(), []byte(test.body)))
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("%s: %v", test.call, err)
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != test.status || response.Header.Get("Content-Type") != test.contentType {
			t.Errorf("%s: got %d %s %.100s (%v), want %d %s", test.call, response.StatusCode, response.Header.Get("Content-Type"), body, err, test.status, test.contentType)
		}
		if problem := fmt.Sprintf(`"status":%d`, test.status); test.status >= 400 && !strings.Contains(string(body), problem) || (test.status == 405) != (response.Header.Get("Allow") != "") {
			t.Errorf("%s: got %s, Allow %q", test.call, body, response.Header.Get("Allow"))
		}
		if test.status == 200 && strings.HasPrefix(path, "/api/") && strings.TrimSpace(string(body)) != "[]" {
			t.Errorf("%s: got %s, want []", test.call, body)
		}
	}
}
