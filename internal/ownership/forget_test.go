package ownership_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
)

// annasTraces is a ledger that knows anna in every way in which somebody can be known.
func annasTraces(t *testing.T) (*stage, *ledgertest.Memory) {
	t.Helper()
	s := newStage(t)
	memory := s.Ledger.(*ledgertest.Memory)
	s.userInfo = func(string) (ownership.Profile, error) { return ownership.Profile{}, errDown }
	minute := 0
	connect := func(userID, reference string, accounts ...string) ownership.Facts {
		minute++
		return ownership.Facts{
			UserID: userID, Provider: "GARMIN", Reference: reference, ConnectedAt: noon.Add(time.Duration(minute) * time.Minute), Certainty: ownership.Signed,
			Accounts: accounts,
		}
	}
	play := func(facts ...ownership.Facts) {
		var users []string
		for _, f := range facts {
			s.record(t, f)
			users = append(users, f.UserID)
		}
		s.settle(t, users...)
	}
	// She has reconnected, and then bert took over.
	play(connect("anna-1", "anna", "GARMIN/k.1"))
	play(ownership.Facts{UserID: "anna-1", ClosedAt: noon.Add(time.Hour), ReplacedBy: []ownership.Successor{{UserID: "anna-2", Reference: "anna"}}},
		connect("anna-2", "anna", "GARMIN/k.1"))
	bert := connect("bert-1", "bert", "GARMIN/k.1")
	bert.Replaces = []string{"anna-2"}
	play(ownership.Facts{UserID: "anna-2", ReplacedBy: []ownership.Successor{{UserID: "bert-1", Reference: "bert"}}}, bert)
	// Carl's account passed to her, and cora's, as was heard late, and on to dora.
	play(connect("carl-1", "carl", "GARMIN/k.2"))
	cora := connect("cora-1", "cora", "GARMIN/k.2")
	play(connect("anna-3", "anna", "GARMIN/k.2"))
	play(cora)
	play(connect("dora-1", "dora", "GARMIN/k.2"))
	// An event names her as the holder of emil's connection, and Terra has not said yet whether that is so.
	play(connect("emil-1", "emil", "GARMIN/k.3"))
	play(ownership.Facts{UserID: "emil-1", Reference: "anna"})
	// Her connection became fred's.
	play(connect("fred-1", "anna", "GARMIN/k.4"))
	s.userInfo = func(string) (ownership.Profile, error) { return ownership.Profile{ReferenceID: "fred"}, nil }
	play(ownership.Facts{UserID: "fred-1", Reference: "fred"})
	// A user_reauth names her, of whose connection nothing else was heard.
	play(ownership.Facts{UserID: "gina-1", Provider: "GARMIN", Reference: "gina", ReplacedBy: []ownership.Successor{{UserID: "unheard", Reference: "anna"}}})
	// Others were replaced by others.
	play(ownership.Facts{UserID: "kim-1", Provider: "GARMIN", Reference: "kim", ReplacedBy: []ownership.Successor{{UserID: "leo-1", Reference: "leo"}, {UserID: "mia-1"}}})
	// Of two connections only the claims are left, for their rows have expired: one was hers, the other replaced it.
	play(connect("anna-4", "anna", "GARMIN/k.5"))
	hugo := connect("hugo-1", "hugo", "GARMIN/k.5")
	hugo.Replaces = []string{"anna-4"}
	play(ownership.Facts{UserID: "anna-4", ReplacedBy: []ownership.Successor{{UserID: "hugo-1", Reference: "hugo"}}}, hugo)
	play(connect("ina-1", "ina", "GARMIN/k.5"))
	for _, expired := range []string{"anna-4", "hugo-1"} {
		if err := memory.Erase(t.Context(), expired); err != nil {
			t.Fatal(err)
		}
	}
	return s, memory
}

// everything is all that a ledger holds, a row a line.
func everything(t *testing.T, memory *ledgertest.Memory) string {
	t.Helper()
	var b strings.Builder
	for row, err := range memory.Connections(t.Context()) {
		fmt.Fprintf(&b, "%+v %v\n", row, err)
	}
	for row, err := range memory.Accounts(t.Context()) {
		fmt.Fprintf(&b, "%+v %v\n", row, err)
	}
	return b.String()
}

