package ownership_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
)

// stage is what a short story needs: a Keeper on a ledger in memory, and what it said.
type stage struct {
	*ownership.Keeper
	now  time.Time
	said []ownership.Announcement

	athlete, userInfo func(userID string) (ownership.Profile, error) // what Terra's API answers
}

func newStage(t *testing.T) *stage {
	t.Helper()
	keys, err := ownership.NewAccountKeys([]byte("thirty-two bytes of an account key"[:32]))
	if err != nil {
		t.Fatal(err)
	}
	gone := func(string) (ownership.Profile, error) { return ownership.Profile{}, ownership.ErrGone }
	s := &stage{now: noon, athlete: gone, userInfo: gone}
	s.Keeper = &ownership.Keeper{Ledger: ledgertest.NewMemory(), Announcer: s, Directory: s, Keys: keys, Now: func() time.Time { return s.now }}
	return s
}

func (s *stage) Publish(_ context.Context, a ownership.Announcement) error {
	s.said = append(s.said, a)
	return nil
}

func (s *stage) Athlete(_ context.Context, userID string) (ownership.Profile, error) {
	return s.athlete(userID)
}

func (s *stage) UserInfo(_ context.Context, userID string) (ownership.Profile, error) {
	return s.userInfo(userID)
}

// record is the first half of a webhook: when it returns, the webhook's worker may crash.
func (s *stage) record(t *testing.T, f ownership.Facts) ownership.Connection {
	t.Helper()
	r, _, err := s.Record(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// settle is the second half of a webhook, or a sweep. It returns the first connection's row.
func (s *stage) settle(t *testing.T, userIDs ...string) ownership.Connection {
	t.Helper()
	var rows []ownership.Connection
	for _, userID := range userIDs {
		rows = append(rows, s.row(t, userID))
	}
	if _, err := s.Settle(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
	return s.row(t, userIDs[0])
}

func (s *stage) row(t *testing.T, userID string) ownership.Connection {
	t.Helper()
	r, _, err := s.Ledger.Connection(t.Context(), userID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A user_reauth does not say to whom a connection passed; a later event does. Terra's API has forgotten the old connection, so it stays without an
// account, and is asked about in vain each time.
func TestSuccessorIsNamedLater(t *testing.T) {
	s := newStage(t)
	s.record(t, ownership.Facts{UserID: "new", Provider: "GARMIN", Replaces: []string{"old"}, ConnectedAt: noon, Certainty: ownership.Signed})
	s.record(t, ownership.Facts{UserID: "old", Provider: "GARMIN", Reference: "alice", ClosedAt: noon, ReplacedBy: []ownership.Successor{{UserID: "new"}}})
	if old := s.settle(t, "old", "new"); !old.ToDo {
		t.Fatalf("settled before it is known to whom it passed: %+v", old)
	}

	s.record(t, ownership.Facts{UserID: "new", Provider: "GARMIN", Reference: "bob"})
	s.settle(t, "new")
	if old := s.settle(t, "old"); old.ToDo {
		t.Errorf("not settled: %s", old.Waiting)
	}
	if len(s.said) != 1 || s.said[0].Reason != ownership.Reauth || s.said[0].Previous.ReferenceID != "alice" || s.said[0].Current.ReferenceID != "bob" {
		t.Errorf("said %+v, want that alice's connection passed to bob", s.said)
	}
}

// A provider gives its accounts other ids, and everyone connects anew. Whatever comes first, the new connection is known under both ids: the old one, which it
// inherits, and the one that Terra's API names for it, even if that fails at first. So the next who connects that account is seen.
func TestAccountUnderANewID(t *testing.T) {
	before, after := ownership.Facts{UserID: "old"}, ownership.Facts{UserID: "new"}
	for _, test := range []struct {
		name   string
		events []ownership.Facts
	}{
		{"user_reauth first", []ownership.Facts{before, after}},
		{"auth first", []ownership.Facts{after, before, after}},
	} {
		for _, fails := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, API fails %t", test.name, fails), func(t *testing.T) {
				s := newStage(t)
				oldID, newID := s.Keys.Account("FITBIT", "ABC123"), s.Keys.Account("FITBIT", "1234567890")
				s.settle(t, s.record(t, ownership.Facts{UserID: "old", Provider: "FITBIT", Reference: "alice", ConnectedAt: noon, Certainty: ownership.Signed,
					Accounts: []string{oldID}, Named: true}).UserID)
				down, asked := fails, 0
				s.athlete = func(string) (ownership.Profile, error) {
					asked++
					if down {
						return ownership.Profile{}, errDown
					}
					return ownership.Profile{Provider: "FITBIT", ProviderUserID: "1234567890"}, nil
				}
				for i, f := range test.events {
					f.Provider, f.Reference, f.Certainty = "FITBIT", "alice", ownership.Signed
					switch f.ConnectedAt = noon.Add(time.Hour); {
					case f.UserID == "old":
						f.ConnectedAt, f.ClosedAt, f.ReplacedBy = noon, noon.Add(time.Hour), []ownership.Successor{{UserID: "new", Reference: "alice"}}
						s.record(t, ownership.Facts{UserID: "new", Provider: "FITBIT", Reference: "alice", ConnectedAt: noon.Add(time.Hour), Certainty: ownership.Signed, Replaces: []string{"old"}})
						s.record(t, f)
						s.settle(t, "old", "new")
					default:
						s.record(t, f)
						s.settle(t, "new")
					}
					if row := s.row(t, "new"); fails && i == len(test.events)-1 && (!row.ToDo || !slices.Contains(row.Accounts, oldID)) {
						t.Errorf("while the API fails: got %+v, want it to hold what it inherits, and to wait", row)
					}
				}
				down = false
				if row := s.settle(t, "new"); row.ToDo || len(row.Accounts) != 2 || !slices.Contains(row.Accounts, oldID) || !slices.Contains(row.Accounts, newID) {
					t.Errorf("got %+v, want it settled under both ids", row)
				}
				if !fails && asked != 1 {
					t.Errorf("Terra's API was asked %d times, want once", asked)
				}
				if len(s.said) != 0 {
					t.Errorf("said %+v, want nothing: alice still has it", s.said)
				}

				s.record(t, ownership.Facts{UserID: "next", Provider: "FITBIT", Reference: "bob", ConnectedAt: noon.Add(2 * time.Hour), Certainty: ownership.Signed,
					Accounts: []string{newID}, Named: true})
				s.settle(t, "next")
				if len(s.said) != 1 || s.said[0].Previous.UserID != "new" || s.said[0].Current.UserID != "next" {
					t.Errorf("said %+v, want that the account passed from alice to bob", s.said)
				}
			})
		}
	}
}

// While Terra's API is asked for a connection's time, an athlete event is recorded, whose worker crashes then. The answer cannot be stored over it, but
// it is an answer: the time must not stay a guess.
func TestAnswerOvertakenByAnEvent(t *testing.T) {
	s := newStage(t)
	account := s.Keys.Account("GARMIN", "w1")
	s.athlete = func(string) (ownership.Profile, error) { return ownership.Profile{}, nil }
	s.userInfo = func(string) (ownership.Profile, error) {
		s.record(t, ownership.Facts{UserID: "a", Provider: "GARMIN", Reference: "alice", Accounts: []string{account}})
		return ownership.Profile{ReferenceID: "alice", CreatedAt: noon}, nil
	}
	s.record(t, ownership.Facts{UserID: "a", Provider: "GARMIN", Reference: "alice", ConnectedAt: noon.Add(time.Minute), Certainty: ownership.Observed})

	if a := s.settle(t, "a"); a.ToDo || a.Certainty != ownership.Terra || !a.ConnectedAt.Equal(noon) || !slices.Equal(a.Accounts, []string{account}) {
		t.Errorf("got %+v, want it settled with Terra's time %s", a, noon)
	}
}

// While Terra's API is asked about a suspect, it does not know yet what an event said early. Then the truth changes, and an event says so once more: its
// name is no news, but the question must be asked again.
func TestSuspectNamedAgainWhileItIsJudged(t *testing.T) {
	s := newStage(t)
	bob := ownership.Facts{UserID: "a", Provider: "GARMIN", Reference: "bob"}
	asked := 0
	s.userInfo = func(string) (ownership.Profile, error) {
		if asked++; asked == 1 {
			s.record(t, bob)
			return ownership.Profile{ReferenceID: "alice"}, nil
		}
		return ownership.Profile{ReferenceID: "bob"}, nil
	}
	s.record(t, ownership.Facts{UserID: "a", Provider: "GARMIN", Reference: "alice", ConnectedAt: noon, Certainty: ownership.Signed})
	s.record(t, bob)

	if a := s.settle(t, "a"); !slices.Equal(a.Tenures, []string{"alice", "bob"}) {
		t.Errorf("got tenures %v, want alice's and then bob's", a.Tenures)
	}
}

// While Terra's API names the account, the connection ends, and another worker may even settle its row; asked again, Terra knows the user no more. The
// answer in hand still counts: the change and the end are announced.
func TestAnswerOvertakenByTheEnd(t *testing.T) {
	for _, settled := range []bool{false, true} {
		s := newStage(t)
		account := s.Keys.Account("GARMIN", "w1")
		s.record(t, ownership.Facts{UserID: "b", Provider: "GARMIN", Reference: "ben", ConnectedAt: noon.Add(time.Hour), Certainty: ownership.Signed, Accounts: []string{account}})
		s.settle(t, "b")
		asked := 0
		s.athlete = func(string) (ownership.Profile, error) {
			if asked++; asked > 1 {
				return ownership.Profile{}, ownership.ErrGone
			}
			s.record(t, ownership.Facts{UserID: "a", ClosedAt: noon.Add(2 * time.Hour)})
			if settled {
				s.settle(t, "a")
			}
			return ownership.Profile{ProviderUserID: "w1"}, nil
		}
		s.record(t, ownership.Facts{UserID: "a", Provider: "GARMIN", Reference: "anna", ConnectedAt: noon, Certainty: ownership.Signed})
		if a := s.settle(t, "a"); a.ToDo || !slices.Equal(a.Accounts, []string{account}) {
			t.Errorf("settled meanwhile %t: got %+v", settled, a)
		}
		if len(s.said) != 2 {
			t.Errorf("settled meanwhile %t: said %+v, want a transfer and a revocation", settled, s.said)
		}
	}
}

// Terra's API names the account and alice; then the connection passes to bob, and another worker finds out. The answer in hand still
// counts for the account, but its reference is old: it is doubted once, and not again and again.
func TestAnswerOvertakenByAnotherReference(t *testing.T) {
	s := newStage(t)
	account := s.Keys.Account("GARMIN", "w1")
	first, asked := true, 0
	s.athlete = func(string) (ownership.Profile, error) {
		if !first { // the competitor is told no account
			return ownership.Profile{}, nil
		}
		first = false
		s.record(t, ownership.Facts{UserID: "a", Provider: "GARMIN", Reference: "bob"})
		s.settle(t, "a")
		return ownership.Profile{ReferenceID: "alice", ProviderUserID: "w1"}, nil
	}
	s.userInfo = func(string) (ownership.Profile, error) {
		asked++
		return ownership.Profile{ReferenceID: "bob"}, nil
	}
	s.record(t, ownership.Facts{UserID: "a", Provider: "GARMIN", Reference: "alice", ConnectedAt: noon, Certainty: ownership.Signed})

	a := s.settle(t, "a")
	if a.ToDo || !slices.Equal(a.Tenures, []string{"alice", "bob"}) || !slices.Equal(a.Accounts, []string{account}) {
		t.Errorf("got %+v, want it settled as bob's", a)
	}
	if asked > 2 {
		t.Errorf("Terra was asked %d times to whom it belongs, want twice", asked)
	}
}

// signed is what an auth says of a connection that was made some minutes after noon.
func signed(userID, reference string, minute int, accounts ...string) ownership.Facts {
	return ownership.Facts{
		UserID: userID, Provider: "GARMIN", Reference: reference, ConnectedAt: noon.Add(time.Duration(minute) * time.Minute), Certainty: ownership.Signed, Accounts: accounts,
	}
}

// TestResult: what a call of Settle says it did is what it did.
func TestResult(t *testing.T) {
	s := newStage(t)
	settle := func(f ownership.Facts) ownership.Result {
		t.Helper()
		result, err := s.Settle(t.Context(), s.record(t, f))
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	account := s.Keys.Account("GARMIN", "w1")
	s.userInfo = func(string) (ownership.Profile, error) { return ownership.Profile{}, nil }
	s.athlete = func(string) (ownership.Profile, error) { return ownership.Profile{ProviderUserID: "w1"}, nil }
	guessed := signed("c", "carol", 2)
	guessed.Certainty = ownership.Observed
	for _, step := range []struct {
		facts ownership.Facts
		want  ownership.Result
	}{
		{signed("a", "alice", 0, account), ownership.Result{Accounts: []string{account}}},
		{signed("b", "bob", 1, account), ownership.Result{Accounts: []string{account}, Transfers: 1}},
		{guessed, ownership.Result{Accounts: []string{account}, Transfers: 1, Guesses: 1, Asked: 2}},
		{ownership.Facts{UserID: "b", ClosedAt: noon.Add(time.Hour)}, ownership.Result{Accounts: []string{account}, Revocations: 1}},
		{signed("n", "", 3, account), ownership.Result{Accounts: []string{account}, Nameless: true}},
		{ownership.Facts{UserID: "x", ClosedAt: noon}, ownership.Result{Nameless: true}}, // nothing that Terra knew would matter
		{ownership.Facts{UserID: "a", Reference: "anna"}, ownership.Result{Accounts: []string{account}, Asked: 1}},
	} {
		if got := settle(step.facts); !reflect.DeepEqual(got, step.want) {
			t.Errorf("after %+v\ngot  %+v\nwant %+v", step.facts, got, step.want)
		}
	}

	failing := errors.New("not today")
	s.Announcer = unreliable{s, func(string) (before, after error) { return failing, nil }}
	if _, err := s.Settle(t.Context(), s.record(t, signed("d", "dora", 9, account))); !errors.Is(err, failing) {
		t.Errorf("nothing can be published: %v", err)
	}
}

// TestWaiting: a connection that cannot be settled is put off for as long as Terra asks, oftener for each attempt, and only somebody's fault has a Since.
func TestWaiting(t *testing.T) {
	for _, test := range []struct {
		name    string
		athlete error
		least   time.Duration
		since   time.Time
		waiting string
	}{
		{"Terra fails", errDown, time.Minute, noon, "asking Terra: " + errDown.Error()},
		{"Terra limits", &ownership.Limited{RetryAfter: 2 * time.Hour}, 2 * time.Hour, noon, "asking Terra: " + (&ownership.Limited{RetryAfter: 2 * time.Hour}).Error()},
		{"Terra names no account", nil, time.Hour, time.Time{}, ownership.NoAccount},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t)
			s.Backoff = ownership.Backoff{Base: 2 * time.Minute, Max: 2 * time.Minute, Unnamed: 2 * time.Hour}
			if test.athlete == nil {
				s.Backoff.Base = 2 * time.Hour
			}
			s.athlete = func(string) (ownership.Profile, error) { return ownership.Profile{}, test.athlete }
			s.record(t, signed("a", "alice", 0))
			for attempt := 1; attempt <= 3; attempt++ {
				a := s.settle(t, "a")
				if !a.ToDo || a.Attempts != attempt || a.Waiting != test.waiting || !a.Since.Equal(test.since) || a.NextAttempt.Before(s.now.Add(test.least)) {
					t.Errorf("attempt %d: got %+v", attempt, a)
				}
				s.now = s.now.Add(time.Minute)
			}
		})
	}
}

