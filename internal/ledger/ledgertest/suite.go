package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// Run is the conformance suite: what a Ledger promises, tried on an empty one that open returns for each test. Its rows expire by the clock now.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) Ledger) {
	for name, test := range map[string]func(t *testing.T, l Ledger){
		"every field is tried":                              everyField,
		"insert keeps the whole row":                        insert,
		"insert is refused by the row that is there":        insertRefused,
		"of many inserts one is applied":                    insertConcurrently,
		"update replaces the facts":                         update,
		"update keeps what has been said":                   updateKeepsSaid,
		"update is refused by another version":              updateRefused,
		"of many updates one is applied":                    updateConcurrently,
		"finish clears the work mark":                       finish,
		"finish is refused by another version":              finishRefused,
		"postpone puts off":                                 postpone,
		"postpone is refused by another version or no mark": postponeRefused,
		"what is said survives concurrent updates":          saidConcurrently,
		"a row that is not there stays so":                  vanished,
		"claim is refused by a newer or equal one":          claim,
		"mark needs its claim":                              mark,
		"drop takes the claim and its marks":                drop,
		"of any two claims the later write sees both":       claimConcurrently,
		"claims and marks of a row are linearizable":        linearizable,
		"any text is a user_id and a reference":             oddTexts,
		"many tenures":                                      manyTenures,
		"times keep their microseconds":                     times,
		"to do lists what is due, oldest first":             toDo,
		"the backlog is counted":                            backlog,
		"all rows are listed":                               listings,
		"the account key is checked":                        checkKey,
		"of many account keys one is remembered":            checkKeyConcurrently,
		"rows share nothing with the caller":                copies,
		"nothing is done without a live context":            cancelled,
		"an account is read":                                account,
		"stamp changes nothing else":                        stamp,
		"stamp makes no row":                                stampNothing,
		"stamps and updates do not undo each other":         stampConcurrently,
		"pages hold each row that stays once":               pages,
		"pages go by any key":                               pagesOfOddKeys,
		"pages end":                                         pagesEnd,
		"notes are kept, and are no rows":                   notes,
		"erase leaves nothing of a connection":              erase,
		"erase claim leaves the others":                     eraseClaim,
		"erase claim deletes an empty row":                  eraseLastClaim,
		"erase claim never takes a claim with it":           eraseConcurrently,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t, time.Now)) })
	}
	for name, test := range map[string]func(t *testing.T, l Ledger, now *clock){
		"an expired row is absent":                       expired,
		"pages go on past expired rows":                  expiredPages,
		"an expired row is replaced whole":               expiredReplaced,
		"of many who replace an expired row one does":    expiredConcurrently,
		"update sets and takes away the end of a row":    updateExpiry,
		"nothing expires but connections that say so":    neverExpired,
		"the end of a row is kept to the second, in UTC": expiryForm,
	} {
		t.Run(name, func(t *testing.T) {
			now := &clock{time: someTime()}
			test(t, open(t, now.now), now)
		})
	}
}

// someTime is a time to the microsecond, as Terra's are.
func someTime() time.Time { return time.Date(2024, 10, 7, 3, 45, 0, 123456000, time.UTC) }

// full is a connection with something in every field.
func full(userID string) ownership.Connection {
	return ownership.Connection{
		UserID:      userID,
		Provider:    "GARMIN",
		Tenures:     []string{"tony", "pepper"},
		Suspects:    []string{"happy"},
		ConnectedAt: someTime(),
		Certainty:   ownership.Signed,
		Accounts:    []string{"GARMIN/k7c1.1f2e", "GARMIN/k7c1.2a3b"},
		Named:       true,
		Replaces:    []string{"before-1", "before-2"},
		ReplacedBy:  []ownership.Successor{{UserID: "after-1", Reference: "tony"}, {UserID: "after-2"}},
		ClosedAt:    someTime().Add(time.Hour),
		Said:        []string{"hello", "world"},
		Version:     1,
		Listed:      12,
		ExpiresAt:   time.Date(2124, 10, 7, 3, 45, 0, 0, time.UTC),
		ToDo:        true,
		NextAttempt: someTime().Truncate(time.Millisecond),
		Since:       someTime().Add(-time.Hour).Truncate(time.Millisecond),
		Attempts:    3,
		Waiting:     "terra limits the rate of calls",
	}
}

// plain is a connection with next to nothing in it.
func plain(userID string) ownership.Connection {
	return ownership.Connection{UserID: userID, Version: 1, ToDo: true, NextAttempt: someTime().Truncate(time.Millisecond)}
}

// everyField holds the suite to its word when a field is added to a row: a ledger that does not store it must fail.
func everyField(t *testing.T, _ Ledger) {
	for _, row := range []any{full("user"), someClaim("user", 1), someMark("user")} {
		for field, value := range reflect.ValueOf(row).Fields() {
			if value.IsZero() {
				t.Errorf("no %T of this suite has anything in %s", row, field.Name)
			}
		}
	}
}

func insert(t *testing.T, l Ledger) {
	for _, c := range []ownership.Connection{full("full"), plain("plain"), {UserID: "settled", Version: 7}} {
		stored, applied, err := l.Insert(t.Context(), c)
		wantWrite(t, "Insert", stored, applied, err, c, true)
		wantStored(t, l, c)
	}
}

