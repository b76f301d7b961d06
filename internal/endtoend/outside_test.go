package endtoend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// trouble breaks network connections while it is on.
type trouble struct {
	on     atomic.Bool
	cuts   atomic.Int64
	mu     sync.Mutex
	random *rand.Rand
}

// strikes reports whether something bad happens, with this probability.
func (t *trouble) strikes(probability float64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on.Load() || t.random.Float64() >= probability {
		return false
	}
	t.cuts.Add(1)
	return true
}

// cut ends the network connection without an answer.
func cut(w http.ResponseWriter) {
	if connection, _, err := w.(http.Hijacker).Hijack(); err == nil {
		connection.Close()
	}
}

// wire carries the webhooks to the program and remembers each attempt. In trouble a connection is cut before the request, in the middle of it, or
// when the program has answered.
type wire struct {
	trouble *trouble
	base    http.RoundTripper

	mu       sync.Mutex
	attempts []attempt
}

// attempt is one webhook sent once.
type attempt struct {
	body       []byte
	sent       time.Time
	answeredAt time.Time // zero: no answer came through
	status     int
	answer     string
}

// forged webhooks end with a space, see the simulator.
func (a attempt) forged() bool { return bytes.HasSuffix(a.body, []byte(" ")) }

func (a attempt) acknowledged() bool { return a.status/100 == 2 }

var errCut = errors.New("the connection was cut")

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return nil, err
	}
	request := r.Clone(r.Context())
	request.Body = io.NopCloser(bytes.NewReader(body))
	done := attempt{body: body, sent: time.Now()}
	defer func() {
		w.mu.Lock()
		w.attempts = append(w.attempts, done)
		w.mu.Unlock()
	}()

	switch {
	case w.trouble.strikes(.04):
		return nil, errCut
	case w.trouble.strikes(.04):
		return nil, errors.Join(errCut, sendHalf(request))
	}
	response, err := w.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil {
		return nil, err
	}
	response.Body, done.answer = io.NopCloser(bytes.NewReader(answer)), string(answer)
	if w.trouble.strikes(.06) {
		return nil, errCut
	}
	done.status, done.answeredAt = response.StatusCode, time.Now()
	return response, nil
}

func sendHalf(r *http.Request) error {
	connection, err := net.DialTimeout("tcp", r.URL.Host, time.Second)
	if err != nil {
		return err
	}
	defer connection.Close()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		return err
	}
	_, err = connection.Write(b.Bytes()[:b.Len()-b.Len()/4]) // the headers, and a part of the body
	return err
}

func (w *wire) all() []attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]attempt(nil), w.attempts...)
}

// about tells of the webhooks that name a connection, in the order of their ends.
func (w *wire) about(userID string) string {
	var told []string
	for _, a := range w.all() {
		if !a.forged() && strings.Contains(string(a.body), userID) {
			told = append(told, fmt.Sprintf("%s: %d at %s", a.body, a.status, a.sent.Format("15:04:05.000")))
		}
	}
	return strings.Join(told, "\n")
}

// webhook is what the tests read of a webhook's body.
type webhook struct {
	Type    string
	Status  string
	User    *user
	NewUser *user `json:"new_user"`
	OldUser *user `json:"old_user"`
	Athlete struct {
		ProviderUserID string `json:"provider_user_id"`
	}
}

type user struct {
	UserID      string `json:"user_id"`
	ReferenceID string `json:"reference_id"`
	CreatedAt   string `json:"created_at"`
}

// users are the connections that a webhook names.
func (w webhook) users() (users []user) {
	for _, u := range []*user{w.User, w.NewUser, w.OldUser} {
		if u != nil {
			users = append(users, *u)
		}
	}
	return users
}

// terraAPI stands before the simulated Terra's API: it remembers what was answered, and cuts connections.
type terraAPI struct {
	trouble *trouble
	api     http.Handler

	mu      sync.Mutex
	answers []apiAnswer
}

