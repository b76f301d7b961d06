package trial_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/trial"
)

// subscriber is a small right subscriber, which the wrongs make wrong.
type subscriber struct {
	wrong    string
	settings map[string]string
	http     *http.Client

	mu   sync.Mutex
	seen map[string]bool
	last time.Time // of the newest current that it has heard of
	late []string  // user_ids of the connections that it ends when it is asked for a confirmation
}

type holder struct {
	UserID      string    `json:"user_id"`
	ReferenceID string    `json:"reference_id"`
	ConnectedAt time.Time `json:"connected_at"`
}

type message struct {
	Type, MessageId, Token, TopicArn, Message, SubscribeURL, Timestamp, SignatureVersion, Signature, SigningCertURL string
}

var certificateName = regexp.MustCompile(`^/SimpleNotificationService-[0-9a-f]{32}\.pem$`)

// genuine checks SNS's signature.
func (s *subscriber) genuine(m message) bool {
	if s.wrong == "no signature" {
		return true
	}
	if m.SignatureVersion != "2" && s.wrong == "checks version 2" {
		return true
	}
	if m.SignatureVersion != "2" || m.TopicArn != s.settings["TOPIC_ARN"] && s.wrong != "any topic" && s.wrong != "topic of a header" && s.wrong != "any confirmation" {
		return false
	}
	if m.Signature == "" && s.wrong == "optional signature" {
		return true
	}
	if name, ok := strings.CutPrefix(m.SigningCertURL, s.settings["SNS_URL"]); (!ok || !certificateName.MatchString(name)) && s.wrong != "any certificate" {
		return false
	}
	answer, err := s.http.Get(m.SigningCertURL)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	var signed strings.Builder
	for _, f := range [][2]string{{"Message", m.Message}, {"MessageId", m.MessageId}, {"SubscribeURL", m.SubscribeURL}, {"Timestamp", m.Timestamp}, {"Token", m.Token}, {"TopicArn", m.TopicArn}, {"Type", m.Type}} {
		if f[1] != "" {
			signed.WriteString(f[0] + "\n" + f[1] + "\n")
		}
	}
	signature, _ := base64.StdEncoding.DecodeString(m.Signature)
	return certificate.CheckSignature(x509.SHA256WithRSA, []byte(signed.String()), signature) == nil
}

