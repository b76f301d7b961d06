package subscribers_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	awssns "github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/local/topic"
	"github.com/handover-dev/handover/internal/realparts"
)

const (
	topicARN = "arn:aws:sns:us-east-1:123456789012:handover-transfers"
	pemName  = "/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
)

// sns is an SNS that signs, serves its certificate by https, and POSTs to a subscriber. It can also be an attacker's, who has everything but SNS's key and host.
type sns struct {
	*httptest.Server
	key         *rsa.PrivateKey
	certificate []byte // PEM
	ca          string // a file with the authority that vouches for the hosts of every sns
	subscriber  string // host:port
	last        map[string]string
	refused     []string

	mu      sync.Mutex
	visited []string // the URIs that were asked for
	down    bool
}

func newSNS(t *testing.T) *sns {
	t.Helper()
	x := &sns{subscriber: realparts.FreeAddress(t)}
	var err error
	if x.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sns"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, x.key.Public(), x.key)
	if err != nil {
		t.Fatal(err)
	}
	x.certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	x.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.visited = append(x.visited, r.RequestURI)
		switch {
		case x.down:
			w.WriteHeader(http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, ".pem"):
			_, _ = w.Write(x.certificate)
		}
	}))
	t.Cleanup(x.Close)
	x.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(x.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *sns) visits() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	visited := x.visited
	x.visited = nil
	return visited
}

func (x *sns) isDown(down bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.down = down
}

func (x *sns) notification(message string) map[string]string {
	return map[string]string{
		"Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": topicARN, "Message": message,
		"Timestamp": "2026-11-22T12:00:00.000Z", "SignatureVersion": "2", "SigningCertURL": x.URL + pemName,
	}
}

func (x *sns) question() map[string]string {
	n := x.notification("You have chosen to subscribe.")
	n["Type"], n["Token"] = "SubscriptionConfirmation", "2336412f37"
	n["SubscribeURL"] = x.URL + "/?Action=ConfirmSubscription&TopicArn=" + topicARN + "&Token=2336412f37"
	return n
}

// signed signs what SNS signs of a message, by the version that it names.
func (x *sns) signed(t *testing.T, n map[string]string) map[string]string {
	t.Helper()
	var text strings.Builder
	for _, field := range []string{"Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"} {
		if value, ok := n[field]; ok {
			text.WriteString(field + "\n" + value + "\n")
		}
	}
	hash, digest := crypto.SHA256, sha256.Sum256([]byte(text.String()))
	sum := digest[:]
	if n["SignatureVersion"] == "1" {
		old := sha1.Sum([]byte(text.String()))
		hash, sum = crypto.SHA1, old[:]
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, x.key, hash, sum)
	if err != nil {
		t.Fatal(err)
	}
	n["Signature"] = base64.StdEncoding.EncodeToString(signature)
	return n
}

// post sends a message as SNS does, and returns the status of the answer.
func (x *sns) post(t *testing.T, n map[string]string) int {
	t.Helper()
	body, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return x.postBody(body)
}