// TestGone: that Terra's API does not know a connection is no end of it, however often it says so. Right after an auth it may not know it yet, and under a wrong
// base URL it knows nobody: once it is the right one, what was missed is announced.
func TestGone(t *testing.T) {
	s := newStage(t)
	s.record(t, signed("a", "alice", 0))
	s.record(t, signed("b", "bob", 1))
	for range 10 {
		for _, userID := range []string{"a", "b"} {
			if c := s.settle(t, userID); c.Closed() || !c.ToDo || c.Waiting != ownership.NoAccount {
				t.Fatalf("got %+v, want it open and waiting", c)
			}
		}
	}
	s.athlete = func(string) (ownership.Profile, error) {
		return ownership.Profile{Provider: "GARMIN", ProviderUserID: "watch"}, nil
	}
	s.settle(t, "a")
	s.settle(t, "b")
	if len(s.said) != 1 || s.said[0].Previous.UserID != "a" || s.said[0].Current.UserID != "b" {
		t.Errorf("said %+v, want that the watch passed from a to b", s.said)
	}
}

// TestRetention: a row expires some time after its connection has ended, and never where nothing is to be deleted.
func TestRetention(t *testing.T) {
	for retention, want := range map[time.Duration]time.Time{0: {}, time.Hour: noon.Add(61 * time.Minute)} {
		s := newStage(t)
		s.Retention = retention
		if a := s.record(t, signed("a", "alice", 0)); !a.ExpiresAt.IsZero() {
			t.Errorf("open: it expires at %v", a.ExpiresAt)
		}
		if a := s.record(t, ownership.Facts{UserID: "a", ClosedAt: noon.Add(time.Minute)}); !a.ExpiresAt.Equal(want) {
			t.Errorf("ended, kept for %v: it expires at %v, want %v", retention, a.ExpiresAt, want)
		}
	}
}

