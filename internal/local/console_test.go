package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
	"github.com/handover-dev/handover/internal/webhook"
)

// ask sends a request and returns the answer.
func ask(t *testing.T, method, url, body string, header http.Header) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func signed(body string) http.Header {
	return http.Header{"Content-Type": {"application/json"}, "X-Terra-Signature": {terra.Sign(local.Secret, time.Now(), []byte(body))}}
}

// story is what POST /api/stories/… answers.
type story struct {
	Story struct {
		Name     string
		Expected map[string]string
	}
	Steps []struct {
		Who, Text string
		Webhook   int
	}
	Real  map[string]string
	Why   []string
	Broke string
}

func play(t *testing.T, url, name string) (s story) {
	t.Helper()
	status, answer := ask(t, "POST", url+"/api/stories/"+name, "", nil)
	if err := json.Unmarshal([]byte(answer), &s); err != nil || status != http.StatusOK {
		t.Fatalf("%s: status %d, %s (%v)", name, status, answer, err)
	}
	return s
}

func storyNames(t *testing.T, url string) (names []string, needs map[string]string) {
	t.Helper()
	var list []struct{ Name, Needs string }
	if _, answer := ask(t, "GET", url+"/api/stories", "", nil); json.Unmarshal([]byte(answer), &list) != nil {
		t.Fatalf("the list of stories is %s", answer)
	}
	needs = map[string]string{}
	for _, s := range list {
		names = append(names, s.Name)
		needs[s.Name] = s.Needs
	}
	return names, needs
}

// Every story ends as expected, whatever was played before it, and while somebody looks on.
func TestStories(t *testing.T) {
	url := startTold(t)
	played, looking := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(looking)
		for {
			select {
			case <-played:
				return
			default:
				if answer, err := http.Get(url + "/console/story"); err == nil {
					answer.Body.Close()
				}
			}
		}
	}()
	defer func() { close(played); <-looking }()
	names, _ := storyNames(t, url)
	if len(names) != 10 {
		t.Errorf("stories %v", names)
	}
	for _, name := range append(names, names[0]) {
		s := play(t, url, name)
		if s.Broke != "" || fmt.Sprint(s.Real) != fmt.Sprint(s.Story.Expected) || len(s.Steps) < 4 || len(s.Why) == 0 {
			t.Errorf("%s: %q, real %v, expected %v, why %q, %d steps", name, s.Broke, s.Real, s.Story.Expected, s.Why, len(s.Steps))
		}
	}
}

// The crash is one: the webhook is not answered, its connection is in the ledger with a work mark, and nothing is announced before the sweep.
func TestCrashStoryCrashes(t *testing.T) {
	s := play(t, startTold(t), "crash")
	var texts []string
	for _, step := range s.Steps {
		texts = append(texts, step.Who+" "+step.Text)
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{
		"Handover ends before it can answer\nHandover has bob's connection in its ledger, with a work mark\nHandover lets the sweep take it up",
		"Handover the sweep finishes what was left\nYour backend hears: alice → bob (connected_by_other, the order is sure)\nTerra it got no answer",
		"Handover finds nothing new in it, answers 200",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("the story lacks %q:\n%s", want, all)
		}
	}
}

// Without a simulated Terra a story that needs it says so; the others are played.
func TestStoriesWithoutTerra(t *testing.T) {
	url := start(t)
	names, needs := storyNames(t, url)
	for _, name := range names {
		if name == "forged" {
			if s := play(t, url, name); fmt.Sprint(s.Real) != fmt.Sprint(s.Story.Expected) {
				t.Errorf("%s: real %v, expected %v", name, s.Real, s.Story.Expected)
			}
			continue
		}
		if status, answer := ask(t, "POST", url+"/api/stories/"+name, "", nil); status != http.StatusConflict || strings.TrimSpace(answer) != "This story "+needs[name] || needs[name] == "" {
			t.Errorf("%s: status %d, %s", name, status, answer)
		}
	}
}

