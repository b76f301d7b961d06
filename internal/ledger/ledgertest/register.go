package ledgertest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// This half of the suite is about [ownership.Register], and about rows that expire.

func account(t *testing.T, l Ledger) {
	const key = "GARMIN/k7c1.1f2e"
	row, found, err := l.Account(t.Context(), key)
	if wantAccount(t, "Account", row, err, key, nil, nil); found {
		t.Error("an account is there before any claim")
	}
	a := someClaim("a", 1)
	mustClaim(t, l, key, a)
	mustMark(t, l, key, someMark("a"))
	mustClaim(t, l, "GARMIN/k7c1.other", someClaim("b", 1))
	row, found, err = l.Account(t.Context(), key)
	if wantAccount(t, "Account", row, err, key, []ownership.Claim{a}, []ownership.Mark{someMark("a")}); !found {
		t.Error("no account is there after a claim")
	}
	row.Claims["a"].Tenures[0] = "spoilt"
	row, _, err = l.Account(t.Context(), key)
	wantAccount(t, "Account again", row, err, key, []ownership.Claim{a}, []ownership.Mark{someMark("a")})
}

func stamp(t *testing.T, l Ledger) {
	c := full("user")
	mustInsert(t, l, c)
	settled := full("settled")
	settled.ToDo, settled.NextAttempt, settled.Since = false, time.Time{}, time.Time{}
	mustInsert(t, l, settled)
	for _, walk := range []int64{1, 1_700_000_000_000_000_000, 13} { // no order is asked for
		for _, row := range []*ownership.Connection{&c, &settled} {
			row.Listed = walk
			stored, found, err := l.Stamp(t.Context(), row.UserID, walk)
			wantWrite(t, "Stamp", stored, found, err, *row, true)
			wantStored(t, l, *row)
		}
	}
	wantToDo(t, l, c.NextAttempt, 10, []string{"user"})

	before := full("user") // read before the stamps; its version is still the row's
	before.Version, before.Waiting, before.Attempts = 2, "", 0
	stored, applied, err := l.Update(t.Context(), before)
	before.Listed = 13
	wantWrite(t, "Update", stored, applied, err, before, true)
	stored, applied, err = l.Postpone(t.Context(), before, nil)
	wantWrite(t, "Postpone", stored, applied, err, before, true)
	stored, applied, err = l.Finish(t.Context(), before, nil)
	before.ToDo, before.NextAttempt, before.Since = false, time.Time{}, time.Time{}
	wantWrite(t, "Finish", stored, applied, err, before, true)
}

func stampNothing(t *testing.T, l Ledger) {
	stored, found, err := l.Stamp(t.Context(), "nobody", 13)
	wantWrite(t, "Stamp", stored, found, err, ownership.Connection{UserID: "nobody"}, false)
	if rows := all(t, l.Connections(t.Context())); len(rows) != 0 {
		t.Errorf("connections: %v, want none", rows)
	}
	mustInsert(t, l, plain("nobody"))
}

func stampConcurrently(t *testing.T, l Ledger) {
	mustInsert(t, l, plain("user"))
	const updates = 10
	concurrently(4, func(i int) {
		for n := range updates {
			var c ownership.Connection
			var ok bool
			var err error
			if i == 0 {
				c = plain("user")
				c.Version, c.Provider = int64(n+2), fmt.Sprint("P", n)
				c, ok, err = l.Update(t.Context(), c)
			} else {
				c, ok, err = l.Stamp(t.Context(), "user", int64(i*100+n))
			}
			if err != nil || !ok {
				t.Errorf("%+v, %v, %v", c, ok, err)
			}
		}
	})
	c, _, err := l.Connection(t.Context(), "user")
	if err != nil || c.Version != updates+1 || c.Provider != fmt.Sprint("P", updates-1) || c.Listed%100 != updates-1 {
		t.Errorf("Connection = %+v, %v, want the last update and a last stamp", c, err)
	}
}

