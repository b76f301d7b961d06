package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// exhaustive reports whether the long form of a test is asked for.
func exhaustive() bool { return os.Getenv("HANDOVER_EXHAUSTIVE") == "1" }

// listed is a connection of a terraList. Its account is that of an earlier connection, if it has one.
type listed struct {
	userID, reference, account string
	createdAt                  time.Time
	unlisted                   bool // GET /subscriptions leaves it out
	gone                       bool // Terra does not know it
}

// terraList is a Terra with many connections and no webhooks. It counts what it is asked.
type terraList struct {
	t     *testing.T
	newer bool                                                // lists as the newer API does, else as the older one
	list  func(page, perPage int) (status int, answer []byte) // answers GET /subscriptions, where it is not nil

	profile func(*listed) []byte // answers GET /athlete, where it is not nil

	// A page of these is given out once only in part: then the answer hangs until the program is killed.
	hang map[int]bool

	mu       sync.Mutex
	users    []*listed
	byID     map[string]*listed
	pages    []int          // those that were asked for, in order
	athletes map[string]int // questions for the account, by user_id
	infos    map[string]int // questions for the connection
}

// newTerraList makes a Terra in which, of each hundred accounts, three have two live connections of different references.
func newTerraList(t *testing.T, n int) *terraList {
	l := &terraList{t: t, byID: map[string]*listed{}, athletes: map[string]int{}, infos: map[string]int{}}
	began := time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC)
	for accounts := 0; len(l.users) < n; accounts++ {
		l.add(fmt.Sprintf("account-%06d", accounts), began.Add(time.Duration(len(l.users))*time.Second))
		if accounts%100 < 3 && accounts >= 100 && len(l.users) < n { // of somebody who came long before: the two are pages apart
			l.add(fmt.Sprintf("account-%06d", accounts-50), began.Add(time.Duration(len(l.users))*time.Second))
		}
	}
	return l
}

func (l *terraList) add(account string, at time.Time) *listed {
	n := len(l.users)
	u := &listed{
		userID:    fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(n)*2654435761, n), // in no order
		reference: fmt.Sprintf("person-%06d", n), account: account, createdAt: at,
	}
	l.users = append(l.users, u)
	l.byID[u.userID] = u
	return u
}

// pairs are the pairs of connections of one account, older to newer.
func (l *terraList) pairs() map[string]string {
	first, pairs := map[string]string{}, map[string]string{}
	for _, u := range l.users {
		if older, ok := first[u.account]; ok {
			pairs[older] = u.userID
		}
		first[u.account] = u.userID
	}
	return pairs
}

func (l *terraList) change(userID string, f func(*listed)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.byID[userID])
}

func (u *listed) shown() map[string]any {
	return map[string]any{
		"user_id": u.userID, "provider": "GARMIN", "reference_id": u.reference, "created_at": u.createdAt.Format("2006-01-02T15:04:05.000000+00:00"),
	}
}

// answer is the answer of GET /subscriptions with these users.
func (l *terraList) answer(page int, more bool, users []*listed) []byte {
	shown := make([]map[string]any, len(users))
	for i, u := range users {
		shown[i] = u.shown()
	}
	answer := map[string]any{"users": shown}
	if l.newer {
		data := map[string]any{"results": shown, "next": nil, "max_page": page}
		if more {
			data["next"], data["max_page"] = page+1, page+1
		}
		answer = map[string]any{"data": data}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		l.t.Error(err)
	}
	return text
}

// page answers as Terra's documentation says.
func (l *terraList) page(page, perPage int) (int, []byte) {
	all := slices.DeleteFunc(slices.Clone(l.users), func(u *listed) bool { return u.unlisted || u.gone })
	return http.StatusOK, l.answer(page, (page+1)*perPage < len(all), all[min(page*perPage, len(all)):min((page+1)*perPage, len(all))])
}

