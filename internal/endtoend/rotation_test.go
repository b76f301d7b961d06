package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/terra"
	receiver "github.com/handover-dev/handover/internal/webhook"
)

// rotation is a Terra that sends webhooks without a pause, a Secrets Manager, and three instances of the webhook's handler between them. Their clock is moved by
// the test: a compiled function would have to be waited for, for ten minutes in each step.
type rotation struct {
	t         *testing.T
	secrets   *stack
	arn       string
	instances []string // URLs

	mu      sync.RWMutex // held for reading while a webhook is under way
	now     time.Time
	signing []string // what Terra signs with, in turn

	sent, refused atomic.Int64
}

func newRotation(t *testing.T, moto string, first string) *rotation {
	t.Helper()
	client := secretsmanager.NewFromConfig(realparts.AWSConfig(moto))
	r := &rotation{t: t, secrets: &stack{secrets: client}, now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), signing: []string{first}}
	r.arn = r.secrets.secret(t, t.Name(), "{}")
	r.keep(first)
	clock := func() time.Time { return r.now } // while mu is held by whoever sends
	for range 3 {
		gateway := httptest.NewServer(local.NewGateway(&receiver.Handler{
			Secrets: &settings.TerraSecret{Read: settings.SecretsManager(client, r.arn), Now: clock},
			Window:  terra.Window{Past: settings.DefaultReplayWindow, Future: settings.FutureWindow},
			Log:     slog.New(slog.DiscardHandler), Now: clock,
		}))
		t.Cleanup(gateway.Close)
		r.instances = append(r.instances, gateway.URL)
	}
	return r
}

// keep is what the operator does: it makes these the secrets that Handover knows.
func (r *rotation) keep(secrets ...string) {
	r.t.Helper()
	text, _ := json.Marshal(settings.Terra{SigningSecrets: secrets}) // strings can always be encoded
	r.secrets.put(r.t, r.arn, string(text))
}

// sign is what Terra does: from now on it signs with these.
func (r *rotation) sign(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signing = secrets
}

func (r *rotation) wait(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// send sends the n-th webhook, and returns the answer's status. There is nothing to store in it: it is about the signature.
func (r *rotation) send(n int64, secrets ...string) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(secrets) == 0 {
		secrets = r.signing
	}
	body := fmt.Appendf(nil, `{"type":"healthcheck","n":%d}`, n)
	request, err := http.NewRequest(http.MethodPost, r.instances[n%3], bytes.NewReader(body))
	if err != nil {
		r.t.Error(err)
		return 0
	}
	request.Header.Set("X-Terra-Signature", terra.Sign(secrets[n/3%int64(len(secrets))], r.now, body))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Error(err)
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// load sends webhooks from eight senders while rotate runs. more, which it is given, returns when some more have been answered.
func (r *rotation) load(each int64, rotate func(more func())) {
	r.t.Helper()
	var senders sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		senders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status := r.send(r.sent.Add(1)); status != http.StatusOK {
					r.refused.Add(1)
				}
			}
		})
	}
	rotate(func() {
		for until := r.sent.Load() + each; r.sent.Load() < until; {
			time.Sleep(time.Millisecond)
		}
	})
	close(stop)
	senders.Wait()
}

// TestSecretRotation: the signing secret is changed again and again as OPERATIONS.md says, while webhooks come, and none is refused. Done in another way it is
// not so, and what is no secret any more is refused by every instance.
func TestSecretRotation(t *testing.T) {
	moto, each := realparts.Moto(t), int64(proofSize(60, 300))
	t.Run("as it is written", func(t *testing.T) {
		const rotations = 10
		r := newRotation(t, moto, "secret 0")
		r.load(each, func(more func()) {
			more()
			for n := range rotations {
				past, next := fmt.Sprint("secret ", n), fmt.Sprint("secret ", n+1)
				r.keep(next, past)
				more()
				r.wait(10 * time.Minute)
				more()
				r.sign(next, past) // the other ones are retries
				more()
				r.wait(24 * time.Hour)
				r.sign(next)
				more()
				r.keep(next)
				more()
				r.wait(10 * time.Minute)
				more()
				for n := range int64(3) {
					if status := r.send(n, past); status != http.StatusUnauthorized {
						t.Errorf("signed with a secret that was taken out: answered %d", status)
					}
				}
			}
		})
		if r.refused.Load() > 0 {
			t.Errorf("%d of %d were refused", r.refused.Load(), r.sent.Load())
		}
		t.Logf("%d rotations, %d webhooks signed with a live secret, %d refused", rotations, r.sent.Load(), r.refused.Load())
	})
	// Not to wait is well as long as no forgery has just made an instance read the secret.
	t.Run("without waiting", func(t *testing.T) {
		r := newRotation(t, moto, "old")
		r.load(each, func(more func()) {
			more()
			r.keep("new", "old")
			r.sign("new")
			more()
		})
		if r.refused.Load() > 0 {
			t.Errorf("%d of %d were refused", r.refused.Load(), r.sent.Load())
		}
	})
	for name, rotate := range map[string]func(r *rotation, more func()){
		"without the old one": func(r *rotation, more func()) {
			r.keep("new")
			r.wait(10 * time.Minute)
			more()
			r.sign("new")
		},
		"Terra first": func(r *rotation, more func()) {
			r.sign("new")
			more()
			r.keep("new", "old")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRotation(t, moto, "old")
			r.load(each, func(more func()) {
				more()
				rotate(r, more)
				more()
			})
			if r.refused.Load() == 0 {
				t.Errorf("none of %d was refused", r.sent.Load())
			}
			r.wait(30 * time.Second) // from now on what Terra sends again is taken, too
			for n := range int64(3) {
				if status := r.send(n, "new"); status != http.StatusOK {
					t.Errorf("in the end: answered %d", status)
				}
			}
		})
	}
}