func pages(t *testing.T, l Ledger) {
	if err := l.CheckKey(t.Context(), "fingerprint"); err != nil {
		t.Fatal(err)
	}
	connections, accounts := map[string]ownership.Connection{}, map[string]ownership.Account{}
	for i := range 250 {
		c := full(fmt.Sprint("user-", i))
		mustInsert(t, l, c)
		connections[c.UserID] = c
		row, err := l.Claim(t.Context(), fmt.Sprint("GARMIN/k.", i), someClaim(c.UserID, 1))
		if err != nil {
			t.Fatal(err)
		}
		accounts[row.Key] = row
	}
	// Between two pages rows come, and the last row of the page goes: the cursor was made of it.
	n := 0
	pagesOf(t, l, "connections", l.ConnectionsFrom, connections, 40, func(last ownership.Connection) string {
		n++
		for _, userID := range []string{fmt.Sprint("a new one ", n), fmt.Sprint("user-12-", n), fmt.Sprint("zoë ", n)} {
			mustInsert(t, l, plain(userID))
		}
		if err := l.Erase(t.Context(), last.UserID); err != nil {
			t.Error(err)
		}
		return last.UserID
	})
	pagesOf(t, l, "accounts", l.AccountsFrom, accounts, 40, func(last ownership.Account) string {
		n++
		for _, key := range []string{fmt.Sprint("A/k.", n), fmt.Sprint("GARMIN/k.12-", n), fmt.Sprint("ZEPP/k.", n)} {
			mustClaim(t, l, key, someClaim("user", 1))
		}
		for userID := range last.Claims {
			if err := l.EraseClaim(t.Context(), last.Key, userID, nil); err != nil {
				t.Error(err)
			}
		}
		return last.Key
	})
}

// pagesOf reads all pages and wants each of the rows that stay once and as it is. The cursor is kept as a note between two pages, as a walk does. meanwhile
// gets the last row of each page; it may change the ledger, and says which row it took away.
func pagesOf[Row any](t *testing.T, l Ledger, what string, from func(context.Context, string, int) ([]Row, string, error), stay map[string]Row, limit int, meanwhile func(last Row) (gone string)) {
	t.Helper()
	seen := map[string]int{}
	for cursor, first := "", true; first || cursor != ""; first = false {
		rows, next, err := from(t.Context(), cursor, limit)
		if err != nil || len(rows) > limit {
			t.Fatalf("%s: a page of %d rows, %v, want at most %d", what, len(rows), err, limit)
		}
		if err := l.Keep(t.Context(), "place in "+what, next); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			key := keyOf(row)
			if seen[key]++; seen[key] > 1 {
				t.Fatalf("%s: %q is in a page for the second time", what, key)
			}
			if want, ok := stay[key]; ok && !reflect.DeepEqual(row, want) {
				t.Errorf("%s: a page holds\n%+v, want\n%+v", what, row, want)
			}
		}
		if len(rows) > 0 && next != "" {
			delete(stay, meanwhile(rows[len(rows)-1]))
		}
		if cursor, err = l.Note(t.Context(), "place in "+what); err != nil || cursor != next {
			t.Fatalf("%s: the cursor %q came back as %q, %v", what, next, cursor, err)
		}
	}
	if len(stay) == 0 {
		t.Fatalf("%s: no row stayed", what)
	}
	for key := range stay {
		if seen[key] != 1 {
			t.Errorf("%s: %q is in no page", what, key)
		}
	}
	for key := range seen {
		if strings.HasPrefix(key, "#") { // something of the ledger's own
			t.Errorf("%s: %q is in a page", what, key)
		}
	}
}

func keyOf(row any) string {
	if c, ok := row.(ownership.Connection); ok {
		return c.UserID
	}
	return row.(ownership.Account).Key
}

func pagesOfOddKeys(t *testing.T, l Ledger) {
	var connections, accounts []string
	for _, odd := range odd() {
		mustInsert(t, l, plain(odd))
		connections = append(connections, odd)
		account := "GARMIN/" + odd[:min(len(odd), 1000)]
		mustClaim(t, l, account, someClaim("user", 1))
		accounts = append(accounts, account)
	}
	for _, limit := range []int{1, 2, len(connections), 1000} {
		var got []string
		for cursor, first := "", true; (first || cursor != "") && len(got) <= len(connections); first = false {
			rows, next, err := l.ConnectionsFrom(t.Context(), cursor, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range rows {
				got = append(got, c.UserID)
			}
			cursor = next
		}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(connections))) {
			t.Errorf("connections, %d at once: %q, want %q", limit, got, connections)
		}
		got = nil
		for cursor, first := "", true; (first || cursor != "") && len(got) <= len(accounts); first = false {
			rows, next, err := l.AccountsFrom(t.Context(), cursor, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range rows {
				got = append(got, a.Key)
			}
			cursor = next
		}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(accounts))) {
			t.Errorf("accounts, %d at once: %q, want %q", limit, got, accounts)
		}
	}
}

