package endtoend

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/terra"
)

// TestBlackBox plays stories of wearable accounts that pass between end users against the local program, as a process that is killed five times, and
// then compares what it says over HTTP with what really happened. HANDOVER_TEST_SEED=N plays the stories of a run that failed again.
func TestBlackBox(t *testing.T) {
	t.Parallel()
	seed, path := storySeed(t), buildProgram(t)

	generations := map[simulator.Generation]string{
		simulator.ReplaceSilently: "replaced silently", simulator.ReplaceWithDeauth: "replaced with a deauth",
		simulator.ReplaceWithReauth: "replaced with a reauth", simulator.KeepBoth: "both kept",
	}
	n := uint64(0)
	for generation := range simulator.KeepBoth + 1 {
		for times, where := range []string{"time in webhooks", "time in answers", "time nowhere"} {
			n++
			habits := simulator.Habits{
				Generation: generation, Dialect: simulator.Dialect(n % 2), CreatedAtInWebhooks: times == 0, CreatedAtInAnswers: times == 1,
				AccountInAnswers: true, AthleteAfterAuth: (n+uint64(generation))%3 != 0, AccountInWebhooks: (n+uint64(generation))%3 == 1, SilentPhones: n%4 < 2,
			}
			s := story{name: generations[generation] + ", " + where, seed: seed, number: n, habits: habits, path: path}
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.play(t)
			})
		}
	}
}

// TestBlackBoxOnRealEngines plays one such story on a DynamoDB engine and an SNS, which stay up when the program is killed.
func TestBlackBoxOnRealEngines(t *testing.T) {
	t.Parallel()
	dynamoDB, moto := realparts.DynamoDB(t), realparts.Moto(t)
	s := story{
		name: "both kept, time in webhooks, on a DynamoDB engine and an SNS", seed: storySeed(t), path: buildProgram(t),
		arguments: []string{"-dynamodb-endpoint", dynamoDB, "-sns-endpoint", moto},
		habits: simulator.Habits{
			Generation: simulator.KeepBoth, CreatedAtInWebhooks: true, AthleteAfterAuth: true, AccountInAnswers: true, SilentPhones: true,
		},
	}
	backend := &subscriber{t: t, trouble: &trouble{}, messages: map[string]event{}}
	subscribe(t, realparts.AWSConfig(moto), "handover-transfers", backend)
	s.play(t)
	s.checkBackend(backend)
}

// storySeed is the seed of a test's stories.
func storySeed(t *testing.T) uint64 {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("HANDOVER_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("HANDOVER_TEST_SEED: %v", err)
		}
	}
	t.Logf("HANDOVER_TEST_SEED=%d", seed)
	return seed
}

// story is one story and everything that it is played with.
type story struct {
	name      string
	seed      uint64 // of all stories of a run
	number    uint64 // of the story
	habits    simulator.Habits
	path      string
	arguments []string // more of them for the program

	t          *testing.T
	random     *rand.Rand
	clock      clock
	terra      *simulator.Terra
	api        *terraAPI
	wire       *wire
	subscriber *subscriber
	program    *program
	trouble    *trouble
	wearables  []*watch
}

// clock is Terra's: each step of the story takes more than a second of it, so that no two fall into one second, in which signatures have their time.
type clock struct {
	began time.Time
	steps atomic.Int64
}

const stepTime = 1500 * time.Millisecond

func (c *clock) now() time.Time {
	return c.began.Add(-time.Hour + time.Since(c.began) + time.Duration(c.steps.Load())*stepTime)
}

// watch is one wearable account and what is to happen to it.
type watch struct {
	provider, id string
	plan         []step

	// patient: what happens next waits until Handover has found out and settled what happened before. So everything about it can be known, and must be. What
	// happens to others may come so fast that the older API has deleted a connection before Handover could ask whose account it was.
	patient bool

	userID    string    // of the last connection
	reference string    // of the last connection
	touched   time.Time // when something last happened to it
}

