package revoke_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/revoke"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
)

const watch = "GARMIN/k7c1.1f2e3d4c5b6a79880f1e2d3c4b5a6978"

// day is noon of a day.
func day(n int) time.Time { return time.Date(2026, 11, n, 12, 0, 0, 0, time.UTC) }

// bench is a Revoker over a ledger that a true Keeper fills, with everything around it within reach.
type bench struct {
	*revoke.Revoker
	t      *testing.T
	ledger *ledgertest.Memory
	keeper *ownership.Keeper
	terra  *fakeTerra
	topic  *topic
	log    bytes.Buffer
}

func newBench(t *testing.T) *bench {
	now := func() time.Time { return day(20) }
	b := &bench{t: t, ledger: ledgertest.NewMemory(), topic: &topic{}, terra: &fakeTerra{known: map[string]string{}}}
	b.keeper = &ownership.Keeper{Ledger: b.ledger, Announcer: b.topic, Directory: b.terra, Now: now, Backoff: ownership.Backoff{Base: time.Minute, Max: time.Hour, Unnamed: time.Hour}}
	b.Revoker = &revoke.Revoker{
		Policy: revoke.NewestWins, Ledger: b.ledger, Directory: b.terra, Terra: b.terra,
		End: b.keeper.End,
		Log: telemetry.NewLogger(&b.log, "handover"), Now: now,
	}
	return b
}

// connect lets reference connect the watch on a day, under the user_id "<reference>-<day>", which connect returns.
func (b *bench) connect(reference string, on int, more ...ownership.Facts) string {
	b.t.Helper()
	f := ownership.Facts{Provider: "GARMIN", ConnectedAt: day(on), Certainty: ownership.Signed, Accounts: []string{watch}}
	if len(more) > 0 {
		f = more[0]
	}
	f.UserID, f.Reference = fmt.Sprintf("%s-%d", reference, on), reference
	b.terra.known[f.UserID] = reference
	b.settle(f)
	return f.UserID
}

// settle records facts and does what they make due.
func (b *bench) settle(facts ...ownership.Facts) {
	b.t.Helper()
	for _, f := range facts {
		row, _, err := b.keeper.Record(b.t.Context(), f)
		if err != nil {
			b.t.Fatal(err)
		}
		if _, err := b.keeper.Settle(b.t.Context(), row); err != nil {
			b.t.Fatal(err)
		}
	}
}

// transfer returns the announcement that previous was superseded by current.
func (b *bench) transfer(previous, current string) ownership.Announcement {
	b.t.Helper()
	for _, a := range b.topic.said {
		if a.Type == ownership.Transferred && a.Previous.UserID == previous && a.Current.UserID == current {
			return a
		}
	}
	b.t.Fatalf("%s → %s was not announced, but %+v", previous, current, b.topic.said)
	return ownership.Announcement{}
}

// handle hands the bodies to the Revoker as one batch, and returns the ids of those that failed: "0" is the first.
func (b *bench) handle(bodies ...string) (failed []string) {
	b.t.Helper()
	var batch events.SQSEvent
	for i, body := range bodies {
		batch.Records = append(batch.Records, events.SQSMessage{MessageId: fmt.Sprint(i), Body: body})
	}
	return b.handleBatch(batch)
}

func (b *bench) handleBatch(batch events.SQSEvent) (failed []string) {
	b.t.Helper()
	response, err := b.Handle(b.t.Context(), batch)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range response.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	return failed
}

// lines returns the log lines since the last call.
func (b *bench) lines() (lines []map[string]any) {
	b.t.Helper()
	for line := range strings.Lines(b.log.String()) {
		var attrs map[string]any
		if err := json.Unmarshal([]byte(line), &attrs); err != nil {
			b.t.Fatal(err)
		}
		lines = append(lines, attrs)
	}
	b.log.Reset()
	return lines
}

func (b *bench) outcomes() (outcomes []string) {
	b.t.Helper()
	for _, line := range b.lines() {
		outcomes = append(outcomes, line["outcome"].(string))
	}
	return outcomes
}