func (s *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m message
	if json.NewDecoder(r.Body).Decode(&m) != nil || !s.genuine(m) && (s.wrong != "confirms unsigned" || m.Type != "SubscriptionConfirmation") || s.wrong == "topic of a header" && r.Header.Get("X-Amz-Sns-Topic-Arn") != s.settings["TOPIC_ARN"] {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if m.Type == "SubscriptionConfirmation" {
		for _, userID := range s.late {
			s.end(userID)
		}
		if s.wrong == "never confirms" || m.TopicArn != s.settings["TOPIC_ARN"] && s.wrong != "any confirmation" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if answer, err := s.http.Get(m.SubscribeURL); err == nil {
			answer.Body.Close()
		}
		return
	}
	var event struct {
		ID, Type string
		Data     struct {
			Reason, Order                 string
			Previous, Current, Connection holder
		}
	}
	if json.Unmarshal([]byte(m.Message), &event) != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	if event.Type == "handover.connection.revoked.v1" && s.wrong == "ends what has ended" {
		s.end(event.Data.Connection.UserID)
	}
	if event.Type != "handover.account.transferred.v1" {
		if event.Type != "handover.connection.revoked.v1" && s.wrong == "fails on new types" {
			w.WriteHeader(http.StatusInternalServerError)
		} else if s.wrong == "any type" {
			s.end(event.Data.Previous.UserID)
		}
		return
	}
	d := event.Data
	if s.seen[event.ID] && s.wrong != "no dedupe" {
		if s.wrong == "repeats late" {
			s.late = append(s.late, d.Previous.UserID)
		}
		if s.wrong == "refuses repeats" {
			w.WriteHeader(http.StatusConflict)
		}
		if s.wrong == "hangs up on repeats" {
			panic(http.ErrAbortHandler)
		}
		return
	}
	if s.wrong == "remembers first" {
		s.seen[event.ID] = true
	}
	if d.Order == "observed" && s.wrong == "believes late" {
		s.late = append(s.late, d.Previous.UserID)
	}
	switch {
	case s.wrong == "ends nobody",
		d.Order == "observed" && s.wrong != "believes guesses",
		d.Previous.UserID == d.Current.UserID && s.wrong != "ends what goes on",
		s.wrong == "drops what is older" && d.Current.ConnectedAt.Before(s.last):
		s.seen[event.ID] = true
		return
	}
	s.last = d.Current.ConnectedAt
	victims := []string{d.Previous.UserID}
	switch s.wrong {
	case "ends the owner":
		victims = append(victims, d.Current.UserID)
	case "ends the person":
		victims = append(victims, s.connectionsOf(d.Previous.ReferenceID)...)
	}
	for _, userID := range victims {
		status := s.end(userID)
		if status == http.StatusNotFound && s.wrong != "fails on gone" || status/100 == 2 || s.wrong == "acknowledges anyway" || s.wrong == "only asks to end" {
			continue
		}
		if s.wrong == "blames the message" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	s.seen[event.ID] = true
}

func (s *subscriber) call(method, path string) *http.Response {
	request, _ := http.NewRequest(method, s.settings["TERRA_API_URL"]+path, nil)
	request.Header.Set("dev-id", s.settings["TERRA_DEV_ID"])
	request.Header.Set("x-api-key", s.settings["TERRA_API_KEY"])
	answer, err := s.http.Do(request)
	if err != nil {
		return &http.Response{StatusCode: 599, Body: http.NoBody}
	}
	return answer
}

func (s *subscriber) end(userID string) int {
	method := http.MethodDelete
	if s.wrong == "only asks to end" {
		method = http.MethodGet
	}
	answer := s.call(method, "/auth/deauthenticateUser?user_id="+url.QueryEscape(userID))
	answer.Body.Close()
	return answer.StatusCode
}

func (s *subscriber) connectionsOf(reference string) (userIDs []string) {
	answer := s.call(http.MethodGet, "/userInfo?reference_id="+url.QueryEscape(reference))
	defer answer.Body.Close()
	var list struct{ Users []holder }
	_ = json.NewDecoder(answer.Body).Decode(&list)
	for _, u := range list.Users {
		userIDs = append(userIDs, u.UserID)
	}
	return userIDs
}

// try tries a subscriber that is made for the server, and returns its findings.
func try(t *testing.T, subscribe func(settings map[string]string, certificate []byte) (url string)) (faults []string) {
	t.Helper()
	server, err := trial.Trial{Data: t.TempDir(), Patience: 100 * time.Millisecond}.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	findings, err := server.Run(t.Context(), subscribe(server.Settings(), server.Certificate()))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Fault {
			faults = append(faults, f.Step+": "+f.What)
			if f.Do == "" {
				t.Errorf("%s: it does not say what to do", f.Step)
			}
		}
	}
	return faults
}

// TestWrongSubscribers: each wrong subscriber's fault is named, and nothing else is said of it; the right one has none.
func TestWrongSubscribers(t *testing.T) {
	for wrong, want := range map[string][]string{
		"":                    nil,
		"ends nobody":         {"transfer: the announcement was answered 200, but 100ms later the connection that lost the account is not ended", "duplicate", "disorder", "outage"},
		"no dedupe":           {"duplicate: the same announcement three times ended the connection 3 times"},
		"refuses repeats":     {"duplicate: the same announcement again was answered 409"},
		"hangs up on repeats": {"duplicate: no answer came, and no more is tried: "},
		"repeats late":        {"duplicate: the same announcement three times ended the connection more than once"},
		"ends the owner":      {"transfer: the new owner's connection was ended", "disorder", "stale"},
		"ends the person":     {"duplicate: the same announcement three times ended the connection 2 times", "stale: an old announcement ended the present owner's connection"},
		"drops what is older": {"disorder: of two announcements in the wrong order, the older one was dropped"},
		"believes guesses":    {"observed: a connection was ended although the order is only a guess"},
		"believes late":       {"observed: a connection was ended although the order is only a guess"},
		"ends what goes on":   {"reassigned: the connection was ended, although it goes on"},
		"ends what has ended": {"revoked: a connection was ended once more"},
		"fails on new types":  {"new-type: an event of an unknown type was answered 500"},
		"any type":            {"new-type: an event of an unknown type ended a connection"},
		"fails on gone":       {"gone: a connection that Terra does not know any more was answered 503"},
		"acknowledges anyway": {"outage: the announcement was answered 200 while Terra failed, and 100ms after the outage the connection is not ended: it is lost"},
		"blames the message":  {"outage: the announcement was answered 400 while Terra failed, and SNS does not repeat what is answered so"},
		"only asks to end":    {"transfer: the announcement was answered 200, but 100ms later the connection that lost the account is not ended", "duplicate", "disorder", "outage"},
		"remembers first":     {"outage: the announcement was answered 503 while Terra failed, and 200 when it came again, but the connection was never ended"},
		"no signature":        {"altered: a message that was altered after its signing ended a connection", "unsigned: a message without a signature ended a connection", "other-topic", "other-certificate", "other-confirmation"},
		"checks version 2":    {"unsigned: a message without a signature ended a connection"},
		"optional signature":  {"unsigned: a message without a signature ended a connection", "other-confirmation"},
		"any topic":           {"other-topic: a message of somebody else's topic ended a connection"},
		"topic of a header":   {"other-topic: a message of somebody else's topic ended a connection"},
		"any certificate":     {"other-certificate: a message signed by a certificate from elsewhere ended a connection"},
		"never confirms":      {"confirmation: the subscription was not confirmed within 100ms"},
		"confirms unsigned":   {"other-confirmation: a subscription to somebody else's topic was confirmed, or one that nobody has signed"},
		"any confirmation":    {"other-topic", "other-confirmation: a subscription to somebody else's topic was confirmed"},
	} {
		t.Run(wrong, func(t *testing.T) {
			t.Parallel()
			got := try(t, func(settings map[string]string, certificate []byte) string {
				roots := x509.NewCertPool()
				roots.AppendCertsFromPEM(certificate)
				s := &subscriber{wrong: wrong, settings: settings, seen: map[string]bool{}, http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}
				endpoint := httptest.NewServer(s)
				t.Cleanup(endpoint.Close)
				return endpoint.URL
			})
			if len(got) != len(want) || slices.ContainsFunc(want, func(w string) bool {
				return !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) })
			}) {
				t.Errorf("found %q\nwant  %q", got, want)
			}
		})
	}
}