func insertRefused(t *testing.T, l Ledger) {
	c := full("user")
	mustInsert(t, l, c)
	stored, applied, err := l.Insert(t.Context(), plain("user"))
	wantWrite(t, "Insert", stored, applied, err, c, false)
	wantStored(t, l, c)
}

func insertConcurrently(t *testing.T, l Ledger) {
	var mu sync.Mutex
	applied, versions := 0, map[int64]bool{}
	concurrently(20, func(i int) {
		c := plain("user")
		c.Version = int64(i + 1)
		stored, ok, err := l.Insert(t.Context(), c)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		versions[stored.Version] = true
		if ok {
			applied++
		}
	})
	if applied != 1 || len(versions) != 1 {
		t.Errorf("%d inserts were applied and %d rows were handed back, want one", applied, len(versions))
	}
}

func update(t *testing.T, l Ledger) {
	for _, c := range []ownership.Connection{full("to be replaced"), plain("to be emptied"), {UserID: "to be settled"}} {
		mustInsert(t, l, full(c.UserID))
		c.Version = 2
		if c.Provider != "" {
			c.Provider, c.Tenures, c.ConnectedAt, c.Certainty = "FITBIT", []string{"rhodey"}, someTime().Add(time.Hour), ownership.Terra
		}
		want := c
		want.Said, want.Listed, want.Attempts, want.Waiting = full("").Said, full("").Listed, 0, ""
		c.Listed = 99
		stored, applied, err := l.Update(t.Context(), c)
		wantWrite(t, "Update", stored, applied, err, want, true)
		wantStored(t, l, want)
	}

	c := full("to do again")
	c.ToDo, c.NextAttempt, c.Since = false, time.Time{}, time.Time{}
	mustInsert(t, l, c)
	c.Version, c.ToDo, c.NextAttempt = 2, true, someTime().Truncate(time.Millisecond)
	want := c
	want.Attempts, want.Waiting = 0, ""
	stored, applied, err := l.Update(t.Context(), c)
	wantWrite(t, "Update of a settled row", stored, applied, err, want, true)
	wantStored(t, l, want)
}

func updateKeepsSaid(t *testing.T, l Ledger) {
	c := full("user")
	mustInsert(t, l, c)
	c.Version = 2
	for _, said := range [][]string{nil, {"something else"}} {
		c.Said = said
		stored, applied, err := l.Update(t.Context(), c)
		if err != nil || !applied || !slices.Equal(stored.Said, []string{"hello", "world"}) {
			t.Errorf("Update with Said %q = Said %q, %v, %v", said, stored.Said, applied, err)
		}
		c.Version++
	}
}

func updateRefused(t *testing.T, l Ledger) {
	c := full("user")
	c.Version = 5
	mustInsert(t, l, c)
	for _, version := range []int64{0, 1, 4, 5, 7} {
		stale := plain("user")
		stale.Version = version
		stored, applied, err := l.Update(t.Context(), stale)
		wantWrite(t, fmt.Sprintf("Update to version %d", version), stored, applied, err, c, false)
	}
	wantStored(t, l, c)
}

func updateConcurrently(t *testing.T, l Ledger) {
	mustInsert(t, l, plain("user"))
	var mu sync.Mutex
	applied, providers := 0, map[string]bool{}
	concurrently(20, func(i int) {
		c := plain("user")
		c.Version, c.Provider = 2, fmt.Sprint("P", i)
		stored, ok, err := l.Update(t.Context(), c)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		providers[stored.Provider] = true
		if ok {
			applied++
		}
	})
	if applied != 1 || len(providers) != 1 {
		t.Errorf("%d updates were applied and %d rows were handed back, want one", applied, len(providers))
	}
}

func finish(t *testing.T, l Ledger) {
	c := full("user")
	mustInsert(t, l, c)
	settled := c
	settled.ToDo, settled.NextAttempt, settled.Since, settled.Attempts, settled.Waiting = false, time.Time{}, time.Time{}, 0, ""

	settled.Said = []string{"again", "hello", "world"}
	stored, applied, err := l.Finish(t.Context(), c, []string{"again", "hello", "again"})
	wantWrite(t, "Finish", stored, applied, err, settled, true)
	wantStored(t, l, settled)

	stored, applied, err = l.Finish(t.Context(), c, nil)
	wantWrite(t, "Finish once more, saying nothing", stored, applied, err, settled, true)
	wantStored(t, l, settled)

	mustInsert(t, l, plain("quiet"))
	stored, applied, err = l.Finish(t.Context(), plain("quiet"), []string{"first word"})
	wantWrite(t, "Finish of a row that has said nothing", stored, applied, err,
		ownership.Connection{UserID: "quiet", Version: 1, Said: []string{"first word"}}, true)
}

func finishRefused(t *testing.T, l Ledger) {
	c := full("user")
	c.Version = 5
	mustInsert(t, l, c)
	for _, version := range []int64{0, 4, 6} {
		stale := c
		stale.Version = version
		stored, applied, err := l.Finish(t.Context(), stale, []string{"nothing"})
		wantWrite(t, fmt.Sprintf("Finish of version %d", version), stored, applied, err, c, false)
	}
	wantStored(t, l, c)
}

