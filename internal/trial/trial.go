// Package trial tries a subscriber of the customer's own over HTTP(S): it plays SNS and Terra's API, and so sees both what the subscriber answers and whose
// connections it ends. Everybody in it is invented.
package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/local/topic"
	"github.com/handover-dev/handover/internal/ownership"
)

// The credentials of the Terra that is played.
const (
	DevID  = "handover-local"
	APIKey = "handover-local-key"
)

// Trial is one trial.
type Trial struct {
	Data     string        // the folder of the key that signs: it stays the same from trial to trial
	Patience time.Duration // how long a subscriber may take to do what a message asks for, after its answer
	Log      func(string)  // told what is going on
}

// Finding is what one step of the trial has shown.
type Finding struct {
	Step  string `json:"step"` // its name, such as "duplicate"
	Fault bool   `json:"fault"`
	What  string `json:"what"`
	Do    string `json:"do,omitempty"` // what the subscriber should do instead
}

// stage is a trial under way.
type stage struct {
	Trial
	base   string // host:port of the own server
	url    string // of the endpoint that is tried
	topic  *topic.Topic
	forger *topic.Topic // signs with a key of its own
	terra  *simulator.Terra
	client *http.Client

	mu        sync.Mutex
	ended     map[string]int       // calls of deauthenticateUser by user_id that Terra took, or that found what an earlier one had ended
	confirmed map[confirmation]int // calls of ConfirmSubscription
	findings  []Finding
	watches   []watch
}

// confirmation is where a subscription was confirmed, and by which token.
type confirmation struct{ at, token string }

// snsTimeout is how long SNS waits for an answer: https://docs.aws.amazon.com/sns/latest/dg/sns-http-https-endpoint-as-subscriber.html
const snsTimeout = 15 * time.Second

// Server is what the trial listens with, ready to be asked by the subscriber.
type Server struct {
	stage    *stage
	server   *http.Server
	listener net.Listener
}

// Listen begins to play SNS and Terra's API at address (host:port), by http and https.
func (t Trial) Listen(address string) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w\nDoes the local program run there? Stop it, or choose another address", err)
	}
	s := &stage{
		Trial: t, base: listener.Addr().String(), ended: map[string]int{}, confirmed: map[confirmation]int{},
		terra: simulator.New(simulator.Config{
			DevID: DevID, APIKey: APIKey, Seed: uint64(time.Now().UnixNano()), Habits: simulator.Habits{Generation: simulator.KeepBoth, CreatedAtInAnswers: true},
		}),
		client: &http.Client{Timeout: snsTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if s.topic, err = topic.Open(filepath.Join(t.Data, "trial.db"), topic.Options{Source: "handover-trial", URL: "https://" + s.base + "/sns"}); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	if s.forger, err = topic.Open(filepath.Join(t.Data, "forger.db"), topic.Options{Source: "handover-trial", URL: "https://" + s.base + "/forger"}); err != nil {
		return nil, errors.Join(err, s.topic.Close(context.Background()), listener.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/sns", s.watchConfirmations("/sns", s.topic.API("/sns")))
	mux.Handle("/sns/", s.watchConfirmations("/sns", s.topic.API("/sns")))
	mux.Handle("/forger/", s.watchConfirmations("/forger", s.forger.API("/forger")))
	mux.Handle("/terra/", http.StripPrefix("/terra", s.watchEnds(s.terra.API())))
	mux.HandleFunc("GET /certificate.pem", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(s.topic.Certificate()) })
	server := &Server{stage: s, listener: listener, server: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}}
	go server.server.Serve(s.topic.Listener(listener))
	return server, nil
}

// Address is the host:port at which is listened.
func (s *Server) Address() string { return s.stage.base }

// Settings are what the subscriber must be told for the trial, by the names that the shipped subscribers use.
func (s *Server) Settings() map[string]string {
	return map[string]string{
		"TOPIC_ARN": topic.ARN, "SNS_URL": "https://" + s.stage.base + "/sns", "TERRA_API_URL": "http://" + s.stage.base + "/terra/v2",
		"TERRA_DEV_ID": DevID, "TERRA_API_KEY": APIKey, "SNS_CA": filepath.Join(s.stage.Data, "topic.pem"),
	}
}

// Certificate is the PEM of the certificate that signs, and by which the server is trusted.
func (s *Server) Certificate() []byte { return s.stage.topic.Certificate() }

// Close ends the playing.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(s.server.Close(), s.stage.topic.Close(ctx), s.stage.forger.Close(ctx))
}

// watchEnds counts which connections the subscriber ends. What Terra refuses, by another method or with another key, ends nothing.
func (s *stage) watchEnds(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &answer{w, http.StatusOK}
		next.ServeHTTP(answer, r)
		if !strings.HasSuffix(r.URL.Path, "/auth/deauthenticateUser") {
			return
		}
		userID := r.URL.Query().Get("user_id")
		s.mu.Lock()
		defer s.mu.Unlock()
		if answer.status == http.StatusOK || answer.status == http.StatusNotFound && s.ended[userID] > 0 {
			s.ended[userID]++
		}
	})
}

