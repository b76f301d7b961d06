package endtoend

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// everything lists all users whatever page is asked for, as an API does that knows no pages.
func (l *terraList) everything(page, _ int) (int, []byte) {
	return http.StatusOK, l.answer(page, false, l.users)
}

// TestStrangeLists lets the program walk over lists that are not as they should be: it takes what is good, counts the rest, guesses at nothing and comes to an end.
func TestStrangeLists(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a program for each list")
	}
	path := buildProgram(t)
	for _, c := range []struct {
		name  string
		n     int // connections
		list  func(l *terraList, page, perPage int) (int, []byte)
		pages int // asked for
		want  map[string]int
	}{
		{
			"no pages, one long answer", 1200,
			func(l *terraList, page, perPage int) (int, []byte) { return l.everything(page, perPage) },
			1, map[string]int{"new": 1200, "pages": 1},
		},
		{
			"no pages, one short answer", 300,
			func(l *terraList, page, perPage int) (int, []byte) { return l.everything(page, perPage) },
			2, map[string]int{"new": 300, "pages": 2, "repeated": 1},
		},
		{
			"no pages, in another order each time", 300,
			func(l *terraList, page, _ int) (int, []byte) {
				users := slices.Clone(l.users)
				rand.New(rand.NewPCG(1, uint64(page))).Shuffle(len(users), func(i, j int) { users[i], users[j] = users[j], users[i] })
				return http.StatusOK, l.answer(page, false, users)
			},
			2, map[string]int{"new": 300, "pages": 2, "repeated": 1},
		},
		{
			"the last page for ever", 800,
			func(l *terraList, page, perPage int) (int, []byte) { return l.page(min(page, 1), perPage) },
			3, map[string]int{"new": 800, "pages": 3, "repeated": 1},
		},
		{
			"the first page after the last", 800,
			func(l *terraList, page, perPage int) (int, []byte) { return l.page(page%2, perPage) },
			3, map[string]int{"new": 800, "pages": 3, "repeated": 1},
		},
		{
			"users without an id", 600,
			func(l *terraList, page, perPage int) (int, []byte) {
				status, answer := l.page(page, perPage)
				for i := 3; i < len(l.users); i += 10 {
					id := []byte(fmt.Sprintf(`"user_id":%q`, l.users[i].userID))
					answer = bytes.Replace(answer, id, []byte([]string{`"user_id":""`, `"user_id":null`, `"id":7`, `"user_id":["x"]`}[i/10%4]), 1)
				}
				return status, answer
			},
			3, map[string]int{"new": 540, "pages": 3, "unusable": 60},
		},
		{
			"a page of users without an id", 1200,
			func(l *terraList, page, perPage int) (int, []byte) {
				status, answer := l.page(page, perPage)
				if page == 1 {
					answer = bytes.ReplaceAll(answer, []byte(`"user_id"`), []byte(`"id"`))
				}
				return status, answer
			},
			4, map[string]int{"new": 700, "pages": 4, "unusable": 500},
		},
		{
			"nobody", 0,
			func(l *terraList, page, perPage int) (int, []byte) { return l.page(page, perPage) },
			1, map[string]int{"pages": 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTerraList(t, c.n)
			l.list = func(page, perPage int) (int, []byte) {
				if page > 20 {
					t.Errorf("page %d is asked for", page)
					return http.StatusInternalServerError, nil
				}
				return c.list(l, page, perPage)
			}
			p := l.against(t, path)
			p.start()
			eventually(t, 30*time.Second, func() string {
				if t.Failed() || len(p.walks()) > 0 {
					return ""
				}
				return "the walk does not end"
			})
			if t.Failed() {
				return
			}
			report := p.walks()[0]
			maps.DeleteFunc(report, func(_ string, n int) bool { return n == 0 })
			if !maps.Equal(report, c.want) {
				t.Errorf("the walk reports %v, want %v", report, c.want)
			}
			if pages, _, _ := l.asked(); len(pages) != c.pages {
				t.Errorf("the pages %v were asked for, want %d", pages, c.pages)
			}
			var connections []connection
			if err := p.all("/api/connections", &connections); err != nil {
				t.Fatal(err)
			}
			for _, one := range connections {
				if u := l.byID[one.UserID]; u == nil || one.ReferenceID != u.reference || one.ClosedAt != nil {
					t.Errorf("%+v is listed as %+v", u, one)
				}
			}
			if len(connections) != c.want["new"] {
				t.Errorf("%d connections are known, want %d", len(connections), c.want["new"])
			}
		})
	}
}