func (l *terraList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	hang := false
	defer func() {
		l.mu.Unlock()
		if hang {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}()
	query := r.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/v2/subscriptions" {
		page, err := strconv.Atoi(query.Get("page"))
		perPage, sizeErr := strconv.Atoi(query.Get("per_page"))
		if err != nil || sizeErr != nil {
			l.t.Errorf("asked for %s", r.URL)
		}
		l.pages = append(l.pages, page)
		list := l.page
		if l.list != nil {
			list = l.list
		}
		status, answer := list(page, perPage)
		if hang = l.hang[page]; hang {
			delete(l.hang, page)
			answer = answer[:len(answer)*3/5]
		}
		w.WriteHeader(status)
		_, _ = w.Write(answer)
		return
	}
	u := l.byID[query.Get("user_id")]
	switch {
	case r.URL.Path == "/v2/athlete" && u != nil:
		l.athletes[u.userID]++
	case r.URL.Path == "/v2/userInfo" && u != nil:
		l.infos[u.userID]++
	}
	if u == nil || u.gone {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"status":"error","message":"user not found"}`))
		return
	}
	if r.URL.Path == "/v2/athlete" && l.profile != nil {
		_, _ = w.Write(l.profile(u))
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "user": u.shown(), "athlete": map[string]any{"provider_user_id": u.account}})
}

// asked returns the pages that were asked for, and the sums of the questions about one connection.
func (l *terraList) asked() (pages []int, athletes, infos int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.athletes {
		athletes += n
	}
	for _, n := range l.infos {
		infos += n
	}
	return slices.Clone(l.pages), athletes, infos
}

// memoryDir is a folder in memory, where there is one: a walk writes each connection several times, each time to the disk, and SIGKILL leaves what the kernel has.
func memoryDir(t *testing.T) string {
	t.Helper()
	path, err := os.MkdirTemp("/dev/shm", "handover")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

// against makes a program on an empty folder that speaks to l.
func (l *terraList) against(t *testing.T, path string, arguments ...string) *program {
	t.Helper()
	api := httptest.NewServer(l)
	t.Cleanup(api.Close)
	return newProgram(t, path, append([]string{
		"-data", memoryDir(t), "-signing-secret", signingSecret, "-terra-api", api.URL + "/v2", "-terra-dev-id", devID, "-terra-api-key", apiKey, "-sweep-every", "200ms",
	}, arguments...)...)
}

// all is get for a list that may be long.
func (p *program) all(path string, list any) error {
	client := http.Client{Timeout: time.Minute}
	response, err := client.Get(p.url(path))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(list)
}

// walks are the reports of finished walks in the program's output.
func (p *program) walks() (reports []map[string]int) {
	for line := range strings.Lines(p.output()) {
		if !strings.Contains(line, "msg=walk known=") {
			continue
		}
		report := map[string]int{}
		for _, m := range regexp.MustCompile(`(\w+)=(\d+)\b`).FindAllStringSubmatch(line[strings.Index(line, "msg=walk"):], -1) {
			report[m[1]], _ = strconv.Atoi(m[2])
		}
		reports = append(reports, report)
	}
	return reports
}

// walked waits for the nth report of a walk.
func (p *program) walked(n int, limit time.Duration) map[string]int {
	p.t.Helper()
	eventually(p.t, limit, func() string {
		if found := len(p.walks()); found < n {
			return fmt.Sprintf("%d walks have ended, want %d", found, n)
		}
		return ""
	})
	return p.walks()[n-1]
}

// settled waits until nothing is unsettled but as many connections as this.
func (p *program) settled(unsettled int, limit time.Duration) {
	p.t.Helper()
	eventually(p.t, limit, func() string {
		var list []connection
		if err := p.all("/api/connections?state=unsettled", &list); err != nil {
			return err.Error()
		}
		if len(list) != unsettled {
			return fmt.Sprintf("%d connections are unsettled, want %d, such as %+v", len(list), unsettled, list[:min(1, len(list))])
		}
		return ""
	})
}

// announced returns the announcements of a type, as previous (or ended) user_id → current one.
func (p *program) announced(eventType string) map[string]string {
	p.t.Helper()
	var events []event
	if err := p.all("/api/announcements", &events); err != nil {
		p.t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range events {
		var c change
		if err := json.Unmarshal(e.Data, &c); err != nil {
			p.t.Fatal(err)
		}
		if e.Type == eventType {
			found[c.Previous.UserID+c.Connection.UserID] = c.Current.UserID // one of the first two is empty
		}
	}
	return found
}

const (
	transferred = "handover.account.transferred.v1"
	revoked     = "handover.connection.revoked.v1"
)

// memory is what a process has in its memory.
type memory struct {
	at              time.Duration
	anonymous, file int // kB: its own, and pages of files such as the ledger's, which the kernel takes back when it needs them
	pages           int
}

// watchMemory samples the memory of the program until stop is called, which returns the samples.
func (p *program) watchMemory(l *terraList, every time.Duration) (stop func() []memory) {
	var samples []memory
	ending, ended := make(chan struct{}), make(chan struct{})
	pid := p.process.Pid
	go func() {
		defer close(ended)
		for {
			if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
				pages, _, _ := l.asked()
				m := memory{at: time.Since(p.lives[0].started), pages: len(pages)}
				for line := range bytes.Lines(status) {
					_, _ = fmt.Sscanf(string(line), "RssAnon: %d kB", &m.anonymous)
					for _, format := range []string{"RssFile: %d kB", "RssShmem: %d kB"} {
						kB := 0
						_, _ = fmt.Sscanf(string(line), format, &kB)
						m.file += kB
					}
				}
				samples = append(samples, m)
			}
			select {
			case <-ending:
				return
			case <-time.After(every):
			}
		}
	}()
	return func() []memory {
		close(ending)
		<-ended
		return samples
	}
}

// TestBackfill lets the program begin on an empty ledger, beside a Terra that has had connections for long: the first walk finds them all, and each account
// that two people hold, with one question for each connection and in constant memory. HANDOVER_EXHAUSTIVE=1 does it with 100,000.
func TestBackfill(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	n := 3000
	if exhaustive() {
		n = 100_000
	}
	path := buildProgram(t)
	for _, c := range []struct {
		name  string
		newer bool
		kills int
	}{{"at a stretch, newer API", true, 0}, {"killed, older API", false, 3}} {
		t.Run(c.name, func(t *testing.T) { backfill(t, path, n, c.newer, c.kills) })
	}
}

func backfill(t *testing.T, path string, n int, newer bool, kills int) {
	const perPage, settlers = 500, 4
	l := newTerraList(t, n)
	l.newer = newer
	hang := map[int]bool{}
	for kill := range kills - 1 {
		hang[(kill+1)*n/perPage/kills] = true
	}
	l.hang = maps.Clone(hang)
	p := l.against(t, path)
	began := time.Now()
	p.start()
	limit := time.Minute + time.Duration(n)*4*time.Millisecond
	every := time.Duration(n/100) * time.Millisecond
	stop := p.watchMemory(l, every)
	var samples []memory
	for _, page := range slices.Sorted(maps.Keys(hang)) { // killed with a page in hand, of which a part is recorded
		eventually(t, limit, func() string {
			var recorded []connection
			if pages, _, _ := l.asked(); slices.Max(append(pages, -1)) < page {
				return fmt.Sprintf("page %d is not asked for", page)
			} else if err := p.all("/api/connections", &recorded); err != nil || len(recorded) < page*perPage+100 {
				return fmt.Sprintf("%d connections are recorded when page %d hangs: %v", len(recorded), page, err)
			}
			return ""
		})
		samples = append(samples, stop()...)
		p.kill()
		p.start()
		stop = p.watchMemory(l, every)
	}
	if kills > len(hang) { // and where accounts are asked for
		eventually(t, limit, func() string {
			if _, now, _ := l.asked(); now <= n*4/5 {
				return fmt.Sprintf("%d of %d connections are asked about", now, n)
			}
			return ""
		})
		samples = append(samples, stop()...)
		p.kill()
		p.start()
		stop = p.watchMemory(l, every)
	}
	report := p.walked(1, limit)
	p.settled(0, time.Minute)
	took := time.Since(began)
	samples = append(samples, stop()...)

	// Nothing is skipped, and nothing is made up.
	var connections []connection
	if err := p.all("/api/connections", &connections); err != nil {
		t.Fatal(err)
	}
	for _, c := range connections {
		u := l.byID[c.UserID]
		if u == nil || c.ReferenceID != u.reference || len(c.Accounts) != 1 || c.Certainty != "terra" || !c.ConnectedAt.Equal(u.createdAt) || c.ClosedAt != nil {
			t.Fatalf("%+v is listed as %+v", u, c)
		}
	}
	if len(connections) != n {
		t.Errorf("%d of %d connections are known", len(connections), n)
	}
	pairs := l.pairs()
	if found := p.announced(transferred); !maps.Equal(found, pairs) {
		t.Errorf("%d accounts with two holders are announced, want %d", len(found), len(pairs))
	}
	if found := p.announced(revoked); len(found) > 0 {
		t.Errorf("%d connections are announced as ended, and none has", len(found))
	}

	// Each connection is asked about once, each page taken once, except for those in hand at a kill.
	pages, athletes, infos := l.asked()
	for userID, times := range l.athletes {
		if times > 1+kills {
			t.Errorf("%d questions about %s", times, userID)
		}
	}
	if len(l.athletes) != n || athletes > n+kills*settlers || infos > 0 {
		t.Errorf("%d questions about %d of %d connections, and %d more: want one about each, and %d more for each of %d kills", athletes, len(l.athletes), n, infos, settlers, kills)
	}
	want := (n + perPage - 1) / perPage
	if !newer {
		want++ // the older API does not say which page is the last
	}
	again := 0
	for i, page := range pages {
		switch before := slices.Max(append([]int{-1}, pages[:i]...)); {
		case page == before:
			again++
		case page != before+1:
			t.Errorf("page %d after page %d", page, before)
		}
	}
	runs := int(took / (40 * time.Second)) // the sweep's time is over in the middle of a page, too
	if again < len(hang) || again > len(hang)+runs || len(pages)-again != want {
		t.Errorf("%d pages were taken, and %d once more: want %d, and %d to %d once more", len(pages)-again, again, want, len(hang), len(hang)+runs)
	}
	if report["known"]+report["new"] < n || report["unusable"]+report["closed"]+report["doubtful"]+report["unidentifiable"]+report["repeated"] > 0 {
		t.Errorf("the walk reports %v", report)
	}
	if kills == 0 {
		if report["new"] != n || report["pages"] != want+again {
			t.Errorf("the walk reports %v, want %d new connections on %d pages", report, n, want)
		}
		checkFlat(t, samples)
	}
	t.Logf("%d connections, %d accounts with two holders, %d kills: %.1f s; %d pages, %d of them twice, %d questions; %v", n, len(pairs), kills, took.Seconds(), len(pages), again, athletes, report)
	for i, m := range samples {
		if i%max(1, len(samples)/15) == 0 || i == len(samples)-1 {
			t.Logf("%6.1f s  %4d pages  %4d MB of its own  %4d MB of files", m.at.Seconds(), m.pages, m.anonymous>>10, m.file>>10)
		}
	}
}

// checkFlat: the second half of the walk needs no more memory than the first one did, but for the swing of a garbage collector.
func checkFlat(t *testing.T, samples []memory) {
	if len(samples) < 10 {
		t.Errorf("only %d samples of the memory", len(samples))
		return
	}
	highest := func(samples []memory) (kB int) {
		for _, m := range samples {
			kB = max(kB, m.anonymous)
		}
		return kB
	}
	half := len(samples) / 2
	if first, second := highest(samples[:half]), highest(samples[half:]); second > first+first/4+8<<10 {
		t.Errorf("the program needs %d kB in the second half of the walk, and %d kB in the first", second, first)
	}
}