// answer remembers the status of an answer.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// watchConfirmations counts which subscriptions are confirmed.
func (s *stage) watchConfirmations(at string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if query := r.URL.Query(); query.Get("Action") == "ConfirmSubscription" {
			s.mu.Lock()
			s.confirmed[confirmation{at, query.Get("Token")}]++
			s.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

func (s *stage) endedTimes(userID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended[userID]
}

// within waits until a thing is so, at most as long as patience allows.
func (s *stage) within(ctx context.Context, so func() bool) bool {
	for begun := time.Now(); !so(); {
		if time.Since(begun) > s.Patience || ctx.Err() != nil {
			return so()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

func (s *stage) ok(step, format string, values ...any) {
	s.findings = append(s.findings, Finding{Step: step, What: fmt.Sprintf(format, values...)})
}

func (s *stage) fault(step, do, format string, values ...any) {
	s.findings = append(s.findings, Finding{Step: step, Fault: true, What: fmt.Sprintf(format, values...), Do: do})
}

// person connects an invented wearable, or a shared one, and returns the connection.
func (s *stage) person(account, reference string) ownership.Holder {
	userID := s.terra.Connect("GARMIN", account, reference)
	for _, a := range s.terra.Truth() {
		for _, h := range a.Holdings {
			if h.UserID == userID {
				return ownership.Holder{UserID: userID, ReferenceID: reference, ConnectedAt: h.ConnectedAt, Tenure: 1}
			}
		}
	}
	panic("the simulator does not know whom it has connected")
}

// transfer is the announcement that an account has passed.
func transfer(account string, previous, current ownership.Holder) ownership.Announcement {
	return ownership.Announcement{
		Type: ownership.Transferred, Account: "GARMIN/k000." + account, Provider: "GARMIN", Reason: ownership.ConnectedByOther, Order: ownership.Signed,
		Previous: previous, Current: current,
	}
}

// sample makes a signed message of an announcement.
func (s *stage) sample(by *topic.Topic, a ownership.Announcement, change func(*topic.Sample)) (topic.Sample, error) {
	event, err := announce.New(a, "handover-trial", time.Now())
	if err != nil {
		return topic.Sample{}, err
	}
	return by.Sample(event, time.Now(), change)
}

// post sends a message once, and returns the status of the answer; 0 if there was none.
func (s *stage) post(ctx context.Context, n topic.Sample) (status int, err error) {
	body, err := json.Marshal(n)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	for name, value := range map[string]string{
		"Content-Type": "text/plain; charset=UTF-8", "User-Agent": "Amazon Simple Notification Service Agent", "X-Amz-Sns-Message-Type": n.Type,
		"X-Amz-Sns-Message-Id": n.MessageID, "X-Amz-Sns-Topic-Arn": topic.ARN, // also with what is another topic's: nobody signs a header
	} {
		request.Header.Set(name, value)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, nil
}

// deliver sends a genuine announcement as SNS does: again after an answer of 5xx or 429 or none, a few times. It returns the last status.
func (s *stage) deliver(ctx context.Context, a ownership.Announcement) (int, error) {
	n, err := s.sample(s.topic, a, nil)
	if err != nil {
		return 0, err
	}
	return s.deliverSample(ctx, n)
}

func (s *stage) deliverSample(ctx context.Context, n topic.Sample) (status int, err error) {
	for pause := 200 * time.Millisecond; pause < 2*time.Second; pause *= 2 {
		if status, err = s.post(ctx, n); err == nil && !repeated(status) {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-time.After(pause):
		}
	}
	return status, err
}

// Run tries the endpoint, a URL, and returns what was found, in the order of the steps; where it does not answer, that is the last. An error means that the trial
// could not be made.
func (s *Server) Run(ctx context.Context, endpoint string) ([]Finding, error) {
	st := s.stage
	st.url = endpoint
	for _, step := range steps() {
		if st.Log != nil {
			st.Log(step.name + ": " + step.tries)
		}
		err := step.play(st, ctx)
		var unanswered *url.Error
		switch {
		case errors.As(err, &unanswered) && ctx.Err() == nil:
			do := "Is the subscriber running, and is this its URL?"
			if unanswered.Timeout() {
				do = "Answer within 15 seconds, or SNS counts that as a failure: take the message, and do the work afterwards."
			}
			st.fault(step.name, do, "no answer came, and no more is tried: %v", err)
			return st.findings, nil
		case err != nil:
			return st.findings, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	st.lookAgain() // the last step has waited as long as patience allows
	return st.findings, nil
}
