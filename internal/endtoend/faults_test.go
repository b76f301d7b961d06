package endtoend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
	product "github.com/handover-dev/handover/internal/stack"
	"github.com/handover-dev/handover/internal/telemetry"
)

// meddler stands between the adapters and the engines. While it is on it does to some of the calls what a network and a busy service do.
type meddler struct {
	quick bool         // takes what is published itself: see quickTopic
	share atomic.Int64 // of the calls, in percent
	down  sync.Map     // services that answer nothing but 503
	mu    sync.Mutex
	done  map[string]int
	rand  *rand.Rand
	sent  []string // the messages that SNS has accepted
}

func newMeddler(seed uint64) *meddler {
	return &meddler{done: map[string]int{}, rand: rand.New(rand.NewPCG(seed, 7))}
}

// What may happen to a call.
const (
	throttled   = "throttled"
	unavailable = "503"
	reset       = "connection reset"
	slow        = "slow"
	lost        = "reply lost after it was applied"
	truncated   = "reply truncated after it was applied"
)

// draw says what happens to a call, "" for nothing.
func (m *meddler) draw(service string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	what := ""
	if _, down := m.down.Load(service); down {
		what = unavailable
	} else if m.rand.Int64N(100) < m.share.Load() {
		what = []string{throttled, throttled, unavailable, reset, slow, lost, lost, truncated}[m.rand.IntN(8)]
	}
	if what != "" {
		m.done[service+": "+what]++
	}
	return what
}

// total counts what was done.
func (m *meddler) total() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, times := range m.done {
		n += times
	}
	return n
}

// keep keeps the message of a Publish that SNS has accepted.
func (m *meddler) keep(form []byte) {
	values, _ := url.ParseQuery(string(form))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, values.Get("Message"))
}

// accepted returns the messages that SNS has accepted.
func (m *meddler) accepted() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sent)
}

func (m *meddler) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(m.done)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, m.done[what]))
	}
	return strings.Join(parts, ", ")
}

