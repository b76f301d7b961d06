package topic

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ownership"
)

var _ ownership.Announcer = (*Topic)(nil)

func TestSubscriberReceivesWhatSNSSends(t *testing.T) {
	var published announce.Event
	now := time.Date(2026, 11, 22, 13, 0, 0, 250_900_000, time.FixedZone("CET", 3600))
	subscriber := newServer(t, func(http.ResponseWriter, *http.Request) {})
	topic := openFor(t, Options{
		Source:      "staging",
		Subscribers: []string{subscriber.URL + "/transfers?token=secret"},
		URL:         "https://127.0.0.1:8080/sns",
		OnPublish:   func(e announce.Event) { published = e },
		Now:         func() time.Time { return now },
	})
	publish(t, topic, "<tony> & pepper\n🦾")
	got := subscriber.next(t)

	event, err := published.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var envelope map[string]any
	if err := json.Unmarshal(got.body, &envelope); err != nil {
		t.Fatal(err)
	}
	field := func(name string) string { value, _ := envelope[name].(string); return value }

	if names, want := slices.Sorted(maps.Keys(envelope)), []string{
		"Message", "MessageAttributes", "MessageId", "Signature", "SignatureVersion", "SigningCertURL", "Timestamp", "TopicArn", "Type", "UnsubscribeURL",
	}; !slices.Equal(names, want) {
		t.Errorf("the envelope has the fields %v, want %v", names, want)
	}
	for name, want := range map[string]string{
		"Type":             "Notification",
		"TopicArn":         "arn:aws:sns:local:000000000000:handover-transfers",
		"Message":          string(event),
		"Timestamp":        "2026-11-22T12:00:00.250Z",
		"SignatureVersion": "2",
	} {
		if field(name) != want {
			t.Errorf("%s: got %q, want %q", name, field(name), want)
		}
	}
	for name, pattern := range map[string]string{
		"MessageId":      `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		"SigningCertURL": `^https://127\.0\.0\.1:8080/sns/SimpleNotificationService-[0-9a-f]{32}\.pem$`,
		"UnsubscribeURL": `^https://127\.0\.0\.1:8080/sns/\?Action=Unsubscribe&SubscriptionArn=` + ARN + `:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(field(name)) {
			t.Errorf("%s: %q is not like %s", name, field(name), pattern)
		}
	}
	attributes, err := json.Marshal(envelope["MessageAttributes"])
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"order":{"Type":"String","Value":"signed"},"provider":{"Type":"String","Value":"GARMIN"},` +
		`"reason":{"Type":"String","Value":"connected_by_other"},"type":{"Type":"String","Value":"handover.account.transferred.v1"}}`; string(attributes) != want {
		t.Errorf("attributes: got %s, want %s", attributes, want)
	}

	if got.method != "POST" || got.uri != "/transfers?token=secret" {
		t.Errorf("got %s %s", got.method, got.uri)
	}
	for name, want := range map[string]string{
		"Content-Type":           "text/plain; charset=UTF-8",
		"X-Amz-Sns-Message-Type": "Notification",
		"X-Amz-Sns-Message-Id":   field("MessageId"),
		"X-Amz-Sns-Topic-Arn":    ARN,
	} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}

	checkSignature(t, topic, field("Signature"),
		"Message\n"+string(event)+"\nMessageId\n"+field("MessageId")+"\nTimestamp\n2026-11-22T12:00:00.250Z\nTopicArn\n"+ARN+"\nType\nNotification\n")
}

func checkSignature(t *testing.T, topic *Topic, encoded, signed string) {
	t.Helper()
	block, _ := pem.Decode(topic.Certificate())
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if err := certificate.CheckSignature(x509.SHA256WithRSA, []byte(signed), signature); err != nil {
		t.Error(err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	subscriber := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}
	})
	topic := openFor(t, Options{Source: "handover", Subscribers: []string{subscriber.URL + "/"}})
	publish(t, topic, "tony")
	for range 2 {
		if got := subscriber.next(t); got.uri != "/" {
			t.Errorf("got a request for %s", got.uri)
		}
	}
}