func (w *watch) phone() bool {
	return w.provider == "APPLE" || w.provider == "SAMSUNG" || w.provider == "HEALTH_CONNECT"
}

type step struct {
	edit      bool // the last connection gets another reference, else a new connection is made
	reference string
}

const wearables = 60

// write makes up the story.
func (s *story) write() {
	clouds, phones := []string{"GARMIN", "FITBIT", "OURA", "POLAR", "WHOOP"}, []string{"APPLE", "SAMSUNG", "HEALTH_CONNECT"}
	people := make([]string, 90)
	for i := range people {
		people[i] = fmt.Sprintf("person-%06x", s.random.IntN(1<<24))
	}
	for i := range wearables {
		w := &watch{provider: clouds[s.random.IntN(len(clouds))], id: fmt.Sprintf("wearable-%06x", s.random.IntN(1<<24)), patient: i%2 == 0}
		if i%5 == 0 {
			w.provider = phones[s.random.IntN(len(phones))]
		}
		s.random.Shuffle(len(people), func(i, j int) { people[i], people[j] = people[j], people[i] })
		references := people[:2+s.random.IntN(4)]
		for j, reference := range references {
			w.plan = append(w.plan, step{edit: j > 0 && s.random.Float64() < .08, reference: reference})
			if s.random.Float64() < .15 {
				w.plan = append(w.plan, step{reference: reference})
			}
		}
		if s.random.Float64() < .3 && !(w.patient && w.phone() && s.habits.SilentPhones) { // there and back
			w.plan = append(w.plan, step{edit: s.random.Float64() < .15 && !w.patient, reference: references[s.random.IntN(len(references)-1)]})
		}
		if s.random.Float64() < .04 { // somebody whom the app did not name
			w.plan = slices.Insert(w.plan, 1+s.random.IntN(len(w.plan)-1), step{})
		}
		s.wearables = append(s.wearables, w)
	}
}

// setUp makes the program, Terra and the subscriber of the story, and whatever goes wrong between them. The program has the arguments beside the story's own.
func (s *story) setUp(arguments ...string) {
	t := s.t
	t.Helper()
	s.trouble = &trouble{random: rand.New(rand.NewPCG(s.seed, 1000+s.number))}
	s.subscriber = &subscriber{t: t, trouble: s.trouble, local: true, messages: map[string]event{}}
	app := httptest.NewServer(s.subscriber)
	t.Cleanup(app.Close)
	s.api = &terraAPI{trouble: s.trouble}
	api := httptest.NewServer(s.api)
	t.Cleanup(api.Close)
	s.program = newProgram(t, s.path, slices.Concat(arguments, []string{
		"-terra-api", api.URL + []string{"/v2", "/api/v2"}[s.habits.Dialect], "-terra-dev-id", devID, "-terra-api-key", apiKey,
		"-sweep-every", "500ms", "-subscriber", app.URL,
	}, s.arguments)...)
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	s.wire = &wire{trouble: s.trouble, base: transport}
	s.clock.began = time.Now()
	s.terra = simulator.New(simulator.Config{
		Secret: signingSecret, WebhookURL: s.program.url("/webhook"), DevID: devID, APIKey: apiKey, Seed: s.seed, Habits: s.habits,
		Now: s.clock.now, Senders: 8, Transport: s.wire,
	})
	s.api.api = s.terra.API()
}