// TestForgetErasesEveryTrace: nothing that the ledger holds names her any more, and a dry run says how much that will be.
func TestForgetErasesEveryTrace(t *testing.T) {
	for _, test := range []struct {
		name   string
		person ownership.Person
		want   ownership.Forgotten
		gone   []string // the words that must not be left
		left   []string // those that must
	}{
		{
			"a reference_id", ownership.Person{ReferenceID: "anna"},
			// Traces: bert's row and his claim, gina's row, carl's mark and cora's, hugo's claim.
			ownership.Forgotten{Connections: 5, Claims: 6, Traces: 6},
			[]string{"anna"}, []string{"bert-1", "carl-1", "cora-1", "dora-1", "emil-1", "fred-1", "gina-1", "hugo-1", "leo-1", "mia-1"},
		},
		{
			"a user_id", ownership.Person{UserID: "anna-2"},
			// Traces: the rows and the claims of those before and after her.
			ownership.Forgotten{Connections: 1, Claims: 1, Traces: 4},
			[]string{"anna-2"}, []string{"anna-1", "anna-3", "anna-4", "bert-1", "leo-1", "mia-1"},
		},
		{
			"a user_id whose row has expired", ownership.Person{UserID: "anna-4"},
			// Traces: the claim of the one after her.
			ownership.Forgotten{Claims: 1, Traces: 1},
			[]string{"anna-4"}, []string{"anna-3", "hugo-1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, memory := annasTraces(t)
			before := everything(t, memory)
			dry, err := s.Forget(t.Context(), memory, test.person, true)
			if err != nil || everything(t, memory) != before {
				t.Fatalf("a dry run: %v; before\n%s\nafter\n%s", err, before, everything(t, memory))
			}
			done, err := s.Forget(t.Context(), memory, test.person, false)
			if err != nil {
				t.Fatal(err)
			}
			if done != test.want || dry != done {
				t.Errorf("dry %+v, done %+v, want %+v of\n%s", dry, done, test.want, before)
			}
			after := everything(t, memory)
			for _, word := range test.gone {
				if strings.Contains(after, word) {
					t.Errorf("%s is left in\n%s", word, after)
				}
			}
			for _, word := range test.left {
				if !strings.Contains(after, word) {
					t.Errorf("%s is not left in\n%s", word, after)
				}
			}
			if again, err := s.Forget(t.Context(), memory, test.person, false); err != nil || again != (ownership.Forgotten{}) {
				t.Errorf("the second time: %+v, %v, want nothing to be found", again, err)
			}
		})
	}
}

// TestForgetMayFailAnywhere: whichever call fails, applied or not, that is told, and what is left is forgotten the next time.
func TestForgetMayFailAnywhere(t *testing.T) {
	for _, applied := range []bool{false, true} {
		failed := true
		for at := 1; failed; at++ {
			s, memory := annasTraces(t)
			failed = false
			calls, which := 0, ""
			memory.Fault = func(op string) (before, after error) {
				if calls++; calls != at {
					return nil, nil
				}
				failed, which = true, op
				if applied {
					return nil, errLost
				}
				return errFailed, nil
			}
			_, err := s.Forget(t.Context(), memory, ownership.Person{ReferenceID: "anna"}, false)
			if failed != (errors.Is(err, errFailed) || errors.Is(err, errLost)) {
				t.Errorf("call %d, %s: %v", at, which, err)
			}
			memory.Fault = nil
			if _, err := s.Forget(t.Context(), memory, ownership.Person{ReferenceID: "anna"}, false); err != nil {
				t.Fatal(err)
			}
			if after := everything(t, memory); strings.Contains(after, "anna") {
				t.Errorf("call %d, %s, applied %t: she is left in\n%s", at, which, applied, after)
			}
		}
	}
}

// TestForgetMeetsACompetitor: another worker changes a row between its reading and its writing. Neither change is lost.
func TestForgetMeetsACompetitor(t *testing.T) {
	s, memory := annasTraces(t)
	competes := true
	memory.Fault = func(op string) (before, after error) {
		if op == "Update" && competes {
			competes = false
			s.record(t, ownership.Facts{UserID: "bert-1", ClosedAt: noon})
		}
		return nil, nil
	}
	if _, err := s.Forget(t.Context(), memory, ownership.Person{ReferenceID: "anna"}, false); err != nil {
		t.Fatal(err)
	}
	if bert := s.row(t, "bert-1"); competes || !bert.Closed() || len(bert.Replaces) > 0 {
		t.Errorf("got %+v, want it closed, and nothing that it replaces", bert)
	}
}

