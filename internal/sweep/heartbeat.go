package sweep

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
)

// Heartbeat sends a webhook to the stack's own public URL now and then, signed as Terra's are, so that a way in that is broken is told from a Terra that is
// merely quiet. The webhook function knows it by its body, once the signature is good: nobody without a signing secret can make one.
type Heartbeat struct {
	url    string
	secret func(context.Context) (string, error)
	client *http.Client

	mu   sync.Mutex
	last time.Time // when one was last answered 200
}

const (
	beatEvery   = 5 * time.Minute
	beatSlack   = 30 * time.Second // by which the run of a minute may begin too early
	beatTimeout = 10 * time.Second // the webhook function answers within 8 s
)

// ErrSecret means that no heartbeat was sent, for want of a signing secret.
var ErrSecret = errors.New("Terra's secret cannot be used")

// NewHeartbeat sends to url, and signs with what secret returns.
func NewHeartbeat(url string, secret func(context.Context) (string, error)) *Heartbeat {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 2 * time.Second}).DialContext
	return &Heartbeat{url: url, secret: secret, client: &http.Client{
		Transport:     transport,
		Timeout:       beatTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // Terra follows none either
	}}
}

// Send sends one if the last that was answered 200 is five minutes old. So each run tries again until one is.
func (h *Heartbeat) Send(ctx context.Context, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.last) < beatEvery-beatSlack {
		return nil
	}
	if err := h.send(ctx, now); err != nil {
		return err
	}
	h.last = now
	return nil
}

func (h *Heartbeat) send(ctx context.Context, now time.Time) error {
	secret, err := h.secret(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSecret, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, strings.NewReader(telemetry.HeartbeatBody))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Terra-Signature", terra.Sign(secret, now, []byte(telemetry.HeartbeatBody)))
	response, err := h.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the way in answers the stack's own webhook with HTTP status %d", response.StatusCode)
	}
	return nil
}