// What a simulated Terra is asked to end, it ends with a webhook.
func TestSimulatedTerraSendsByItself(t *testing.T) {
	url := startTold(t)
	var connections []struct {
		UserID   string     `json:"user_id"`
		ClosedAt *time.Time `json:"closed_at"`
	}
	list := func() {
		t.Helper()
		if _, answer := ask(t, "GET", url+"/api/connections", "", nil); json.Unmarshal([]byte(answer), &connections) != nil || len(connections) == 0 {
			t.Fatalf("connections %s", answer)
		}
	}
	list()
	status, answer := ask(t, "DELETE", url+"/terra/v2/auth/deauthenticateUser?user_id="+connections[0].UserID, "", http.Header{"Dev-Id": {"handover-local"}, "X-Api-Key": {"handover-local-key"}})
	if status != http.StatusOK {
		t.Fatalf("status %d, %s", status, answer)
	}
	for range 500 {
		if list(); connections[0].ClosedAt != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no deauth has come")
}

// bodies are such as are hard to hand on.
func bodies() map[string]string {
	athlete := string(simulator.Newer.Athlete(simulator.User{UserID: "u-1", Provider: "GARMIN", ReferenceID: "it's $HOME \\ `id` %s", CreatedAt: time.Now()}, "watch"))
	return map[string]string{
		"an athlete":                 athlete,
		"a line break":               strings.Replace(athlete, ",", ",\n\n", 1) + "\n",
		"begins with @":              "@/etc/passwd",
		"not JSON":                   `{"type":"auth"`,
		"a zero byte":                "{\"type\":\"healthcheck\",\"a\":\"\x00\"}",
		"not text":                   "{\"type\":\"healthcheck\",\"a\":\"\xff\"}",
		"longer than a command line": `{"type":"healthcheck","a":"` + strings.Repeat("x", 200_000) + `"}`,
		"empty":                      "",
	}
}

// latest is the number of the webhook that arrived last.
func latest(t *testing.T, url string) string {
	t.Helper()
	_, page := ask(t, "GET", url+"/", "", nil)
	return regexp.MustCompile(`id="webhook-(\d+)"`).FindStringSubmatch(page)[1]
}

// Each copy of a webhook does as it was copied what the webhook did: the command line of curl and of the tool bring the same bytes to the same answer, and the
// event file gives the function the same event.
func TestCopies(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl here")
	}
	url := start(t)
	bin := buildTool(t)
	for name, body := range bodies() {
		t.Run(name, func(t *testing.T) {
			status, _ := ask(t, "POST", url+"/webhook", body, signed(body))
			number := latest(t, url)
			copied := func(kind string) string {
				t.Helper()
				status, text := ask(t, "GET", url+"/console/webhooks/"+number+"/"+kind, "", nil)
				if status != http.StatusOK {
					t.Fatalf("%s: status %d, %s", kind, status, text)
				}
				return text
			}
			if got := copied("body"); got != body {
				t.Errorf("the body is %.100q, want %.100q", got, body)
			}
			for _, kind := range []string{"curl", "command"} {
				output, err := shell(t, strings.Replace(copied(kind), "go run ./internal/cmd/handover", bin, 1))
				if failed := err != nil; kind == "curl" && failed || kind == "command" && failed != (status != 200) {
					t.Errorf("%s: %v\n%s", kind, err, output)
				}
				again := latest(t, url)
				if again == number {
					t.Fatalf("%s has sent nothing:\n%s", kind, output)
				}
				if _, got := ask(t, "GET", url+"/console/webhooks/"+again+"/body", "", nil); got != body {
					t.Errorf("%s has sent %.100q, want %.100q", kind, got, body)
				}
				if !strings.Contains(string(output), fmt.Sprint(status)) {
					t.Errorf("%s was not answered %d:\n%s", kind, status, output)
				}
			}
			handler := webhook.Handler{
				Secrets: fixed{}, Window: terra.Window{Past: time.Hour, Future: time.Minute}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
				Keeper: func(context.Context) (*ownership.Keeper, error) { return nil, errors.New("no ledger here") },
			}
			if strings.Contains(body, `"user"`) {
				status = http.StatusInternalServerError // what is verified and read must be stored, and cannot be here
			}
			answer, err := handler.Invoke(t.Context(), []byte(copied("event.json")))
			var got struct{ StatusCode int }
			if err != nil || json.Unmarshal(answer, &got) != nil || got.StatusCode != status {
				t.Errorf("the event file: %s, %v; want status %d", answer, err, status)
			}
		})
	}
}

