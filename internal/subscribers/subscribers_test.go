// Package subscribers_test runs the example subscribers, each as the program that a customer would run, through the same stories: from an SQS queue with raw
// message delivery and without, filled by an SNS topic (moto's), and over HTTP, signed by an SNS of the test's own and by the local program's topic.
package subscribers_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/realparts"
)

const (
	alice = "4735eac4-31a2-47ef-8b11-51e98d84c680" // the previous connection of the golden events
	bob   = "9c8b7a65-0d1e-4f2a-b3c4-d5e6f7a8b9c0" // the current one
	watch = "GARMIN/k7c1.1f2e3d4c5b6a79880f1e2d3c4b5a6978"
)

// golden is an event as the publisher's own tests pin it.
func golden(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(realparts.Root(t), "internal", "announce", "testdata", name+".golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(text))
}

// transfer makes a message. A holder is written as user_id@connected_at, with a tenure other than 1 after another @; connected_at may be null.
func transfer(id, account, order, previous, current string) string {
	return fmt.Sprintf(`{"specversion":"1.0","type":"handover.account.transferred.v1","id":%q,"data":{"account":%s,"provider":"GARMIN","reason":"connected_by_other","order":%q,"previous":%s,"current":%s}}`,
		id, quoted(account), order, holder(previous), holder(current))
}

func holder(text string) string {
	part := append(strings.Split(text, "@"), "1")
	return fmt.Sprintf(`{"user_id":%q,"reference_id":"of %[1]s","connected_at":%[2]s,"tenure":%[3]s}`, part[0], quoted(part[1]), part[2])
}

func quoted(text string) string {
	if text == "null" {
		return text
	}
	return fmt.Sprintf("%q", text)
}

// terra is a Terra that ends connections, and writes down which.
type terra struct {
	url string

	mu       sync.Mutex
	ended    []string
	answers  map[string][]answer // by user_id, used up one by one; then 200
	requests chan string
}

type answer struct {
	status int
	body   string
	hang   bool
}

func newTerra(t *testing.T) *terra {
	x := &terra{answers: map[string][]answer{}, requests: make(chan string, 100)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.URL.Query().Get("user_id")
		if r.Method != "DELETE" || r.URL.Path != "/v2/auth/deauthenticateUser" || r.Header.Get("dev-id") != "a-dev-id" || r.Header.Get("x-api-key") != "a-key" {
			t.Errorf("Terra was asked %s %s with %v", r.Method, r.URL, r.Header)
		}
		x.mu.Lock()
		a := answer{status: 200, body: `{"status":"success"}`}
		if mine := x.answers[user]; len(mine) > 0 {
			a, x.answers[user] = mine[0], mine[1:]
		}
		x.ended = append(x.ended, user)
		x.mu.Unlock()
		x.requests <- user
		if a.hang {
			<-r.Context().Done()
			return
		}
		if a.status/100 == 3 {
			w.Header().Set("Location", "/v2/auth/deauthenticateUser?user_id=elsewhere")
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(server.Close)
	x.url = server.URL + "/v2"
	return x
}

// took returns what Terra was asked to end since the last call.
func (x *terra) took() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	ended := x.ended
	x.ended = nil
	return ended
}

func (x *terra) answer(user string, answers ...answer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answers[user] = answers
}

// subscriber is a running example.
type subscriber struct {
	command     []string
	environment map[string]string
	state       string // the path of its journal
	terra       *terra

	process *exec.Cmd
	lines   chan line
}

// line is a line of its log.
type line struct{ Outcome, ID string }

func newSubscriber(t *testing.T, command []string, environment map[string]string) *subscriber {
	t.Helper()
	s := &subscriber{command: command, state: filepath.Join(t.TempDir(), "state.jsonl"), terra: newTerra(t)}
	s.environment = map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": t.TempDir(), "STATE_FILE": s.state,
		"TERRA_API_URL": s.terra.url, "TERRA_DEV_ID": "a-dev-id", "TERRA_API_KEY": "a-key",
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
	}
	for name, value := range environment {
		s.environment[name] = value
	}
	s.start(t)
	return s
}

func (s *subscriber) start(t *testing.T) {
	t.Helper()
	s.process = exec.Command(s.command[0], s.command[1:]...)
	for name, value := range s.environment {
		s.process.Env = append(s.process.Env, name+"="+value)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.process.Stdout, s.process.Stderr = writer, writer
	s.lines = make(chan line, 1000)
	go func(lines chan<- line) {
		defer close(lines)
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			var l line
			if json.Unmarshal(scanner.Bytes(), &l) != nil || l.Outcome == "" {
				t.Logf("it says: %s", scanner.Text())
				continue
			}
			for _, personal := range []string{alice, bob, "tony_stark", "pepper_potts", "a-key", "of u"} {
				if strings.Contains(scanner.Text(), personal) {
					t.Errorf("its log has personal data or a secret: %s", scanner.Text())
				}
			}
			lines <- l
		}
	}(s.lines)
	ended := realparts.Start(t, s.process)
	writer.Close()
	if address := s.environment["LISTEN"]; address != "" {
		realparts.WaitUntilListening(t, address, ended)
	}
}

// stop ends it with that signal, and waits.
func (s *subscriber) stop(t *testing.T, with syscall.Signal) {
	t.Helper()
	if err := s.process.Process.Signal(with); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(30 * time.Second)
	for {
		select {
		case _, more := <-s.lines:
			if !more {
				return
			}
		case <-timeout:
			t.Fatal("it does not end")
		}
	}
}

// next is the next line of its log.
func (s *subscriber) next(t *testing.T) line {
	t.Helper()
	select {
	case l, more := <-s.lines:
		if !more {
			t.Fatal("it has ended")
		}
		return l
	case <-time.After(40 * time.Second):
		t.Fatal("it says nothing")
		return line{}
	}
}

// owner is the user_id of the account's owner by its journal.
func (s *subscriber) owner(t *testing.T, account string) string {
	t.Helper()
	text, err := os.ReadFile(s.state)
	if err != nil {
		t.Fatal(err)
	}
	owner := ""
	for record := range bytes.Lines(text) {
		var l struct {
			Account *string
			Owner   struct {
				UserID string `json:"user_id"`
				Tenure int
			}
		}
		if err := json.Unmarshal(record, &l); err != nil {
			t.Fatalf("%v in %s", err, record)
		}
		if l.Account != nil && *l.Account == account {
			owner = fmt.Sprintf("%s/%d", l.Owner.UserID, l.Owner.Tenure)
		}
	}
	return owner
}

// transport brings messages to a subscriber as one way of subscribing does.
type transport interface {
	environment() map[string]string
	deliver(t *testing.T, message string) // what fails is delivered again by the transport, or by again
	again(t *testing.T)                   // delivers the last message again if the transport does not do so by itself
	undeliverable(t *testing.T) []string  // the messages that are given up, once there is one
}

func TestSubscribers(t *testing.T) {
	moto := realparts.Moto(t)
	for _, language := range []string{"go", "node", "python"} {
		t.Run(language, func(t *testing.T) {
			command := realparts.Subscriber(t, language)
			for story, tell := range map[string]func(*testing.T, *subscriber, transport){
				"tells the same stories": tellsTheSameStories,
				"gives up poison":        givesUpPoison,
			} {
				for way, newTransport := range map[string]func(*testing.T) transport{
					"raw":     func(t *testing.T) transport { return newQueue(t, moto, true) },
					"wrapped": func(t *testing.T) transport { return newQueue(t, moto, false) },
					"http":    func(t *testing.T) transport { return newSNS(t) },
				} {
					t.Run(story+"/"+way, func(t *testing.T) {
						t.Parallel()
						by := newTransport(t)
						tell(t, newSubscriber(t, command, by.environment()), by)
					})
				}
			}
			for story, tell := range map[string]func(*testing.T, *subscriber, *sns){
				"refuses forgeries":                        refusesForgeries,
				"confirms at SNS only":                     confirmsAtSNSOnly,
				"gives nothing up without the certificate": givesNothingUpWithoutTheCertificate,
				"believes AWS only, by default":            believesAWSOnlyByDefault,
				"subscribes to the local topic as to SNS":  subscribesToTheLocalTopic,
			} {
				t.Run(story, func(t *testing.T) {
					t.Parallel()
					from := newSNS(t)
					tell(t, newSubscriber(t, command, from.environment()), from)
				})
			}
			t.Run("gives up an envelope of another topic", func(t *testing.T) {
				t.Parallel()
				givesUpAnEnvelopeOfAnotherTopic(t, command, newQueue(t, moto, false), newQueue(t, moto, false))
			})
		})
	}
}

// tell delivers a message and checks what becomes of it, and what Terra is asked.
func (s *subscriber) tell(t *testing.T, by transport, message, outcome string, ended ...string) {
	t.Helper()
	by.deliver(t, message)
	s.heard(t, outcome, ended...)
}

func (s *subscriber) heard(t *testing.T, outcome string, ended ...string) {
	t.Helper()
	if got := s.next(t); got.Outcome != outcome {
		t.Errorf("the outcome is %+v, want %s", got, outcome)
	}
	if got := s.terra.took(); !slices.Equal(got, ended) {
		t.Errorf("Terra was asked to end %v, want %v", got, ended)
	}
}

func tellsTheSameStories(t *testing.T, s *subscriber, by transport) {
	// The golden events, a repeat, and one that Terra has ended itself.
	s.tell(t, by, golden(t, "account-transferred"), "revoked", alice)
	if got := s.owner(t, watch); got != bob+"/1" {
		t.Errorf("the owner is %s", got)
	}
	s.tell(t, by, golden(t, "account-transferred"), "duplicate")
	s.terra.answer(alice, answer{status: 404, body: `{"status":"error","message":"user not found"}`})
	s.tell(t, by, golden(t, "account-transferred-reauth"), "gone", alice)
	s.tell(t, by, golden(t, "connection-revoked"), "ignored")
	s.tell(t, by, `{"specversion":"1.0","type":"handover.account.merged.v7","id":"new","data":{}}`, "ignored")

	// Out of order: each superseded connection is ended, and the newest owner stays. The times differ by less than a millisecond, and in how they are written.
	s.tell(t, by, transfer("o1", "K", "signed", "u2@2026-11-22T12:00:00Z", "u4@2026-11-22T12:00:00.1234567Z"), "revoked", "u2")
	s.tell(t, by, transfer("o2", "K", "terra", "u1@2026-11-22T11:00:00Z", "u3@2026-11-22T12:00:00.123456Z"), "revoked", "u1")
	s.tell(t, by, transfer("o3", "K", "terra", "u0@null", "u2@2026-11-22T12:00:00Z"), "revoked", "u0")
	s.tell(t, by, transfer("o4", "K", "terra", "u00@null", "u0@null"), "revoked", "u00")
	if got := s.owner(t, "K"); got != "u4/1" {
		t.Errorf("the owner is %s, want u4", got)
	}
	s.tell(t, by, transfer("o5", "K", "signed", "u4@2026-11-22T12:00:00.1234567Z", "u5@2026-11-22T12:00:00.12345671Z"), "revoked", "u4")
	s.tell(t, by, transfer("o6", "K", "signed", "u5@2026-11-22T12:00:00.12345671Z", "u6@2026-11-22T12:00:00.12345671Z"), "revoked", "u5")
	if got := s.owner(t, "K"); got != "u6/1" {
		t.Errorf("the owner is %s, want u6", got)
	}

	// One connection whose reference_id has changed: nothing is ended.
	s.tell(t, by, transfer("r1", "K", "signed", "u6@2026-11-22T12:00:00.12345671Z", "u6@2026-11-22T12:00:00.12345671Z@2"), "reassigned")
	if got := s.owner(t, "K"); got != "u6/2" {
		t.Errorf("the owner is %s, want u6 in its second tenure", got)
	}
	// A guess changes nothing.
	s.tell(t, by, transfer("g1", "K", "observed", "u6@2026-11-22T12:00:00.12345671Z", "u7@2026-11-22T13:00:00Z"), "left_to_a_person")
	if got := s.owner(t, "K"); got != "u6/2" {
		t.Errorf("a guess made %s the owner", got)
	}

	// Terra fails: the message comes again until it is done.
	s.terra.answer("f1", answer{status: 500}, answer{status: 302}, answer{status: 200, body: `{"status":"error"}`})
	by.deliver(t, transfer("f", "F", "signed", "f1@null", "f2@2026-11-22T12:00:00Z"))
	for range 3 {
		s.heard(t, "failed", "f1")
		by.again(t)
	}
	s.heard(t, "revoked", "f1")

	// It ends in order, and what a crash has cut off at the end of its journal does not count.
	s.stop(t, syscall.SIGTERM)
	journal, err := os.OpenFile(s.state, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := journal.WriteString(`{"id":"cut","account":"K","owner":{"user_id":"u9","tenure":`); err != nil {
		t.Fatal(err)
	}
	journal.Close()
	s.start(t)
	s.tell(t, by, golden(t, "account-transferred"), "duplicate")
	s.tell(t, by, transfer("late", "K", "signed", "u1@2026-11-22T11:00:00Z", "u3@2026-11-22T12:00:00.123456Z"), "revoked", "u1")
	if got := s.owner(t, "K"); got != "u6/2" {
		t.Errorf("after a restart an old announcement made %s the owner", got)
	}

	// Killed while Terra ends the connection, which nobody then knows: it is ended again.
	s.terra.answer("k1", answer{hang: true})
	by.deliver(t, transfer("k", "K", "signed", "k1@null", "u8@2026-11-22T14:00:00Z"))
	for user := ""; user != "k1"; user = <-s.terra.requests {
	}
	s.stop(t, syscall.SIGKILL)
	if got := s.terra.took(); !slices.Equal(got, []string{"k1"}) {
		t.Errorf("before the kill Terra was asked to end %v", got)
	}
	s.start(t)
	by.again(t)
	s.heard(t, "revoked", "k1")
	if got := s.owner(t, "K"); got != "u8/1" {
		t.Errorf("the owner is %s, want u8", got)
	}
}

// What cannot be read is given up, does no harm, and holds nothing up.
func givesUpPoison(t *testing.T, s *subscriber, by transport) {
	good := transfer("good", "K", "signed", "u1@null", "u2@2026-11-22T12:00:00Z")
	poison := []string{
		"not JSON",
		"null",
		"[]",
		`{"type":"handover.account.transferred.v1"}`,
		`{"id":7,"type":"handover.account.transferred.v1"}`,
		`{"id":"a","type":"handover.account.transferred.v1"}`,
		strings.Replace(good, `"user_id":"u1"`, `"user_id":""`, 1),
		strings.Replace(good, `"user_id":"u2"`, `"user_id":null`, 1),
		strings.Replace(good, `"order":"signed"`, `"order":null`, 1),
		strings.Replace(good, "2026-11-22T12:00:00Z", "yesterday", 1),
		strings.Replace(good, `"tenure":1`, `"tenure":0`, 1),
		strings.Replace(good, `"tenure":1`, `"tenure":"1"`, 1),
	}
	for _, message := range poison {
		by.deliver(t, message)
		if got := s.next(t); got.Outcome != "unusable" {
			t.Errorf("the outcome of %s is %s", message, got.Outcome)
		}
	}
	by.deliver(t, good)
	for got := s.next(t); got.Outcome != "revoked"; got = s.next(t) { // queues give the others again
		if got.Outcome != "unusable" {
			t.Fatalf("got %+v", got)
		}
	}
	if got := s.terra.took(); !slices.Equal(got, []string{"u1"}) {
		t.Errorf("Terra was asked to end %v", got)
	}
	if got := by.undeliverable(t); len(got) == 0 {
		t.Error("nothing was given up")
	}
}