// before starts the proxy before an endpoint, and returns its URL.
func (m *meddler) before(t *testing.T, endpoint string) string {
	t.Helper()
	connections := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(connections.CloseIdleConnections)
	var transport http.RoundTripper = connections
	if m.quick {
		transport = quickTopic{transport}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		service, call, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if call == "" {
			form, _ := url.ParseQuery(string(body))
			service, call = "SNS", form.Get("Action")
		}
		service, _, _ = strings.Cut(service, "_")
		fate := ""
		switch call {
		case "PutItem", "UpdateItem", "GetItem", "Query", "Publish", "GetSecretValue":
			fate = m.draw(service)
		}
		switch fate {
		case throttled:
			throttle(w, service)
			return
		case unavailable:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case reset:
			cut(w)
			return
		case slow:
			time.Sleep(200 * time.Millisecond)
		}
		request := r.Clone(r.Context())
		request.RequestURI, request.URL.Scheme, request.URL.Host = "", "http", strings.TrimPrefix(endpoint, "http://")
		request.Body = io.NopCloser(bytes.NewReader(body))
		answer, err := transport.RoundTrip(request)
		if err != nil {
			cut(w)
			return
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if call == "Publish" && answer.StatusCode == http.StatusOK {
			m.keep(body)
		}
		if err != nil || fate == lost {
			cut(w)
			return
		}
		maps.Copy(w.Header(), answer.Header)
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(answer.StatusCode)
		if fate == truncated {
			text = text[:len(text)/2]
			defer cut(w)
		}
		_, _ = w.Write(text)
		if fate == truncated {
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// quickTopic is the part of SNS that takes a message: it answers a Publish itself, as SNS does, and passes everything else on. moto takes 10 ms of a core for it,
// which is then no longer there for faults.
type quickTopic struct{ http.RoundTripper }

func (q quickTopic) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	if form.Get("Action") != "Publish" {
		return q.RoundTripper.RoundTrip(r)
	}
	status, text := http.StatusOK, `<PublishResponse><PublishResult><MessageId>94f20ce6-13c5-43a0-9a9e-ca52d816e90b</MessageId></PublishResult></PublishResponse>`
	if form.Get("TopicArn") == "" || form.Get("Message") == "" {
		status, text = http.StatusBadRequest, `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidParameter</Code></Error></ErrorResponse>`
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"text/xml"}}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// throttle answers as each service does when there are too many calls.
func throttle(w http.ResponseWriter, service string) {
	text := `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}`
	switch service {
	case "SNS":
		text = `<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>slow down</Message></Error></ErrorResponse>`
	case "secretsmanager":
		text = `{"__type":"ThrottlingException","message":"slow down"}`
	}
	w.WriteHeader(http.StatusBadRequest)
	_, _ = io.WriteString(w, text)
}

// meddle puts m between the stack's functions and all its engines.
func (s *stack) meddle(t *testing.T, m *meddler) {
	for i, variable := range s.environment {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
			s.environment[i] = name + "=" + m.before(t, value)
		}
	}
}

// invoker is a function, in this process or compiled and under the emulator.
type invoker interface {
	Invoke(ctx context.Context, event []byte) ([]byte, error)
}

// here makes both functions in this process.
func (s *stack) here(t *testing.T) (webhook, sweep invoker) {
	t.Helper()
	for _, variable := range s.environment {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	read, err := settings.FromEnvironment(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	parts := product.New(t.Context(), read, telemetry.NewLogger(io.Discard, read.Stack))
	handler, err := parts.Webhook()
	if err != nil {
		t.Fatal(err)
	}
	return handler, lambda.NewHandler(parts.Sweep().Handle)
}

// terraMinute is how long a minute of Terra's retry schedule takes.
const terraMinute = 20 * time.Millisecond

// smallLife is a small app under a Terra that keeps both users of an account, with everything that is needed to judge what Handover made of it.
type smallLife struct {
	t        *testing.T
	stack    *stack
	terra    *simulator.Terra
	sweep    invoker
	meddler  *meddler
	random   *rand.Rand
	accounts int
	lost     int // connections of which something was not stored
}

func (s *stack) live(t *testing.T, webhook, sweep invoker, m *meddler, seed uint64, habits simulator.Habits) *smallLife {
	t.Helper()
	gateway := httptest.NewServer(local.NewGateway(webhook))
	t.Cleanup(gateway.Close)
	terra := simulator.New(simulator.Config{
		Secret: local.Secret, WebhookURL: gateway.URL, DevID: devID, APIKey: apiKey, Seed: seed, Senders: 64, Minute: terraMinute,
		Habits: habits,
	})
	terra.SetFaults(simulator.Faults{Duplicate: .2, Disorder: 5})
	s.terra.Store(terra)
	return &smallLife{t: t, stack: s, terra: terra, sweep: sweep, meddler: m, random: rand.New(rand.NewPCG(seed, 8))}
}

// chatty is a Terra that tells everything in its webhooks.
var chatty = simulator.Habits{Generation: simulator.KeepBoth, CreatedAtInWebhooks: true, AccountInAnswers: true, AthleteAfterAuth: true, AccountInWebhooks: true}

// pass lets n more wearable accounts pass between some people, and delivers what Terra says about it.
func (l *smallLife) pass(n int) {
	l.t.Helper()
	for range n {
		l.accounts++
		account := fmt.Sprint("wearable-", l.accounts)
		for range 2 + l.random.IntN(3) {
			user := l.terra.Connect("GARMIN", account, []string{"anna@example.com", "ben@example.com", "carol@example.com", "dave@example.com"}[l.random.IntN(4)])
			if l.random.IntN(4) == 0 {
				_ = l.terra.Disconnect(user)
			}
		}
	}
}

// change lets one account pass, from anna to ben.
func (l *smallLife) change() {
	l.terra.Connect("GARMIN", "the-watch", "anna@example.com")
	l.terra.Connect("GARMIN", "the-watch", "ben@example.com")
}

func (l *smallLife) deliver() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 4*time.Minute)
	defer cancel()
	if err := l.terra.Deliver(ctx); err != nil || l.terra.Stats().GivenUp > 0 {
		l.t.Fatalf("%v, %+v", err, l.terra.Stats())
	}
}

// sweepUp lets the time pass until every row with a work mark is due, and sweeps. It returns how many there were.
func (l *smallLife) sweepUp() int {
	l.t.Helper()
	due := 0
	for _, row := range l.scan(connectionsTable) {
		if _, toDo := row["todo"]; toDo {
			due++
			_, err := l.stack.dynamoDB.UpdateItem(l.t.Context(), &dynamodb.UpdateItemInput{
				TableName: aws.String(connectionsTable), Key: map[string]types.AttributeValue{"user_id": row["user_id"]},
				UpdateExpression: aws.String("SET next_attempt = :now"), ConditionExpression: aws.String("attribute_exists(todo)"),
				ExpressionAttributeValues: map[string]types.AttributeValue{":now": &types.AttributeValueMemberN{Value: strconv.FormatInt(time.Now().UnixMilli(), 10)}},
			})
			var settled *types.ConditionalCheckFailedException
			if err != nil && !errors.As(err, &settled) {
				l.t.Fatal(err)
			}
		}
	}
	var sweeps sync.WaitGroup
	for range 2 { // at once, as they should not be
		sweeps.Go(func() { _, _ = l.sweep.Invoke(l.t.Context(), []byte(`{}`)) }) // what fails stays due
	}
	sweeps.Wait()
	return due
}

// scan reads a whole table, past the meddler.
func (l *smallLife) scan(table string) (rows []map[string]types.AttributeValue) {
	l.t.Helper()
	pages := dynamodb.NewScanPaginator(l.stack.dynamoDB, &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		rows = append(rows, page.Items...)
	}
	return rows
}

// settle lets sweeps do what is left. Where Terra's API has not answered in time they leave it alone for some seconds.
func (l *smallLife) settle() {
	l.t.Helper()
	for begun := time.Now(); time.Since(begun) < 2*time.Minute; time.Sleep(50 * time.Millisecond) {
		if l.sweepUp() == 0 {
			return
		}
	}
	l.t.Fatalf("two minutes of sweeps have left %d connections unsettled", l.sweepUp())
}

// judge compares what is stored and what was announced with what is true. It returns how many facts and announcements it has checked.
func (l *smallLife) judge() (facts, announced int) {
	t := l.t
	t.Helper()
	store := ledger.NewDynamoDB(l.stack.dynamoDB, accountsTable, connectionsTable)
	transferred, revoked, datas := map[string][]ownership.Announcement{}, map[string]map[string]bool{}, map[string]ownership.Announcement{}
	for _, message := range l.meddler.accepted() {
		id, a, err := announce.Parse([]byte(message))
		if err != nil {
			t.Fatal(err)
		}
		announced++
		if before, ok := datas[id]; ok && before != a {
			t.Errorf("the id %s is of\n%+v\nand of\n%+v", id, before, a)
		}
		datas[id] = a
		if a.Type == ownership.Revoked {
			if revoked[a.Connection.UserID] == nil {
				revoked[a.Connection.UserID] = map[string]bool{}
			}
			revoked[a.Connection.UserID][id] = true
			continue
		}
		transferred[a.Previous.UserID] = append(transferred[a.Previous.UserID], a)
	}
	for _, account := range l.terra.Truth() {
		at := map[string]int{}
		for i, h := range account.Holdings {
			at[h.UserID] = i
			row, found, err := store.Connection(t.Context(), h.UserID)
			if err != nil {
				t.Fatal(err)
			}
			facts += 4
			if !found || row.Reference() != h.Reference || !row.ConnectedAt.Equal(h.ConnectedAt) || len(row.Accounts) != 1 || row.Closed() != h.Closed {
				l.lost++
				t.Errorf("of %+v there is stored %v %+v", h, found, row)
			}
		}
		owner := account.Holdings[len(account.Holdings)-1]
		for i, h := range account.Holdings {
			later := account.Holdings[i+1:]
			other := slices.ContainsFunc(later, func(s simulator.Holding) bool { return s.Reference != h.Reference })
			latest := !slices.ContainsFunc(later, func(s simulator.Holding) bool { return s.Reference == h.Reference })
			if h.Reference != owner.Reference && (latest || !h.Closed) && len(transferred[h.UserID]) == 0 {
				t.Errorf("missed: %s passed on from %+v", account.ID, h)
			}
			for _, a := range transferred[h.UserID] {
				if to, known := at[a.Current.UserID]; !known || to <= i || a.Order != ownership.Signed || a.Previous.ReferenceID == a.Current.ReferenceID {
					t.Errorf("invented: %+v", a)
				}
			}
			if ends := len(revoked[h.UserID]); ends != map[bool]int{true: 1}[h.Closed && other] {
				t.Errorf("the end of %+v was announced with %d ids", h, ends)
			}
		}
	}
	return facts, announced
}

// proofSize is the size of a test in the ordinary run, or in the proof.
func proofSize(ordinary, proof int) int {
	if os.Getenv("HANDOVER_PROOF") != "" {
		return proof
	}
	return ordinary
}

// TestMeddledAdapters lets accounts pass while something is done to every third call of the real adapters to the real engines. Nothing that was acknowledged
// is lost, nothing is missed, nothing is invented.
func TestMeddledAdapters(t *testing.T) {
	seed := storySeed(t)
	faults, facts, lost := 0, 0, 0
	for _, topic := range []struct {
		name   string
		quick  bool
		faults int
	}{{"with moto's SNS", false, proofSize(150, 1_000)}, {"with an SNS that only answers", true, proofSize(150, 9_000)}} {
		t.Run(topic.name, func(t *testing.T) {
			s, m := newStack(t), newMeddler(seed)
			m.quick = topic.quick
			s.meddle(t, m)
			webhook, sweep := s.here(t)
			l := s.live(t, webhook, sweep, m, seed, chatty)
			m.share.Store(33)
			for m.total() < topic.faults {
				l.pass(proofSize(20, 40))
				l.deliver()
				l.sweepUp()
			}
			m.share.Store(0)
			l.settle()
			checked, announced := l.judge()
			t.Logf("%d accounts, %d announcements; %s", l.accounts, announced, m)
			faults, facts, lost = faults+m.total(), facts+checked, lost+l.lost
		})
	}
	t.Logf("%d faults, %d facts acknowledged, %d lost", faults, facts, lost)
}

// team is several instances of a function, which take turns.
type team struct {
	of   []*function
	next atomic.Int64
}

func (f *team) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	return f.of[f.next.Add(1)%int64(len(f.of))].Invoke(ctx, event)
}

// TestMeddledFunctions does the same to the compiled functions, and kills their processes again and again.
func TestMeddledFunctions(t *testing.T) {
	seed := storySeed(t)
	s, m := newStack(t), newMeddler(seed)
	s.meddle(t, m)
	binary := buildFunction(t, "webhook")
	webhooks := &team{of: []*function{s.start(t, binary), s.start(t, binary)}}
	sweep := s.start(t, buildFunction(t, "sweep"))
	l := s.live(t, webhooks, sweep, m, seed, chatty)
	m.share.Store(15)
	killed := 0
	for want := proofSize(2, 10); killed < want; {
		l.pass(8)
		stop := make(chan struct{})
		var killing sync.WaitGroup
		killing.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(100+l.random.IntN(300)) * time.Millisecond):
				}
				if killed < want {
					append(slices.Clone(webhooks.of), sweep)[killed%3].kill(t, s)
					killed++
				}
			}
		})
		l.deliver()
		l.sweepUp()
		close(stop)
		killing.Wait()
	}
	m.share.Store(0)
	l.settle()
	facts, announced := l.judge()
	t.Logf("%d accounts, %d announcements; %s", l.accounts, announced, m)
	s.testPersonal(t)
	t.Logf("%d kills, %d faults, %d facts acknowledged, %d lost", killed, m.total(), facts, l.lost)
}