// TestCrowded: a row in which nobody can be dropped is told of once it is too large. Here one person has connected the same account again and again.
func TestCrowded(t *testing.T) {
	s := newStage(t)
	for n := 1; n <= ownership.Crowded+1; n++ {
		result, err := s.Settle(t.Context(), s.record(t, signed(fmt.Sprintf("a%03d", n), "alice", n, "GARMIN/k.1")))
		if err != nil || result.Crowded != (n > ownership.Crowded) {
			t.Fatalf("%d claims: got %+v, %v", n, result, err)
		}
	}
}

// TestRecordMeetsAnExpiry: the row that had the connection is gone when the news is to be written. They are recorded all the same.
func TestRecordMeetsAnExpiry(t *testing.T) {
	s := newStage(t)
	memory := s.Ledger.(*ledgertest.Memory)
	s.record(t, signed("a", "alice", 0))
	updates := 0
	memory.Fault = func(op string) (before, after error) {
		if op != "Update" {
			return nil, nil
		}
		if updates++; updates > 10 {
			t.Fatal("it writes again and again")
		}
		return memory.Erase(t.Context(), "a"), nil
	}
	if a := s.record(t, ownership.Facts{UserID: "a", ClosedAt: noon}); !a.Closed() || a.Version != 1 || !a.ToDo {
		t.Errorf("got %+v, want a new row", a)
	}
}

