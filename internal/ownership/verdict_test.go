package ownership

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestHoldingsAgreeWithDue: what is explained is what is done, on any row: every verdict "owed" is in Due and the other way round, the last holding is the
// owner, and what is announced is explained as announced to the one to whom it was.
func TestHoldingsAgreeWithDue(t *testing.T) {
	users := []string{"a", "b", "c", "d", "e"}
	rapid.Check(t, func(t *rapid.T) {
		r := row()
		subset := func() []string { return rapid.SliceOfNDistinct(rapid.SampledFrom(users), 0, 1, rapid.ID).Draw(t, "") }
		for _, userID := range users[:rapid.IntRange(1, len(users)).Draw(t, "claims")] {
			c := Claim{
				UserID: userID, Version: 1, Tenures: rapid.SliceOfN(rapid.SampledFrom([]string{"alice", "bob", "carol"}), 1, 3).Draw(t, "tenures"),
				Certainty: rapid.SampledFrom([]Certainty{Unknown, Observed, Terra, Signed}).Draw(t, "certainty"),
				Closed:    rapid.Bool().Draw(t, "closed"), Replaces: subset(), ReplacedBy: subset(),
			}
			if c.Certainty != Unknown {
				c.ConnectedAt = at(rapid.IntRange(1, 3).Draw(t, "minute"))
			}
			put(r, c)
		}
		var said []Announcement
		for n := rapid.IntRange(0, 6).Draw(t, "announced"); n > 0 && len(r.Due()) > 0; n-- {
			said = append(said, r.Due()[0].Announcement)
			r.Marks[r.Due()[0].Mark.Name] = r.Due()[0].Mark
		}

		var owed, announced []Announcement
		holdings := r.Holdings()
		for _, h := range holdings {
			switch h.Transfer {
			case Owed:
				owed = append(owed, h.Announcement)
			case Announced:
				announced = append(announced, h.Announcement)
			}
			switch revoked := r.revocation(holder{claim: r.Claims[h.UserID], key: key{tenure: h.Tenure}}); h.End {
			case Owed:
				owed = append(owed, revoked)
			case Announced:
				announced = append(announced, revoked)
			}
		}
		var due []Announcement
		for _, d := range r.Due() {
			due = append(due, d.Announcement)
		}
		same := func(what string, got, want []Announcement) {
			words := func(list []Announcement) []string {
				set := map[string]bool{}
				for _, a := range list {
					set[short(a)] = true
				}
				return slices.Sorted(maps.Keys(set))
			}
			if g, w := words(got), words(want); !slices.Equal(g, w) {
				t.Fatalf("%s: %q, but the rule says %q, of %+v", what, g, w, r)
			}
		}
		same("explained as owed", owed, due)
		same("explained as announced", announced, said)
		if owner, _ := r.Owner(); holdings[len(holdings)-1].Holder != owner || holdings[len(holdings)-1].Transfer != Owner {
			t.Fatalf("the last holding is %+v, the owner %+v", holdings[len(holdings)-1], owner)
		}
	})
}

// TestGrounds: each reason for which one holder stands after another is named.
func TestGrounds(t *testing.T) {
	claim := func(user string, minute int) Claim {
		c := Claim{UserID: user, Tenures: []string{user}, Certainty: Signed, Version: 1}
		if minute > 0 {
			c.ConnectedAt = at(minute)
		}
		return c
	}
	replaced := claim("a", 9)
	replaced.ReplacedBy = []string{"b"}
	twice := claim("a", 1)
	twice.Tenures = []string{"alice", "bob"}
	for want, r := range map[Ground]Account{
		ByKnownTime:   row(claim("b", 0), claim("a", 1)),
		ByTime:        row(claim("b", 1), claim("a", 2)),
		ByUserID:      row(claim("a", 1), claim("b", 1)),
		ByReplacement: row(replaced, claim("b", 2)),
		ByTenure:      row(twice),
	} {
		h := r.Holdings()
		if got := fmt.Sprint(h[0].After, " ", h[1].After); got != "first "+string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestDroppedSuccessorIsExplained: a holder was announced as having lost the account to somebody whose claim has been dropped since.
func TestDroppedSuccessorIsExplained(t *testing.T) {
	r := row(Claim{UserID: "a", Tenures: []string{"alice"}, ConnectedAt: at(1), Version: 1}, Claim{UserID: "c", Tenures: []string{"carol"}, ConnectedAt: at(3), Version: 1})
	r.Marks["a#1"] = Mark{Name: "a#1", User: "a", Current: "b", Tenure: 1, ConnectedAt: at(2), At: at(2).Add(time.Second)}
	h := r.Holdings()[0]
	if h.Transfer != Announced || h.Announcement.Current.UserID != "b" || h.Announcement.Current.ReferenceID != "" || !h.Mark.At.Equal(at(2).Add(time.Second)) {
		t.Errorf("got %+v", h)
	}
}
