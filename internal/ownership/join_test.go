package ownership

import (
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

// TestJoinInAnyOrder joins every subset of everything that can be told of one connection, in every order, each fact twice: the row is always the same.
func TestJoinInAnyOrder(t *testing.T) {
	told := []Facts{
		{UserID: "u", Provider: "GARMIN", Reference: "alice", ConnectedAt: at(1), Certainty: Signed},
		{UserID: "u", Provider: "garmin", Reference: "alice", ConnectedAt: at(9), Certainty: Observed},
		{UserID: "u", Provider: "GARMIN", Accounts: []string{"GARMIN/2"}},
		{UserID: "u", Accounts: []string{"GARMIN/3", "GARMIN/1"}, Replaces: []string{"t"}},
		{UserID: "u", ClosedAt: at(5), ReplacedBy: []Successor{{UserID: "w"}}},
		{UserID: "u", ClosedAt: at(4), ReplacedBy: []Successor{{UserID: "v", Reference: "bob"}, {UserID: "w", Reference: "carol"}}},
	}
	orders := 0
	for subset := range 1 << len(told) {
		var chosen []Facts
		for i, f := range told {
			if subset&(1<<i) != 0 {
				chosen = append(chosen, f)
			}
		}
		var want *Connection
		permute(len(chosen), func(order []int) {
			orders++
			r := Connection{UserID: "u"}
			for _, i := range order {
				r = join(r, chosen[i])
				if again := join(r, chosen[i]); !sameFacts(r, again) {
					t.Fatalf("telling a fact again changed the row:\n%+v\n%+v", r, again)
				}
			}
			if want == nil {
				want = &r
			} else if !sameFacts(*want, r) {
				t.Fatalf("order %v of %+v gives\n%+v, another order\n%+v", order, chosen, r, *want)
			}
		})
	}
	t.Logf("%d orders", orders)
}

func TestJoin(t *testing.T) {
	known := Connection{UserID: "u", Provider: "GARMIN", Tenures: []string{"alice"}, ConnectedAt: at(1), Certainty: Signed, Version: 3}
	tests := []struct {
		name string
		row  Connection
		told Facts
		want Connection
	}{
		{"nothing", known, Facts{UserID: "u"}, known},
		{"another reference is only a suspect", known, Facts{UserID: "u", Reference: "bob"},
			Connection{UserID: "u", Provider: "GARMIN", Tenures: []string{"alice"}, Suspects: []string{"bob"}, ConnectedAt: at(1), Certainty: Signed}},
		{"a sure time does not give way to another", known, Facts{UserID: "u", ConnectedAt: at(2), Certainty: Terra}, known},
		{"a sure time does not give way to a guess", known, Facts{UserID: "u", ConnectedAt: at(2), Certainty: Observed}, known},
		{"a guess gives way to Terra's time",
			Connection{UserID: "u", ConnectedAt: at(9), Certainty: Observed}, Facts{UserID: "u", ConnectedAt: at(1), Certainty: Terra},
			Connection{UserID: "u", ConnectedAt: at(1), Certainty: Terra}},
		{"a guess does not give way to a guess",
			Connection{UserID: "u", ConnectedAt: at(9), Certainty: Observed}, Facts{UserID: "u", ConnectedAt: at(1), Certainty: Observed},
			Connection{UserID: "u", ConnectedAt: at(9), Certainty: Observed}},
		{"of a successor the first reference told counts",
			Connection{UserID: "u", ReplacedBy: []Successor{{UserID: "v", Reference: "bob"}}}, Facts{UserID: "u", ReplacedBy: []Successor{{UserID: "v", Reference: "carol"}}},
			Connection{UserID: "u", ReplacedBy: []Successor{{UserID: "v", Reference: "bob"}}}},
		{"an empty account is no account", known, Facts{UserID: "u", Accounts: []string{""}}, known},
		{"deauth before its auth: what has ended stays ended",
			Connection{UserID: "u", ClosedAt: at(7)}, Facts{UserID: "u", Reference: "alice", ConnectedAt: at(1), Certainty: Signed},
			Connection{UserID: "u", Tenures: []string{"alice"}, ConnectedAt: at(1), Certainty: Signed, ClosedAt: at(7)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := join(test.row, test.told); !sameFacts(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", facts(got), facts(test.want))
			}
		})
	}
}

func TestRevise(t *testing.T) {
	doubted := Connection{UserID: "u", Tenures: []string{"alice"}, Suspects: []string{"bob"}}
	for _, test := range []struct {
		name, terraSays string
		want            []string
	}{
		{"Terra names the suspect", "bob", []string{"alice", "bob"}},
		{"Terra names a third", "carol", []string{"alice", "carol"}},
		{"the event was late", "alice", []string{"alice"}},
		{"Terra names none", "", []string{"alice"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := revise(doubted, test.terraSays)
			if len(got.Suspects) != 0 || !slices.Equal(got.Tenures, test.want) {
				t.Errorf("tenures %v, suspects %v; want %v and none", got.Tenures, got.Suspects, test.want)
			}
		})
	}
	if len(doubted.Suspects) != 1 || len(doubted.Tenures) != 1 {
		t.Errorf("the row given was changed: %+v", doubted)
	}
}

// permute calls f with every order of 0..n-1.
func permute(n int, f func(order []int)) {
	var next func(order []int)
	next = func(order []int) {
		if len(order) == n {
			f(order)
			return
		}
		for i := range n {
			if !slices.Contains(order, i) {
				next(append(slices.Clone(order), i))
			}
		}
	}
	next(nil)
}