func pagesEnd(t *testing.T, l Ledger) {
	connections, cursor, err := l.ConnectionsFrom(t.Context(), "", 10)
	if len(connections) != 0 || cursor != "" || err != nil {
		t.Errorf("of an empty ledger, ConnectionsFrom = %v, %q, %v", connections, cursor, err)
	}
	accounts, cursor, err := l.AccountsFrom(t.Context(), "", 10)
	if len(accounts) != 0 || cursor != "" || err != nil {
		t.Errorf("of an empty ledger, AccountsFrom = %v, %q, %v", accounts, cursor, err)
	}
	if _, _, err := l.ConnectionsFrom(t.Context(), "no cursor!", 10); err == nil {
		t.Error("ConnectionsFrom begins somewhere, given a text that is no cursor")
	}
	if _, _, err := l.AccountsFrom(t.Context(), "no cursor!", 10); err == nil {
		t.Error("AccountsFrom begins somewhere, given a text that is no cursor")
	}
}

func notes(t *testing.T, l Ledger) {
	// Who could be taken for a note, were the user_id of a hostile event all that tells it.
	hostile := []string{"#note/walk", "#note", "walk", "note/walk"}
	for _, userID := range hostile {
		mustInsert(t, l, full(userID))
	}
	wantNote(t, l, "walk", "")
	wantNote(t, l, "reminder", "")
	for _, text := range append(odd(), "", strings.Repeat("long ", 20_000)) {
		for range 2 {
			if err := l.Keep(t.Context(), "walk", text); err != nil {
				t.Fatal(err)
			}
		}
		wantNote(t, l, "walk", text)
		wantNote(t, l, "reminder", "")
	}
	if err := l.Keep(t.Context(), "walk", "here"); err != nil {
		t.Fatal(err)
	}
	if err := l.Keep(t.Context(), "reminder", "there"); err != nil {
		t.Fatal(err)
	}

	if rows := all(t, l.Accounts(t.Context())); len(rows) != 0 {
		t.Errorf("accounts: %v, want none", rows)
	}
	if rows := all(t, l.Connections(t.Context())); len(rows) != len(hostile) {
		t.Errorf("connections: %v, want the %d that were inserted", rows, len(hostile))
	}
	for _, userID := range hostile {
		wantStored(t, l, full(userID))
		c := full(userID)
		c.Version = 2
		if _, applied, err := l.Update(t.Context(), c); err != nil || !applied {
			t.Errorf("Update of %q: %v, %v", userID, applied, err)
		}
		if err := l.Erase(t.Context(), userID); err != nil {
			t.Error(err)
		}
	}
	if err := l.CheckKey(t.Context(), "fingerprint"); err != nil {
		t.Error(err)
	}
	wantNote(t, l, "walk", "here")
	wantNote(t, l, "reminder", "there")
}

func erase(t *testing.T, l Ledger) {
	for _, userID := range []string{"user", "settled", "other"} {
		c := full(userID)
		c.ToDo = userID != "settled"
		mustInsert(t, l, c)
	}
	for _, userID := range []string{"user", "settled", "user", "nobody"} { // the third is a repeat of a call whose reply was lost
		if err := l.Erase(t.Context(), userID); err != nil {
			t.Errorf("Erase of %q: %v", userID, err)
		}
		wantAbsent(t, l, userID)
	}
	wantStored(t, l, full("other"))
	wantToDo(t, l, someTime(), 10, []string{"other"})

	stored, applied, err := l.Update(t.Context(), ownership.Connection{UserID: "user", Version: 2})
	wantWrite(t, "Update of an erased row", stored, applied, err, ownership.Connection{UserID: "user"}, false)
	mustInsert(t, l, plain("user"))
	wantStored(t, l, plain("user"))
}

