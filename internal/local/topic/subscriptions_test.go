package topic

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"
)

// serve serves the topic's API as the local program does. The clients speak to it by http, and by https trusting the topic's certificate alone.
func serve(t *testing.T, path string, subscribers ...string) (topic *Topic, api *sns.Client, trusting *http.Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	base := server.Listener.Addr().String() + "/sns"
	topic, err := Open(path, Options{Source: "handover", Subscribers: subscribers, URL: "https://" + base})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, topic) })
	server.Listener = topic.Listener(server.Listener)
	server.Config.Handler = topic.API("/sns")
	server.Start()
	t.Cleanup(server.Close)

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(topic.Certificate())
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = roots
	t.Cleanup(transport.CloseIdleConnections)
	api = sns.New(sns.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + base), Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	return topic, api, &http.Client{Transport: transport}
}

func subscribe(t *testing.T, api *sns.Client, endpoint string) {
	t.Helper()
	answer, err := api.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: aws.String(ARN), Protocol: aws.String("http"), Endpoint: &endpoint})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(answer.SubscriptionArn); got != "pending confirmation" {
		t.Errorf("SubscriptionArn is %q", got)
	}
}

func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %d, %v\n%s", url, response.StatusCode, err, body)
	}
	return string(body)
}

func TestASubscriptionBeginsWhenItIsConfirmedAndEndsWhenItIsAskedTo(t *testing.T) {
	refusals := 1
	subscriber := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if refusals--; refusals >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	path := filepath.Join(t.TempDir(), "topic.db")
	topic, api, trusting := serve(t, path)
	subscribe(t, api, subscriber.URL+"/transfers")
	first, got := subscriber.next(t), subscriber.next(t) // asked again after a 503
	if string(first.body) != string(got.body) {
		t.Errorf("asked first\n%s\nand then\n%s", first.body, got.body)
	}
	var asked map[string]string
	if err := json.Unmarshal(got.body, &asked); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Type": confirmationType, "TopicArn": ARN, "SignatureVersion": "2",
		"SigningCertURL": topic.options.URL + "/" + topic.signer.file(),
		"SubscribeURL":   topic.options.URL + "/?Action=ConfirmSubscription&Token=" + asked["Token"] + "&TopicArn=" + url.QueryEscape(ARN),
		"UnsubscribeURL": "",
	} {
		if asked[name] != want {
			t.Errorf("%s: got %q, want %q", name, asked[name], want)
		}
	}
	if got := got.header.Get("X-Amz-Sns-Message-Type"); got != confirmationType {
		t.Errorf("X-Amz-Sns-Message-Type: got %q", got)
	}
	checkSignature(t, topic, asked["Signature"], "Message\n"+asked["Message"]+"\nMessageId\n"+asked["MessageId"]+"\nSubscribeURL\n"+asked["SubscribeURL"]+
		"\nTimestamp\n"+asked["Timestamp"]+"\nToken\n"+asked["Token"]+"\nTopicArn\n"+ARN+"\nType\nSubscriptionConfirmation\n")
	if got := get(t, trusting, asked["SigningCertURL"]); got != string(topic.Certificate()) {
		t.Errorf("SigningCertURL serves\n%s", got)
	}

	publish(t, topic, "tony") // before it confirms: not for it
	if answer := get(t, trusting, asked["SubscribeURL"]); !strings.Contains(answer, "<SubscriptionArn>"+ARN+":") {
		t.Errorf("confirming was answered\n%s", answer)
	}
	publish(t, topic, "pepper")
	var delivered notification
	if err := json.Unmarshal(subscriber.next(t).body, &delivered); err != nil {
		t.Fatal(err)
	}
	if got := reference(delivered.Message); got != "pepper" {
		t.Errorf("delivered %s", got)
	}

	// It goes on with the next Open, which does not name it.
	if err := topic.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	topic, _, trusting = serve(t, path)
	publish(t, topic, "happy")
	if err := json.Unmarshal(subscriber.next(t).body, &delivered); err != nil || reference(delivered.Message) != "happy" {
		t.Fatalf("after Open: %v, %s", err, delivered.Message)
	}
	get(t, trusting, delivered.UnsubscribeURL)
	publish(t, topic, "rhodey")
	if len(topic.subscribers) != 0 || len(subscriber.received) != 0 {
		t.Error("it is still subscribed")
	}
}

// Two who have confirmed get each message once; confirming twice is confirming once.
func TestConfirmingAgainChangesNothing(t *testing.T) {
	subscriber := newServer(t, func(http.ResponseWriter, *http.Request) {})
	topic, api, trusting := serve(t, filepath.Join(t.TempDir(), "topic.db"))
	for range 2 {
		subscribe(t, api, subscriber.URL)
		var asked notification
		if err := json.Unmarshal(subscriber.next(t).body, &asked); err != nil {
			t.Fatal(err)
		}
		get(t, trusting, asked.SubscribeURL)
		get(t, trusting, asked.SubscribeURL)
	}
	publish(t, topic, "tony")
	publish(t, topic, "pepper")
	var got []string
	for range 2 {
		var n notification
		if err := json.Unmarshal(subscriber.next(t).body, &n); err != nil {
			t.Fatal(err)
		}
		got = append(got, reference(n.Message))
	}
	if slices.Sort(got); !slices.Equal(got, []string{"pepper", "tony"}) || len(topic.subscribers) != 1 {
		t.Errorf("%d subscriptions, received %v", len(topic.subscribers), got)
	}
}

func TestAPIRefusesWhatSNSRefuses(t *testing.T) {
	_, api, _ := serve(t, filepath.Join(t.TempDir(), "topic.db"))
	_, err := api.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: aws.String(ARN), Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:q")})
	if _, ok := errors.AsType[*types.InvalidParameterException](err); !ok {
		t.Errorf("a queue: %v", err)
	}
	_, err = api.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: aws.String(ARN + "x"), Protocol: aws.String("http"), Endpoint: aws.String("http://a.test/")})
	if _, ok := errors.AsType[*types.NotFoundException](err); !ok {
		t.Errorf("another topic: %v", err)
	}
	_, err = api.ConfirmSubscription(t.Context(), &sns.ConfirmSubscriptionInput{TopicArn: aws.String(ARN), Token: aws.String("guessed")})
	if _, ok := errors.AsType[*types.InvalidParameterException](err); !ok {
		t.Errorf("a guessed token: %v", err)
	}
	_, err = api.Unsubscribe(t.Context(), &sns.UnsubscribeInput{SubscriptionArn: aws.String(ARN + ":x")})
	if _, ok := errors.AsType[*types.NotFoundException](err); !ok {
		t.Errorf("an unknown subscription: %v", err)
	}
	_, err = api.DeleteTopic(t.Context(), &sns.DeleteTopicInput{TopicArn: aws.String(ARN)})
	if answer, ok := errors.AsType[smithy.APIError](err); !ok || answer.ErrorCode() != "InvalidAction" {
		t.Errorf("deleting the topic: %v", err)
	}
}

// A link can be followed by anybody who is shown it: it subscribes nobody.
func TestSubscribingNeedsAPost(t *testing.T) {
	topic := openFor(t, Options{Source: "handover"})
	answer := httptest.NewRecorder()
	topic.API("/sns").ServeHTTP(answer, httptest.NewRequest("GET", "/sns?"+url.Values{
		"Action": {"Subscribe"}, "TopicArn": {ARN}, "Protocol": {"http"}, "Endpoint": {"http://a.test/"},
	}.Encode(), nil))
	if answer.Code != http.StatusBadRequest || len(topic.pending) != 0 {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
}
