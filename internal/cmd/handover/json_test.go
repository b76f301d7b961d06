package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestJSON: every command answers in JSON with -json, and nothing but JSON, whose names are in lower case.
func TestJSON(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	var log bytes.Buffer
	go func() {
		serving := tool{getenv: func(string) string { return "" }, stdout: write, stderr: &log}
		ended <- serving.run(ctx, []string{"serve", "-json", "-listen", "127.0.0.1:0", "-data", t.TempDir()})
		write.Close()
	}()
	var here struct {
		Page    string `json:"page"`
		Webhook string `json:"webhook"`
		Secret  string `json:"signing_secret"`
	}
	lines := bufio.NewReader(read)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(first, &here); err != nil || here.Page == "" || here.Webhook == "" || here.Secret == "" {
		t.Fatalf("serve -json began with %s: %v", first, err)
	}
	body := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(body, []byte(`{"type":"auth"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	url := strings.TrimRight(here.Page, "/")
	calls := map[string][]string{
		"send":        {"athlete", "-to", here.Webhook, "-secret", here.Secret, "-set", "user.user_id=user-a"},
		"stories":     {"same-watch", "-url", url},
		"verify":      {body, "-secret", here.Secret, "-signature", "t=1,v1=00"},
		"explain":     {"user-a", "-url", url},
		"owner":       {"user-a", "-url", url},
		"transfers":   {"-url", url},
		"connections": {"-url", url},
		"unsettled":   {"-url", url},
		"show":        {"-user-id", "user-a", "-url", url},
		"forget":      {"-user-id", "user-a", "-url", url},
		"settle":      {"-url", url},
		"backfill":    {"-yes", "-url", url},
		"events":      {filepath.Join(t.TempDir(), "events")},
		"version":     {},

		"serve":          nil, // above
		"doctor":         nil, // TestDoctor
		"replay":         nil, // TestReplay
		"try-subscriber": nil, // testdata/script/trysubscriber.txtar
	}
	capital := regexp.MustCompile(`"\w*[A-Z]\w*":`)
	for _, c := range commands() {
		var help, stdout, stderr bytes.Buffer
		asked := tool{getenv: func(string) string { return "" }, stdout: &help, stderr: &help}
		if status := asked.status(asked.run(ctx, []string{c.name, "-h"})); status != 0 || !strings.HasPrefix(help.String(), "  $ handover "+c.name) || !strings.Contains(help.String(), "  -json\n") {
			t.Errorf("handover %s -h ended with %d, and begins without an example or has no -json:\n%s", c.name, status, help.String())
		}
		args, known := calls[c.name]
		if !known {
			t.Errorf("handover %s is not tried", c.name)
		}
		if args == nil {
			continue
		}
		called := tool{getenv: func(string) string { return "" }, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
		status := called.status(called.run(ctx, append([]string{c.name, "-json"}, args...)))
		if want := map[string]int{"verify": statusFault}[c.name]; status != want {
			t.Errorf("handover %s -json ended with %d, want %d: %s", c.name, status, want, stderr.String())
		}
		if stdout.Len() == 0 {
			t.Errorf("handover %s -json says nothing", c.name)
		}
		for line := range strings.Lines(stdout.String()) {
			if !json.Valid([]byte(line)) || capital.MatchString(line) {
				t.Errorf("handover %s -json says %q", c.name, line)
			}
		}
	}

	stop()
	if more, _ := io.ReadAll(lines); len(more) > 0 {
		t.Errorf("serve -json goes on with %s", more)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("serve -json logs %q", line)
		}
	}
}