// postBody returns 0 if there was no answer.
func (x *sns) postBody(body []byte) int {
	client := http.Client{Timeout: time.Minute}
	response, err := client.Post("http://"+x.subscriber+"/", "text/plain; charset=UTF-8", bytes.NewReader(body))
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func (x *sns) environment() map[string]string {
	return map[string]string{"TOPIC_ARN": topicARN, "LISTEN": x.subscriber, "SNS_URL": x.URL, "SNS_CA": x.ca}
}

func (x *sns) deliver(t *testing.T, message string) {
	t.Helper()
	x.last = x.signed(t, x.notification(message))
	if strings.Contains(message, `"id":"k"`) { // it will be killed before it answers
		body, err := json.Marshal(x.last)
		if err != nil {
			t.Fatal(err)
		}
		go x.postBody(body)
		return
	}
	x.again(t)
}

// again keeps to SNS's rules: a 4xx is given up, everything else but 2xx comes again.
func (x *sns) again(t *testing.T) {
	t.Helper()
	switch status := x.post(t, x.last); {
	case status/100 == 4:
		x.refused = append(x.refused, x.last["Message"])
	case status/100 != 2 && status != http.StatusServiceUnavailable:
		t.Errorf("the answer is %d", status)
	}
}

func (x *sns) undeliverable(*testing.T) []string { return x.refused }

// Nothing that SNS did not sign for this topic is acted on, and no URL is visited that is not SNS's.
func refusesForgeries(t *testing.T, s *subscriber, from *sns) {
	attacker := newSNS(t)
	attacker.subscriber = from.subscriber
	host, attackerHost := strings.TrimPrefix(from.URL, "https://"), strings.TrimPrefix(attacker.URL, "https://")
	message := golden(t, "account-transferred")
	by := func(signer *sns, change func(n map[string]string)) map[string]string {
		n := from.notification(message)
		change(n)
		return signer.signed(t, n)
	}
	certificateAt := func(url string) map[string]string {
		return by(attacker, func(n map[string]string) { n["SigningCertURL"] = url })
	}
	changed := by(from, func(map[string]string) {})
	changed["Message"] = strings.ReplaceAll(message, alice, bob)
	scribbled := by(from, func(map[string]string) {})
	scribbled["Signature"] = "%%%"
	unsigned := from.notification(message)
	another := by(from, func(n map[string]string) { n["TopicArn"] = topicARN + "-of-somebody-else" })
	relabelled := from.signed(t, from.question())
	relabelled["Type"] = "Notification"
	question := from.question()
	question["TopicArn"] = topicARN + "-of-somebody-else"
	for name, n := range map[string]map[string]string{
		"signed by another key":              by(attacker, func(map[string]string) {}),
		"changed after it was signed":        changed,
		"unsigned":                           unsigned,
		"a signature that is no base64":      scribbled,
		"another topic of the same SNS":      another,
		"a question about another topic":     from.signed(t, question),
		"a question relabelled":              relabelled,
		"signature version 1":                by(from, func(n map[string]string) { n["SignatureVersion"] = "1" }),
		"no signature version":               by(from, func(n map[string]string) { delete(n, "SignatureVersion") }),
		"the attacker's host":                certificateAt(attacker.URL + pemName),
		"a host that begins like SNS's":      certificateAt(from.URL + ".evil.example" + pemName),
		"SNS's host as the user's name":      certificateAt("https://" + host + "@" + attackerHost + pemName),
		"SNS's host in the path":             certificateAt(attacker.URL + "/" + host + pemName),
		"another path of SNS's host":         certificateAt(from.URL + "/evil.pem"),
		"a folder of SNS's host":             certificateAt(from.URL + "/evil" + pemName),
		"dots":                               certificateAt(from.URL + "/evil/.." + pemName),
		"a query":                            certificateAt(from.URL + pemName + "?x=.pem"),
		"a name that is too long":            certificateAt(from.URL + strings.Replace(pemName, ".pem", "0.pem", 1)),
		"a line break at the end":            certificateAt(from.URL + pemName + "\n"),
		"http":                               certificateAt("http://" + host + pemName),
		"no certificate":                     certificateAt(""),
		"the certificate itself, as a data:": certificateAt("data:application/x-pem-file;base64," + base64.StdEncoding.EncodeToString(attacker.certificate)),
	} {
		if got := from.post(t, n); got != http.StatusForbidden {
			t.Errorf("%s: answered %d", name, got)
		}
		if got := s.next(t); got.Outcome != "forged" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, body := range []string{"", "not JSON", "null", "7", `"text"`} {
		if got := from.postBody([]byte(body)); got != http.StatusBadRequest {
			t.Errorf("%q: answered %d", body, got)
		}
	}
	if got := from.postBody(bytes.Repeat([]byte(" "), 2<<20)); got/100 != 4 && got != 0 {
		t.Errorf("2 MiB: answered %d", got)
	}
	if got := attacker.visits(); got != nil {
		t.Errorf("it has visited the attacker's %v", got)
	}
	for _, visit := range from.visits() {
		if visit != pemName {
			t.Errorf("it has visited %s", visit)
		}
	}
	if got := s.terra.took(); got != nil {
		t.Errorf("Terra was asked to end %v", got)
	}
	s.tell(t, from, message, "revoked", alice) // it still works
}

// A question is answered by confirming at SNS, for the expected topic, whatever SubscribeURL it carries.
func confirmsAtSNSOnly(t *testing.T, s *subscriber, from *sns) {
	attacker := newSNS(t)
	question := from.question()
	question["SubscribeURL"] = attacker.URL + "/?Action=ConfirmSubscription"
	if got := from.post(t, from.signed(t, question)); got != http.StatusNoContent {
		t.Errorf("answered %d", got)
	}
	s.heard(t, "confirmed")
	confirmed := slices.DeleteFunc(from.visits(), func(v string) bool { return v == pemName })
	if len(confirmed) != 1 {
		t.Fatalf("visited %v", confirmed)
	}
	query := httptest.NewRequest("GET", confirmed[0], nil).URL.Query()
	if query.Get("Action") != "ConfirmSubscription" || query.Get("TopicArn") != topicARN || query.Get("Token") != "2336412f37" {
		t.Errorf("visited %s", confirmed[0])
	}
	if got := attacker.visits(); got != nil {
		t.Errorf("it has visited the attacker's %v", got)
	}
}

// While the certificate cannot be had nothing is lost: SNS is asked to come again.
func givesNothingUpWithoutTheCertificate(t *testing.T, s *subscriber, from *sns) {
	from.isDown(true)
	n := from.signed(t, from.notification(golden(t, "account-transferred")))
	if got := from.post(t, n); got != http.StatusServiceUnavailable {
		t.Errorf("answered %d", got)
	}
	s.heard(t, "failed")
	from.isDown(false)
	if got := from.post(t, n); got != http.StatusNoContent {
		t.Errorf("then answered %d", got)
	}
	s.heard(t, "revoked", alice)
}

// Without a setting only AWS's SNS of the topic's region is believed.
func believesAWSOnlyByDefault(t *testing.T, s *subscriber, from *sns) {
	s.stop(t, 15)
	delete(s.environment, "SNS_URL")
	s.start(t)
	for _, url := range []string{
		from.URL + pemName, "https://sns.eu-west-1.amazonaws.com" + pemName, "https://sns.us-east-1.amazonaws.com.cn" + pemName, "https://sns.us-east-1.amazonaws.com/x.pem",
	} {
		n := from.notification(golden(t, "account-transferred"))
		n["SigningCertURL"] = url
		if got := from.post(t, from.signed(t, n)); got != http.StatusForbidden {
			t.Errorf("%s: answered %d", url, got)
		}
		s.heard(t, "forged")
	}
}

// The local program's topic is subscribed to as SNS is: asked by SNS's API, confirmed, its certificate fetched by https.
func subscribesToTheLocalTopic(t *testing.T, s *subscriber, from *sns) {
	server := httptest.NewUnstartedServer(nil)
	base := server.Listener.Addr().String() + "/sns"
	local, err := topic.Open(filepath.Join(t.TempDir(), "topic.db"), topic.Options{Source: "handover", URL: "https://" + base})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close(t.Context()) })
	server.Listener, server.Config.Handler = local.Listener(server.Listener), local.API("/sns")
	server.Start()
	t.Cleanup(server.Close)
	s.stop(t, 15)
	s.environment["TOPIC_ARN"], s.environment["SNS_URL"] = topic.ARN, "https://"+base
	if err := os.WriteFile(s.environment["SNS_CA"], local.Certificate(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)

	endpoint, arn, protocol := "http://"+from.subscriber+"/transfers", topic.ARN, "http"
	if _, err := awssns.NewFromConfig(realparts.AWSConfig("http://"+base)).Subscribe(t.Context(), &awssns.SubscribeInput{
		TopicArn: &arn, Protocol: &protocol, Endpoint: &endpoint,
	}); err != nil {
		t.Fatal(err)
	}
	s.heard(t, "confirmed")
	for _, name := range []string{"account-transferred", "connection-revoked"} {
		_, announcement, err := announce.Parse([]byte(golden(t, name)))
		if err != nil {
			t.Fatal(err)
		}
		if err := local.Publish(t.Context(), announcement); err != nil {
			t.Fatal(err)
		}
	}
	s.heard(t, "revoked", alice)
	s.heard(t, "ignored")
	if got := s.owner(t, watch); got != bob+"/1" {
		t.Errorf("the owner is %s", got)
	}
}
