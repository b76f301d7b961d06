package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/settings"
	product "github.com/handover-dev/handover/internal/stack"
	"github.com/handover-dev/handover/internal/sweep"
	"github.com/handover-dev/handover/internal/telemetry"
)

// Prices of us-east-1 in dollars, of 2026-11, and what every account has free in each month for good.
const (
	priceGateway = 1.00 / 1e6   // https://aws.amazon.com/api-gateway/pricing/ HTTP API, a request of up to 512 KB
	priceInvoke  = 0.20 / 1e6   // https://aws.amazon.com/lambda/pricing/
	priceArm     = 0.0000133334 // likewise, a GB-second
	priceX86     = 0.0000166667
	freeInvokes  = 1e6
	freeGBs      = 400_000
	priceWrite   = 0.625 / 1e6 // https://aws.amazon.com/dynamodb/pricing/on-demand/ a write request unit
	priceRead    = 0.125 / 1e6
	pricePublish = 0.50 / 1e6 // https://aws.amazon.com/sns/pricing/
	freePublish  = 1e6
	priceLogGB   = 0.50 // https://aws.amazon.com/cloudwatch/pricing/ a GB of log, in the standard class
	freeLogGB    = 5.0
	logOverhead  = 26             // bytes, for each line, by the same page
	priceTrace   = 5.00 / 1e6     // https://aws.amazon.com/xray/pricing/
	freeTraces   = 100_000        //
	priceSecret  = 0.05 / 10_000  // https://aws.amazon.com/secrets-manager/pricing/ a call
	priceKMS     = 0.03 / 10_000  // https://aws.amazon.com/kms/pricing/ a request
	freeKMS      = 20_000         //
	priceMetric  = 0.30           // CloudWatch's page: a metric and month
	priceAlarm   = 0.10           // likewise, for each metric that an alarm looks at
	freeTen      = 10             // metrics, and alarms
	priceCombine = 0.50           // likewise, a composite alarm
	priceBoard   = 3.00           // likewise, a dashboard
	freeBoards   = 3              //
	priceKey     = 1.00           // KMS's page: a key and month
	priceKept    = 0.40           // Secrets Manager's page: a secret and month
	minutes      = 30 * 24 * 60.0 // of a month
)

// What is supposed: how long a webhook keeps its function busy, in ms. Terra's API takes most of the time of an auth.
const (
	msData, msAuth, msSweep = 5, 400, 200
)

// usage is what something takes.
type usage struct {
	writes, reads      float64 // DynamoDB's units
	publishes, secrets float64 // calls
	lines, logBytes    float64
}

func (u usage) times(n float64) usage {
	return usage{u.writes * n, u.reads * n, u.publishes * n, u.secrets * n, u.lines * n, u.logBytes * n}
}

func (u usage) plus(v usage) usage {
	return usage{u.writes + v.writes, u.reads + v.reads, u.publishes + v.publishes, u.secrets + v.secrets, u.lines + v.lines, u.logBytes + v.logBytes}
}

// meter is a proxy before the engines, and a log, that note what is used. The engine of DynamoDB tells the units of each call, as DynamoDB does.
type meter struct {
	t    *testing.T
	mu   sync.Mutex
	used usage
}

func (m *meter) note(u usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = m.used.plus(u)
}

// take returns what was used since it was last called.
func (m *meter) take() usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	used := m.used
	m.used = usage{}
	return used
}

func (m *meter) Write(line []byte) (int, error) {
	m.note(usage{lines: 1, logBytes: float64(len(line) + logOverhead)})
	return len(line), nil
}

func (m *meter) before(endpoint string) string {
	m.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if service == "DynamoDB_20120810" {
			body = append([]byte(`{"ReturnConsumedCapacity":"TOTAL",`), body[1:]...)
		}
		request, err := http.NewRequestWithContext(r.Context(), r.Method, endpoint+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		request.Header = r.Header.Clone()
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		m.note(m.cost(service, operation, body, answer.StatusCode, text))
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		_, _ = w.Write(text)
	}))
	m.t.Cleanup(server.Close)
	return server.URL
}

func (m *meter) cost(service, operation string, body []byte, status int, answer []byte) usage {
	form, _ := url.ParseQuery(string(body))
	switch {
	case service == "secretsmanager":
		return usage{secrets: 1}
	case service != "DynamoDB_20120810" && form.Get("Action") == "Publish":
		return usage{publishes: 1}
	case status == http.StatusBadRequest && bytes.Contains(answer, []byte("ConditionalCheckFailed")):
		return usage{writes: 1} // refused writes cost as if they were applied; these rows have less than 1 KB
	}
	var told struct {
		ConsumedCapacity struct{ CapacityUnits float64 }
	}
	units := &told.ConsumedCapacity.CapacityUnits
	if err := json.Unmarshal(answer, &told); err != nil || *units == 0 {
		m.t.Errorf("%s.%s tells no units: %d, %s", service, operation, status, answer)
	}
	if strings.HasPrefix(operation, "Get") || operation == "Query" || operation == "Scan" {
		return usage{reads: *units}
	}
	return usage{writes: *units}
}