// apiAnswer is one answer that the program got.
type apiAnswer struct {
	userID    string
	status    int
	account   bool   // it names the wearable account
	time      bool   // it says when the connection was made
	reference string // the reference_id that it names
	at        time.Time
}

func (a *terraAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.trouble.strikes(.04) {
		cut(w)
		return
	}
	recorded := httptest.NewRecorder()
	a.api.ServeHTTP(recorded, r)
	if a.trouble.strikes(.04) {
		cut(w)
		return
	}
	var body struct {
		User    user
		Users   []user // of the list of all
		Athlete struct {
			ProviderUserID string `json:"provider_user_id"`
		}
	}
	userID := r.URL.Query().Get("user_id")
	answer := apiAnswer{userID: userID, status: recorded.Code}
	if json.Unmarshal(recorded.Body.Bytes(), &body) == nil && body.User.UserID == userID {
		answer.account, answer.time, answer.reference = body.Athlete.ProviderUserID != "", body.User.CreatedAt != "", body.User.ReferenceID
	}
	answers := []apiAnswer{answer}
	for _, listed := range body.Users {
		answers = append(answers, apiAnswer{userID: listed.UserID, status: recorded.Code, reference: listed.ReferenceID})
	}
	for name, values := range recorded.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(recorded.Code)
	if _, err := w.Write(recorded.Body.Bytes()); err != nil {
		return
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, answer := range answers {
		answer.at = now
		a.answers = append(a.answers, answer)
	}
}

// of returns the answers about a connection.
func (a *terraAPI) of(userID string) (answers []apiAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, answer := range a.answers {
		if answer.userID == userID {
			answers = append(answers, answer)
		}
	}
	return answers
}

// subscriber is the app's backend: it takes what the topic posts. In trouble it refuses, or takes it and does not say so.
type subscriber struct {
	t       *testing.T
	trouble *trouble
	local   bool // of the local topic, which sends headers and attributes as SNS does; moto does not

	mu       sync.Mutex
	messages map[string]event // by id
	received int
	refused  int
}

func (s *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // a killed program
	}
	if s.trouble.strikes(.1) {
		s.refuse(w)
		return
	}
	var envelope struct {
		Type, Message     string
		MessageAttributes map[string]struct{ Type, Value string }
	}
	var e event
	if err := errors.Join(json.Unmarshal(body, &envelope), json.Unmarshal([]byte(envelope.Message), &e)); err != nil {
		s.t.Errorf("the subscriber was sent something that is no announcement: %v: %.300s", err, body)
		return
	}
	if s.local && (r.Header.Get("X-Amz-Sns-Message-Type") != "Notification" || envelope.Type != "Notification" || envelope.MessageAttributes["type"].Value != e.Type) {
		s.t.Errorf("the subscriber was sent an envelope that is not SNS's: %v %.300s", r.Header, body)
	}
	if strings.Contains(string(body), "mallory-") {
		s.t.Errorf("a forgery reached the subscriber: %.300s", body)
	}
	s.mu.Lock()
	s.received++
	if before, ok := s.messages[e.ID]; ok && string(before.Data) != string(e.Data) {
		s.t.Errorf("the subscriber was sent the id %s with other data:\n%s\n%s", e.ID, before.Data, e.Data)
	}
	s.messages[e.ID] = e
	s.mu.Unlock()
	if s.trouble.strikes(.1) {
		s.refuse(w)
	}
}

func (s *subscriber) refuse(w http.ResponseWriter) {
	s.mu.Lock()
	s.refused++
	odd := s.refused%2 == 1
	s.mu.Unlock()
	if odd {
		cut(w)
		return
	}
	w.WriteHeader(http.StatusInternalServerError)
}

// has returns the data of the announcement with this id, as the subscriber received it.
func (s *subscriber) has(id string) (data string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.messages[id]
	return string(e.Data), ok
}

// all returns the announcements received so far, by id, and how many messages brought them.
func (s *subscriber) all() (announcements map[string]event, messages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.messages), s.received
}
