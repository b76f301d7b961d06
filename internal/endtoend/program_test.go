// Package endtoend tests Handover from outside: the local program as a process that is killed and started again, the functions as the binaries that
// Lambda runs, and the calls that go over the wire.
package endtoend

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/realparts"
)

// What the program and the simulated Terra share.
const (
	signingSecret = "the-secret-of-the-black-box"
	devID         = "the-dev-id"
	apiKey        = "the-api-key"
)

// buildProgram compiles the local program and returns its path.
func buildProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "handover")
	build(t, path, "./internal/cmd/handover")
	return path
}

func build(t *testing.T, path, source string, arguments ...string) {
	t.Helper()
	// The sources are looked at, so that go test knows a result to be old when they have changed.
	files, err := filepath.Glob(filepath.Join(realparts.Root(t), source, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("go", append(append([]string{"build", "-o", path}, arguments...), source)...)
	command.Dir = realparts.Root(t)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", source, err, output)
	}
}

// program is the local program as a child process. It can be killed, and started again on its data.
type program struct {
	t         *testing.T
	path      string
	arguments []string
	address   string
	log       string // file that takes the output of all its lives
	lives     []life
	process   *os.Process
	ended     <-chan struct{}
}

// life is the time between a start and the kill that ended it; killed is zero while it runs.
type life struct{ started, killed time.Time }

func newProgram(t *testing.T, path string, arguments ...string) *program {
	t.Helper()
	p := &program{t: t, path: path, address: realparts.FreeAddress(t), log: filepath.Join(t.TempDir(), "output")}
	p.arguments = append([]string{"serve", "-listen", p.address}, arguments...)
	t.Cleanup(func() {
		if t.Failed() {
			output := p.output()
			t.Logf("the end of the program's output:\n%s", output[max(0, len(output)-3000):])
		}
	})
	return p
}

func (p *program) url(path string) string { return "http://" + p.address + path }

// start starts the program and waits until it answers.
func (p *program) start() {
	p.t.Helper()
	p.lives = append(p.lives, life{started: time.Now()})
	command := exec.Command("/bin/sh", append([]string{"-c", `exec "$0" "$@" >>"$OUTPUT" 2>&1`, p.path}, p.arguments...)...)
	command.Env = append(os.Environ(), "OUTPUT="+p.log, "AWS_EC2_METADATA_DISABLED=true")
	p.ended = realparts.Start(p.t, command)
	p.process = command.Process
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if response, err := http.Get(p.url("/healthz")); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-p.ended:
			p.t.Fatalf("the program has ended by itself:\n%s", p.output())
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the program does not answer after 30 s:\n%s", p.output())
		}
	}
}

// kill sends SIGKILL and waits for the end.
func (p *program) kill() {
	p.t.Helper()
	select {
	case <-p.ended:
		p.t.Fatalf("the program has ended by itself:\n%s", p.output())
	default:
	}
	p.lives[len(p.lives)-1].killed = time.Now()
	if err := p.process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
}

// survived reports whether the life in which something happened went on for so long afterwards that the program must have dealt with it.
func (p *program) survived(at time.Time) bool {
	for _, l := range p.lives {
		if at.After(l.started) && (l.killed.IsZero() || at.Before(l.killed)) {
			return l.killed.IsZero() || l.killed.Sub(at) > 3*time.Second
		}
	}
	return false
}

func (p *program) output() string {
	output, err := os.ReadFile(p.log)
	if err != nil && !os.IsNotExist(err) {
		p.t.Error(err)
	}
	return string(output)
}

// get reads a list of the program's API. An error means that the program does not answer.
func (p *program) get(path string, list any) error {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(p.url(path))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, response.Status, body)
	}
	return json.Unmarshal(body, list)
}

// What the program lists.
type (
	connection struct {
		UserID      string     `json:"user_id"`
		ReferenceID string     `json:"reference_id"`
		Tenures     []string   `json:"tenures"`
		Provider    string     `json:"provider"`
		ConnectedAt *time.Time `json:"connected_at"`
		Certainty   string     `json:"certainty"`
		Accounts    []string   `json:"accounts"`
		ClosedAt    *time.Time `json:"closed_at"`
		State       string     `json:"state"`
		Waiting     string     `json:"waiting"`
		Attempts    int        `json:"attempts"`
	}
	account struct {
		Account, Provider string
		Owner             party
	}
	event struct {
		SpecVersion, Type, ID, Source, Subject string
		Data                                   json.RawMessage
	}
	change struct {
		Account, Provider string
		Reason, Order     string
		Previous, Current party // of a transfer
		Connection        party // of a revocation
	}
	party struct {
		UserID      string `json:"user_id"`
		ReferenceID string `json:"reference_id"`
		ConnectedAt string `json:"connected_at"`
		Tenure      int    `json:"tenure"`
	}
)

// eventually polls until holds returns "", and fails the test with what it returned last.
func eventually(t *testing.T, limit time.Duration, holds func() string) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		missing := holds()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", limit, missing)
		}
	}
}
