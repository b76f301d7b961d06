package revoke_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/revoke"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
	"github.com/handover-dev/handover/internal/webhook"
)

// The whole circle, through HTTP and both of Terra's APIs: a watch passes from anna to ben, the announcement ends a connection, its deauth closes the row,
// and where that connection was superseded, its revocation is announced.
func TestFromTransferToConfirmedRevocation(t *testing.T) {
	for _, base := range []string{"/v2", "/api/v2"} {
		for policy, endsNewcomer := range map[revoke.Policy]bool{revoke.NewestWins: false, revoke.FirstWins: true} {
			t.Run(fmt.Sprint(base, ", ", policy), func(t *testing.T) {
				s := newStack(t, base)
				s.revoker.Policy = policy
				anna, ben := s.sim.Connect("GARMIN", "watch", "anna"), s.sim.Connect("GARMIN", "watch", "ben")
				s.deliver()
				s.expect(ownership.Transferred)
				if a := s.said[0]; a.Previous.UserID != anna || a.Current.UserID != ben || a.Account == "" {
					t.Fatalf("announced %+v", a)
				}

				batch := events.SQSEvent{Records: []events.SQSMessage{{MessageId: "1", Body: message(t, s.said[0])}}}
				handle := func() {
					t.Helper()
					if response, err := s.revoker.Handle(t.Context(), batch); err != nil || len(response.BatchItemFailures) > 0 {
						t.Fatalf("got %+v, %v: %s", response, err, &s.log)
					}
				}
				handle()
				ended, kept := anna, ben
				if endsNewcomer {
					ended, kept = ben, anna
				}
				if s.closed(ended) {
					t.Error("its end was recorded before it was confirmed")
				}
				s.deliver() // the deauth
				if !s.closed(ended) || s.closed(kept) {
					t.Errorf("anna's connection is closed: %v, ben's: %v", s.closed(anna), s.closed(ben))
				}
				for _, h := range s.sim.Truth()[0].Holdings {
					if h.Closed != (h.UserID == ended) {
						t.Errorf("%s's connection is closed at Terra: %v", h.Reference, h.Closed)
					}
				}

				handle() // a message may come twice
				if endsNewcomer {
					s.expect(ownership.Transferred)
					return
				}
				s.expect(ownership.Transferred, ownership.Revoked)
				if a := s.said[1]; a.Connection.UserID != anna {
					t.Errorf("announced %+v", a)
				}
			})
		}
	}
}

// testStack is a simulated Terra, the webhook function and the revoke function over one ledger.
type testStack struct {
	t       *testing.T
	sim     *simulator.Terra
	ledger  *ledgertest.Memory
	revoker *revoke.Revoker
	log     bytes.Buffer

	mu   sync.Mutex
	said []ownership.Announcement
}

func newStack(t *testing.T, base string) *testStack {
	s := &testStack{t: t, ledger: ledgertest.NewMemory()}
	keys, err := ownership.NewAccountKeys(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	client := &terra.Client{
		Credentials: func(context.Context) (string, string, error) { return "dev", "key", nil },
		HTTP:        terra.NewHTTPClient(),
	}
	keeper := &ownership.Keeper{
		Ledger: s.ledger, Announcer: s, Directory: client, Keys: keys, Now: time.Now,
		Backoff: ownership.Backoff{Base: time.Minute, Max: time.Hour, Unnamed: time.Hour},
	}
	log := telemetry.NewLogger(&s.log, "handover")
	gateway := httptest.NewServer(local.NewGateway(&webhook.Handler{
		Secrets: &settings.TerraSecret{Now: time.Now, Read: func(context.Context) (string, error) { return `{"signing_secrets":["secret"]}`, nil }},
		Window:  terra.Window{Past: time.Hour, Future: time.Minute},
		Keeper:  func(context.Context) (*ownership.Keeper, error) { return keeper, nil },
		Peeker:  s.ledger, Log: log, Now: time.Now,
	}))
	t.Cleanup(gateway.Close)
	s.sim = simulator.New(simulator.Config{
		Secret: "secret", WebhookURL: gateway.URL, DevID: "dev", APIKey: "key", Senders: 1, // in order
		Habits: simulator.Habits{Generation: simulator.KeepBoth, CreatedAtInWebhooks: true, CreatedAtInAnswers: true, AccountInAnswers: true},
	})
	api := httptest.NewServer(s.sim.API())
	t.Cleanup(api.Close)
	client.BaseURL = api.URL + base
	s.revoker = &revoke.Revoker{
		Policy: revoke.NewestWins, Ledger: s.ledger, Directory: client, Terra: client, Log: log, Now: time.Now,
		End: keeper.End,
	}
	return s
}

func (s *testStack) Publish(_ context.Context, a ownership.Announcement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, a)
	return nil
}

// deliver delivers every webhook that waits.
func (s *testStack) deliver() {
	s.t.Helper()
	if err := s.sim.Deliver(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// expect checks the types of everything that was announced.
func (s *testStack) expect(types ...ownership.Type) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.said) != len(types) {
		s.t.Fatalf("announced %+v, want %v", s.said, types)
	}
	for i, a := range s.said {
		if a.Type != types[i] {
			s.t.Fatalf("announced %+v, want %v", s.said, types)
		}
	}
}

func (s *testStack) closed(userID string) bool {
	s.t.Helper()
	row, _, err := s.ledger.Connection(s.t.Context(), userID)
	if err != nil {
		s.t.Fatal(err)
	}
	return row.Closed()
}
