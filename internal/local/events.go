package local

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/terra"
)

// eventsSignedAt is when the events in events/ were signed: long ago, and the same each time they are made. They are for a function whose
// REPLAY_WINDOW reaches back to it, as the one in .sam-local.json does on any date.
func eventsSignedAt() time.Time { return time.Date(2024, 10, 7, 3, 46, 0, 0, time.UTC) }

// WriteEvents writes a file into folder for each type of event, as API Gateway passes it to the function, signed with [Secret]. It returns the paths of the files.
func WriteEvents(folder string) (files []string, err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	write := func(name string, body []byte, contentType string) error {
		event, err := SignedEvent("https://example.execute-api.us-east-1.amazonaws.com/webhook", body, terra.Sign(Secret, eventsSignedAt(), body), eventsSignedAt(), contentType)
		if err != nil {
			return fmt.Errorf("making %s: %w", name, err)
		}
		files = append(files, filepath.Join(folder, name+".json"))
		return os.WriteFile(files[len(files)-1], event, 0o644)
	}
	for _, kind := range simulator.Types() {
		if err := write(kind, simulator.Newer.Example(kind), "application/json"); err != nil {
			return nil, err
		}
	}
	for _, more := range []struct {
		name, contentType string
		body              []byte
	}{
		{"auth-legacy", "application/json", simulator.Legacy.Example("auth")},
		{"auth-error-legacy", "application/json", simulator.Legacy.Example("auth_cancelled")},
		{"deauth-legacy", "application/json", simulator.Legacy.Example("deauth")},
		{"user_reauth-legacy", "application/json", simulator.Legacy.Example("user_reauth")},
		{"activity-base64", "application/octet-stream", simulator.Newer.Example("activity")},
		{"unknown_type", "application/json", []byte(`{"type":"something_new","status":"success","version":"2022-03-16"}`)},
	} {
		if err := write(more.name, more.body, more.contentType); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// SignedEvent is the event that API Gateway makes of a webhook with this signature that comes to url at the time now, indented. It is JSON if its content type
// is not given.
func SignedEvent(url string, body []byte, signature string, now time.Time, contentType ...string) ([]byte, error) {
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.RemoteAddr = "127.0.0.1:443"
	r.Header.Set("Content-Type", cmp.Or(append(contentType, "application/json")...))
	if signature != "" {
		r.Header.Set("X-Terra-Signature", signature)
		r.Header.Set("Terra-Signature", signature)
	}
	r.Header.Set("X-Terra-Trace-Id", "5f0c3c1e-8a52-4c55-9d5b-0f5a7c1f7d11")
	event, err := Event(r, body, now)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, event, "", "  "); err != nil {
		return nil, err
	}
	return append(b.Bytes(), '\n'), nil
}
