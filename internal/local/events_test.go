package local_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/terra"
)

// files are the files of a folder by name.
func files(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, e := range entries {
		if all[e.Name()], err = os.ReadFile(filepath.Join(folder, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// The files in events/ are what the generator makes, no more and no less.
func TestEventsAreUpToDate(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "made", "anew")
	if _, err := local.WriteEvents(folder); err != nil {
		t.Fatal(err)
	}
	made, kept := files(t, folder), files(t, filepath.Join("..", "..", "events"))
	names := slices.Sorted(maps.Keys(made))
	if keptNames := slices.Sorted(maps.Keys(kept)); !slices.Equal(names, keptNames) {
		t.Errorf("events/ has %v\nmade are %v", keptNames, names)
	}
	for _, name := range names {
		if !bytes.Equal(made[name], kept[name]) {
			t.Errorf("events/%s is not what is made: run make events", name)
		}
	}
	for _, kind := range simulator.Types() {
		if made[kind+".json"] == nil {
			t.Errorf("no event of type %s", kind)
		}
	}
	if _, err := local.WriteEvents(folder); err != nil { // over what is there
		t.Fatal(err)
	}
	if !maps.EqualFunc(files(t, folder), made, bytes.Equal) {
		t.Error("made again, the files differ")
	}
}

// Each event is signed with the local secret, under both headers, and is one of Terra's.
func TestEventsAreSigned(t *testing.T) {
	signed := time.Date(2024, 10, 7, 3, 46, 0, 0, time.UTC)
	encoded := 0
	for name, raw := range files(t, filepath.Join("..", "..", "events")) {
		var event events.APIGatewayV2HTTPRequest
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&event); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body := []byte(event.Body)
		if event.IsBase64Encoded {
			encoded++
			body, _ = base64.StdEncoding.DecodeString(event.Body)
		}
		for _, header := range []string{"x-terra-signature", "terra-signature"} {
			at, err := terra.Verify(event.Headers[header], body, []string{local.Secret}, signed, terra.Window{})
			if err != nil || !at.Equal(signed) {
				t.Errorf("%s: %s: %v, signed at %v", name, header, err, at)
			}
		}
		e, err := terra.ParseEvent(body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		kind, _, _ := strings.Cut(strings.TrimSuffix(name, ".json"), "-")
		switch name {
		case "auth-error-legacy.json":
			if e.Type != "auth" || e.Status != "error" {
				t.Errorf("%s: %+v", name, e)
			}
		case "unknown_type.json":
			if e.Known() {
				t.Errorf("%s: %+v", name, e)
			}
		default:
			if e.Type != kind || !e.Known() {
				t.Errorf("%s: type %q", name, e.Type)
			}
		}
	}
	if encoded != 1 {
		t.Errorf("%d events are in base64, want one", encoded)
	}
}

func TestWriteEventsFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := local.WriteEvents(file); err == nil {
		t.Error("wrote into a file as if it were a folder")
	}
}