func (s *story) play(t *testing.T) {
	s.t, s.random = t, rand.New(rand.NewPCG(s.seed, s.number))
	s.write()
	s.setUp("-data", t.TempDir(), "-signing-secret", "another-secret", "-signing-secret", signingSecret)

	began := time.Now()
	s.program.start()
	s.act()
	acted := time.Since(began)
	s.finish()
	settled := time.Since(began)

	o := s.observe()
	o.check()
	if !t.Failed() {
		s.replay(o)
	}
	s.checkPersonal()
	stats := s.terra.Stats()
	_, posts := s.subscriber.all()
	t.Logf("%s: %d webhooks, %d attempts, %d cuts, %d forgeries refused, %d kills; %d connections, %d of them ended before anybody could know their account, %d references passed too fast; "+
		"%d announcements and %d repeats, %d guesses corrected; %d posts to the subscriber; story %.1f s, settled %.1f s, all %.1f s",
		s.name, stats.Webhooks, stats.Attempts, s.trouble.cuts.Load(), stats.Forged-stats.ForgedAccepted, len(s.program.lives)-1, len(o.connections), o.unknowable, o.unseen,
		len(o.byID), len(o.events)-len(o.byID), o.corrected, posts, acted.Seconds(), settled.Seconds(), time.Since(began).Seconds())
}

// moods are what is wrong with Terra's API, one after another; the last one stays.
func moods() []simulator.Faults {
	return []simulator.Faults{
		{},
		{Slow: 40 * time.Millisecond, Fail: .3},
		{Limit: .7, RetryAfter: time.Second},
		{NullAccounts: true},
		{Fail: 1},
		{Slow: 150 * time.Millisecond, Limit: .2},
		{NullAccounts: true, Fail: .3, Garbage: .1},
		{Slow: 5 * time.Millisecond, Fail: .03},
	}
}

const (
	kills    = 5
	beat     = 10 * time.Millisecond  // between two steps of the story
	mood     = 350 * time.Millisecond // how long a mood lasts
	patience = 30 * time.Second       // until a patient watch must have been understood
)

// act lets everything happen.
func (s *story) act() {
	ctx, stop := context.WithCancel(s.t.Context())
	var sending sync.WaitGroup
	sending.Go(func() { _ = s.terra.Run(ctx) })
	defer sending.Wait()
	defer stop()
	s.trouble.on.Store(true)
	defer s.trouble.on.Store(false)

	var killAt []time.Duration
	for i := range kills {
		killAt = append(killAt, time.Duration(i)*550*time.Millisecond+300*time.Millisecond+time.Duration(s.random.Int64N(int64(300*time.Millisecond))))
	}
	began, progress := time.Now(), time.Now()
	var known map[string]connection // as Handover told it last
	var toldAt time.Time
	for {
		time.Sleep(beat)
		now := time.Since(began)
		faults := moods()[min(int(now/mood), len(moods())-1)]
		faults.Duplicate, faults.Lose, faults.Forge, faults.Delay, faults.Disorder = .2, .08, .12, 150*time.Millisecond, 10
		s.terra.SetFaults(faults)
		if len(killAt) > 0 && now > killAt[0] {
			killAt = killAt[1:]
			s.program.kill()
			s.program.start()
		}
		left := slices.DeleteFunc(slices.Clone(s.wearables), func(w *watch) bool { return len(w.plan) == 0 })
		if len(left) == 0 && len(killAt) == 0 {
			return
		}
		if time.Since(toldAt) > 100*time.Millisecond {
			asked := time.Now()
			if list, err := s.connections(""); err == nil {
				known, toldAt = list, asked
			}
		}
		ready := slices.DeleteFunc(slices.Clone(left), func(w *watch) bool {
			return w.patient && (toldAt.Before(w.touched) || !s.understood(w, known))
		})
		if len(ready) > 0 {
			w := ready[s.random.IntN(len(ready))]
			s.step(w)
			w.touched, progress = time.Now(), time.Now()
			continue
		}
		if len(left) > 0 && time.Since(progress) > patience {
			for _, w := range left {
				s.t.Errorf("seed %d: %s %s waits to be understood as of %q: %+v; it was told %s\nand asked and answered %+v", s.seed, w.provider, w.id, w.reference, known[w.userID], s.wire.about(w.userID), s.api.of(w.userID))
			}
			s.t.FailNow()
		}
	}
}

