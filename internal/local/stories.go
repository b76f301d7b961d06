package local

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/handover-dev/handover/internal/explain"
	"github.com/handover-dev/handover/internal/local/console"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/terra"
)

// stories are what the page plays. Everybody in them is invented, and each play has a wearable of its own. What they say of Handover and of the backend is
// read from the program that runs, and so is the outcome; only what is expected is written here.
func (p *program) stories() []console.Story {
	const passed = "alice → bob (connected_by_other, the order is sure)"
	list := []console.Story{
		{
			Name: "same-watch", Title: "The same watch on two users",
			Lead:   "Bob signs up and connects the watch that alice has connected. Terra keeps both connections alive and tells nobody: alice's account goes on receiving bob's data.",
			Expect: console.Outcome{Answers: "200, 200, 200", Owner: "bob", Heard: passed + "; alice's old connection has ended", Left: "nothing"},
		},
		{
			Name: "family-tablet", Title: "A family tablet",
			Lead:   "Mum hands the tablet to her daughter, who logs in. A phone's or tablet's health data keeps its connection: Terra sends no auth. The next data carries another reference_id.",
			Expect: console.Outcome{Answers: "200, 200", Owner: "daughter", Heard: "mum → daughter (reassigned, the order is sure)", Left: "nothing"},
		},
		{
			Name: "sold-device", Title: "A sold device",
			Lead:   "Alice disconnects her ring and sells it. Weeks later bob connects it.",
			Expect: console.Outcome{Answers: "200, 200, 200", Owner: "bob", Heard: passed + "; alice's old connection has ended", Left: "nothing"},
		},
		{
			Name: "reconnection", Title: "A reconnection",
			Lead:   "Alice connects her own watch again. Terra makes a new connection and ends the old one. Nobody else is concerned, so nobody may be told.",
			Expect: console.Outcome{Answers: "200, 200, 200", Owner: "alice", Heard: "nothing", Left: "nothing"},
		},
		{
			Name: "wrong-order", Title: "The wrong order",
			Lead:   "Alice connects a watch, then bob does. Bob's webhook arrives first: Terra promises no order.",
			Expect: console.Outcome{Answers: "200, 200", Owner: "bob", Heard: passed, Left: "nothing"},
		},
		{
			Name: "duplicate", Title: "A duplicate",
			Lead:   "Bob connects alice's watch, and Terra delivers his webhook three times.",
			Expect: console.Outcome{Answers: "200, 200, 200, 200", Owner: "bob", Heard: passed, Left: "nothing"},
		},
		{
			Name: "late-identification", Title: "A late identification",
			Lead:   "Bob connects alice's watch, but Terra cannot say yet which account that is. Its profile comes later.",
			Expect: console.Outcome{Answers: "200, 200, 200", Owner: "bob", Heard: passed, Left: "nothing"},
		},
		{
			Name: "forged", Title: "A forged webhook",
			Lead:   "Mallory wants alice's account, and sends what Terra would send if it were mallory's: altered, wrongly signed, signed by a scheme of no worth, not signed, and long after its time.",
			Expect: console.Outcome{Answers: "200, 401, 401, 401, 401, 401", Owner: "alice", Heard: "nothing", Left: "nothing"},
		},
		{
			Name: "crash", Title: "A crash in the middle",
			Lead:   "Bob connects alice's watch. The function ends the moment after it has stored that, before it has looked who held the watch: no answer, no announcement. (Only this one call is cut off here, not the program.)",
			Expect: console.Outcome{Answers: "200, none, 200", Owner: "bob", Heard: passed, Left: "nothing"},
		},
		{
			Name: "api-down", Title: "Terra's API is down",
			Lead:   "Bob connects alice's watch while Terra's API answers every question with 500. Terra's webhooks say whose connection it is, but not which watch.",
			Expect: console.Outcome{Answers: "200, 200", Owner: "bob", Heard: passed, Left: "nothing"},
		},
	}
	tell := map[string]func(*stage) error{
		"same-watch": (*stage).sameWatch, "family-tablet": (*stage).familyTablet, "sold-device": (*stage).soldDevice, "reconnection": (*stage).reconnection,
		"wrong-order": (*stage).wrongOrder, "duplicate": (*stage).duplicate, "late-identification": (*stage).lateIdentification, "forged": (*stage).forged,
		"crash": (*stage).crash, "api-down": (*stage).apiDown,
	}
	for i := range list {
		story := &list[i]
		if p.terra == nil && story.Name != "forged" {
			story.Needs = "needs the simulated Terra: start without -no-simulator and without -terra-api."
			continue
		}
		story.Play = func(ctx context.Context, play *console.Play) (console.Outcome, error) {
			s := &stage{ctx: ctx, program: p, play: play, wearable: "story-" + rand.Text()}
			if err := tell[story.Name](s); err != nil {
				return console.Outcome{}, err
			}
			return s.outcome()
		}
	}
	return list
}

