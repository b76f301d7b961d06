package stack

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/telemetry"
)

// A service that takes calls and answers none keeps no instance from starting: Terra waits 8 s, and Lambda ends a start after 10.
func TestStartsWhileAWSHangs(t *testing.T) {
	for _, hanging := range []string{"DYNAMODB", "SECRETS_MANAGER"} {
		t.Run(hanging, func(t *testing.T) {
			over := make(chan struct{})
			service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
			defer service.Close()
			defer close(over)
			t.Setenv("AWS_REGION", "us-east-1")
			t.Setenv("AWS_ACCESS_KEY_ID", "a")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
			t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1") // nobody listens there
			t.Setenv("AWS_ENDPOINT_URL_"+hanging, service.URL)
			start := time.Now()
			New(t.Context(), settings.Settings{AccountsTable: "accounts", TerraSecret: "terra", AccountKeySecret: "key"}, telemetry.NewLogger(t.Output(), "handover"))
			if took := time.Since(start); took > 2500*time.Millisecond {
				t.Errorf("took %v", took)
			}
		})
	}
}