// TestSettleAll: of several rows each is settled, also where one of them leaves its account to another, whose row given is then an old one.
func TestSettleAll(t *testing.T) {
	s := newStage(t)
	rows := []ownership.Connection{s.record(t, signed("old", "alice", 0, "GARMIN/k.1")), {}, {}}
	rows[0] = s.record(t, ownership.Facts{UserID: "old", ReplacedBy: []ownership.Successor{{UserID: "new", Reference: "bob"}}})
	rows[1], rows[2] = s.record(t, signed("new", "bob", 1)), s.record(t, signed("other", "carol", 2, "GARMIN/k.2"))
	result, err := s.Settle(t.Context(), rows...)
	if err != nil || result.Transfers != 2 || result.Asked != 1 {
		t.Errorf("got %+v, %v, want that the connection and the account passed, and Terra asked only for an account of the heir's own", result, err)
	}
	if reads := s.Ledger.(*ledgertest.Memory).Calls("Connection"); reads > 0 {
		t.Errorf("%d rows were read, though it was said to whom the connection passed", reads)
	}
	for _, userID := range []string{"old", "new", "other"} {
		if r := s.row(t, userID); r.ToDo || len(r.Accounts) != 1 {
			t.Errorf("%s is not settled: %+v", userID, r)
		}
	}
}