// TestUnreadableLists lets the second page of the list be garbage: the walk keeps what the first one said, closes nobody, and rests.
func TestUnreadableLists(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a program for each list")
	}
	path := buildProgram(t)
	for name, answer := range map[string]struct {
		status int
		text   string
	}{
		"not JSON":           {http.StatusOK, "<html><body>Bad Gateway</body></html>"},
		"cut off":            {http.StatusOK, `{"users":[{"user_id":"4735eac4-31a2`},
		"an error with 200":  {http.StatusOK, `{"status":"error","message":"internal error"}`},
		"no list":            {http.StatusOK, `{"status":"success"}`},
		"a status":           {http.StatusBadGateway, `{"users":[]}`},
		"another's redirect": {http.StatusFound, ``},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTerraList(t, 700)
			l.list = func(page, perPage int) (int, []byte) {
				if page > 0 {
					return answer.status, []byte(answer.text)
				}
				return l.page(page, perPage)
			}
			p := l.against(t, path)
			p.start()
			eventually(t, 30*time.Second, func() string {
				if !strings.Contains(p.output(), "msg=walk outcome=failed") {
					return "no walk has failed"
				}
				return ""
			})
			var connections []connection
			if err := p.all("/api/connections", &connections); err != nil {
				t.Fatal(err)
			}
			for _, one := range connections {
				if l.byID[one.UserID] == nil || one.ClosedAt != nil {
					t.Errorf("listed: %+v", one)
				}
			}
			if pages, _, _ := l.asked(); len(connections) != 500 || len(pages) != 2 || len(p.walks()) > 0 {
				t.Errorf("%d connections are known, want 500; the pages %v were asked for, want two; %v", len(connections), pages, p.walks())
			}
		})
	}
}

// TestUnnamedAccounts lets GET /athlete answer something that names no account, or another's: the connection stays unsettled and is counted, and nothing is guessed.
func TestUnnamedAccounts(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	l := newTerraList(t, 12)
	garbage := []string{
		`{"status":"success","user":{"user_id":"00000000-0000-4000-8000-000000000000","provider":"GARMIN"},"athlete":{"provider_user_id":"account-000000"}}`,
		`{"status":"error","message":"internal error","athlete":{"provider_user_id":"account-000000"}}`,
		`{"status":"success","athlete":{"provider_user_id":null}}`,
		`<html>`,
	}
	strange := map[string]bool{}
	for _, u := range l.users[4:8] {
		strange[u.userID] = true
	}
	l.profile = func(u *listed) []byte {
		if i := slices.Index(l.users[4:8], u); i >= 0 {
			return []byte(garbage[i])
		}
		return fmt.Appendf(nil, `{"status":"success","user":{"user_id":%q,"provider":"GARMIN","reference_id":%q},"athlete":{"provider_user_id":%q}}`, u.userID, u.reference, u.account)
	}
	p := l.against(t, buildProgram(t), "-walk-every", "1s")
	p.start()
	eventually(t, 30*time.Second, func() string {
		var unsettled []connection
		if err := p.all("/api/connections?state=unsettled", &unsettled); err != nil {
			return err.Error()
		}
		for _, one := range unsettled {
			if !strange[one.UserID] || one.Waiting == "" || len(one.Accounts) > 0 {
				return fmt.Sprintf("unsettled: %+v", one)
			}
		}
		if len(unsettled) != len(strange) {
			return fmt.Sprintf("%d connections are unsettled, want %d", len(unsettled), len(strange))
		}
		return ""
	})
	report := p.walked(len(p.walks())+2, 30*time.Second) // one that has begun since
	// One answer says that there is no account to name. The others say nothing that could be used: such a connection is unsettled, and asked about again.
	if report["unidentifiable"] != 1 || report["closed"]+report["doubtful"] > 0 {
		t.Errorf("the walk reports %v, want 1 unidentifiable", report)
	}
	if found := p.announced(transferred); len(found) > 0 {
		t.Errorf("announced: %v", found)
	}
}