// stage is where one story is played. Its methods add the steps that are seen.
type stage struct {
	ctx      context.Context
	program  *program
	play     *console.Play
	wearable string   // the account's id at the provider
	cast     []string // the user_ids of the story's connections
	answers  []string // to Terra
}

func (s *stage) sameWatch() error {
	alice, err := s.connect("alice connects her Garmin watch", "GARMIN", "alice")
	if err != nil {
		return err
	}
	if _, err := s.connect("bob connects the same watch", "GARMIN", "bob"); err != nil {
		return err
	}
	s.play.Step(console.Step{Who: console.Backend, Text: "ends alice's connection at Terra, as a subscriber should"})
	return s.deliver("alice's connection has ended", s.cause(func() error { return s.program.terra.Disconnect(alice) })...)
}

func (s *stage) familyTablet() error {
	tablet, err := s.connect("mum connects the tablet", "SAMSUNG", "mum")
	if err != nil {
		return err
	}
	return s.deliver("the tablet's next activity, under the daughter's reference_id", s.cause(func() error {
		if err := s.program.terra.Edit(tablet, "daughter"); err != nil {
			return err
		}
		return s.program.terra.Data(tablet)
	})...)
}

func (s *stage) soldDevice() error {
	alice, err := s.connect("alice connects her Oura ring", "OURA", "alice")
	if err != nil {
		return err
	}
	if err := s.deliver("alice disconnects it, and sells it", s.cause(func() error { return s.program.terra.Disconnect(alice) })...); err != nil {
		return err
	}
	_, err = s.connect("bob connects the ring", "OURA", "bob")
	return err
}

func (s *stage) reconnection() error {
	if _, err := s.connect("alice connects her Garmin watch", "GARMIN", "alice"); err != nil {
		return err
	}
	_, err := s.connect("alice connects it again: a new connection, and the old one is replaced", "GARMIN", "alice")
	return err
}

func (s *stage) wrongOrder() error {
	alice := s.cause(s.connecting("GARMIN", "alice"))
	bob := s.cause(s.connecting("GARMIN", "bob"))
	if err := s.deliver("bob has connected a Garmin watch (it was alice's, but nobody here knows yet)", bob...); err != nil {
		return err
	}
	return s.deliver("only now: alice had connected the same watch, before bob", alice...)
}