// said says whether the revocation of a connection was announced.
func (b *bench) revocationSaid(userID string) bool {
	return slices.ContainsFunc(b.topic.said, func(a ownership.Announcement) bool {
		return a.Type == ownership.Revoked && a.Connection.UserID == userID
	})
}

// message is a as the publisher sends it.
func message(t *testing.T, a ownership.Announcement) string {
	t.Helper()
	event, err := announce.New(a, "handover", day(19))
	if err != nil {
		t.Fatal(err)
	}
	body, err := event.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// topic keeps what is announced.
type topic struct{ said []ownership.Announcement }

func (s *topic) Publish(_ context.Context, a ownership.Announcement) error {
	s.said = append(s.said, a)
	return nil
}

// fakeTerra knows connections. Two switches let it fail: fail before anything is done, lose afterwards.
type fakeTerra struct {
	known      map[string]string // reference_ids by user_id
	asked      []string          // user_ids that were to be ended
	fail, lose error
}

func (f *fakeTerra) Deauthenticate(ctx context.Context, userID string) error {
	f.asked = append(f.asked, userID)
	if f.fail != nil {
		return f.fail
	}
	if _, known := f.known[userID]; !known {
		return fmt.Errorf("DELETE /auth/deauthenticateUser: %w", ownership.ErrGone)
	}
	delete(f.known, userID)
	return f.lose
}

func (f *fakeTerra) UserInfo(_ context.Context, userID string) (ownership.Profile, error) {
	reference, known := f.known[userID]
	switch {
	case f.fail != nil:
		return ownership.Profile{}, f.fail
	case !known:
		return ownership.Profile{}, fmt.Errorf("GET /userInfo: %w", ownership.ErrGone)
	}
	return ownership.Profile{ReferenceID: reference}, nil
}

func (f *fakeTerra) Athlete(ctx context.Context, userID string) (ownership.Profile, error) {
	return f.UserInfo(ctx, userID)
}

func TestWhoseConnectionIsEnded(t *testing.T) {
	// Each story tells which announcement arrives, and may change what has become of it by then.
	annaThenBen := func(b *bench) ownership.Announcement {
		return b.transfer(b.connect("anna", 1), b.connect("ben", 2))
	}
	closed := func(userID string) ownership.Facts { return ownership.Facts{UserID: userID, ClosedAt: day(15)} }
	replaced := func(on int, replaces string) ownership.Facts {
		return ownership.Facts{Provider: "GARMIN", ConnectedAt: day(on), Certainty: ownership.Signed, Accounts: []string{watch}, Replaces: []string{replaces}}
	}
	for _, test := range []struct {
		name   string
		story  func(*bench) ownership.Announcement
		newest string // the outcome under newest-wins, and the connection that is ended
		first  string // the same under first-wins
	}{
		{
			name: "another has connected the watch", story: annaThenBen,
			newest: "revoked anna-1", first: "revoked ben-2",
		},
		{
			name: "which came first is a guess",
			story: func(b *bench) ownership.Announcement {
				return b.transfer(b.connect("anna", 1), b.connect("ben", 2, ownership.Facts{Provider: "GARMIN", ConnectedAt: day(2), Certainty: ownership.Observed, Accounts: []string{watch}}))
			},
			newest: "observed", first: "observed",
		},
		{
			name: "one connection, another reference",
			story: func(b *bench) ownership.Announcement {
				user := b.connect("anna", 1)
				b.terra.known[user] = "ben"
				b.settle(ownership.Facts{UserID: user, Reference: "ben"})
				return b.transfer(user, user)
			},
			newest: "reassigned", first: "reassigned",
		},
		{
			name: "one connection, whatever the reason is called",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				a.Previous.UserID = a.Current.UserID
				return a
			},
			newest: "reassigned", first: "reassigned",
		},
		{
			name: "reassigned, though it names two connections",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				a.Reason = ownership.Reassigned
				return a
			},
			newest: "reassigned", first: "reassigned",
		},
		{
			name: "a revocation",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				return ownership.Announcement{Type: ownership.Revoked, Account: a.Account, Connection: a.Previous}
			},
			newest: "ignored", first: "ignored",
		},
		{
			name: "previous was forgotten",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				b.forget("anna-1")
				return a
			},
			newest: "unknown", first: "owner",
		},
		{
			name: "current was forgotten",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				b.forget("ben-2")
				return a
			},
			newest: "owner", first: "unknown",
		},
		{
			name: "previous owns another account",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				b.settle(ownership.Facts{UserID: "anna-1", Accounts: []string{"GARMIN/k7c1.another"}})
				return a
			},
			newest: "owner", first: "revoked ben-2",
		},
		{
			name: "previous was reassigned",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				b.terra.known["anna-1"] = "cara"
				b.settle(ownership.Facts{UserID: "anna-1", Reference: "cara"})
				return a
			},
			newest: "reassigned", first: "owner",
		},
		{
			name: "previous was reassigned, and Terra tells no reference by now",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				b.terra.known["anna-1"] = "cara"
				b.settle(ownership.Facts{UserID: "anna-1", Reference: "cara"})
				b.terra.known["anna-1"] = ""
				return a
			},
			newest: "reassigned", first: "owner",
		},
		{
			name: "previous was reassigned, which only Terra knows",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				b.terra.known["anna-1"] = "cara"
				return a
			},
			newest: "revoked anna-1", first: "owner",
		},
		{
			name: "current was reassigned",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				b.terra.known["ben-2"] = "cara"
				b.settle(ownership.Facts{UserID: "ben-2", Reference: "cara"})
				return a
			},
			newest: "revoked anna-1", first: "reassigned",
		},
		{
			name: "previous has ended",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				delete(b.terra.known, "anna-1")
				b.settle(closed("anna-1"))
				return a
			},
			newest: "gone anna-1", first: "owner",
		},
		{
			name: "previous has ended, which the row of its account does not say yet",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				if _, _, err := b.keeper.Record(b.t.Context(), closed("anna-1")); err != nil {
					b.t.Fatal(err)
				}
				return a
			},
			newest: "revoked anna-1", first: "owner",
		},
		{
			name: "previous was deleted without a word",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				delete(b.terra.known, "anna-1")
				return a
			},
			newest: "gone anna-1", first: "owner",
		},
		{
			name: "previous has ended, and cara, who came later, is there",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				delete(b.terra.known, "anna-1")
				b.settle(closed("anna-1"))
				b.connect("cara", 3)
				return a
			},
			newest: "gone anna-1", first: "owner",
		},
		{
			name: "current has ended",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				delete(b.terra.known, "ben-2")
				b.settle(closed("ben-2"))
				return a
			},
			newest: "revoked anna-1", first: "gone ben-2",
		},
		{
			name: "anna has taken it back: the old message",
			story: func(b *bench) ownership.Announcement {
				a := annaThenBen(b)
				b.connect("anna", 3)
				return a
			},
			newest: "revoked anna-1", first: "revoked ben-2",
		},
		{
			name: "anna has taken it back: the new message",
			story: func(b *bench) ownership.Announcement {
				annaThenBen(b)
				return b.transfer("ben-2", b.connect("anna", 3))
			},
			newest: "revoked ben-2", first: "revoked anna-3",
		},
		{
			name: "anna has taken it back, and ben has ended: her old connection does not cost her the new one",
			story: func(b *bench) ownership.Announcement {
				annaThenBen(b)
				delete(b.terra.known, "ben-2")
				b.settle(closed("ben-2"))
				return b.transfer("ben-2", b.connect("anna", 3))
			},
			newest: "gone ben-2", first: "owner",
		},
		{
			name: "anna only consented anew: she was there before ben",
			story: func(b *bench) ownership.Announcement {
				annaThenBen(b)
				return b.transfer("ben-2", b.connect("anna", 3, replaced(3, "anna-1")))
			},
			newest: "revoked ben-2", first: "owner",
		},
		{
			name: "anna consented anew twice",
			story: func(b *bench) ownership.Announcement {
				b.connect("anna", 1)
				b.connect("anna", 2, replaced(2, "anna-1"))
				return b.transfer(b.connect("ben", 3), b.connect("anna", 4, replaced(4, "anna-2")))
			},
			newest: "revoked ben-3", first: "owner",
		},
		{
			name: "anna consented anew, but came after ben",
			story: func(b *bench) ownership.Announcement {
				a := b.transfer(b.connect("ben", 1), b.connect("anna", 3, replaced(3, "anna-2")))
				b.connect("anna", 2)
				return a
			},
			newest: "revoked ben-1", first: "revoked anna-3",
		},
		{
			name: "anna consented anew, and when she came is a guess",
			story: func(b *bench) ownership.Announcement {
				a := b.transfer(b.connect("ben", 1), b.connect("anna", 3, replaced(3, "anna-2")))
				b.connect("anna", 2, ownership.Facts{Provider: "GARMIN", ConnectedAt: day(2), Certainty: ownership.Observed, Accounts: []string{watch}})
				return a
			},
			newest: "revoked ben-1", first: "owner",
		},
		{
			name: "cara comes after ben was cut off for anna's sake",
			story: func(b *bench) ownership.Announcement {
				annaThenBen(b)
				delete(b.terra.known, "ben-2")
				b.settle(closed("ben-2"))
				return b.transfer("ben-2", b.connect("cara", 3))
			},
			newest: "gone ben-2", first: "revoked cara-3",
		},
		{
			name: "cara comes after anna, of whom only a guess is known, and ben, who has ended",
			story: func(b *bench) ownership.Announcement {
				b.connect("anna", 1, ownership.Facts{Provider: "GARMIN", ConnectedAt: day(1), Certainty: ownership.Observed, Accounts: []string{watch}})
				a := b.transfer(b.connect("ben", 2), b.connect("cara", 3))
				delete(b.terra.known, "ben-2")
				return a
			},
			newest: "gone ben-2", first: "owner",
		},
		{
			name: "anna's connection replaced somebody else's",
			story: func(b *bench) ownership.Announcement {
				b.connect("cara", 1)
				b.connect("ben", 2)
				return b.transfer("ben-2", b.connect("anna", 3, replaced(3, "cara-1")))
			},
			newest: "revoked ben-2", first: "revoked anna-3",
		},
		{
			name: "anna's connections replaced each other",
			story: func(b *bench) ownership.Announcement {
				a := b.transfer(b.connect("ben", 1), b.connect("anna", 3, replaced(3, "anna-2")))
				b.connect("anna", 2, replaced(2, "anna-3"))
				return a
			},
			newest: "revoked ben-1", first: "revoked anna-3",
		},
		{
			name: "anna's phone replaced her other phone",
			story: func(b *bench) ownership.Announcement {
				phone := ownership.Facts{Provider: "APPLE", ConnectedAt: day(1), Certainty: ownership.Signed, Accounts: []string{"APPLE/k7c1.one"}}
				b.connect("anna", 1, phone)
				phone.ConnectedAt, phone.Accounts = day(2), []string{"APPLE/k7c1.two"}
				b.connect("ben", 2, phone)
				phone.ConnectedAt, phone.Replaces = day(3), []string{"anna-1"}
				return b.transfer("ben-2", b.connect("anna", 3, phone))
			},
			newest: "revoked ben-2", first: "revoked anna-3",
		},
		{
			name: "a user_reauth from one to another: Terra has deleted the old connection",
			story: func(b *bench) ownership.Announcement {
				old, current := b.connect("anna", 1), b.connect("ben", 2, replaced(2, "anna-1"))
				delete(b.terra.known, old)
				b.settle(ownership.Facts{UserID: old, ClosedAt: day(2), ReplacedBy: []ownership.Successor{{UserID: current, Reference: "ben"}}})
				return b.transfer(old, current)
			},
			newest: "gone anna-1", first: "owner",
		},
		{
			name: "a user_reauth from one to another, of an account that is not known",
			story: func(b *bench) ownership.Announcement {
				old := b.connect("anna", 1, ownership.Facts{Provider: "GARMIN", ConnectedAt: day(1), Certainty: ownership.Signed})
				current := b.connect("ben", 2, ownership.Facts{Provider: "GARMIN", ConnectedAt: day(2), Certainty: ownership.Signed, Replaces: []string{old}})
				delete(b.terra.known, old)
				b.settle(ownership.Facts{UserID: old, ClosedAt: day(2), ReplacedBy: []ownership.Successor{{UserID: current, Reference: "ben"}}})
				return b.transfer(old, current)
			},
			newest: "gone anna-1", first: "owner",
		},
	} {
		for policy, want := range map[revoke.Policy]string{revoke.NewestWins: test.newest, revoke.FirstWins: test.first} {
			t.Run(test.name+", "+string(policy), func(t *testing.T) {
				b := newBench(t)
				b.Policy = policy
				a := test.story(b)
				if failed := b.handle(message(t, a)); failed != nil {
					t.Error("the message failed")
				}
				got := strings.Join(append(b.outcomes(), b.terra.asked...), " ")
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				if ended, ok := strings.CutPrefix(want, "gone "); ok {
					if row, _, err := b.ledger.Connection(t.Context(), ended); err != nil || !row.Closed() {
						t.Errorf("the end was not recorded: %v", err)
					}
				}
			})
		}
	}
}