// The test runs itself as a program that is killed between publishing and delivering.
func TestAKillLosesNothing(t *testing.T) {
	path, url := os.Getenv("TOPIC_PATH"), os.Getenv("TOPIC_SUBSCRIBER")
	if path != "" {
		topic, err := Open(path, Options{Source: "handover", Subscribers: []string{url}})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, topic, "tony")
		select {}
	}

	path = filepath.Join(t.TempDir(), "topic.db")
	subscriber := newServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	program := exec.Command(os.Args[0], "-test.run=^TestAKillLosesNothing$", "-test.timeout=1m")
	program.Env = append(os.Environ(), "TOPIC_PATH="+path, "TOPIC_SUBSCRIBER="+subscriber.URL)
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	before := subscriber.next(t)
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait() // its error is that it was killed

	topic, err := Open(path, Options{Source: "handover", Subscribers: []string{subscriber.URL}})
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, topic)
	if after := subscriber.next(t); string(before.body) != string(after.body) {
		t.Errorf("delivered before the kill\n%s\nand after it\n%s", before.body, after.body)
	}
	if got := listed(t, topic); !slices.Equal(got, []string{"tony"}) {
		t.Errorf("the topic lists %v", got)
	}
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	subscriber := newServer(t, func(http.ResponseWriter, *http.Request) {})
	before := runtime.NumGoroutine()
	topic := openFor(t, Options{Source: "handover", Subscribers: []string{subscriber.URL}})
	publish(t, topic, "tony")
	subscriber.next(t)
	if err := topic.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before and %d after", before, runtime.NumGoroutine())
		}
	}
}

func TestOnPublishComesAfterStoring(t *testing.T) {
	var topic *Topic
	var got []string
	topic = openFor(t, Options{Source: "handover", OnPublish: func(announce.Event) { got = listed(t, topic) }})
	publish(t, topic, "tony")
	if !slices.Equal(got, []string{"tony"}) {
		t.Errorf("when OnPublish was called, the topic listed %v", got)
	}
}

// Two that announce at once are listed in the order of their times, whoever of them is slower.
func TestOldestFirst(t *testing.T) {
	var calls atomic.Int64
	topic := openFor(t, Options{Now: func() time.Time {
		n := calls.Add(1)
		time.Sleep(time.Duration(10-n) * 5 * time.Millisecond) // the sooner it was, the slower it goes on
		return time.Date(2026, 11, 22, 13, 0, 0, int(n), time.UTC)
	}})
	calls.Store(0) // Open reads the clock, too
	var announced sync.WaitGroup
	for range 8 {
		announced.Go(func() { publish(t, topic, "tony") })
	}
	announced.Wait()
	list, err := topic.List()
	if err != nil {
		t.Fatal(err)
	}
	var times []string
	for _, message := range list {
		var event struct{ Time string }
		if err := json.Unmarshal(message, &event); err != nil {
			t.Fatal(err)
		}
		times = append(times, event.Time)
	}
	if len(times) != 8 || !slices.IsSorted(times) {
		t.Errorf("got the times %v, want eight, the oldest first", times)
	}
}

func TestAnEmptyTopicListsNothing(t *testing.T) {
	list, err := openFor(t, Options{Source: "handover"}).List()
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := json.Marshal(list); string(text) != "[]" {
		t.Errorf("got %s, want []", text)
	}
}

func TestOpenNamesEveryBadSubscriber(t *testing.T) {
	path := filepath.Join(t.TempDir(), "topic.db")
	_, err := Open(path, Options{Source: "handover", Subscribers: []string{"ftp://a.test", "http://b.test", "c.test", "http://%"}})
	const want = "subscriber \"c.test\" is not an http or https URL\n" +
		"subscriber \"ftp://a.test\" is not an http or https URL\n" +
		"subscriber \"http://%\" is not an http or https URL"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestATopicIsOpenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "topic.db")
		new(network).open(t, path)
		if _, err := Open(path, Options{Source: "handover"}); !errors.Is(err, bolterrors.ErrTimeout) {
			t.Errorf("got error %v, want %v", err, bolterrors.ErrTimeout)
		}
	})
}

func openFor(t *testing.T, o Options) *Topic {
	t.Helper()
	topic, err := Open(filepath.Join(t.TempDir(), "topic.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, topic) })
	return topic
}

// server is a subscriber over real HTTP.
type server struct {
	*httptest.Server
	received chan received
}

type received struct {
	method, uri string
	header      http.Header
	body        []byte
}

func newServer(t *testing.T, respond http.HandlerFunc) server {
	t.Helper()
	s := server{received: make(chan received, 10)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.received <- received{r.Method, r.RequestURI, r.Header, body}
		respond(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// next waits for a request.
func (s server) next(t *testing.T) received {
	t.Helper()
	select {
	case r := <-s.received:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("no request within 10 s")
		return received{}
	}
}