// stackTemplate is what of template.yaml costs money.
type stackTemplate struct {
	Parameters map[string]struct {
		Default string `yaml:"Default"`
	} `yaml:"Parameters"`
	Resources map[string]struct {
		Type       string               `yaml:"Type"`
		Properties map[string]yaml.Node `yaml:"Properties"`
	} `yaml:"Resources"`
}

func readTemplate(t *testing.T) (s stackTemplate) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(realparts.Root(t), "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// value is a property of a resource, with the default of the parameter if it is one.
func (s stackTemplate) value(id, property string) string {
	node := s.Resources[id].Properties[property]
	if node.Tag == "!Ref" {
		return s.Parameters[node.Value].Default
	}
	return node.Value
}

func (s stackTemplate) count(kind string) (n float64) {
	for _, r := range s.Resources {
		if r.Type == kind {
			n++
		}
	}
	return n
}

// alarmed counts the metrics that alarms look at: an alarm with an expression has several.
func (s stackTemplate) alarmed() (n float64) {
	for _, r := range s.Resources {
		if r.Type != "AWS::CloudWatch::Alarm" {
			continue
		}
		queries := r.Properties["Metrics"]
		if len(queries.Content) == 0 {
			n++
		}
		for _, query := range queries.Content {
			if slices.ContainsFunc(query.Content, func(key *yaml.Node) bool { return key.Value == "MetricStat" }) {
				n++
			}
		}
	}
	return n
}

// accessLine is the size of a line of the API's access log: each variable stands for 12 bytes, the time and the request's id for what they have.
func (s stackTemplate) accessLine(t *testing.T) float64 {
	t.Helper()
	var settings struct {
		Format string `yaml:"Format"`
	}
	node := s.Resources["WebhookApi"].Properties["AccessLogSettings"]
	if err := node.Decode(&settings); err != nil || settings.Format == "" {
		t.Fatalf("the API has no access log: %v", err)
	}
	line := strings.NewReplacer("$context.requestTime", "22/Nov/2026:12:00:00 +0000", "$context.requestId", "LoFWzi2qIAMEV8g=", "${AWS::StackName}", "handover").Replace(settings.Format)
	return float64(len(regexp.MustCompile(`\$context[.\w]+`).ReplaceAllString(line, "POST /webhoo"))) + logOverhead
}

// TestCost calculates what a month with a million webhooks costs: of these, 2 % are auths, and 0.1 % changes. All others are data events, and the worst is
// supposed of them, that no instance has met its connection before. It reads the template, and counts what the functions really use.
func TestCost(t *testing.T) {
	const (
		webhooks = 1e6
		changes  = 0.001 * webhooks
		auths    = 0.02*webhooks - changes
		data     = webhooks - auths - changes
		beats    = minutes / 5
	)
	template, each := readTemplate(t), measure(t)

	gbPrice := priceArm
	if template.Parameters["Architecture"].Default != "arm64" {
		gbPrice = priceX86
	}
	memory := func(function string) float64 {
		mb, err := strconv.ParseFloat(template.value(function, "MemorySize"), 64)
		if err != nil {
			t.Fatalf("%s: MemorySize: %v", function, err)
		}
		return mb / 1024
	}
	var traces float64
	if template.value("WebhookFunction", "Tracing") == "Active" {
		traces += webhooks
	}
	if template.value("SweepFunction", "Tracing") == "Active" {
		traces += minutes
	}
	for _, function := range []string{"WebhookFunction", "SweepFunction"} { // else Lambda writes three more lines for each call
		var logging map[string]yaml.Node
		node := template.Resources[function].Properties["LoggingConfig"]
		if err := node.Decode(&logging); err != nil || logging["LogFormat"].Value != "JSON" || logging["SystemLogLevel"].Value != "WARN" {
			t.Errorf("%s logs more than its own lines: %v", function, err)
		}
	}

	byWebhook := each.auth.times(auths).plus(each.change.times(changes)).plus(each.data.times(data))
	byTime := each.quiet.times(minutes).plus(each.beat.times(beats))
	u := byWebhook.plus(byTime)
	gbs := memory("WebhookFunction")*(data*msData+(auths+changes)*msAuth+beats*msData)/1000 + memory("SweepFunction")*minutes*msSweep/1000
	logGB := (u.logBytes + (webhooks+beats)*template.accessLine(t)) / (1 << 30)

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tunits\tlist\tafter what is always free\t")
	var list, paid float64
	type amount struct{ units, list, due float64 }
	rows := map[string]amount{}
	row := func(name string, units, price, free float64) {
		due := max(0, units-free) * price
		list, paid = list+units*price, paid+due
		rows[name] = amount{units, units * price, due}
		fmt.Fprintf(w, "%s\t%.4g\t$%.3f\t$%.3f\t\n", name, units, units*price, due)
	}
	sum := func(name string) (listed, due float64) {
		listed, due = list, paid
		fmt.Fprintf(w, "%s\t\t$%.2f\t$%.2f\t\n", name, list, paid)
		rows[name] = amount{0, list, paid}
		list, paid = 0, 0
		return listed, due
	}
	row("API Gateway, requests", webhooks+beats, priceGateway, 0)
	row("Lambda, calls", webhooks+beats+minutes, priceInvoke, freeInvokes)
	row("Lambda, GB-seconds", gbs, gbPrice, freeGBs)
	row("DynamoDB, writes", u.writes, priceWrite, 0)
	row("DynamoDB, reads", u.reads, priceRead, 0)
	row("SNS, announcements", u.publishes, pricePublish, freePublish)
	row("logs, GB", logGB, priceLogGB, freeLogGB)
	listed, due := sum("a million webhooks, the sweep and the heartbeat")

	row("X-Ray, traces", traces, priceTrace, freeTraces)
	row("secrets, calls", 2*minutes/10, priceSecret, 0)                 // two instances, each ten minutes
	row("KMS, requests", 2*minutes/10+2*2*minutes/5, priceKMS, freeKMS) // with the secrets, and of two functions for two tables each five minutes
	perThousand := each.walk.times(30).plus(each.round.times(30 * 24))
	row("each 1,000 connections, walk and rounds: writes", perThousand.writes, priceWrite, 0)
	row("each 1,000 connections, walk and rounds: reads", perThousand.reads, priceRead, 0)
	sum("as time goes by")

	row("metrics, if all are sent", each.metrics+template.count("AWS::Logs::MetricFilter"), priceMetric, freeTen)
	row("metrics with an alarm", template.alarmed(), priceAlarm, freeTen)
	row("composite alarms", template.count("AWS::CloudWatch::CompositeAlarm"), priceCombine, 0)
	row("dashboards", template.count("AWS::CloudWatch::Dashboard"), priceBoard, freeBoards)
	row("keys", template.count("AWS::KMS::Key"), priceKey, 0)
	row("secrets", template.count("AWS::SecretsManager::Secret"), priceKept, 0)
	sum("fixed")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("a month with a million webhooks (us-east-1, prices of 2026-11)\n%s", table.String())
	t.Logf("auth %+v\nchange %+v\ndata %+v\nheartbeat %+v\nquiet sweep %+v\naccess log %v bytes", each.auth, each.change, each.data, each.beat, each.quiet, template.accessLine(t))
	// What people read says the same.
	numbers := func(names ...string) (ns []float64) { // the units of each, and then the sums of dollars
		var listed, due float64
		for _, name := range names {
			r, ok := rows[name]
			if !ok {
				t.Fatalf("there is no row %q", name)
			}
			if r.units > 0 {
				ns = append(ns, r.units)
			}
			listed, due = listed+r.list, due+r.due
		}
		return append(ns, listed, due)
	}
	fixed := numbers("metrics with an alarm", "metrics, if all are sent", "composite alarms", "dashboards")
	fixed = slices.Delete(fixed, 2, 4) // of these there is one
	for _, said := range []struct {
		file, line string
		want       []float64
	}{
		{".github/OPERATIONS.md", "| API Gateway, requests |", numbers("API Gateway, requests")},
		{".github/OPERATIONS.md", "| Lambda, calls and GB-seconds |", numbers("Lambda, calls", "Lambda, GB-seconds")},
		{".github/OPERATIONS.md", "| DynamoDB, writes and reads |", numbers("DynamoDB, writes", "DynamoDB, reads")},
		{".github/OPERATIONS.md", "| SNS, announcements |", numbers("SNS, announcements")},
		{".github/OPERATIONS.md", "| logs |", numbers("logs, GB")},
		{".github/OPERATIONS.md", "| **a million webhooks, the sweep and the heartbeat** |", []float64{listed, due}},
		{".github/OPERATIONS.md", "| traces, secrets, KMS; walk and rounds over 1,000 connections |", []float64{1000, rows["as time goes by"].list, rows["as time goes by"].due}},
		{".github/OPERATIONS.md", "| alarms on ", fixed},
		{".github/OPERATIONS.md", "| a key, two secrets |", numbers("keys", "secrets")[2:]},
		{"README.md", "A month with a million webhooks costs about ", []float64{due, listed, rows["fixed"].due}},
	} {
		compareNumbers(t, said.file, said.line, said.want)
	}
	if due > 1.25 {
		t.Errorf("a million webhooks cost $%.2f, want at most $1.25", due)
	}
	if listed > 1.95 { // of that, API Gateway's and Lambda's calls are 1.22 and the logs 0.32
		t.Errorf("a million webhooks cost $%.2f by the list, want at most $1.95", listed)
	}
}

// compareNumbers compares the numbers in a file's line that begins so with what they should be, as exactly as they are rounded there: to the cent, or by a hundredth.
func compareNumbers(t *testing.T, file, begins string, want []float64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(realparts.Root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, begins) {
			continue
		}
		var got []float64
		for _, found := range regexp.MustCompile(`\d[\d,]*(?:\.\d+)?(?:(?: and [\d.]+)? million)?`).FindAllString(line, -1) {
			figures, million := strings.CutSuffix(strings.ReplaceAll(found, ",", ""), " million")
			for figure := range strings.SplitSeq(figures, " and ") {
				n, err := strconv.ParseFloat(figure, 64)
				if err != nil {
					t.Fatal(err)
				}
				if million {
					n *= 1e6
				}
				got = append(got, n)
			}
		}
		equal := slices.EqualFunc(got, want, func(a, b float64) bool { return math.Abs(a-b) <= max(0.01, 0.01*b) })
		if !equal {
			t.Errorf("%s says %swhere it should have %.4g", file, line, want)
		}
		return
	}
	t.Errorf("%s has no line that begins with %q", file, begins)
}