// TestRowStaysSmall: with each claim what a long row can do without is dropped, and that this failed is told.
func TestRowStaysSmall(t *testing.T) {
	const roomy = 32
	s := newStage(t)
	memory := s.Ledger.(*ledgertest.Memory)
	connect := func(n int) error {
		f := signed(fmt.Sprintf("u%03d", n), fmt.Sprintf("reference %d", n), n, "GARMIN/k.1")
		f.ClosedAt = noon.Add(24 * time.Hour)
		_, err := s.Settle(t.Context(), s.record(t, f))
		return err
	}
	for n := range roomy + 5 {
		if err := connect(n); err != nil {
			t.Fatal(err)
		}
	}
	if claims := len(s.account(t).Claims); claims != roomy {
		t.Errorf("%d claims are left, want %d", claims, roomy)
	}
	memory.Fault = func(op string) (before, after error) {
		if op == "Drop" {
			return errFailed, nil
		}
		return nil, nil
	}
	if err := connect(99); !errors.Is(err, errFailed) {
		t.Errorf("nothing can be dropped: %v", err)
	}
}

// TestNamelessWaitsForNobody: a connection without a reference_id owns nothing, so it is settled though Terra's API fails.
func TestNamelessWaitsForNobody(t *testing.T) {
	s := newStage(t)
	s.athlete = func(string) (ownership.Profile, error) { return ownership.Profile{}, errDown }
	s.record(t, signed("n", "", 0))
	if n := s.settle(t, "n"); n.ToDo {
		t.Errorf("it waits: %s", n.Waiting)
	}
}