// TestReconcile lets connections disappear from Terra's list without a webhook: one that Terra does not know any more is closed, and if it was superseded its
// end is announced; one that Terra still knows stays open.
func TestReconcile(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	l := newTerraList(t, 20)
	at := l.users[19].createdAt
	for i := range 3 { // three accounts are held by somebody else too
		at = at.Add(time.Hour)
		l.add(l.users[i].account, at)
	}
	p := l.against(t, buildProgram(t), "-walk-every", "1s")
	p.start()
	p.walked(1, 30*time.Second)
	p.settled(0, 30*time.Second)
	if found, want := p.announced(transferred), l.pairs(); len(want) != 3 || !maps.Equal(found, want) {
		t.Fatalf("announced are %v, want %v", found, want)
	}

	superseded, alone, doubtful, stillOpen := l.users[0].userID, l.users[10].userID, l.users[1].userID, l.users[2].userID
	l.change(superseded, func(u *listed) { u.gone = true })
	l.change(alone, func(u *listed) { u.gone = true })
	l.change(doubtful, func(u *listed) { u.unlisted = true })
	l.change(l.users[11].userID, func(u *listed) { u.unlisted = true })
	begun := len(p.walks()) + 1 // may have begun before
	eventually(t, 30*time.Second, func() string {
		if ended := p.announced(revoked); len(ended) == 0 {
			return "no end is announced"
		}
		return ""
	})
	p.walked(begun+2, 30*time.Second)
	if ended := p.announced(revoked); !maps.Equal(ended, map[string]string{superseded: ""}) {
		t.Errorf("announced as ended are %v, want %s", ended, superseded)
	}
	var connections []connection
	if err := p.all("/api/connections", &connections); err != nil {
		t.Fatal(err)
	}
	for _, c := range connections {
		if gone := c.UserID == superseded || c.UserID == alone; gone != (c.ClosedAt != nil) || c.State != "settled" {
			t.Errorf("Terra knows it: %t, and it is listed as %+v", !gone, c)
		}
	}
	var open []connection
	if err := p.all("/api/connections?state=superseded", &open); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, c := range open {
		found[c.UserID] = true
	}
	if !maps.Equal(found, map[string]bool{doubtful: true, stillOpen: true}) {
		t.Errorf("listed as superseded are %v, want %s and %s", found, doubtful, stillOpen)
	}
	closed, doubts := 0, 0
	for _, report := range p.walks() {
		closed += report["closed"]
		doubts = report["doubtful"]
	}
	if closed != 2 || doubts != 2 {
		t.Errorf("the walks report %d closed, want 2, and the last one %d doubtful, want 2", closed, doubts)
	}

	// An empty list is no proof that everybody has gone.
	before := len(p.walks())
	l.mu.Lock()
	l.list = func(page, _ int) (int, []byte) { return http.StatusOK, l.answer(page, false, nil) }
	l.mu.Unlock()
	p.walked(before+3, 30*time.Second)
	if err := p.all("/api/connections", &connections); err != nil {
		t.Fatal(err)
	}
	for _, c := range connections {
		if gone := c.UserID == superseded || c.UserID == alone; gone != (c.ClosedAt != nil) {
			t.Errorf("after an empty list: %+v", c)
		}
	}
}