// understood reports whether Handover knows and has settled the last thing that happened to w.
func (s *story) understood(w *watch, listed map[string]connection) bool {
	if w.userID == "" {
		return true
	}
	c, found := listed[w.userID]
	settled := found && c.State == "settled"
	known := len(c.Accounts) > 0 && c.ReferenceID == w.reference && c.ConnectedAt != nil
	return settled && (w.reference == "" || known) || w.phone() && s.closed(w.userID)
}

// closed reports whether a connection has ended at Terra.
func (s *story) closed(userID string) bool {
	for _, a := range s.terra.Truth() {
		for _, h := range a.Holdings {
			if h.UserID == userID {
				return h.Closed
			}
		}
	}
	return false
}

// step lets the next thing happen to w, and sometimes one thing more.
func (s *story) step(w *watch) {
	s.clock.steps.Add(1)
	next := w.plan[0]
	w.plan = w.plan[1:]
	if w.patient && w.userID != "" && s.random.Float64() < .12 {
		s.end(w)
	}
	before := w.userID
	if !next.edit || w.reference == "" || s.terra.Edit(w.userID, next.reference) != nil {
		w.userID = s.terra.Connect(w.provider, w.id, next.reference)
	}
	w.reference = next.reference
	if w.userID == before {
		_ = s.terra.Data(w.userID) // nothing else tells of it
	}
	switch luck := s.random.Float64(); {
	case luck < .25:
		_ = s.terra.Data(w.userID)
	case luck < .35 && s.habits.AthleteAfterAuth:
		_ = s.terra.Athlete(w.userID)
	case luck < .43 && !w.patient:
		s.end(w)
	case luck < .48:
		s.terra.Failed(next.reference)
	}
}

// end ends w's last connection, if it has not ended.
func (s *story) end(w *watch) {
	_ = []func(string) error{s.terra.Disconnect, s.terra.Revoke, s.terra.Delete}[s.random.IntN(3)](w.userID)
}

// finish heals everything, waits until there is nothing left to do, and kills the program once more: what is left to know then comes from its data alone, and
// from one data event more of each connection that has had several references. (Before, an event could meet a memory of up to a minute's age.)
func (s *story) finish() {
	s.terra.SetFaults(simulator.Faults{})
	s.deliver()
	s.settle()
	s.program.kill()
	s.program.start()
	tenures := map[string]int{}
	for _, a := range s.terra.Truth() {
		for _, h := range a.Holdings {
			tenures[h.UserID] = h.Tenure
		}
	}
	for userID, n := range tenures {
		if n > 1 {
			_ = s.terra.Data(userID) // an open one's last reference can be known
		}
	}
	s.deliver()
	s.settle()
}

// deliver sends what is still to be sent.
func (s *story) deliver() {
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	if err := s.terra.Deliver(ctx); err != nil || s.terra.Pending() > 0 || s.terra.Stats().GivenUp > 0 {
		s.t.Fatalf("seed %d: %d webhooks are not acknowledged: %v, %+v", s.seed, s.terra.Pending(), err, s.terra.Stats())
	}
}

// settle waits until nothing that can be settled is unsettled, and until the subscriber has everything.
func (s *story) settle() {
	eventually(s.t, 30*time.Second, func() string {
		unsettled, err := s.connections("unsettled")
		if err != nil {
			return err.Error()
		}
		for userID, c := range unsettled {
			if !s.hopeless(c) {
				return fmt.Sprintf("seed %d: %d connections are unsettled, such as %s: %+v", s.seed, len(unsettled), userID, c)
			}
		}
		return ""
	})
	eventually(s.t, 30*time.Second, func() string {
		var events []event
		if err := s.program.get("/api/announcements", &events); err != nil {
			return err.Error()
		}
		for _, e := range events {
			if data, ok := s.subscriber.has(e.ID); !ok || data != string(e.Data) {
				return fmt.Sprintf("seed %d: the subscriber has not got %s %s; it has %q", s.seed, e.ID, e.Data, data)
			}
		}
		return ""
	})
}

