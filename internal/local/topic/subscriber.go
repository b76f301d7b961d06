package topic

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.etcd.io/bbolt"
)

const (
	attemptTimeout = 10 * time.Second       // for a subscriber's whole answer
	patience       = 250 * time.Millisecond // how long later messages wait for the first attempt at an earlier one
	firstPause     = 200 * time.Millisecond // before the second attempt; each further pause is twice as long,
	longestPause   = 5 * time.Second        // up to this
	connections    = 64                     // at once to one subscriber
)

// subscriber delivers what one URL is owed. It starts the messages in their order, each after the first attempt at the one before it. A message
// that is not answered soon, or not accepted, goes its own way: it is tried again and again while later ones go on.
type subscriber struct {
	topic  *Topic
	url    string
	site   string // the URL's scheme and host, for the log: the rest of a URL may hold a password
	arn    string // of the subscription
	client *http.Client
	news   chan struct{} // holds a value when there may be something new to deliver
	stop   context.CancelFunc
}

func newSubscriber(t *Topic, rawURL string, transport http.RoundTripper) (*subscriber, error) {
	u, err := url.Parse(rawURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("subscriber %q is not an http or https URL", rawURL)
	}
	hash := sha256.Sum256([]byte(rawURL))
	return &subscriber{
		topic: t,
		url:   rawURL,
		site:  u.Scheme + "://" + u.Host,
		arn:   fmt.Sprintf("%s:%x-%x-%x-%x-%x", ARN, hash[:4], hash[4:6], hash[6:8], hash[8:10], hash[10:16]),
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       attemptTimeout,
		},
		news: make(chan struct{}, 1),
	}, nil
}

func newTransport() http.RoundTripper {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: connections}
}

func (s *subscriber) wake() {
	select {
	case s.news <- struct{}{}:
	default: // it has not seen the last news yet, and will see this with it
	}
}

// run delivers what is owed, and what comes to be owed, until stopping ends. The attempts under way then end with their own context.
func (s *subscriber) run(stopping, attempts context.Context) {
	for last := uint64(0); stopping.Err() == nil; {
		number, err := s.next(last)
		if err != nil {
			s.topic.options.Log.Error("the topic's file cannot be read: deliveries stop", "subscriber", s.site, "error", err)
			return
		}
		if number == 0 {
			select {
			case <-s.news:
			case <-stopping.Done():
			}
			continue
		}
		last = number

		tried := make(chan struct{})
		s.topic.running.Go(func() {
			err := s.attempt(attempts, number)
			close(tried)
			if err != nil {
				s.retry(stopping, attempts, number, err)
			}
		})
		select {
		case <-tried:
		case <-time.After(patience):
		}
	}
}

// next is the number of the first message after last that is owed, 0 if there is none.
func (s *subscriber) next(last uint64) (number uint64, err error) {
	err = s.topic.db.View(func(tx *bbolt.Tx) error {
		if owed := s.owed(tx); owed != nil {
			if k, _ := owed.Cursor().Seek(key(last + 1)); k != nil {
				number = binary.BigEndian.Uint64(k)
			}
		}
		return nil
	})
	return number, err
}

// retry attempts a delivery that has failed with err until it succeeds or stopping ends.
func (s *subscriber) retry(stopping, attempts context.Context, number uint64, err error) {
	log := s.topic.options.Log.With("subscriber", s.site, "message", number)
	log.Warn("a delivery failed and is tried again until it succeeds", "error", err)
	pause := firstPause
	for n := 2; ; n++ {
		select {
		case <-time.After(pause):
		case <-stopping.Done():
			return
		}
		if s.attempt(attempts, number) == nil {
			log.Info("a delivery that had failed has succeeded", "attempts", n)
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// attempt delivers one message once. If it was accepted, it is owed no longer.
func (s *subscriber) attempt(ctx context.Context, number uint64) error {
	var n notification
	err := s.topic.db.View(func(tx *bbolt.Tx) error {
		return json.Unmarshal(tx.Bucket([]byte(bucketMessages)).Get(key(number)), &n)
	})
	if err != nil {
		return fmt.Errorf("reading the message: %w", err)
	}
	if err := s.post(ctx, n); err != nil {
		return err
	}
	return s.topic.db.Update(func(tx *bbolt.Tx) error {
		if owed := s.owed(tx); owed != nil {
			return owed.Delete(key(number))
		}
		return nil // it has unsubscribed meanwhile
	})
}

// post sends one notification. It returns nil if the answer was 2xx.
func (s *subscriber) post(ctx context.Context, n notification) error {
	n.SigningCertURL = s.topic.options.URL + "/" + s.topic.signer.file()
	if n.Type == notificationType {
		n.UnsubscribeURL = s.topic.options.URL + "/?Action=Unsubscribe&SubscriptionArn=" + s.arn
	}
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	headers := map[string]string{
		"Content-Type":           "text/plain; charset=UTF-8",
		"User-Agent":             "Amazon Simple Notification Service Agent",
		"X-Amz-Sns-Message-Type": n.Type,
		"X-Amz-Sns-Message-Id":   n.MessageID,
		"X-Amz-Sns-Topic-Arn":    n.TopicARN,
	}
	if n.Type == notificationType {
		headers["X-Amz-Sns-Subscription-Arn"] = s.arn
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return errors.Unwrap(err) // what failed, without the *url.Error's text, which has the URL
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the subscriber answered %d", response.StatusCode)
	}
	return nil
}

// owed is the bucket of the numbers of the messages that the subscriber has not accepted, nil if it has unsubscribed.
func (s *subscriber) owed(tx *bbolt.Tx) *bbolt.Bucket {
	return tx.Bucket([]byte(bucketOwed)).Bucket([]byte(s.url))
}