// forget removes a connection as a data-protection request does.
func (b *bench) forget(userID string) {
	b.t.Helper()
	if err := errors.Join(b.ledger.EraseClaim(b.t.Context(), watch, userID, nil), b.ledger.Erase(b.t.Context(), userID)); err != nil {
		b.t.Fatal(err)
	}
}

// What Terra has only accepted is not recorded. What it does not know any more is, and the revocation is announced.
func TestOnlyARealEndIsRecorded(t *testing.T) {
	b := newBench(t)
	body := message(t, b.transfer(b.connect("anna", 1), b.connect("ben", 2)))
	closed := func() bool {
		row, _, err := b.ledger.Connection(t.Context(), "anna-1")
		if err != nil {
			t.Fatal(err)
		}
		return row.Closed()
	}
	if failed := b.handle(body); failed != nil || closed() || b.revocationSaid("anna-1") {
		t.Errorf("accepted: failed %v, closed %v, said %v", failed, closed(), b.revocationSaid("anna-1"))
	}
	if failed := b.handle(body); failed != nil || !closed() || !b.revocationSaid("anna-1") {
		t.Errorf("again: failed %v, closed %v, said %v", failed, closed(), b.revocationSaid("anna-1"))
	}
	if failed := b.handle(body); failed != nil || len(b.topic.said) != 2 {
		t.Errorf("once more: failed %v, said %+v", failed, b.topic.said)
	}
	if got, want := b.outcomes(), []string{"revoked", "gone", "gone"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDryRunEndsNothing(t *testing.T) {
	b := newBench(t)
	b.Terra = revoke.DryRun{}
	b.End = func(context.Context, string) error {
		t.Error("an end was recorded")
		return nil
	}
	body := message(t, b.transfer(b.connect("anna", 1), b.connect("ben", 2)))
	guess := b.transfer("anna-1", "ben-2")
	guess.Order = ownership.Observed
	if failed := b.handle(body, message(t, guess)); failed != nil {
		t.Errorf("failed: %v", failed)
	}
	if got, want := b.outcomes(), []string{"dry_run", "observed"}; !slices.Equal(got, want) || len(b.terra.asked) > 0 {
		t.Errorf("got %v, want %v; Terra was asked for %v", got, want, b.terra.asked)
	}
}

// Whatever goes wrong, the message comes again, and then the connection is ended.
func TestWhatFailsIsTriedAgain(t *testing.T) {
	limited, server := &ownership.Limited{RetryAfter: time.Minute}, &terra.StatusError{Call: "DELETE /auth/deauthenticateUser", Code: 503}
	broken := errors.New("broken at anna-1 of \"anna\"")
	for name, fail := range map[string]func(*bench) (mend func()){
		"429":      func(b *bench) func() { b.terra.fail = limited; return func() { b.terra.fail = nil } },
		"5xx":      func(b *bench) func() { b.terra.fail = server; return func() { b.terra.fail = nil } },
		"time-out": func(b *bench) func() { b.terra.fail = context.DeadlineExceeded; return func() { b.terra.fail = nil } },
		"a lost answer": func(b *bench) func() {
			b.terra.lose = broken
			return func() { b.terra.lose = nil }
		},
		"the first read":  func(b *bench) func() { return b.faultAt(1, broken) },
		"the second read": func(b *bench) func() { return b.faultAt(2, broken) },
		"the third read": func(b *bench) func() {
			if b.Policy == revoke.NewestWins { // needs two
				return b.faultAt(2, broken)
			}
			return b.faultAt(3, broken)
		},
		"recording the end": func(b *bench) func() {
			delete(b.terra.known, map[revoke.Policy]string{revoke.NewestWins: "anna-1", revoke.FirstWins: "ben-2"}[b.Policy])
			return b.faultAt(map[revoke.Policy]int{revoke.NewestWins: 3, revoke.FirstWins: 4}[b.Policy], broken)
		},
	} {
		for _, policy := range []revoke.Policy{revoke.NewestWins, revoke.FirstWins} {
			t.Run(name+", "+string(policy), func(t *testing.T) {
				b := newBench(t)
				b.Policy = policy
				body := message(t, b.transfer(b.connect("anna", 1), b.connect("ben", 2)))
				mend := fail(b)
				if failed := b.handle(body); !slices.Equal(failed, []string{"0"}) {
					t.Errorf("failed: %v", failed)
				}
				lines := b.lines()
				if len(lines) != 1 || lines[0]["outcome"] != "failed" || lines[0]["level"] != "ERROR" || lines[0]["error"] == nil {
					t.Errorf("logged %v", lines)
				}
				if text := fmt.Sprint(lines); strings.Contains(text, "anna") || strings.Contains(text, "ben-2") {
					t.Errorf("logged what is personal: %s", text)
				}
				mend()
				if failed := b.handle(body); failed != nil {
					t.Errorf("again: failed: %v", failed)
				}
				if got := b.outcomes()[0]; got != "revoked" && got != "gone" {
					t.Errorf("again: %s", got)
				}
				if ended := b.terra.asked[len(b.terra.asked)-1]; b.terra.known[ended] != "" {
					t.Errorf("%s is still connected", ended)
				}
			})
		}
	}
}

// faultAt lets the n-th call of the ledger fail, until it is mended.
func (b *bench) faultAt(n int, err error) (mend func()) {
	b.ledger.Fault = func(string) (before, after error) {
		if n--; n == 0 {
			return err, nil
		}
		return nil, nil
	}
	return func() { b.ledger.Fault = nil }
}

func TestMessagesOfABatchAreHandledInOrder(t *testing.T) {
	b := newBench(t)
	first := b.transfer(b.connect("anna", 1), b.connect("ben", 2))
	second := b.transfer("ben-2", b.connect("cara", 3))
	failed := b.handle(message(t, second), "garbage", message(t, first))
	if !slices.Equal(failed, []string{"1"}) {
		t.Errorf("failed: %v", failed)
	}
	if want := []string{"ben-2", "anna-1"}; !slices.Equal(b.terra.asked, want) {
		t.Errorf("ended %v, want %v", b.terra.asked, want)
	}
	if got, want := b.outcomes(), []string{"revoked", "failed", "revoked"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// In a FIFO queue the order inside a group must hold: what follows a failure waits for it.
func TestFailureHoldsUpItsGroup(t *testing.T) {
	b := newBench(t)
	good := message(t, b.transfer(b.connect("anna", 1), b.connect("ben", 2)))
	batch := events.SQSEvent{}
	for i, m := range [][2]string{{"a", good}, {"a", "garbage"}, {"b", good}, {"a", good}, {"b", good}, {"a", good}} {
		batch.Records = append(batch.Records, events.SQSMessage{MessageId: fmt.Sprint(i), Body: m[1], Attributes: map[string]string{"MessageGroupId": m[0]}})
	}
	if failed := b.handleBatch(batch); !slices.Equal(failed, []string{"1", "3", "5"}) {
		t.Errorf("failed: %v", failed)
	}
	if got, want := b.outcomes(), []string{"revoked", "failed", "gone", "gone"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A Terra that never answers does not cost the answer which messages have failed.
func TestLambdasTimeIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		good := message(t, b.transfer(b.connect("anna", 1), b.connect("ben", 2)))
		b.Terra = deaf{}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		response, err := b.Handle(ctx, events.SQSEvent{Records: []events.SQSMessage{{MessageId: "0", Body: good}, {MessageId: "1", Body: good}}})
		if took := time.Since(start); err != nil || len(response.BatchItemFailures) != 2 || took > time.Second {
			t.Errorf("got %+v, %v after %v", response, err, took)
		}
	})
}

// deaf is a Terra that never answers.
type deaf struct{}

func (deaf) Deauthenticate(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// The golden files are what the publisher sends: raw, and in the envelope that SNS puts around them without raw delivery.
func TestReadsWhatIsPublished(t *testing.T) {
	for file, want := range map[string]string{
		"account-transferred.golden.json":        "unknown",
		"account-transferred-reauth.golden.json": "unknown",
		"connection-revoked.golden.json":         "ignored",
	} {
		golden, err := os.ReadFile("../announce/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var event struct{ Type, ID string }
		if err := json.Unmarshal(golden, &event); err != nil {
			t.Fatal(err)
		}
		envelope, err := json.Marshal(map[string]any{
			"Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": "arn:aws:sns:eu-central-1:123456789012:transfers",
			"Message": string(golden), "Timestamp": "2026-11-22T12:00:00.250Z", "SignatureVersion": "2", "Signature": "…", "UnsubscribeURL": "https://…",
			"MessageAttributes": map[string]any{"type": map[string]string{"Type": "String", "Value": event.Type}},
		})
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(t)
		if failed := b.handle(string(golden), string(envelope)); failed != nil {
			t.Errorf("%s: failed: %v", file, failed)
		}
		for i, line := range b.lines() {
			if line["outcome"] != want || line["type"] != event.Type || line["id"] != event.ID {
				t.Errorf("%s: message %d: logged %v, want %s", file, i, line, want)
			}
		}
	}
}

func TestGarbageFails(t *testing.T) {
	for _, body := range []string{
		"", "anna", "null", "[]", "{}", `{"type":"handover.account.transferred.v1","id":"anna","data":{"previous":{"user_id":"anna"}}}`,
		`{"Type":"Notification","Message":"anna"}`, `{"Type":"SubscriptionConfirmation","Message":"anna"}`, `{"Type":"Notification"}`,
	} {
		b := newBench(t)
		if failed := b.handle(body); len(failed) != 1 {
			t.Errorf("%s: failed: %v", body, failed)
		}
		if text := b.log.String(); strings.Contains(text, "anna") || !strings.Contains(text, announce.ErrNotEvent.Error()) {
			t.Errorf("%s: logged %s", body, text)
		}
	}
}

func TestOneLineForEachMessage(t *testing.T) {
	b := newBench(t)
	a := b.transfer(b.connect("anna", 1), b.connect("ben", 2))
	event, err := announce.New(a, "handover", day(19))
	if err != nil {
		t.Fatal(err)
	}
	b.handle(message(t, a))
	want := map[string]any{"level": "INFO", "msg": "revoke", "outcome": "revoked", "type": "handover.account.transferred.v1", "account": watch, "id": event.ID, "ms": 0.0}
	lines := b.lines()
	if len(lines) != 1 {
		t.Fatalf("logged %v", lines)
	}
	for _, name := range []string{"time", "_aws", "Stack", "Ended"} { // the metrics have a test of their own
		delete(lines[0], name)
	}
	if !maps.Equal(lines[0], want) {
		t.Errorf("logged %v\nwant %v", lines[0], want)
	}
}