func eraseClaim(t *testing.T, l Ledger) {
	for n := range 8 {
		for _, repeated := range []bool{false, true} {
			account := fmt.Sprint("GARMIN/k.", n, repeated)
			a, b := someClaim("a", 7), someClaim("b", 1)
			mustClaim(t, l, account, a, b)
			mustMark(t, l, account, someMark("b"))
			var names []string
			for i := range n {
				m := someMark("a")
				m.Name = fmt.Sprint("mark of a, ", i)
				mustMark(t, l, account, m)
				names = append(names, m.Name, fmt.Sprint("no mark ", i))
			}
			if repeated {
				names = append(names, names...)
			}
			before := slices.Clone(names)
			for range 2 { // the second is a repeat of a call whose reply was lost
				if err := l.EraseClaim(t.Context(), account, "a", names); err != nil {
					t.Fatal(err)
				}
				row, found, err := l.Account(t.Context(), account)
				if wantAccount(t, "Account", row, err, account, []ownership.Claim{b}, []ownership.Mark{someMark("b")}); !found {
					t.Error("the row has gone, and a claim with it")
				}
			}
			if !slices.Equal(names, before) {
				t.Errorf("the caller's names are %q, were %q", names, before)
			}
			row, err := l.Mark(t.Context(), account, someMark("a"), ownership.Mark{})
			wantAccount(t, "Mark without its claim", row, err, account, []ownership.Claim{b}, []ownership.Mark{someMark("b")})
			again := someClaim("a", 1) // whatever its version was
			row, err = l.Claim(t.Context(), account, again)
			wantAccount(t, "Claim", row, err, account, []ownership.Claim{again, b}, []ownership.Mark{someMark("b")})
		}
	}

	// Marks that are not named stay.
	const account = "GARMIN/k7c1.1f2e"
	mustClaim(t, l, account, someClaim("a", 1), someClaim("b", 1))
	mustMark(t, l, account, someMark("a"))
	if err := l.EraseClaim(t.Context(), account, "a", nil); err != nil {
		t.Fatal(err)
	}
	row, _, err := l.Account(t.Context(), account)
	wantAccount(t, "Account", row, err, account, []ownership.Claim{someClaim("b", 1)}, []ownership.Mark{someMark("a")})

	for _, odd := range odd() {
		mustClaim(t, l, account, someClaim(odd, 1))
		mustMark(t, l, account, ownership.Mark{Name: odd, User: odd})
		if err := l.EraseClaim(t.Context(), account, odd, []string{odd}); err != nil {
			t.Error(err)
		}
		row, _, err := l.Account(t.Context(), account)
		wantAccount(t, "Account", row, err, account, []ownership.Claim{someClaim("b", 1)}, []ownership.Mark{someMark("a")})
	}
}

func eraseLastClaim(t *testing.T, l Ledger) {
	const account = "GARMIN/k7c1.1f2e"
	for _, marks := range [][]string{nil, {"transfer of a"}, {"1", "2", "3", "4", "transfer of a"}} {
		mustClaim(t, l, account, someClaim("a", 7), someClaim("b", 1))
		mustMark(t, l, account, someMark("a"))
		for _, userID := range []string{"b", "a", "a", "nobody"} {
			if err := l.EraseClaim(t.Context(), account, userID, marks); err != nil {
				t.Fatal(err)
			}
		}
		row, found, err := l.Account(t.Context(), account)
		if wantAccount(t, "Account", row, err, account, nil, nil); found {
			t.Error("a row without claims is there")
		}
		if rows := all(t, l.Accounts(t.Context())); len(rows) != 0 {
			t.Errorf("accounts: %v, want none", rows)
		}
	}
	row, err := l.Claim(t.Context(), account, someClaim("b", 1))
	wantAccount(t, "Claim", row, err, account, []ownership.Claim{someClaim("b", 1)}, nil)
}

// eraseConcurrently erases the last claim of a row while others come.
func eraseConcurrently(t *testing.T, l Ledger) {
	for round := range 20 {
		account := fmt.Sprint("GARMIN/k.", round)
		mustClaim(t, l, account, someClaim("user-0", 1), someClaim("user-1", 1))
		concurrently(6, func(i int) {
			userID := fmt.Sprint("user-", i)
			if i < 2 {
				if err := l.EraseClaim(t.Context(), account, userID, []string{userID}); err != nil {
					t.Error(err)
				}
				return
			}
			if i%2 == 0 {
				time.Sleep(time.Millisecond)
			}
			row, err := l.Claim(t.Context(), account, someClaim(userID, 1))
			if _, found := row.Claims[userID]; err != nil || !found {
				t.Errorf("a claimer does not see its own claim: %v", err)
			}
		})
		row, _, err := l.Account(t.Context(), account)
		wantAccount(t, "Account", row, err, account,
			[]ownership.Claim{someClaim("user-2", 1), someClaim("user-3", 1), someClaim("user-4", 1), someClaim("user-5", 1)}, nil)
	}
}