// TestForgetMeetsAnExpiry: a row that names her is gone when it is to be written. It is left alone.
func TestForgetMeetsAnExpiry(t *testing.T) {
	s, memory := annasTraces(t)
	updates := 0
	memory.Fault = func(op string) (before, after error) {
		if op != "Update" {
			return nil, nil
		}
		if updates++; updates > 10 {
			t.Fatal("it writes again and again")
		}
		return nil, memory.Erase(t.Context(), "bert-1")
	}
	if _, err := s.Forget(t.Context(), memory, ownership.Person{ReferenceID: "anna"}, false); err != nil {
		t.Fatal(err)
	}
	if _, found, err := memory.Connection(t.Context(), "bert-1"); found || err != nil {
		t.Errorf("it is back: %t, %v", found, err)
	}
}

// TestForgetWhom: exactly one of the two is to be given.
func TestForgetWhom(t *testing.T) {
	for _, p := range []ownership.Person{{}, {ReferenceID: "anna", UserID: "anna-1"}} {
		s, memory := annasTraces(t)
		before := everything(t, memory)
		if _, err := s.Forget(t.Context(), memory, p, false); err == nil || everything(t, memory) != before {
			t.Errorf("%+v: %v, want an error and nothing changed", p, err)
		}
	}
}

// overdue is a row of two holders, the first of them superseded yesterday and still open, and the second with another reference_id by now.
func overdue(t *testing.T) (*stage, ownership.Account) {
	t.Helper()
	s := newStage(t)
	for i, reference := range []string{"anna", "bert"} {
		s.record(t, ownership.Facts{
			UserID: reference + "-1", Provider: "GARMIN", Reference: reference, ConnectedAt: noon.Add(time.Duration(i) * time.Minute), Certainty: ownership.Signed,
			Accounts: []string{"GARMIN/k.1"},
		})
		s.settle(t, reference+"-1")
	}
	s.userInfo = func(string) (ownership.Profile, error) { return ownership.Profile{ReferenceID: "carl"}, nil }
	s.record(t, ownership.Facts{UserID: "bert-1", Reference: "carl"})
	s.settle(t, "bert-1")
	s.userInfo = func(string) (ownership.Profile, error) { return ownership.Profile{}, nil }
	s.now = noon.Add(24 * time.Hour)
	return s, s.account(t)
}

func (s *stage) account(t *testing.T) ownership.Account {
	t.Helper()
	row, _, err := s.Ledger.(*ledgertest.Memory).Account(t.Context(), "GARMIN/k.1")
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// TestSupersededIsAsItWasAnnounced: the list has who is still connected, and to whom the account passed then, under the reference_id of then.
func TestSupersededIsAsItWasAnnounced(t *testing.T) {
	s, row := overdue(t)
	list := row.Superseded()
	if len(list) != 1 || list[0].Announcement != s.said[0] || list[0].Mark.User != "anna-1" || !list[0].Mark.At.Equal(noon) {
		t.Errorf("got %+v, want what was announced: %+v", list, s.said[0])
	}
}

// profiles is what Terra says of anna-1 and of anybody else.
func profiles(ofAnna, ofOthers error) func(userID string) (ownership.Profile, error) {
	return func(userID string) (ownership.Profile, error) {
		if userID == "anna-1" {
			return ownership.Profile{}, ofAnna
		}
		return ownership.Profile{}, ofOthers
	}
}

func TestRemind(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name              string
		previous, current error // what Terra says of them
		patience          time.Duration
		want              ownership.Reminder
		says              int
	}{
		{"after the time allowed it is announced once more", nil, nil, day, ownership.Reminder{Open: 1, Nudges: 1}, 1},
		{"before, nothing is", nil, nil, day + 1, ownership.Reminder{}, 0},
		{"also while Terra cannot be asked", errDown, errDown, day, ownership.Reminder{Open: 1, Nudges: 1}, 1},
		{"one that has ended is closed, and its end announced", ownership.ErrGone, nil, day, ownership.Reminder{Ended: 1}, 1},
		{"an API that knows nobody is not believed", ownership.ErrGone, ownership.ErrGone, day, ownership.Reminder{Open: 1, Nudges: 1}, 1},
		{"nor one that knows the one and fails on the other", ownership.ErrGone, errDown, day, ownership.Reminder{Open: 1, Nudges: 1}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, row := overdue(t)
			first := s.said[0]
			s.said, s.userInfo = nil, profiles(test.previous, test.current)
			got, err := s.Remind(t.Context(), row, test.patience)
			if err != nil || got != test.want || len(s.said) != test.says {
				t.Fatalf("got %+v, %v, said %+v; want %+v", got, err, s.said, test.want)
			}
			switch {
			case got.Nudges > 0 && s.said[0] != first:
				t.Errorf("said %+v, want once more %+v", s.said[0], first)
			case got.Ended > 0 && (s.said[0].Type != ownership.Revoked || !s.row(t, "anna-1").Closed()):
				t.Errorf("said %+v of %+v, want that it has ended", s.said[0], s.row(t, "anna-1"))
			}
			said := len(s.said)
			s.now = s.now.Add(day)
			again, err := s.Remind(t.Context(), s.account(t), day)
			if test.want.Nudges > 0 && (err != nil || again != ownership.Reminder{Open: 1} || len(s.said) > said) {
				t.Errorf("a day later: %+v, %v, said %+v; want it counted and not announced a third time", again, err, s.said[said:])
			}
		})
	}
}