func postpone(t *testing.T, l Ledger) {
	c := full("user")
	mustInsert(t, l, c)
	c.NextAttempt, c.Since, c.Attempts, c.Waiting = c.NextAttempt.Add(time.Minute), c.Since.Add(time.Second), 4, "terra does not answer"
	other := plain("user") // only these four fields are stored, whatever the others are
	other.NextAttempt, other.Since, other.Attempts, other.Waiting = c.NextAttempt, c.Since, c.Attempts, c.Waiting

	stored, applied, err := l.Postpone(t.Context(), other, nil)
	wantWrite(t, "Postpone", stored, applied, err, c, true)
	wantStored(t, l, c)

	c.Said = []string{"again", "hello", "world"}
	stored, applied, err = l.Postpone(t.Context(), other, []string{"hello", "again"})
	wantWrite(t, "Postpone, saying something", stored, applied, err, c, true)
	wantStored(t, l, c)

	c.Since, other.Since = time.Time{}, time.Time{}
	for _, said := range [][]string{nil, {"world"}} {
		stored, applied, err = l.Postpone(t.Context(), other, said)
		wantWrite(t, "Postpone, until an account is named", stored, applied, err, c, true)
		wantStored(t, l, c)
	}
}

func postponeRefused(t *testing.T, l Ledger) {
	c := full("user")
	c.Version = 5
	mustInsert(t, l, c)
	stale := c
	stale.Version, stale.Attempts = 4, 9
	stored, applied, err := l.Postpone(t.Context(), stale, []string{"nothing"})
	wantWrite(t, "Postpone of an older version", stored, applied, err, c, false)

	settled, _, err := l.Finish(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	stored, applied, err = l.Postpone(t.Context(), c, []string{"nothing"})
	wantWrite(t, "Postpone of a settled row", stored, applied, err, settled, false)
	wantStored(t, l, settled)
}

func saidConcurrently(t *testing.T, l Ledger) {
	mustInsert(t, l, plain("user"))
	var mu sync.Mutex
	var said []string
	concurrently(8, func(i int) {
		for n := range 5 {
			c, _, err := l.Connection(t.Context(), "user")
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				c.Version++
				c.Said = nil
				_, _, err = l.Update(t.Context(), c)
			} else {
				word, applied := fmt.Sprint(i, " says ", n), false
				_, applied, err = l.Finish(t.Context(), c, []string{word})
				mu.Lock()
				if applied {
					said = append(said, word)
				}
				mu.Unlock()
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	c, _, err := l.Connection(t.Context(), "user")
	if slices.Sort(said); err != nil || !slices.Equal(c.Said, said) {
		t.Errorf("Said = %q, %v, want %q", c.Said, err, said)
	}
}

func vanished(t *testing.T, l Ledger) {
	none := ownership.Connection{UserID: "nobody"}
	for _, version := range []int64{0, 1, 2} {
		c := full("nobody")
		c.Version = version
		stored, applied, err := l.Update(t.Context(), c)
		wantWrite(t, "Update", stored, applied, err, none, false)
		stored, applied, err = l.Finish(t.Context(), c, []string{"something"})
		wantWrite(t, "Finish", stored, applied, err, none, false)
		stored, applied, err = l.Postpone(t.Context(), c, []string{"something"})
		wantWrite(t, "Postpone", stored, applied, err, none, false)
	}
	stored, found, err := l.Connection(t.Context(), "nobody")
	wantWrite(t, "Connection", stored, found, err, none, false)
	stored, found, err = l.Peek(t.Context(), "nobody")
	wantWrite(t, "Peek", stored, found, err, none, false)

	row, err := l.Mark(t.Context(), "GARMIN/k.1", someMark("nobody"), ownership.Mark{})
	wantAccount(t, "Mark", row, err, "GARMIN/k.1", nil, nil)
	if err := l.Drop(t.Context(), "GARMIN/k.1", someClaim("nobody", 1), []string{"some", "mark"}); err != nil {
		t.Error(err)
	}
	if rows := all(t, l.Connections(t.Context())); len(rows) != 0 {
		t.Errorf("connections: %v, want none", rows)
	}
	if rows := all(t, l.Accounts(t.Context())); len(rows) != 0 {
		t.Errorf("accounts: %v, want none", rows)
	}
}

// someClaim is a claim with something in every field.
func someClaim(userID string, version int64) ownership.Claim {
	return ownership.Claim{
		UserID:      userID,
		Tenures:     []string{fmt.Sprint("reference of version ", version), "tony"},
		ConnectedAt: someTime(),
		Certainty:   ownership.Terra,
		Replaces:    []string{"before"},
		ReplacedBy:  []string{"after-1", "after-2"},
		Closed:      version%2 == 1,
		Version:     version,
	}
}

func someMark(userID string) ownership.Mark {
	return ownership.Mark{
		Name: "transfer of " + userID, User: userID, Current: "after-1", Tenure: 2, ConnectedAt: someTime(),
		At: someTime().Add(time.Microsecond), Nudged: true,
	}
}

func claim(t *testing.T, l Ledger) {
	const account = "GARMIN/k7c1.1f2e"
	for _, step := range []struct {
		version, stored int64
	}{
		{version: 2, stored: 2},
		{version: 2, stored: 2},
		{version: 1, stored: 2},
		{version: 3, stored: 3},
		{version: 10, stored: 10}, // a number, not a text
		{version: 9, stored: 10},
	} {
		row, err := l.Claim(t.Context(), account, someClaim("user", step.version))
		wantAccount(t, fmt.Sprintf("Claim of version %d", step.version), row, err, account,
			[]ownership.Claim{someClaim("user", step.stored)}, nil)
	}
	same := someClaim("user", 10)
	same.Tenures = []string{"rhodey"}
	row, err := l.Claim(t.Context(), account, same)
	wantAccount(t, "Claim of the same version", row, err, account, []ownership.Claim{someClaim("user", 10)}, nil)

	bare := ownership.Claim{UserID: "bare", Tenures: []string{"tony"}, Version: 1}
	row, err = l.Claim(t.Context(), account, bare)
	wantAccount(t, "Claim of another user", row, err, account, []ownership.Claim{someClaim("user", 10), bare}, nil)
	row, err = l.Claim(t.Context(), "GARMIN/k7c1.other", bare)
	wantAccount(t, "Claim of another account", row, err, "GARMIN/k7c1.other", []ownership.Claim{bare}, nil)
}

func mark(t *testing.T, l Ledger) {
	const account = "GARMIN/k7c1.1f2e"
	a, b := someClaim("a", 1), someClaim("b", 2)
	mustClaim(t, l, account, a, b)

	transfer, revocation := someMark("a"), ownership.Mark{Name: "revocation of a", User: "a"}
	row, err := l.Mark(t.Context(), account, transfer, ownership.Mark{})
	wantAccount(t, "Mark", row, err, account, []ownership.Claim{a, b}, []ownership.Mark{transfer})
	row, err = l.Mark(t.Context(), account, revocation, ownership.Mark{})
	wantAccount(t, "second Mark", row, err, account, []ownership.Claim{a, b}, []ownership.Mark{transfer, revocation})

	// Instead of the one that was seen, and of no other: a slow worker's does not take the place of a later one.
	later := transfer
	later.Current, later.Tenure, later.ConnectedAt, later.At, later.Nudged = "after-2", 1, time.Time{}, time.Time{}, false
	for _, other := range []func(*ownership.Mark){
		func(m *ownership.Mark) { *m = ownership.Mark{} },
		func(m *ownership.Mark) { m.Current = "after-2" },
		func(m *ownership.Mark) { m.Tenure++ },
		func(m *ownership.Mark) { m.ConnectedAt = m.ConnectedAt.Add(1) },
		func(m *ownership.Mark) { m.At = m.At.Add(1) },
		func(m *ownership.Mark) { m.Nudged = false },
	} {
		seen := transfer
		other(&seen)
		row, err = l.Mark(t.Context(), account, later, seen)
		wantAccount(t, "Mark instead of another", row, err, account, []ownership.Claim{a, b}, []ownership.Mark{transfer, revocation})
	}
	for range 2 { // the second is a repeat of a call whose reply was lost
		row, err = l.Mark(t.Context(), account, later, transfer)
		wantAccount(t, "Mark instead of the one that was seen", row, err, account, []ownership.Claim{a, b}, []ownership.Mark{later, revocation})
	}
	row, err = l.Mark(t.Context(), account, transfer, later)
	wantAccount(t, "Mark instead of one without times", row, err, account, []ownership.Claim{a, b}, []ownership.Mark{transfer, revocation})
	absent := someMark("b")
	row, err = l.Mark(t.Context(), account, absent, absent)
	wantAccount(t, "Mark instead of one that is not there", row, err, account, []ownership.Claim{a, b}, []ownership.Mark{transfer, revocation})
	row, err = l.Mark(t.Context(), account, someMark("nobody"), ownership.Mark{})
	wantAccount(t, "Mark without its claim", row, err, account, []ownership.Claim{a, b}, []ownership.Mark{transfer, revocation})

	a.Version++
	row, err = l.Claim(t.Context(), account, a)
	wantAccount(t, "Claim", row, err, account, []ownership.Claim{a, b}, []ownership.Mark{transfer, revocation})
	row, err = l.Claim(t.Context(), account, someClaim("a", 1))
	wantAccount(t, "refused Claim", row, err, account, []ownership.Claim{a, b}, []ownership.Mark{transfer, revocation})
}

func drop(t *testing.T, l Ledger) {
	const account = "GARMIN/k7c1.1f2e"
	for name, marks := range map[string][]string{
		"no marks":               nil,
		"a mark":                 {"transfer of a"},
		"a mark that is not set": {"nothing"},
		"two marks":              {"transfer of a", "revocation of a"},
	} {
		t.Run(name, func(t *testing.T) {
			account := account + name
			a, b := someClaim("a", 2), someClaim("b", 1)
			kept := someMark("b")
			mustClaim(t, l, account, a, b)
			left := []ownership.Mark{kept}
			for _, m := range []ownership.Mark{kept, someMark("a"), {Name: "revocation of a", User: "a"}} {
				if _, err := l.Mark(t.Context(), account, m, ownership.Mark{}); err != nil {
					t.Fatal(err)
				}
				if m.User == "a" && !slices.Contains(marks, m.Name) {
					left = append(left, m)
				}
			}
			for _, version := range []int64{1, 3} {
				if err := l.Drop(t.Context(), account, someClaim("a", version), marks); err != nil {
					t.Fatal(err)
				}
			}
			row, err := l.Claim(t.Context(), account, a)
			wantAccount(t, "after a Drop of other versions", row, err, account, []ownership.Claim{a, b}, append(slices.Clone(left), marksOf(a, marks)...))

			for range 2 { // the second is a repeat of a call whose reply was lost
				if err := l.Drop(t.Context(), account, a, marks); err != nil {
					t.Fatal(err)
				}
				row, err = l.Claim(t.Context(), account, b)
				wantAccount(t, "after Drop", row, err, account, []ownership.Claim{b}, left)
			}
			back := someClaim("a", 1)
			row, err = l.Claim(t.Context(), account, back)
			wantAccount(t, "coming back", row, err, account, []ownership.Claim{back, b}, left)
		})
	}
}

// marksOf are those of the two marks of claim that are called by one of names.
func marksOf(claim ownership.Claim, names []string) []ownership.Mark {
	var marks []ownership.Mark
	for _, m := range []ownership.Mark{someMark(claim.UserID), {Name: "revocation of " + claim.UserID, User: claim.UserID}} {
		if slices.Contains(names, m.Name) {
			marks = append(marks, m)
		}
	}
	return marks
}

// claimConcurrently is the property that the whole rule rests on.
func claimConcurrently(t *testing.T, l Ledger) {
	const claimers = 40
	rows := make([]ownership.Account, claimers)
	concurrently(claimers, func(i int) {
		var err error
		if rows[i], err = l.Claim(t.Context(), "GARMIN/k.1", someClaim(fmt.Sprint("user-", i), 1)); err != nil {
			t.Error(err)
		}
	})
	// Sorted by size, each row must hold one claim more than the one before it, and all of that one's.
	sizes := slices.SortedFunc(slices.Values(rows), func(a, b ownership.Account) int { return len(a.Claims) - len(b.Claims) })
	for i, row := range sizes {
		if len(row.Claims) != i+1 {
			t.Fatalf("of %d claimers number %d saw %d claims", claimers, i+1, len(row.Claims))
		}
		if i == 0 {
			continue
		}
		for userID := range sizes[i-1].Claims {
			if _, found := row.Claims[userID]; !found {
				t.Errorf("a row of %d claims lacks one that was there before it", i+1)
			}
		}
	}
	for i, row := range rows {
		if _, found := row.Claims[fmt.Sprint("user-", i)]; !found {
			t.Error("a claimer does not see its own claim")
		}
	}
}

// odd are texts that could break an attribute's name, an expression or an encoding, or be taken for something of the ledger's own.
func odd() []string {
	return []string{
		"two words",
		"line one\nline two\r\n\ttab",
		"⌚🏃‍♀️ größe 東京 \u202e",
		`"quoted" <&> \ {"a":1}`,
		"#claim", ":claim", "c:user", "m:user", "a.b[0].c", "SET", "account", "user_id", "#key", "#note/walk", "emptied", " ", "\x00",
		strings.Repeat("u", 128),
		strings.Repeat("⌚", 32),
		strings.Repeat("r", 300),
		strings.Repeat("🏃 ", 409) + "end", // 2,048 bytes, the longest key of a row
	}
}

func oddTexts(t *testing.T, l Ledger) {
	for _, odd := range odd() {
		c := ownership.Connection{
			UserID:     odd,
			Provider:   odd,
			Tenures:    []string{odd},
			Suspects:   []string{odd},
			Accounts:   []string{odd},
			Replaces:   []string{odd},
			ReplacedBy: []ownership.Successor{{UserID: odd, Reference: odd}},
			Version:    1,
			ToDo:       true,
		}
		mustInsert(t, l, c)
		wantStored(t, l, c)
		c.Version = 2
		stored, applied, err := l.Update(t.Context(), c)
		wantWrite(t, "Update", stored, applied, err, c, true)
		c.Waiting, c.Said = odd, []string{odd}
		stored, applied, err = l.Postpone(t.Context(), c, []string{odd})
		wantWrite(t, "Postpone", stored, applied, err, c, true)

		one := ownership.Claim{UserID: odd, Tenures: []string{odd}, Replaces: []string{odd}, ReplacedBy: []string{odd}, Version: 1}
		two := ownership.Mark{Name: odd, User: odd, Current: odd}
		account := "GARMIN/" + odd[:min(len(odd), 1000)]
		row, err := l.Claim(t.Context(), account, one)
		wantAccount(t, "Claim", row, err, account, []ownership.Claim{one}, nil)
		row, err = l.Mark(t.Context(), account, two, ownership.Mark{})
		wantAccount(t, "Mark", row, err, account, []ownership.Claim{one}, []ownership.Mark{two})
		if err := l.Drop(t.Context(), account, one, []string{odd}); err != nil {
			t.Error(err)
		}
		row, err = l.Mark(t.Context(), account, two, ownership.Mark{})
		wantAccount(t, "Mark after Drop", row, err, account, nil, nil)
	}
}

func manyTenures(t *testing.T, l Ledger) {
	c := plain("user")
	for i := range 500 {
		c.Tenures = append(c.Tenures, fmt.Sprint("reference-", i%7))
	}
	mustInsert(t, l, c)
	wantStored(t, l, c)
	claim := ownership.Claim{UserID: "user", Tenures: c.Tenures, Version: 1}
	row, err := l.Claim(t.Context(), "GARMIN/k.1", claim)
	wantAccount(t, "Claim", row, err, "GARMIN/k.1", []ownership.Claim{claim}, nil)
}

func times(t *testing.T, l Ledger) {
	for i, moment := range []time.Time{
		{},
		time.Unix(0, 0),
		someTime(),
		someTime().Add(time.Nanosecond),
		someTime().In(time.FixedZone("", -9*3600)),
		time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
	} {
		c := plain(fmt.Sprint("user-", i))
		c.ConnectedAt, c.ClosedAt, c.NextAttempt = moment, moment, moment
		stored, _, err := l.Insert(t.Context(), c)
		c.ConnectedAt, c.ClosedAt, c.NextAttempt = moment.UTC(), moment.UTC(), moment.UTC().Truncate(time.Millisecond)
		wantWrite(t, "Insert", stored, true, err, c, true)
		wantStored(t, l, c)

		claim := someClaim(c.UserID, 1)
		claim.ConnectedAt = moment
		mustClaim(t, l, c.UserID, claim)
		mark := someMark(c.UserID)
		mark.ConnectedAt, mark.At = moment, moment
		row, err := l.Mark(t.Context(), c.UserID, mark, ownership.Mark{})
		claim.ConnectedAt, mark.ConnectedAt, mark.At = moment.UTC(), moment.UTC(), moment.UTC()
		wantAccount(t, "Mark", row, err, c.UserID, []ownership.Claim{claim}, []ownership.Mark{mark})
	}
}

func toDo(t *testing.T, l Ledger) {
	now := someTime().Truncate(time.Millisecond)
	var all []string
	for i := range 40 {
		c := plain(fmt.Sprint("user-", i))
		c.NextAttempt = now.Add(time.Duration(i-30) * time.Minute)
		mustInsert(t, l, c)
		all = append(all, c.UserID)
	}
	mustInsert(t, l, ownership.Connection{UserID: "never to do", Version: 1, NextAttempt: now.Add(-time.Hour)})

	wantToDo(t, l, now, 100, all[:31])
	wantToDo(t, l, now.Add(-time.Millisecond), 100, all[:30])
	wantToDo(t, l, now, 7, all[:7])
	wantToDo(t, l, now.Add(-time.Hour), 100, nil)
	wantToDo(t, l, now.Add(time.Hour), 100, all)

	c, _, _ := l.Connection(t.Context(), all[0])
	if _, applied, err := l.Finish(t.Context(), c, nil); err != nil || !applied {
		t.Fatal(applied, err)
	}
	c, _, _ = l.Connection(t.Context(), all[1])
	c.Version, c.ToDo = c.Version+1, false
	if _, applied, err := l.Update(t.Context(), c); err != nil || !applied {
		t.Fatal(applied, err)
	}
	c, _, _ = l.Connection(t.Context(), all[2])
	c.NextAttempt = now.Add(24 * time.Hour)
	if _, applied, err := l.Postpone(t.Context(), c, nil); err != nil || !applied {
		t.Fatal(applied, err)
	}
	wantToDo(t, l, now, 3, all[3:6])
	wantToDo(t, l, now.Add(25*time.Hour), 100, append(slices.Clone(all[3:]), all[2]))

	c, _, _ = l.Connection(t.Context(), all[1])
	c.Version, c.ToDo, c.NextAttempt = c.Version+1, true, now.Add(-24*time.Hour)
	if _, applied, err := l.Update(t.Context(), c); err != nil || !applied {
		t.Fatal(applied, err)
	}
	wantToDo(t, l, now, 3, []string{all[1], all[3], all[4]})
}

// backlog counts what is to do, due or not, by one row in each state; it and ToDo see what moves between the states.
func backlog(t *testing.T, l Ledger) {
	wantBacklog(t, l, 0, time.Time{})
	since := someTime().Truncate(time.Millisecond)
	var all []ownership.Connection
	for i := range 20 {
		c := plain(fmt.Sprint("user-", i))
		c.NextAttempt, c.Since = since.Add(time.Duration(i-10)*time.Hour), since.Add(time.Duration(i)*time.Minute)
		mustInsert(t, l, c)
		all = append(all, c)
	}
	unnamed := plain("unnamed")
	mustInsert(t, l, unnamed)
	mustInsert(t, l, ownership.Connection{UserID: "settled", Version: 1})
	wantBacklog(t, l, 20, since)

	if _, applied, err := l.Finish(t.Context(), all[0], nil); err != nil || !applied {
		t.Fatal(applied, err)
	}
	wantBacklog(t, l, 19, since.Add(time.Minute))
	all[1].Since = time.Time{}
	if _, applied, err := l.Postpone(t.Context(), all[1], nil); err != nil || !applied {
		t.Fatal(applied, err)
	}
	wantBacklog(t, l, 18, since.Add(2*time.Minute))
	all[2].Version, all[2].Since = 2, time.Time{}
	if _, applied, err := l.Update(t.Context(), all[2]); err != nil || !applied {
		t.Fatal(applied, err)
	}
	wantBacklog(t, l, 17, since.Add(3*time.Minute))
	unnamed.Since = since.Add(-time.Hour)
	if _, applied, err := l.Postpone(t.Context(), unnamed, nil); err != nil || !applied {
		t.Fatal(applied, err)
	}
	wantBacklog(t, l, 18, since.Add(-time.Hour))
	wantToDo(t, l, all[4].NextAttempt, 100, []string{all[1].UserID, all[2].UserID, all[3].UserID, all[4].UserID})
	if err := l.Erase(t.Context(), "unnamed"); err != nil {
		t.Fatal(err)
	}
	wantBacklog(t, l, 17, since.Add(3*time.Minute))
}

func wantBacklog(t *testing.T, l Ledger, want int, wantSince time.Time) {
	t.Helper()
	if rows, since, err := l.Backlog(t.Context()); err != nil || rows != want || !since.Equal(wantSince) {
		t.Errorf("Backlog = %d, %s, %v, want %d, %s", rows, since, err, want, wantSince)
	}
}

func listings(t *testing.T, l Ledger) {
	if err := l.CheckKey(t.Context(), "fingerprint"); err != nil {
		t.Fatal(err)
	}
	connections, accounts := map[string]ownership.Connection{}, map[string]ownership.Account{}
	for i := range 30 {
		c := full(fmt.Sprint("user-", i))
		c.Tenures = []string{strings.Repeat("long ", 10_000)} // a page of DynamoDB's is at most 1 MB
		mustInsert(t, l, c)
		connections[c.UserID] = c
		claim := someClaim(c.UserID, 1)
		row, err := l.Claim(t.Context(), fmt.Sprint("GARMIN/k.", i%10), claim)
		if err != nil {
			t.Fatal(err)
		}
		accounts[row.Key] = row
	}
	gotConnections := map[string]ownership.Connection{}
	for _, c := range all(t, l.Connections(t.Context())) {
		gotConnections[c.UserID] = c
	}
	if !reflect.DeepEqual(gotConnections, connections) {
		t.Errorf("Connections lists %d rows, want these %d as they were stored", len(gotConnections), len(connections))
	}
	gotAccounts := map[string]ownership.Account{}
	for _, a := range all(t, l.Accounts(t.Context())) {
		gotAccounts[a.Key] = a
	}
	if !reflect.DeepEqual(gotAccounts, accounts) {
		t.Errorf("Accounts lists %d rows, want these %d as they were stored", len(gotAccounts), len(accounts))
	}
	for range l.Connections(t.Context()) {
		break // a list may be left early
	}
	for range l.Accounts(t.Context()) {
		break
	}
	for c, err := range l.Connections(t.Context()) { // and the ledger used meanwhile
		if err != nil {
			t.Fatal(err)
		}
		if _, applied, err := l.Finish(t.Context(), c, nil); err != nil || !applied {
			t.Fatal(applied, err)
		}
	}
}

func checkKey(t *testing.T, l Ledger) {
	for _, step := range []struct {
		fingerprint string
		want        error
	}{
		{"first", nil},
		{"first", nil},
		{"second", ownership.ErrWrongAccountKey},
		{"", ownership.ErrWrongAccountKey},
		{"first", nil},
	} {
		if err := l.CheckKey(t.Context(), step.fingerprint); !errors.Is(err, step.want) {
			t.Errorf("CheckKey(%q) = %v, want %v", step.fingerprint, err, step.want)
		}
	}
}

func checkKeyConcurrently(t *testing.T, l Ledger) {
	errs := make([]error, 10)
	concurrently(len(errs), func(i int) { errs[i] = l.CheckKey(t.Context(), fmt.Sprint("fingerprint-", i)) })
	right := 0
	for _, err := range errs {
		if err == nil {
			right++
		} else if !errors.Is(err, ownership.ErrWrongAccountKey) {
			t.Error(err)
		}
	}
	if right != 1 {
		t.Errorf("%d keys were right, want one", right)
	}
}

func copies(t *testing.T, l Ledger) {
	spoil := func(c ownership.Connection) {
		for _, list := range [][]string{c.Tenures, c.Suspects, c.Accounts, c.Replaces, c.Said} {
			list[0] = "spoilt"
		}
		c.ReplacedBy[0].Reference = "spoilt"
	}
	given, want := full("user"), full("user")
	stored, _, err := l.Insert(t.Context(), given)
	wantWrite(t, "Insert", stored, true, err, want, true)
	spoil(given)
	spoil(stored)
	stored, _, err = l.Connection(t.Context(), "user")
	wantWrite(t, "Connection", stored, true, err, want, true)
	spoil(stored)
	for c, err := range l.Connections(t.Context()) {
		wantWrite(t, "Connections", c, true, err, want, true)
		spoil(c)
	}
	wantStored(t, l, want)

	claim := someClaim("user", 1)
	row, err := l.Claim(t.Context(), "GARMIN/k.1", claim)
	if err != nil {
		t.Fatal(err)
	}
	claim.Tenures[0] = "spoilt"
	row.Claims["user"].Tenures[0] = "spoilt"
	delete(row.Claims, "user")
	row, err = l.Mark(t.Context(), "GARMIN/k.1", someMark("user"), ownership.Mark{})
	wantAccount(t, "Mark", row, err, "GARMIN/k.1", []ownership.Claim{someClaim("user", 1)}, []ownership.Mark{someMark("user")})
}

func cancelled(t *testing.T, l Ledger) {
	c := full("user")
	mustInsert(t, l, c)
	row, err := l.Claim(t.Context(), "GARMIN/k.1", someClaim("user", 1))
	wantAccount(t, "Claim", row, err, "GARMIN/k.1", []ownership.Claim{someClaim("user", 1)}, nil)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := map[string]error{}
	_, _, errs["Insert"] = l.Insert(ctx, full("other"))
	next := c
	next.Version++
	_, _, errs["Update"] = l.Update(ctx, next)
	_, _, errs["Finish"] = l.Finish(ctx, c, nil)
	_, _, errs["Postpone"] = l.Postpone(ctx, next, nil)
	_, _, errs["Connection"] = l.Connection(ctx, "user")
	_, _, errs["Peek"] = l.Peek(ctx, "user")
	_, errs["Claim"] = l.Claim(ctx, "GARMIN/k.1", someClaim("user", 2))
	_, errs["Mark"] = l.Mark(ctx, "GARMIN/k.1", someMark("user"), ownership.Mark{})
	errs["Drop"] = l.Drop(ctx, "GARMIN/k.1", someClaim("user", 1), nil)
	_, errs["ToDo"] = l.ToDo(ctx, someTime(), 1)
	_, _, errs["Backlog"] = l.Backlog(ctx)
	errs["CheckKey"] = l.CheckKey(ctx, "fingerprint")
	_, _, errs["Account"] = l.Account(ctx, "GARMIN/k.1")
	_, _, errs["Stamp"] = l.Stamp(ctx, "user", 13)
	_, _, errs["AccountsFrom"] = l.AccountsFrom(ctx, "", 1)
	_, _, errs["ConnectionsFrom"] = l.ConnectionsFrom(ctx, "", 1)
	_, errs["Note"] = l.Note(ctx, "walk")
	errs["Keep"] = l.Keep(ctx, "walk", "something")
	errs["Erase"] = l.Erase(ctx, "user")
	errs["EraseClaim"] = l.EraseClaim(ctx, "GARMIN/k.1", "user", nil)
	for _, err := range l.Accounts(ctx) {
		errs["Accounts"] = err
	}
	for _, err := range l.Connections(ctx) {
		errs["Connections"] = err
	}
	for op, err := range errs {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want %v", op, err, context.Canceled)
		}
	}
	wantStored(t, l, c)
	row, err = l.Claim(t.Context(), "GARMIN/k.1", someClaim("user", 1))
	wantAccount(t, "Claim", row, err, "GARMIN/k.1", []ownership.Claim{someClaim("user", 1)}, nil)
}

func mustInsert(t *testing.T, l Ledger, c ownership.Connection) {
	t.Helper()
	stored, applied, err := l.Insert(t.Context(), c)
	if err != nil || !applied {
		t.Fatalf("Insert = %+v, %v, %v", stored, applied, err)
	}
}

func mustClaim(t *testing.T, l Ledger, account string, claims ...ownership.Claim) {
	t.Helper()
	for _, c := range claims {
		if _, err := l.Claim(t.Context(), account, c); err != nil {
			t.Fatal(err)
		}
	}
}

func wantWrite(t *testing.T, op string, stored ownership.Connection, applied bool, err error, want ownership.Connection, wantApplied bool) {
	t.Helper()
	if err != nil || applied != wantApplied || !reflect.DeepEqual(stored, want) {
		t.Errorf("%s =\n%+v, %v, %v, want\n%+v, %v", op, stored, applied, err, want, wantApplied)
	}
}

func wantStored(t *testing.T, l Ledger, want ownership.Connection) {
	t.Helper()
	stored, found, err := l.Connection(t.Context(), want.UserID)
	wantWrite(t, "Connection", stored, found, err, want, true)
	stored, found, err = l.Peek(t.Context(), want.UserID)
	wantWrite(t, "Peek", stored, found, err, want, true)
}

func wantAccount(t *testing.T, op string, row ownership.Account, err error, key string, claims []ownership.Claim, marks []ownership.Mark) {
	t.Helper()
	want := ownership.Account{Key: key, Claims: map[string]ownership.Claim{}, Marks: map[string]ownership.Mark{}}
	for _, c := range claims {
		want.Claims[c.UserID] = c
	}
	for _, m := range marks {
		want.Marks[m.Name] = m
	}
	if err != nil || !reflect.DeepEqual(row, want) {
		t.Errorf("%s =\n%+v, %v, want\n%+v", op, row, err, want)
	}
}

func wantToDo(t *testing.T, l Ledger, due time.Time, limit int, want []string) {
	t.Helper()
	got, err := l.ToDo(t.Context(), due, limit)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("ToDo(%s, %d) = %q, %v, want %q", due, limit, got, err, want)
	}
}

func all[Row any](t *testing.T, rows iter.Seq2[Row, error]) []Row {
	t.Helper()
	var list []Row
	for row, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		if list = append(list, row); len(list) > 10_000 {
			t.Fatal("the list does not end")
		}
	}
	return list
}

// concurrently runs work n times at once and waits for all.
func concurrently(n int, work func(i int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { work(i) })
	}
	wait.Wait()
}