// hopeless reports whether nobody will ever be able to settle c: Terra has deleted the connection, and has told Handover so before it had told the account. Or
// the connection that replaced it has no reference_id.
func (s *story) hopeless(c connection) bool {
	if c.Waiting == "" {
		return false // it says why it waits
	}
	if len(c.Accounts) == 0 && s.closed(c.UserID) && slices.ContainsFunc(s.api.of(c.UserID), func(a apiAnswer) bool { return a.status == http.StatusNotFound }) {
		return true
	}
	for _, a := range s.terra.Truth() {
		mine := slices.ContainsFunc(a.Holdings, func(h simulator.Holding) bool { return h.UserID == c.UserID })
		nameless := slices.ContainsFunc(a.Holdings, func(h simulator.Holding) bool { return h.Reference == "" })
		if mine && nameless && s.habits.Generation == simulator.ReplaceWithReauth {
			return true
		}
	}
	return false
}

// replay sends some of the webhooks once more, signed anew: nothing may come of it.
func (s *story) replay(before *observation) {
	bodies := map[string]bool{}
	for _, a := range s.wire.all() {
		if !a.forged() {
			bodies[string(a.body)] = true
		}
	}
	sorted := make([]string, 0, len(bodies))
	for body := range bodies {
		sorted = append(sorted, body)
	}
	slices.Sort(sorted)
	s.random.Shuffle(len(sorted), func(i, j int) { sorted[i], sorted[j] = sorted[j], sorted[i] })
	for _, body := range sorted[:min(100, len(sorted))] {
		request, err := http.NewRequest(http.MethodPost, s.program.url("/webhook"), strings.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Terra-Signature", terra.Sign(signingSecret, time.Now(), []byte(body)))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			s.t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			s.t.Errorf("seed %d: a webhook that was accepted before is answered %s: %s", s.seed, response.Status, body)
		}
	}
	s.settle()
	after := s.observe()
	for id, e := range after.byID {
		if _, known := before.byID[id]; !known {
			s.t.Errorf("seed %d: a replay made a new announcement: %s", s.seed, e.Data)
		}
	}
	for account, owner := range after.owners {
		if owner != before.owners[account] {
			s.t.Errorf("seed %d: a replay changed an owner: %+v, was %+v", s.seed, owner, before.owners[account])
		}
	}
}

// checkBackend checks that a subscriber of SNS got every announcement that the program lists. It may have got more: where the program was killed
// after it had published to SNS, and before it could list the announcement, the account may have passed on meanwhile. But those are true as well.
func (s *story) checkBackend(backend *subscriber) {
	o := s.observe()
	for id, e := range o.byID {
		if data, ok := backend.has(id); !ok || data != string(e.Data) {
			s.t.Errorf("seed %d: SNS has not sent %s %s; it has sent %q", s.seed, id, e.Data, data)
		}
	}
	more := s.observe()
	more.byID, more.changes = map[string]event{}, map[string]change{}
	received, messages := backend.all()
	for id, e := range received {
		if _, listed := o.byID[id]; !listed {
			var c change
			if err := json.Unmarshal(e.Data, &c); err != nil {
				s.t.Fatal(err)
			}
			more.byID[id], more.changes[id] = e, c
		}
	}
	more.checkAnnouncements()
	s.t.Logf("SNS sent %d announcements in %d messages, %d of them not listed", len(received), messages, len(more.byID))
}

func (s *story) connections(state string) (map[string]connection, error) {
	var list []connection
	if err := s.program.get("/api/connections?state="+state, &list); err != nil {
		return nil, err
	}
	byUser := map[string]connection{}
	for _, c := range list {
		byUser[c.UserID] = c
	}
	return byUser, nil
}