// kill ends the function's process and its emulator by SIGKILL, as Lambda's own machines end, and starts others.
func (f *function) kill(t *testing.T, s *stack) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", f.process.Pid)) // any thread of the emulator may have started it
	if err != nil {
		t.Error(err)
	}
	doomed := []string{strconv.Itoa(f.process.Pid)}
	for _, list := range lists {
		children, _ := os.ReadFile(list) // none: that thread has ended
		doomed = append(doomed, strings.Fields(string(children))...)
	}
	for _, process := range doomed {
		pid, err := strconv.Atoi(process)
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) { // the emulator's end may have been the function's too
			t.Errorf("process %s cannot be killed: %v", process, err)
		}
	}
	f.mu.Lock() // what was under way has failed by now
	defer f.mu.Unlock()
	other := s.start(t, f.bootstrap)
	f.url, f.process = other.url, other.process
}

// outage takes a service away, and gives it back when an hour of Terra's has passed and so many calls have failed, six of which are one to the adapters.
// Towards the end it calls again.
func (m *meddler) outage(t *testing.T, service string, calls int, again func()) (back <-chan struct{}) {
	m.down.Store(service, true)
	begun, given := time.Now(), make(chan struct{})
	until := func(calls int, least time.Duration) {
		for t.Context().Err() == nil && (m.total() < calls || time.Since(begun) < least) {
			time.Sleep(terraMinute)
		}
	}
	go func() {
		defer close(given)
		defer m.down.Delete(service)
		until(calls*3/4, 0)
		again()
		until(calls, 60*terraMinute)
	}()
	return given
}