// TestRemindMayFailAnywhere: whichever call of the ledger or of the announcer fails, that is told, and the next round does what is left.
func TestRemindMayFailAnywhere(t *testing.T) {
	for _, terra := range []error{nil, ownership.ErrGone} {
		failed := true
		for at := 1; failed; at++ {
			s, row := overdue(t)
			s.userInfo = profiles(terra, nil)
			failed = false
			calls := 0
			fault := func(string) (before, after error) {
				if calls++; calls != at {
					return nil, nil
				}
				failed = true
				return errFailed, nil
			}
			memory := s.Ledger.(*ledgertest.Memory)
			memory.Fault, s.Announcer = fault, unreliable{s, fault}
			_, err := s.Remind(t.Context(), row, time.Hour)
			if failed != errors.Is(err, errFailed) {
				t.Errorf("call %d failed: %t, error %v", at, failed, err)
			}
			memory.Fault, s.Announcer = nil, s
			if _, err := s.Remind(t.Context(), s.account(t), time.Hour); err != nil {
				t.Fatal(err)
			}
			s.settle(t, "anna-1")
			if terra != nil && !s.row(t, "anna-1").Closed() {
				t.Errorf("call %d failed: it is not closed", at)
			}
			if terra == nil && !s.account(t).Marks["anna-1#1"].Nudged {
				t.Errorf("call %d failed: it was not announced once more", at)
			}
		}
	}
}

// unreliable is an announcer that fails before it has announced.
type unreliable struct {
	announcer ownership.Announcer
	fault     func(string) (before, after error)
}

func (u unreliable) Publish(ctx context.Context, a ownership.Announcement) error {
	if err, _ := u.fault("Publish"); err != nil {
		return err
	}
	return u.announcer.Publish(ctx, a)
}

// TestRemindEach: what is not to be done for one holder is done for the next. The second's claim comes half a day after the first's.
func TestRemindEach(t *testing.T) {
	const day = 24 * time.Hour
	anna, bert := signed("anna", "anna", 1, "GARMIN/k.1"), signed("bert", "bert", 2, "GARMIN/k.1")
	holders := func(first, second ownership.Facts) *stage {
		s := newStage(t)
		for _, f := range []ownership.Facts{signed("carl", "carl", 9, "GARMIN/k.1"), first} {
			s.record(t, f)
			s.settle(t, f.UserID)
		}
		s.now = s.now.Add(day / 2)
		s.record(t, second)
		s.settle(t, second.UserID)
		s.userInfo = func(string) (ownership.Profile, error) { return ownership.Profile{}, nil }
		s.now = noon.Add(day)
		return s
	}
	remind := func(s *stage, want ownership.Reminder) {
		t.Helper()
		if got, err := s.Remind(t.Context(), s.account(t), day); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}

	s := holders(anna, bert)
	remind(s, ownership.Reminder{Open: 1, Nudges: 1}) // anna's
	s.now = s.now.Add(day)
	remind(s, ownership.Reminder{Open: 2, Nudges: 1}) // now bert's

	s = holders(anna, bert)
	s.now = s.now.Add(day)
	s.userInfo = func(userID string) (ownership.Profile, error) {
		if userID == "anna" {
			return ownership.Profile{}, ownership.ErrGone
		}
		return ownership.Profile{}, nil
	}
	remind(s, ownership.Reminder{Ended: 1, Open: 1, Nudges: 1})
	remind(s, ownership.Reminder{Open: 1}) // anna's has ended, bert's was announced once more

	// The first in the row came late, and has had less time than the second.
	s = holders(bert, anna)
	remind(s, ownership.Reminder{Open: 1, Nudges: 1})
}
