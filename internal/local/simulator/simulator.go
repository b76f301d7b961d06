// Package simulator plays Terra, for the local program and for tests from outside.
//
// A [Terra] is the provider's side as a small state machine. An action (Connect, Disconnect, Data …) changes its state and queues the webhooks
// that Terra would send; Run or Deliver sends them, with the mischief that [Faults] asks for; API answers as Terra's REST API does; Truth tells
// what really happened, so that a test can work out what must have been announced.
//
//	sim := simulator.New(simulator.Config{Secret: "s", WebhookURL: "http://127.0.0.1:8080/webhook", DevID: "d", APIKey: "k"})
//	mux.Handle("/terra/", http.StripPrefix("/terra", sim.API()))   // REST base: http://127.0.0.1:8080/terra/v2
//	sim.Connect("GARMIN", "watch-1", "anna")
//	sim.Connect("GARMIN", "watch-1", "ben")
//	err := sim.Deliver(ctx)
//
// Where Terra's own sources disagree or are silent, [Habits] chooses. The same seed, clock and actions give the same user_ids, bodies and mischief.
package simulator

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Config says which environment of Terra is played, and to whom.
type Config struct {
	Secret        string // signs the webhooks
	WebhookURL    string // where they are sent
	DevID, APIKey string // what the REST API asks for
	Seed          uint64
	Habits        Habits

	Now       func() time.Time  // Terra's clock: created_at and the time of a signature; default time.Now
	Minute    time.Duration     // how long a minute of Terra's retry schedule takes here; default 10 ms: the last retry comes after 10 s
	Senders   int               // how many webhooks are sent at a time; default 4
	Transport http.RoundTripper // carries the webhooks; the default is a plain HTTP transport
}

// Habits is what Terra's documentation leaves open. The zero value is the Terra that tells least.
type Habits struct {
	Generation Generation
	Dialect    Dialect // of the webhooks; the dialect of an answer is that of the base URL it was asked at

	CreatedAtInWebhooks bool // webhooks say when a connection was made
	CreatedAtInAnswers  bool // so does the REST API
	AccountInWebhooks   bool // an athlete event has a provider_user_id
	AccountInAnswers    bool // so has the answer of GET /athlete
	AthleteAfterAuth    bool // an athlete event follows each auth
	SilentPhones        bool // a phone that connects again under another reference keeps its user_id and sends no auth
}

// Generation is what Terra does when a wearable account that is connected under one reference is connected under another.
type Generation int

// The generations.
const (
	ReplaceSilently   Generation = iota // the old user is deleted and nothing says so (older API)
	ReplaceWithDeauth                   // the old user is deleted with a deauth (older API)
	ReplaceWithReauth                   // the old user is deleted with a user_reauth of two references (older API)
	KeepBoth                            // both users live and receive data (newer API)
)

// ErrNotConnected is the answer of an action on a user_id that Terra does not know, or no longer.
var ErrNotConnected = errors.New("no open connection has this user_id")

// Terra is a simulated Terra. Its methods may be called at the same time.
type Terra struct {
	config Config
	client *http.Client

	mu          sync.Mutex
	random      *rand.Rand // makes user_ids
	luck        *rand.Rand // of those who call the API, apart, because they call when they like
	faults      Faults
	connections []*connection              // all that ever were, in the order in which they were made
	users       map[string]*connection     // by user_id
	wearables   map[wearable][]*connection // all that a wearable account ever had
	references  map[string][]*connection   // all that ever had a reference, under each
	latest      time.Time                  // when the latest connection was made
	calls       map[string]int             // see Calls
	queue       queue                      // what waits to be sent
	apart       *[][]byte                  // takes webhooks instead of queue; nil: see Apart
	sending     int                        // how many deliveries are with a sender
	changed     chan struct{}              // closed when queue or sending has changed
	stats       Stats
}

// wearable is an account at a provider. A phone SDK has none: its id is the device's.
type wearable struct{ provider, id string }