// TestOutages takes away what Handover needs, one after the other, for longer than anybody would hope: from the functions in this process, and from the compiled
// ones, which are killed meanwhile and start in the middle of it. Terra's hours are shortened, and so are those for which a row is put off: between two sweeps
// each row is made due. The functions' own clock is the real one.
func TestOutages(t *testing.T) {
	seed := storySeed(t)
	outages := map[string]func(t *testing.T, l *smallLife, again func()){
		"the ledger is away for an hour": func(t *testing.T, l *smallLife, again func()) {
			l.change()
			l.deliver()
			back := l.meddler.outage(t, "DynamoDB", 40, again)
			l.pass(4)
			l.deliver()
			<-back
			if stats := l.terra.Stats(); stats.Attempts == stats.Deliveries {
				t.Error("everything was acknowledged at once")
			}
		},
		"SNS is away for a day": func(t *testing.T, l *smallLife, again func()) {
			l.meddler.down.Store("SNS", true)
			l.change()
			l.deliver()
			again()
			for range proofSize(2, 24) { // a row is put off for an hour at most
				if l.sweepUp() == 0 {
					t.Error("nothing waits for SNS")
				}
			}
			if got := l.meddler.accepted(); len(got) > 0 {
				t.Errorf("received %v", got)
			}
			l.meddler.down.Delete("SNS")
		},
		"the secrets cannot be read": func(t *testing.T, l *smallLife, again func()) {
			back := l.meddler.outage(t, "secretsmanager", 24, func() {})
			again() // who has read the secrets keeps them
			l.pass(2)
			l.change()
			l.deliver()
			<-back
			if stats := l.terra.Stats(); stats.Attempts == stats.Deliveries {
				t.Error("something was accepted that nobody could verify")
			}
		},
		"Terra's API answers nonsense": func(t *testing.T, l *smallLife, again func()) {
			l.terra.SetFaults(simulator.Faults{Garbage: 1})
			l.change()
			l.terra.Connect("GARMIN", "another-watch", "carol@example.com")
			l.deliver()
			again()
			l.sweepUp()
			if got := l.meddler.accepted(); len(got) > 0 {
				t.Errorf("announced out of nonsense: %v", got)
			}
			l.terra.SetFaults(simulator.Faults{})
		},
	}
	compiledWebhook, compiledSweep := buildFunction(t, "webhook"), buildFunction(t, "sweep")
	lived, acknowledged, lost := 0, 0, 0
	for kind, start := range map[string]func(t *testing.T, s *stack) (webhook, sweep invoker, again func()){
		"in this process": func(t *testing.T, s *stack) (webhook, sweep invoker, again func()) {
			var w, b instance
			again = func() {
				webhook, sweep := s.here(t)
				w.Store(&webhook)
				b.Store(&sweep)
			}
			again()
			return &w, &b, again
		},
		"compiled": func(t *testing.T, s *stack) (webhook, sweep invoker, again func()) {
			w, b := s.start(t, compiledWebhook), s.start(t, compiledSweep)
			return w, b, func() {
				w.kill(t, s)
				b.kill(t, s)
			}
		},
	} {
		for name, outage := range outages {
			t.Run(kind+"/"+name, func(t *testing.T) {
				s, m := newStack(t), newMeddler(seed)
				m.quick = true
				s.meddle(t, m)
				webhook, sweep, again := start(t, s)
				habits := chatty
				if strings.HasPrefix(name, "Terra's API") { // then only the API knows whose account it is
					habits.AthleteAfterAuth, habits.AccountInWebhooks = false, false
				}
				l := s.live(t, webhook, sweep, m, seed, habits)
				outage(t, l, again)
				l.settle()
				facts, announced := l.judge()
				if announced == 0 {
					t.Error("nothing was announced in the end")
				}
				t.Logf("%d calls failed (%s); %d facts acknowledged, %d lost, %d announcements", m.total(), m, facts, l.lost, announced)
				if kind == "compiled" {
					s.testPersonal(t)
				}
				lived, acknowledged, lost = lived+1, acknowledged+facts, lost+l.lost
			})
		}
	}
	t.Logf("%d outages, %d facts acknowledged, %d lost", lived, acknowledged, lost)
}

// instance is a function in this process, which another one can replace between two invocations.
type instance struct{ atomic.Pointer[invoker] }

func (i *instance) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	return (*i.Load()).Invoke(ctx, event)
}