// clock is the clock of a ledger.
type clock struct {
	mu   sync.Mutex
	time time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = t
}

// fleeting is full, with the time of its end.
func fleeting(userID string, end time.Time) ownership.Connection {
	c := full(userID)
	c.ExpiresAt = end.Truncate(time.Second)
	return c
}

func expired(t *testing.T, l Ledger, now *clock) {
	end := someTime().Add(time.Hour).Truncate(time.Second)
	mustInsert(t, l, fleeting("user", end))
	mustInsert(t, l, fleeting("longer", end.Add(time.Second)))

	now.set(end.Add(-time.Nanosecond))
	wantStored(t, l, fleeting("user", end))
	stored, applied, err := l.Insert(t.Context(), plain("user"))
	wantWrite(t, "Insert", stored, applied, err, fleeting("user", end), false)
	if rows := all(t, l.Connections(t.Context())); len(rows) != 2 {
		t.Errorf("connections: %v, want 2", rows)
	}
	stamped := fleeting("user", end)
	stamped.Listed = 13
	stored, found, err := l.Stamp(t.Context(), "user", 13)
	wantWrite(t, "Stamp", stored, found, err, stamped, true)

	for _, at := range []time.Time{end, end.Add(999 * time.Millisecond), end.In(time.FixedZone("", 3600))} {
		now.set(at)
		wantAbsent(t, l, "user")
		stored, found, err = l.Stamp(t.Context(), "user", 14)
		wantWrite(t, "Stamp", stored, found, err, ownership.Connection{UserID: "user"}, false)
		wantStored(t, l, fleeting("longer", end.Add(time.Second)))
		if rows := all(t, l.Connections(t.Context())); len(rows) != 1 {
			t.Errorf("connections: %v, want 1", rows)
		}
	}
	now.set(end.Add(-time.Second))
	wantStored(t, l, stamped) // and nothing has changed it since
	now.set(end.AddDate(1, 0, 0))
	if err := l.Erase(t.Context(), "user"); err != nil {
		t.Error(err)
	}
	now.set(someTime())
	wantAbsent(t, l, "user")
}

func expiredPages(t *testing.T, l Ledger, now *clock) {
	stay := map[string]ownership.Connection{}
	for i := range 100 {
		c := full(fmt.Sprintf("user-%02d", i))
		if i%3 == 0 || i/10%2 == 0 || i > 90 { // alone, in runs longer than a page, and at both ends
			c = fleeting(c.UserID, someTime().Add(time.Hour))
		} else {
			stay[c.UserID] = c
		}
		mustInsert(t, l, c)
	}
	now.set(someTime().Add(time.Hour))
	pagesOf(t, l, "connections", l.ConnectionsFrom, stay, 4, func(ownership.Connection) string { return "" })
}

func expiredReplaced(t *testing.T, l Ledger, now *clock) {
	end := someTime().Add(time.Hour).Truncate(time.Second)
	later := fleeting("later", end.Add(time.Hour))
	later.NextAttempt = later.NextAttempt.Add(time.Millisecond)
	for _, c := range []ownership.Connection{plain("plain"), {UserID: "settled", Version: 1}, later} {
		now.set(someTime())
		mustInsert(t, l, fleeting(c.UserID, end))
		now.set(end)
		mustInsert(t, l, c)
		wantStored(t, l, c)
		stored, applied, err := l.Insert(t.Context(), full(c.UserID))
		wantWrite(t, "Insert over a row that has not expired", stored, applied, err, c, false)
	}
	wantToDo(t, l, end, 10, []string{"plain", "later"})
}