// phone reports whether the provider is a phone's own SDK.
func (w wearable) phone() bool {
	return w.provider == "APPLE" || w.provider == "SAMSUNG" || w.provider == "HEALTH_CONNECT"
}

type connection struct {
	User
	wearable wearable
	tenures  []string // the references it has had; the last one is User.ReferenceID
	closed   bool
}

// New makes a Terra without users.
func New(c Config) *Terra {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Minute == 0 {
		c.Minute = 10 * time.Millisecond
	}
	if c.Senders == 0 {
		c.Senders = 4
	}
	if c.Transport == nil {
		c.Transport = &http.Transport{MaxIdleConnsPerHost: c.Senders}
	}
	return &Terra{
		config: c,
		client: &http.Client{
			Transport:     c.Transport,
			Timeout:       8 * time.Second, // Terra waits no longer
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		random:     rand.New(rand.NewPCG(c.Seed, 0)), // the streams from 1 are the webhooks'
		luck:       rand.New(rand.NewPCG(c.Seed, math.MaxUint64)),
		users:      map[string]*connection{},
		wearables:  map[wearable][]*connection{},
		references: map[string][]*connection{},
		calls:      map[string]int{},
		changed:    make(chan struct{}),
	}
}

// Connect lets the end user with this reference connect a wearable account, or a phone (whose account is the device's id), and returns the
// user_id under which Terra then knows it.
//
// The account under the same reference: auth and user_reauth, the old user is deleted. Under another one: see [Generation] and
// [Habits].SilentPhones. Another phone of the same reference: auth and user_reauth too, the old phone's user is deleted.
func (t *Terra) Connect(provider, account, reference string) string {
	t.mu.Lock()
	defer t.mu.Unlock()

	w := wearable{provider, account}
	olds := open(t.wearables[w])
	if w.phone() && t.config.Habits.SilentPhones && len(olds) > 0 && olds[0].ReferenceID != reference {
		t.assign(olds[0], reference)
		return olds[0].UserID
	}
	if w.phone() {
		for _, other := range open(t.references[reference]) {
			if other.wearable.provider == provider && other.wearable != w && other.ReferenceID == reference {
				olds = append(olds, other)
			}
		}
	}

	c := t.create(w, reference)
	t.enqueue(t.config.Habits.Dialect.Auth(t.told(c)))
	if t.config.Habits.AthleteAfterAuth {
		t.athleteEvent(c)
	}
	for _, old := range olds {
		switch generation := t.config.Habits.Generation; {
		case old.ReferenceID == reference, generation == ReplaceWithReauth:
			old.closed = true
			t.enqueue(t.config.Habits.Dialect.Reauth(t.told(c), t.told(old)))
		case generation == ReplaceWithDeauth:
			t.end(old)
		case generation == ReplaceSilently:
			old.closed = true
		}
	}
	return c.UserID
}

// Failed lets the end user with this reference try to connect something, and fail.
func (t *Terra) Failed(reference string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enqueue(t.config.Habits.Dialect.AuthError(reference, "access_denied"))
}

// Disconnect ends a connection with a deauth.
func (t *Terra) Disconnect(userID string) error { return t.with(userID, t.end) }

// Revoke lets the user end a connection at the provider: access_revoked.
func (t *Terra) Revoke(userID string) error {
	return t.with(userID, func(c *connection) {
		c.closed = true
		t.enqueue(t.config.Habits.Dialect.AccessRevoked(t.told(c)))
	})
}

// Delete lets Terra delete a user without a word.
func (t *Terra) Delete(userID string) error {
	return t.with(userID, func(c *connection) { c.closed = true })
}

// Data lets the wearable of a connection send an activity.
func (t *Terra) Data(userID string) error {
	return t.with(userID, func(c *connection) {
		t.enqueue(t.config.Habits.Dialect.Body("activity", t.told(c)))
		c.LastWebhookUpdate = t.config.Now().UTC()
	})
}

// Athlete sends the profile of a connection's account.
func (t *Terra) Athlete(userID string) error { return t.with(userID, t.athleteEvent) }

// Edit changes the reference of a connection as Terra's dashboard does: no event says so.
func (t *Terra) Edit(userID, reference string) error {
	return t.with(userID, func(c *connection) { t.assign(c, reference) })
}

// Account is the true history of one wearable account.
type Account struct {
	Provider string
	ID       string    // the provider_user_id, or a phone's id
	Holdings []Holding // in the order in which the connections were made, and within one connection in the order of its references
}

// Holding is the time in which a connection carried one reference.
type Holding struct {
	UserID      string
	Reference   string    // "" if it had none
	Tenure      int       // 1 for the connection's first reference
	ConnectedAt time.Time // of the connection; no two connections have the same
	Closed      bool      // the connection has ended
}

// Truth returns the true history of every wearable account, in the order in which they were first connected.
func (t *Terra) Truth() []Account {
	t.mu.Lock()
	defer t.mu.Unlock()

	var accounts []Account
	index := map[wearable]int{}
	for _, c := range t.connections {
		i, seen := index[c.wearable]
		if !seen {
			i = len(accounts)
			index[c.wearable] = i
			accounts = append(accounts, Account{Provider: c.wearable.provider, ID: c.wearable.id})
		}
		for n, reference := range c.tenures {
			accounts[i].Holdings = append(accounts[i].Holdings, Holding{c.UserID, reference, n + 1, c.CreatedAt, c.closed})
		}
	}
	return accounts
}

// with runs an action on an open connection.
func (t *Terra) with(userID string, action func(*connection)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.users[userID]
	if c == nil || c.closed {
		return ErrNotConnected
	}
	action(c)
	return nil
}

// create makes a connection. Its time is later than that of every other one, by a microsecond at least, so that the truth has one order.
func (t *Terra) create(w wearable, reference string) *connection {
	at := t.config.Now().UTC().Truncate(time.Microsecond)
	if !at.After(t.latest) {
		at = t.latest.Add(time.Microsecond)
	}
	t.latest = at
	c := &connection{
		User:     User{UserID: uuid(t.random), Provider: w.provider, CreatedAt: at, Scopes: "ACTIVITY_EXPORT,HEALTH_EXPORT", Session: uuid(t.random)},
		wearable: w,
	}
	t.connections = append(t.connections, c)
	t.users[c.UserID] = c
	t.wearables[w] = append(t.wearables[w], c)
	t.assign(c, reference)
	return c
}

// assign gives a connection another reference.
func (t *Terra) assign(c *connection, reference string) {
	if len(c.tenures) > 0 && c.ReferenceID == reference {
		return
	}
	c.ReferenceID = reference
	c.tenures = append(c.tenures, reference)
	if !slices.Contains(t.references[reference], c) {
		t.references[reference] = append(t.references[reference], c)
	}
}

// end closes a connection with a deauth.
func (t *Terra) end(c *connection) {
	c.closed = true
	t.enqueue(t.config.Habits.Dialect.Deauth(t.told(c)))
}

func (t *Terra) athleteEvent(c *connection) {
	account := c.wearable.id
	if !t.config.Habits.AccountInWebhooks {
		account = ""
	}
	t.enqueue(t.config.Habits.Dialect.Athlete(t.told(c), account))
}

// told is what webhooks tell of a connection.
func (t *Terra) told(c *connection) User {
	u := c.User
	if !t.config.Habits.CreatedAtInWebhooks {
		u.CreatedAt = time.Time{}
	}
	return u
}

// open returns those connections that have not ended.
func open(connections []*connection) []*connection {
	var result []*connection
	for _, c := range connections {
		if !c.closed {
			result = append(result, c)
		}
	}
	return result
}

// uuid makes a random UUID (RFC 9562, version 4).
func uuid(random *rand.Rand) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], random.Uint64())
	binary.BigEndian.PutUint64(b[8:], random.Uint64())
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