// fixed has the local program's signing secret.
type fixed struct{ webhook.Secrets }

func (fixed) Get(context.Context) (settings.Terra, error) {
	return settings.Terra{SigningSecrets: []string{local.Secret}}, nil
}

// A command line never holds a secret that somebody has given.
func TestCommandKeepsTheSecret(t *testing.T) {
	config := defaults()
	config.NoSimulator, config.SigningSecrets = true, []string{"a secret of somebody's"}
	url := startWith(t, config)
	body := `{"type":"healthcheck"}`
	ask(t, "POST", url+"/webhook", body, http.Header{"X-Terra-Signature": {terra.Sign(config.SigningSecrets[0], time.Now(), []byte(body))}})
	for _, path := range []string{"/console/webhooks/1/command", "/console/webhooks/1", "/"} {
		status, text := ask(t, "GET", url+path, "", nil)
		if status != http.StatusOK || strings.Contains(text, config.SigningSecrets[0]) {
			t.Errorf("%s: status %d\n%s", path, status, text)
		}
	}
	_, command := ask(t, "GET", url+"/console/webhooks/1/command", "", nil)
	command = strings.Replace(command, "go run ./internal/cmd/handover", buildTool(t), 1)
	if output, err := shell(t, command); err == nil || !strings.Contains(string(output), "HANDOVER_SIGNING_SECRET: the signing secret") {
		t.Errorf("without the variable: %v\n%s", err, output)
	}
	if output, err := shell(t, command, "HANDOVER_SIGNING_SECRET="+config.SigningSecrets[0]); err != nil {
		t.Errorf("with the variable: %v\n%s", err, output)
	}
}

// A replay sends the very bytes and the very signature again; a change is signed anew.
func TestReplay(t *testing.T) {
	url := start(t)
	replay := func(path, body string) string {
		t.Helper()
		status, answer := ask(t, "POST", url+path, body, nil)
		var got struct{ Number json.Number }
		if json.Unmarshal([]byte(answer), &got) != nil || status != http.StatusOK {
			t.Fatalf("%s: status %d, %s", path, status, answer)
		}
		return got.Number.String()
	}
	detail := func(number string) string {
		_, html := ask(t, "GET", url+"/console/webhooks/"+number, "", nil)
		return html
	}
	body := " {\"type\":\"healthcheck\"}\r\n"
	old := http.Header{"Content-Type": {"application/json"}, "X-Terra-Signature": {terra.Sign(local.Secret, time.Now().Add(-72*time.Hour), []byte(body))}}
	ask(t, "POST", url+"/webhook", body, old)
	again := replay("/console/webhooks/1/replay", "")
	if html := detail(again); again != "2" || !strings.Contains(html, "signature_too_old") || !strings.Contains(html, old.Get("X-Terra-Signature")) {
		t.Errorf("as it came: webhook %s\n%s", again, html)
	}
	changed := replay("/console/webhooks/1/replay?signed", `{"type":"healthcheck","message":"changed"}`)
	if html := detail(changed); changed != "3" || strings.Contains(html, "signature_too_old") || !strings.Contains(html, "nothing to store") {
		t.Errorf("changed: webhook %s\n%s", changed, html)
	}
	if status, _ := ask(t, "POST", url+"/console/webhooks/99/replay", "", nil); status != http.StatusNotFound {
		t.Errorf("a webhook that is not there: status %d", status)
	}
}

// Refusals are counted by their reasons, those of the gateway too.
func TestRefusalsAreCounted(t *testing.T) {
	url := start(t)
	ask(t, "POST", url+"/webhook", "{}", nil)
	ask(t, "POST", url+"/webhook", "{}", http.Header{"X-Terra-Signature": {"t=1,v1=aa"}})
	ask(t, "POST", url+"/webhook", "{}", http.Header{"X-Terra-Signature": {"t=1,v1=bb"}})
	ask(t, "GET", url+"/webhook", "", nil)
	ask(t, "POST", url+"/webhook", "{", signed("{"))
	_, html := ask(t, "GET", url+"/console/state", "", nil)
	for _, want := range []string{"no_signature 1", "wrong_signature 2", "gateway: method not allowed 1", "not_json 1", "<b>5</b> webhooks", ">5</b> not accepted"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q:\n%s", want, html)
		}
	}
}

