package terra_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/terra"
)

// The client and the simulated Terra understand each other at both base URLs: page by page, and when a connection is ended.
func TestBothDialects(t *testing.T) {
	for base, tells := range map[string]bool{"/v2": false, "/api/v2": true} { // the newer one tells which page is the last
		t.Run(base, func(t *testing.T) {
			webhooks := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(webhooks.Close)
			sim := simulator.New(simulator.Config{
				Secret: "s", WebhookURL: webhooks.URL, DevID: "dev", APIKey: "key", Habits: simulator.Habits{CreatedAtInAnswers: true},
			})
			var made []string
			for i := range 5 {
				made = append(made, sim.Connect("GARMIN", fmt.Sprint("watch-", i), "anna"+fmt.Sprint(i)))
			}
			api := httptest.NewServer(sim.API())
			t.Cleanup(api.Close)
			client := &terra.Client{
				BaseURL:     api.URL + base,
				Credentials: func(context.Context) (string, string, error) { return "dev", "key", nil },
				HTTP:        terra.NewHTTPClient(),
			}

			var listed []string
			each := func(s terra.Subscription) error {
				listed = append(listed, s.UserID)
				if s.Provider != "GARMIN" || s.ReferenceID == "" || s.CreatedAt.IsZero() {
					t.Errorf("got %+v", s)
				}
				return nil
			}
			for number, count := range []int{2, 2, 1, 0} {
				want := terra.Page{Count: count, Last: tells && number >= 2}
				if count > 0 {
					want.First = made[2*number]
				}
				if page, err := client.Subscriptions(t.Context(), number, 2, each); err != nil || page != want {
					t.Errorf("page %d: got %+v, %v, want %+v", number, page, err, want)
				}
			}
			if !slices.Equal(listed, made) {
				t.Errorf("listed %v, want %v", listed, made)
			}

			if err := client.Deauthenticate(t.Context(), made[0]); err != nil {
				t.Errorf("ending a connection: %v", err)
			}
			if err := client.Deauthenticate(t.Context(), made[0]); !errors.Is(err, ownership.ErrGone) {
				t.Errorf("ending it again: got %v, want %v", err, ownership.ErrGone)
			}
			if page, err := client.Subscriptions(t.Context(), 0, 500, each); err != nil || page.Count != 4 || page.First != made[1] {
				t.Errorf("afterwards: got %+v, %v", page, err)
			}

			sim.SetFaults(simulator.Faults{Limit: 1, RetryAfter: 3 * time.Second})
			_, err := client.Subscriptions(t.Context(), 0, 2, each)
			for _, err := range []error{err, client.Deauthenticate(t.Context(), made[1])} {
				if limited, ok := errors.AsType[*ownership.Limited](err); !ok || limited.RetryAfter != 3*time.Second {
					t.Errorf("limited: got %v", err)
				}
			}
		})
	}
}
