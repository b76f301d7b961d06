package simulator_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/terra"
)

// The bodies are, byte for byte, what Terra has published.
func TestPublishedBodies(t *testing.T) {
	garmin := simulator.User{UserID: "9c8b7a65", Provider: "GARMIN", ReferenceID: "your-user-123"}
	old := garmin
	old.UserID = "40f7b0e1"
	for name, test := range map[string]struct{ got, want string }{
		"auth, legacy": {
			string(simulator.Legacy.Example("auth")),
			`{"type":"auth","status":"success","widget_session_id":"a9a0c7a4-c05e-4550-a973-f87a31a7c558","user":{"scopes":"ACTIVITY_EXPORT,HEALTH_EXPORT","active":true,"last_webhook_update":null,"created_at":"2024-10-07T03:45:00.000000+00:00","user_id":"4735eac4-31a2-47ef-8b11-51e98d84c680","reference_id":"tony_stark","provider":"GARMIN"},"reference_id":"tony_stark","message":"User has successfully authenticated","version":"2022-03-16"}`,
		},
		"user_reauth, newer": {
			string(simulator.Newer.Reauth(garmin, old)),
			`{"type":"user_reauth","status":"warning","message":"User has reauthenticated and old ID has been deleted","version":"2022-03-16","new_user":{"user_id":"9c8b7a65","provider":"GARMIN","reference_id":"your-user-123","active":true},"old_user":{"user_id":"40f7b0e1","provider":"GARMIN","reference_id":"your-user-123","active":false}}`,
		},
		"deauth, legacy": {
			string(simulator.Legacy.Deauth(simulator.User{UserID: "d81ea08d-ad4d-44bd-8394-ee4b68a3f96f", Provider: "FITBIT", ReferenceID: "never told"})),
			`{"user":{"last_webhook_update":null,"provider":"FITBIT","user_id":"d81ea08d-ad4d-44bd-8394-ee4b68a3f96f","scopes":null},"type":"deauth","status":"success","message":"User has deauthenticated","version":"2022-03-16"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.got != test.want {
				t.Errorf("got  %s\nwant %s", test.got, test.want)
			}
		})
	}
}

func TestExamples(t *testing.T) {
	for _, d := range []simulator.Dialect{simulator.Legacy, simulator.Newer} {
		for _, eventType := range simulator.Types() {
			body := d.Example(eventType)
			if !json.Valid(body) {
				t.Errorf("%s: not JSON: %s", eventType, body)
			}
			event, err := terra.ParseEvent(body)
			if err != nil {
				t.Errorf("%s: %v in %s", eventType, err, body)
			}
			if event.Type != eventType && !(d == simulator.Legacy && eventType == "auth_cancelled") {
				t.Errorf("%s: type %q", eventType, event.Type)
			}
		}
	}
	if body := simulator.Legacy.Example("unheard_of"); body != nil {
		t.Errorf("an unknown type has the body %s", body)
	}
}

func TestMissingValues(t *testing.T) {
	nobody := simulator.User{UserID: "u"}
	for d, want := range map[simulator.Dialect]string{
		simulator.Legacy: `"user":{"scopes":null,"active":true,"last_webhook_update":null,"created_at":null,"user_id":"u","reference_id":null,"provider":null}`,
		simulator.Newer:  `"user":{"user_id":"u","active":true}`,
	} {
		var body struct{ User json.RawMessage }
		if err := json.Unmarshal(d.Auth(nobody), &body); err != nil {
			t.Fatal(err)
		}
		if got := `"user":` + string(body.User); got != want {
			t.Errorf("dialect %d: got %s, want %s", d, got, want)
		}
	}
	at := simulator.User{UserID: "u", CreatedAt: time.Date(2026, 11, 22, 13, 0, 0, 7000, time.FixedZone("CET", 3600))}
	var body struct {
		User struct {
			CreatedAt string `json:"created_at"`
		}
	}
	if err := json.Unmarshal(simulator.Newer.Auth(at), &body); err != nil {
		t.Fatal(err)
	}
	if want := "2026-11-22T12:00:00.000007+00:00"; body.User.CreatedAt != want {
		t.Errorf("created_at %q, want %q", body.User.CreatedAt, want)
	}
}