func expiredConcurrently(t *testing.T, l Ledger, now *clock) {
	end := someTime().Truncate(time.Second)
	mustInsert(t, l, fleeting("user", end))
	var mu sync.Mutex
	applied, versions := 0, map[int64]bool{}
	concurrently(20, func(i int) {
		c := plain("user")
		c.Version = int64(i + 100)
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
	if applied != 1 || len(versions) != 1 || versions[1] {
		t.Errorf("%d inserts were applied and the versions %v were handed back, want one new one", applied, versions)
	}
}

func updateExpiry(t *testing.T, l Ledger, now *clock) {
	ends := []time.Time{{}, someTime().Add(time.Hour).Truncate(time.Second), someTime().Add(2 * time.Hour).Truncate(time.Second)}
	for i, from := range ends {
		for j, to := range ends {
			for _, toDo := range []bool{false, true} {
				now.set(someTime())
				c := fleeting(fmt.Sprint("user ", i, j, toDo), from)
				c.Attempts, c.Waiting, c.Said = 0, "", nil
				mustInsert(t, l, c)
				c.Version, c.ExpiresAt, c.ToDo = 2, to, toDo
				if !toDo {
					c.NextAttempt, c.Since = time.Time{}, time.Time{}
				}
				stored, applied, err := l.Update(t.Context(), c)
				wantWrite(t, "Update", stored, applied, err, c, true)
				if now.set(someTime().AddDate(300, 0, 0)); to.IsZero() {
					wantStored(t, l, c)
				} else {
					wantAbsent(t, l, c.UserID)
					now.set(to.Add(-time.Second))
					wantStored(t, l, c)
				}
			}
		}
	}
}

func neverExpired(t *testing.T, l Ledger, now *clock) {
	mustInsert(t, l, plain("user"))
	mustInsert(t, l, ownership.Connection{UserID: "settled", Version: 1})
	mustClaim(t, l, "GARMIN/k.1", someClaim("user", 1))
	if err := l.CheckKey(t.Context(), "fingerprint"); err != nil {
		t.Fatal(err)
	}
	if err := l.Keep(t.Context(), "walk", "here"); err != nil {
		t.Fatal(err)
	}
	now.set(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))
	wantStored(t, l, plain("user"))
	if _, found, err := l.Stamp(t.Context(), "settled", 13); err != nil || !found {
		t.Errorf("Stamp = %v, %v", found, err)
	}
	if rows := all(t, l.Connections(t.Context())); len(rows) != 2 {
		t.Errorf("connections: %v, want 2", rows)
	}
	if rows := all(t, l.Accounts(t.Context())); len(rows) != 1 {
		t.Errorf("accounts: %v, want 1", rows)
	}
	if _, found, err := l.Account(t.Context(), "GARMIN/k.1"); err != nil || !found {
		t.Errorf("Account = %v, %v", found, err)
	}
	wantNote(t, l, "walk", "here")
}

func expiryForm(t *testing.T, l Ledger, now *clock) {
	now.set(time.Time{})
	for i, moment := range []time.Time{
		{},
		time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), // no whole second: none
		time.Unix(0, 0),
		someTime(),
		someTime().Add(time.Nanosecond).In(time.FixedZone("", -9*3600)),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
	} {
		c := plain(fmt.Sprint("user-", i))
		c.ExpiresAt = moment
		want := c
		want.ExpiresAt = moment.UTC().Truncate(time.Second)
		stored, applied, err := l.Insert(t.Context(), c)
		wantWrite(t, "Insert", stored, applied, err, want, true)
		wantStored(t, l, want)
		c.Version, want.Version = 2, 2
		stored, applied, err = l.Update(t.Context(), c)
		wantWrite(t, "Update", stored, applied, err, want, true)
		wantStored(t, l, want)
	}
}

func mustMark(t *testing.T, l Ledger, account string, mark ownership.Mark) {
	t.Helper()
	row, err := l.Mark(t.Context(), account, mark, ownership.Mark{})
	if _, found := row.Marks[mark.Name]; err != nil || !found {
		t.Fatalf("Mark = %+v, %v", row, err)
	}
}

func wantNote(t *testing.T, l Ledger, name, want string) {
	t.Helper()
	if text, err := l.Note(t.Context(), name); err != nil || text != want {
		t.Errorf("Note(%q) = %q, %v, want %q", name, text, err, want)
	}
}

func wantAbsent(t *testing.T, l Ledger, userID string) {
	t.Helper()
	stored, found, err := l.Connection(t.Context(), userID)
	wantWrite(t, "Connection", stored, found, err, ownership.Connection{UserID: userID}, false)
	stored, found, err = l.Peek(t.Context(), userID)
	wantWrite(t, "Peek", stored, found, err, ownership.Connection{UserID: userID}, false)
	for _, c := range all(t, l.Connections(t.Context())) {
		if c.UserID == userID {
			t.Errorf("Connections lists %+v", c)
		}
	}
	page, _, err := l.ConnectionsFrom(t.Context(), "", 100)
	if err != nil || slices.ContainsFunc(page, func(c ownership.Connection) bool { return c.UserID == userID }) {
		t.Errorf("ConnectionsFrom lists %+v, %v", page, err)
	}
}