// What waits is shown with its reason and its next attempt: apart, what Terra names no account for.
func TestWhatWaitsIsShown(t *testing.T) {
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("user_id") == "u-failing" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer down.Close()
	config := defaults()
	config.TerraAPI, config.NoSimulator = down.URL, true
	url := startWith(t, config)
	for user, reference := range map[string]string{"u-failing": "alice", "u-unnamed": "bob"} {
		body := string(simulator.Newer.Auth(simulator.User{UserID: user, Provider: "GARMIN", ReferenceID: reference, CreatedAt: time.Now()}))
		if status, answer := ask(t, "POST", url+"/webhook", body, signed(body)); status != http.StatusOK {
			t.Fatalf("status %d, %s", status, answer)
		}
	}
	_, html := ask(t, "GET", url+"/console/state", "", nil)
	unsettled, unidentifiable, found := strings.Cut(html, "<h3>Unidentifiable</h3>")
	for part, patterns := range map[string][]string{
		unsettled:      {`<h3>Unsettled</h3>`, `<b>alice</b>.*asking Terra: .*HTTP status 503 · next attempt \d\d:\d\d:\d\d.* · tried 1×`, `>2</b> connections unsettled`},
		unidentifiable: {`<b>bob</b>.*Terra names no account · next attempt \d\d:\d\d:\d\d.* · tried 1×`},
	} {
		for _, pattern := range patterns {
			if !found || !regexp.MustCompile(pattern).MatchString(part) {
				t.Errorf("the page does not say %s:\n%s", pattern, html)
			}
		}
	}
}

// Where nobody plays Terra, nobody is listed there: that is no fault.
func TestNobodyPlaysTerra(t *testing.T) {
	config := defaults()
	config.NoSimulator = true
	var log screen
	startIn(t, config, t.TempDir(), telemetry.NewTerminalLogger(&log))
	for range 1000 {
		if strings.Contains(log.String(), "walk") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if text := log.String(); !strings.Contains(text, "walk") || strings.Contains(text, "level=ERROR") {
		t.Errorf("the log at the start: %s", text)
	}
}

// Whatever is not known of a connection, its lists are lists.
func TestListsAreNeverNull(t *testing.T) {
	url := start(t)
	body := `{"type":"auth","status":"success","user":{"user_id":"u-1","provider":"GARMIN"}}`
	if status, answer := ask(t, "POST", url+"/webhook", body, signed(body)); status != http.StatusOK {
		t.Fatalf("status %d, %s", status, answer)
	}
	if _, list := ask(t, "GET", url+"/api/connections", "", nil); !strings.Contains(list, `"accounts":[]`) || !strings.Contains(list, `"tenures":[]`) {
		t.Error(list)
	}
}

// A captured body is in memory only: not in the data folder, and not in the log.
func TestBodiesStayInMemory(t *testing.T) {
	config := defaults()
	config.NoSimulator = true
	var log screen
	folder := t.TempDir()
	url := startIn(t, config, folder, telemetry.NewTerminalLogger(&log))
	body := `{"type":"activity","user":{"user_id":"u-1","provider":"GARMIN","reference_id":"alice"},"data":[{"heart":"the-marker"}]}`
	if status, answer := ask(t, "POST", url+"/webhook", body, signed(body)); status != http.StatusOK {
		t.Fatalf("status %d, %s", status, answer)
	}
	if status, _ := ask(t, "POST", url+"/console/webhooks/1/replay", "", nil); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if _, html := ask(t, "GET", url+"/console/webhooks/1", "", nil); !strings.Contains(html, "the-marker") {
		t.Fatal("the page does not show the body")
	}
	if strings.Contains(log.String(), "the-marker") || strings.Contains(log.String(), "alice") || log.String() == "" {
		t.Errorf("the log holds it: %s", log.String())
	}
	files := 0
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte("the-marker")) {
			t.Errorf("%s holds it", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}

// shell runs a command line with these variables as well.
func shell(t *testing.T, command string, variables ...string) (output []byte, err error) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(command), 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), "sh", script)
	run.Env = append(os.Environ(), variables...)
	return run.CombinedOutput()
}

// buildTool compiles the tool and returns its path.
func buildTool(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "handover")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./internal/cmd/handover")
	build.Dir = realparts.Root(t)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return path
}