// measured is what each thing takes.
type measured struct {
	auth, change, data, beat, quiet usage
	walk, round                     usage // for 1,000 connections
	metrics                         float64
}

// measure lets the functions work, and counts.
func measure(t *testing.T) (each measured) {
	s := newStack(t)
	m := &meter{t: t}
	for _, variable := range s.environment {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
			value = m.before(value)
		}
		t.Setenv(name, value)
	}
	sim := simulator.New(simulator.Config{DevID: devID, APIKey: apiKey, Habits: simulator.Habits{Generation: simulator.KeepBoth, AccountInAnswers: true}})
	s.terra.Store(sim)
	var gateway http.Handler
	wayIn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { gateway.ServeHTTP(w, r) }))
	t.Cleanup(wayIn.Close)
	t.Setenv("WEBHOOK_URL", wayIn.URL+"/webhook")
	settings, err := settings.FromEnvironment(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	parts := product.New(t.Context(), settings, telemetry.NewLogger(m, settings.Stack))
	handler, err := parts.Webhook()
	if err != nil {
		t.Fatal(err)
	}
	gateway = local.NewGateway(handler)
	cost := func(body []byte) usage {
		t.Helper()
		m.take()
		if status := post(t, gateway, body); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
		return m.take()
	}
	connect := func(account, reference string) simulator.User {
		return simulator.User{UserID: sim.Connect("GARMIN", account, reference), Provider: "GARMIN", ReferenceID: reference, CreatedAt: time.Now()}
	}
	anna := connect("watch", "4735eac4-31a2-47ef-8b11-51e98d84c680")
	each.auth = cost(simulator.Newer.Auth(anna))
	each.data = cost(simulator.Newer.Body("activity", anna))
	each.change = cost(simulator.Newer.Auth(connect("watch", "9c8b7a65-31a2-47ef-8b11-51e98d84c680")))

	const connections = 50
	for i := range connections {
		if status := post(t, gateway, simulator.Newer.Athlete(connect(fmt.Sprint("watch ", i), "someone"), fmt.Sprint("watch ", i))); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
	}
	sweeping := parts.Sweep()
	run := func(walk, round bool) usage {
		t.Helper()
		sweeping.WalkEvery, sweeping.RoundEvery = 24*time.Hour, time.Hour
		if walk {
			sweeping.WalkEvery = 0
		}
		if round {
			sweeping.RoundEvery = 0
		}
		m.take()
		if report, err := sweeping.Run(t.Context()); err != nil || report != (sweep.Report{}) {
			t.Fatalf("%+v, %v", report, err)
		}
		return m.take()
	}
	first := run(false, false) // with the first walk, the first round and a heartbeat
	each.quiet = run(false, false)
	each.walk = run(true, false).plus(each.quiet.times(-1)).times(1000. / (connections + 2))
	each.round = run(false, true).plus(each.quiet.times(-1)).times(1000. / (connections + 2))
	each.beat = cost([]byte(telemetry.HeartbeatBody))
	if first.writes < each.walk.writes*connections/1000 || each.quiet.writes != 0 {
		t.Errorf("the first run takes %+v, a quiet one %+v", first, each.quiet)
	}
	source, err := os.ReadFile(filepath.Join(realparts.Root(t), "internal", "telemetry", "metrics.go"))
	if err != nil {
		t.Fatal(err)
	}
	each.metrics = float64(bytes.Count(source, []byte(` Metric = "`)))
	return each
}