// TestShippedSubscriber: the one that is there to be copied does everything right.
func TestShippedSubscriber(t *testing.T) {
	folder := t.TempDir()
	program := filepath.Join(folder, "subscriber")
	build := exec.Command("go", "build", "-o", program, "./internal/subscribers/go")
	build.Dir = realparts.Root(t)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building it: %v\n%s", err, output)
	}
	faults := try(t, func(settings map[string]string, certificate []byte) string {
		if err := os.WriteFile(settings["SNS_CA"], certificate, 0o600); err != nil {
			t.Fatal(err)
		}
		address := realparts.FreeAddress(t)
		command := exec.Command(program)
		command.Dir = folder
		command.Env = append(os.Environ(), "LISTEN="+address, "QUEUE_URL=")
		for name, value := range settings {
			command.Env = append(command.Env, name+"="+value)
		}
		realparts.WaitUntilListening(t, address, realparts.Start(t, command))
		return "http://" + address + "/"
	})
	if len(faults) > 0 {
		t.Errorf("it has faults: %q", faults)
	}
}

// TestNobodyThere: where nothing listens, that is all that is said.
func TestNobodyThere(t *testing.T) {
	faults := try(t, func(map[string]string, []byte) string { return "http://127.0.0.1:1/" })
	if len(faults) != 1 || !strings.HasPrefix(faults[0], "transfer: no answer came, and no more is tried: ") {
		t.Errorf("found %q", faults)
	}
}