func (s *stage) duplicate() error {
	if _, err := s.connect("alice connects her Garmin watch", "GARMIN", "alice"); err != nil {
		return err
	}
	bob := s.cause(s.connecting("GARMIN", "bob"))
	for _, time := range []string{"bob connects the same watch", "the same webhook again", "and once more"} {
		if err := s.deliver(time, bob...); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) lateIdentification() error {
	if _, err := s.connect("alice connects her Garmin watch", "GARMIN", "alice"); err != nil {
		return err
	}
	restore := s.trouble(simulator.Faults{NullAccounts: true})
	bob, err := s.connect("bob connects the same watch; asked which account that is, Terra says null", "GARMIN", "bob")
	restore()
	if err != nil {
		return err
	}
	return s.deliver("bob's profile is there: it names the account", s.cause(func() error { return s.program.terra.Athlete(bob) })...)
}

func (s *stage) forged() error {
	profile := func(reference string) []byte {
		user := simulator.User{UserID: uuid(), Provider: "GARMIN", ReferenceID: reference, CreatedAt: time.Now()}
		s.cast = append(s.cast, user.UserID)
		return simulator.Newer.Athlete(user, s.wearable)
	}
	alice := profile("alice")
	if err := s.deliver("a genuine profile: alice has this Garmin watch", alice); err != nil {
		return err
	}
	forged := profile("mallory")
	secret, now := s.program.config.SigningSecrets[0], time.Now()
	for _, f := range []struct{ text, signature string }{
		{"mallory's webhook under the signature of alice's", terra.Sign(secret, now, alice)},
		{"signed with a secret that is not Terra's", terra.Sign("not "+secret, now, forged)},
		{"well signed, but under v0 where v1 should stand", strings.Replace(terra.Sign(secret, now, forged), "v1=", "v0=", 1)},
		{"not signed at all", ""},
		{"well signed, three days ago", terra.Sign(secret, now.Add(-72*time.Hour), forged)},
	} {
		header := http.Header{"Content-Type": {"application/json"}}
		if f.signature != "" {
			header.Set("X-Terra-Signature", f.signature)
		}
		if err := s.post("Mallory", f.text, forged, header); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) crash() error {
	if _, err := s.connect("alice connects her Garmin watch", "GARMIN", "alice"); err != nil {
		return err
	}
	auth := s.cause(s.connecting("GARMIN", "bob"))
	bob := s.cast[len(s.cast)-1]
	s.program.fragile.breaksAt(bob)
	defer s.program.fragile.breaksAt("")
	if err := s.deliver("bob connects the same watch", auth...); err != nil {
		return err
	}
	row, found, err := s.program.ledger.Connection(s.ctx, bob)
	if err != nil {
		return err
	}
	if found && row.ToDo {
		s.play.Step(console.Step{Who: console.Handover, Text: "has bob's connection in its ledger, with a work mark"})
	}
	if err := s.sweep(bob); err != nil {
		return err
	}
	return s.deliver("it got no answer, so it sends bob's webhook again", auth...)
}

func (s *stage) apiDown() error {
	if _, err := s.connect("alice connects her Garmin watch", "GARMIN", "alice"); err != nil {
		return err
	}
	restore := s.trouble(simulator.Faults{Fail: 1})
	bob, err := s.connect("bob connects the same watch; Terra's API answers 500", "GARMIN", "bob")
	restore()
	if err != nil {
		return err
	}
	s.play.Step(console.Step{Who: console.Terra, Text: "its API answers again"})
	return s.sweep(bob)
}

// connect lets somebody connect the story's wearable, and delivers what Terra then sends. It returns the user_id.
func (s *stage) connect(text, provider, reference string) (userID string, err error) {
	err = s.deliver(text, s.cause(s.connecting(provider, reference))...)
	return s.cast[len(s.cast)-1], err
}

func (s *stage) connecting(provider, reference string) func() error {
	return func() error {
		s.cast = append(s.cast, s.program.terra.Connect(provider, s.wearable, reference))
		return nil
	}
}

// cause lets something happen at Terra, and returns the webhooks about it, unsent. What the stories let happen never fails: their connections are open.
func (s *stage) cause(action func() error) [][]byte {
	return s.program.terra.Apart(func() { _ = action() })
}

// trouble has Terra's API fail until restore is called.
func (s *stage) trouble(f simulator.Faults) (restore func()) {
	before := s.program.terra.Faults()
	s.program.terra.SetFaults(f)
	return func() { s.program.terra.SetFaults(before) }
}

// deliver sends webhooks of Terra's, one after the other. The text is shown with the first.
func (s *stage) deliver(text string, bodies ...[]byte) error {
	for i, body := range bodies {
		if i > 0 {
			text = "and another webhook about that"
		}
		if err := s.post(console.Terra, text, body, s.program.console.Sign(body)); err != nil {
			return err
		}
	}
	return nil
}

// post sends a webhook, and shows what Handover did and what the backend heard.
func (s *stage) post(who, text string, body []byte, header http.Header) error {
	heard := len(s.heard())
	hook, err := s.program.console.Send(s.ctx, body, header)
	if err != nil {
		return err
	}
	answer := "none"
	if hook.Status != 0 {
		answer = fmt.Sprint(hook.Status)
	}
	s.answers = append(s.answers, answer)
	s.play.Step(console.Step{Who: who, Text: text, Kind: hook.Type(), Webhook: hook.Number})
	s.play.Step(console.Step{Who: console.Handover, Text: hook.Did()})
	s.hear(heard)
	return nil
}

// hear shows the announcements after the first n of the story's.
func (s *stage) hear(n int) {
	for _, h := range s.heard()[n:] {
		s.play.Step(console.Step{Who: console.Backend, Text: "hears: " + h.String(), Heard: h.ID})
	}
}

// sweepPatience is how long a story waits for the sweep.
const sweepPatience = 20 * time.Second

// sweep waits until the sweep has settled a connection, which it tries from its NextAttempt on.
func (s *stage) sweep(userID string) error {
	heard := len(s.heard())
	ctx, cancel := context.WithTimeout(s.ctx, sweepPatience)
	defer cancel()
	told := false
	for {
		row, found, err := s.program.ledger.Connection(ctx, userID)
		if err != nil || !found || !row.ToDo {
			if told && err == nil {
				s.play.Step(console.Step{Who: console.Handover, Text: "the sweep finishes what was left"})
				s.hear(heard)
			}
			return err
		}
		if !told {
			told = true
			s.play.Step(console.Step{Who: console.Handover, Text: fmt.Sprintf("lets the sweep take it up, in %.1f s", time.Until(row.NextAttempt).Seconds())})
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the sweep did not come within %s: play with a shorter -sweep-every", sweepPatience)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// heard lists the announcements of the story's connections, oldest first: others may be published meanwhile.
func (s *stage) heard() (ours []console.Heard) {
	for _, h := range s.play.Heard() {
		for _, userID := range s.cast {
			if h.Previous.UserID == userID || h.Connection.UserID == userID {
				ours = append(ours, h)
			}
		}
	}
	return ours
}

// outcome reads from the ledger, and from what was published, how the story has ended.
func (s *stage) outcome() (o console.Outcome, err error) {
	o = console.Outcome{Answers: strings.Join(s.answers, ", "), Owner: "nobody", Heard: "nothing", Left: "nothing"}
	var heard, left []string
	ids := map[string]bool{}
	for _, h := range s.heard() {
		if !ids[h.ID] { // as a subscriber must: an announcement may be repeated, with the same id
			heard = append(heard, h.String())
		}
		ids[h.ID] = true
	}
	owners := map[string]bool{}
	for _, userID := range s.cast {
		row, found, err := s.program.ledger.Connection(s.ctx, userID)
		if err != nil {
			return o, err
		}
		if found && row.ToDo {
			left = append(left, fmt.Sprintf("%s's connection (%s)", row.Reference(), row.Waiting))
		}
		for _, key := range row.Accounts {
			account, _, err := s.program.ledger.Account(s.ctx, key)
			if err != nil {
				return o, err
			}
			if owner, ok := account.Owner(); ok && !owners[owner.ReferenceID] {
				owners[owner.ReferenceID] = true
				s.play.Because(explain.Of(account, nil).Why)
				o.Owner = strings.TrimPrefix(o.Owner+", "+owner.ReferenceID, "nobody, ")
			}
		}
	}
	if len(heard) > 0 {
		o.Heard = strings.Join(heard, "; ")
	}
	if len(left) > 0 {
		o.Left = strings.Join(left, "; ")
	}
	return o, nil
}

// uuid makes an id as Terra's are (RFC 9562, version 4).
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// fragile is the ledger with a breaking point: a story lets the function end there, as a crash would.
type fragile struct {
	Ledger
	at atomic.Pointer[string] // the user_id whose first claim the function does not outlive
}

func (f *fragile) breaksAt(userID string) { f.at.Store(&userID) }

// Claim breaks off a webhook's function without an answer, once. The sweep is never broken off.
func (f *fragile) Claim(ctx context.Context, account string, claim ownership.Claim) (ownership.Account, error) {
	if at := f.at.Load(); at != nil && *at == claim.UserID && console.Captured(ctx) && f.at.CompareAndSwap(at, nil) {
		panic(http.ErrAbortHandler)
	}
	return f.Ledger.Claim(ctx, account, claim)
}