// TestOutOfTime: when the time for settling is over, the row is put off all the same.
func TestOutOfTime(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.athlete = func(string) (ownership.Profile, error) {
		cancel()
		return ownership.Profile{}, ctx.Err()
	}
	if _, err := s.Settle(ctx, s.record(t, signed("a", "alice", 0))); err != nil {
		t.Fatal(err)
	}
	if a := s.row(t, "a"); !a.ToDo || a.Attempts != 1 || a.Waiting == "" {
		t.Errorf("got %+v, want it put off", a)
	}
}

// A worker announces the account to bert, whose time is a guess, and is slow to mark it. Meanwhile bert's sure time is known, which is before anna's, and the account
// passes from her to carl. Then the slow worker's mark is stored, and the worker crashes: in its row anna must still be marked as announced to carl, or nobody
// would look after the one who is announced as superseded and open.
func TestSlowMark(t *testing.T) {
	s := newStage(t)
	memory := s.Ledger.(*ledgertest.Memory)
	s.athlete = func(string) (ownership.Profile, error) { return ownership.Profile{}, nil }
	s.userInfo = s.athlete
	connect := func(f ownership.Facts) {
		s.record(t, f)
		s.settle(t, f.UserID)
	}
	connect(signed("anna-1", "anna", 10, "GARMIN/k.1"))
	memory.Fault = func(op string) (before, after error) {
		if op != "Mark" {
			return nil, nil
		}
		memory.Fault = nil
		connect(signed("bert-1", "bert", 5, "GARMIN/k.1"))
		connect(signed("carl-1", "carl", 15, "GARMIN/k.1"))
		return nil, errLost
	}
	guessed := signed("bert-1", "bert", 20, "GARMIN/k.1")
	guessed.Certainty = ownership.Observed
	if _, err := s.Settle(t.Context(), s.record(t, guessed)); !errors.Is(err, errLost) {
		t.Fatalf("got %v, want that the mark's reply was lost", err)
	}

	row := s.account(t)
	if due := row.Due(); len(due) > 0 || s.row(t, "bert-1").ToDo {
		t.Errorf("owed: %+v; bert's row is %+v; want that nothing is owed", due, s.row(t, "bert-1"))
	}
	var open []string
	for _, superseded := range row.Superseded() {
		open = append(open, superseded.Mark.User+" to "+superseded.Mark.Current)
	}
	if want := []string{"anna-1 to carl-1", "bert-1 to anna-1"}; !slices.Equal(open, want) {
		t.Errorf("superseded and open are %q, want %q", open, want)
	}
}
