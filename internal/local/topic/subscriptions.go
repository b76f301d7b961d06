package topic

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// The types of message.
const (
	notificationType = "Notification"
	confirmationType = "SubscriptionConfirmation"
)

// API answers as much of SNS's own API as a subscriber needs, and `aws sns subscribe` with it: the actions Subscribe (by POST, of an http or https endpoint),
// ConfirmSubscription and Unsubscribe (also by GET, for they are links in what is delivered). It also serves the certificate, under the name that
// SigningCertURL has. Root is the path of Options.URL; an SDK that has this as its endpoint calls it with and without a slash at the end.
// https://docs.aws.amazon.com/sns/latest/api/API_Operations.html
func (t *Topic) API(root string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+root+"/{certificate}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("certificate") != t.signer.file() {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(t.Certificate())
	})
	query := func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		action := r.FormValue("Action")
		arn, fault := t.act(r, action)
		w.Header().Set("Content-Type", "text/xml")
		if fault != nil {
			w.WriteHeader(fault.status)
			_ = xml.NewEncoder(w).Encode(errorAnswer{Code: fault.code, Type: "Sender", Message: fault.text, RequestID: newUUID()})
			return
		}
		// The names of the elements depend on the action.
		fmt.Fprintf(w, `<%[1]sResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><%[1]sResult>%[2]s</%[1]sResult>`+
			"<ResponseMetadata><RequestId>%[3]s</RequestId></ResponseMetadata></%[1]sResponse>\n", action, arn, newUUID())
	}
	mux.HandleFunc(root, query)
	mux.HandleFunc(root+"/{$}", query)
	return mux
}

type errorAnswer struct {
	XMLName   xml.Name `xml:"http://sns.amazonaws.com/doc/2010-03-31/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// fault is an error of SNS's: https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html#API_Subscribe_Errors
type fault struct {
	status     int
	code, text string
}

func invalid(text string) *fault { return &fault{http.StatusBadRequest, "InvalidParameter", text} }

// act does what is asked and returns the SubscriptionArn element of the answer, if there is one.
func (t *Topic) act(r *http.Request, action string) (arn string, _ *fault) {
	const element = "<SubscriptionArn>%s</SubscriptionArn>"
	named := r.FormValue("TopicArn") == ARN
	switch {
	case action == "Unsubscribe":
		return "", t.unsubscribe(r.FormValue("SubscriptionArn"))
	case action != "ConfirmSubscription" && (action != "Subscribe" || r.Method != http.MethodPost):
		return "", &fault{http.StatusBadRequest, "InvalidAction", "this topic knows Subscribe (by POST), ConfirmSubscription and Unsubscribe"}
	case !named:
		return "", &fault{http.StatusNotFound, "NotFound", "the only topic here is " + ARN}
	case action == "Subscribe":
		return fmt.Sprintf(element, "pending confirmation"), t.subscribe(r.FormValue("Protocol"), r.FormValue("Endpoint"))
	}
	arn, fault := t.confirm(r.FormValue("Token"))
	return fmt.Sprintf(element, arn), fault
}

// subscribe asks the endpoint to confirm, until it has accepted the question. It is forgotten when the topic closes, if it was not confirmed by then.
func (t *Topic) subscribe(protocol, endpoint string) *fault {
	s, err := newSubscriber(t, endpoint, t.transport())
	if err != nil || !strings.HasPrefix(endpoint, protocol+"://") {
		return invalid("Endpoint must be an http or https URL, and Protocol say which")
	}
	var random [64]byte
	_, _ = rand.Read(random[:]) // never fails
	n := newMessage(confirmationType, "You have chosen to subscribe to the topic "+ARN+
		".\nTo confirm the subscription, visit the SubscribeURL included in this message.", t.options.Now())
	n.Token = hex.EncodeToString(random[:])
	n.SubscribeURL = t.options.URL + "/?" + url.Values{"Action": {"ConfirmSubscription"}, "TopicArn": {ARN}, "Token": {n.Token}}.Encode()
	if err := t.signer.sign(&n); err != nil {
		return &fault{http.StatusInternalServerError, "InternalError", "signing failed"}
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending[n.Token] = s
	t.running.Go(func() {
		for pause := firstPause; s.post(t.attempts, n) != nil; pause = min(2*pause, longestPause) {
			select {
			case <-time.After(pause):
			case <-t.stopping.Done():
				return
			}
		}
	})
	return nil
}

// confirm begins the subscription that the token was made for.
func (t *Topic) confirm(token string) (arn string, _ *fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.pending[token]
	if s == nil {
		return "", invalid("Token is not one that awaits confirmation")
	}
	if t.find(s.arn) < 0 {
		err := t.db.Update(func(tx *bbolt.Tx) error {
			if _, err := tx.Bucket([]byte(bucketOwed)).CreateBucketIfNotExists([]byte(s.url)); err != nil {
				return err
			}
			return tx.Bucket([]byte(bucketAsked)).Put([]byte(s.url), nil)
		})
		if err != nil {
			return "", &fault{http.StatusInternalServerError, "InternalError", "the topic's file cannot be written"}
		}
		t.subscribers = append(t.subscribers, s)
		t.start(s)
	}
	return s.arn, nil
}

// unsubscribe ends a subscription; what it was owed is forgotten. One that Options name begins anew with the next Open.
func (t *Topic) unsubscribe(arn string) *fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(arn)
	if i < 0 {
		return &fault{http.StatusNotFound, "NotFound", "there is no such subscription"}
	}
	s := t.subscribers[i]
	err := t.db.Update(func(tx *bbolt.Tx) error {
		if err := tx.Bucket([]byte(bucketOwed)).DeleteBucket([]byte(s.url)); err != nil {
			return err
		}
		return tx.Bucket([]byte(bucketAsked)).Delete([]byte(s.url))
	})
	if err != nil {
		return &fault{http.StatusInternalServerError, "InternalError", "the topic's file cannot be written"}
	}
	s.stop()
	t.subscribers = slices.Delete(t.subscribers, i, i+1)
	return nil
}

func (t *Topic) find(arn string) int {
	return slices.IndexFunc(t.subscribers, func(s *subscriber) bool { return s.arn == arn })
}

// addAsked adds the subscribers that Options do not name, from the bucket of that name.
func (t *Topic) addAsked(asked *bbolt.Bucket) error {
	return asked.ForEach(func(rawURL, _ []byte) error {
		s, err := newSubscriber(t, string(rawURL), t.transport())
		if err == nil && t.find(s.arn) < 0 {
			t.subscribers = append(t.subscribers, s)
		}
		return err
	})
}
