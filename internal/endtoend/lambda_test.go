package endtoend

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/telemetry"
)

// TestFunctions runs the binaries that Lambda runs, under AWS's own emulator, with real engines behind them.
func TestFunctions(t *testing.T) {
	s := newStack(t)
	webhook, sweep := buildFunction(t, "webhook"), buildFunction(t, "sweep")
	events := filepath.Join(realparts.Root(t), "events")

	t.Run("bad settings", func(t *testing.T) {
		for _, bootstrap := range []string{webhook, sweep} {
			testBadSettings(t, bootstrap)
		}
	})
	t.Run("every example event", func(t *testing.T) {
		testExamples(t, s.start(t, webhook, "REPLAY_WINDOW=876000h"), s.start(t, webhook), events)
	})
	t.Run("a change of owner, and what is left to the sweep", func(t *testing.T) {
		s.testChange(t, s.start(t, webhook), s.start(t, sweep))
	})
	t.Run("the own heartbeat", func(t *testing.T) { s.testHeartbeat(t, s.start(t, webhook), sweep) })
	t.Run("an empty secret", func(t *testing.T) { s.testEmptySecret(t, webhook) })
	t.Run("a wrong account key", func(t *testing.T) { s.testWrongKey(t, webhook) })
	t.Run("no personal data", s.testPersonal)
}

// buildFunction compiles a function as it is deployed, for this test's processor, and returns the path of its bootstrap.
func buildFunction(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootstrap")
	build(t, path, "./functions/"+name, "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w")
	return path
}

// stack is what stands behind the functions.
type stack struct {
	dynamoDB    *dynamodb.Client
	secrets     *secretsmanager.Client
	topic       topic
	terra       atomic.Pointer[simulator.Terra] // whose API answers
	terraSecret string                          // ARN
	keySecret   string                          // ARN
	environment []string
	folder      string       // of files with what the functions write
	files       atomic.Int64 // how many

	mu      sync.Mutex
	events  [][]byte // that the functions were invoked with
	answers strings.Builder
}

const (
	accountsTable    = "accounts"
	connectionsTable = "connections"
	goodSecret       = `{"signing_secrets":["a-retired-secret","` + local.Secret + `"],"dev_id":"` + devID + `","api_key":"` + apiKey + `"}`
)

func newStack(t *testing.T) *stack {
	t.Helper()
	dynamoURL, motoURL := realparts.DynamoDB(t), realparts.Moto(t)
	s := &stack{
		dynamoDB: dynamodb.NewFromConfig(realparts.AWSConfig(dynamoURL)),
		secrets:  secretsmanager.NewFromConfig(realparts.AWSConfig(motoURL)),
		topic:    newTopic(t, realparts.AWSConfig(motoURL), "transfers"),
		folder:   t.TempDir(),
	}
	if err := ledger.CreateTables(t.Context(), s.dynamoDB, accountsTable, connectionsTable); err != nil {
		t.Fatal(err)
	}
	s.terraSecret = s.secret(t, "terra", goodSecret)
	s.keySecret = s.secret(t, "account-key", strings.Repeat("5a", 32))

	s.terra.Store(simulator.New(simulator.Config{DevID: devID, APIKey: apiKey})) // nobody is connected
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.terra.Load().API().ServeHTTP(w, r) }))
	t.Cleanup(api.Close)
	s.environment = []string{
		"PATH=" + os.Getenv("PATH"), "AWS_LAMBDA_FUNCTION_NAME=handover", "AWS_LAMBDA_FUNCTION_TIMEOUT=30", "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ENDPOINT_URL_DYNAMODB=" + dynamoURL, "AWS_ENDPOINT_URL_SNS=" + motoURL, "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + motoURL,
		"ACCOUNTS_TABLE=" + accountsTable, "CONNECTIONS_TABLE=" + connectionsTable, "TRANSFERS_TOPIC_ARN=" + s.topic.arn,
		"TERRA_API_URL=" + api.URL + "/v2", "TERRA_SECRET_ARN=" + s.terraSecret, "ACCOUNT_KEY_SECRET_ARN=" + s.keySecret,
	}
	return s
}

func (s *stack) secret(t *testing.T, name, text string) (arn string) {
	t.Helper()
	made, err := s.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &text})
	if err != nil {
		t.Fatal(err)
	}
	return *made.ARN
}

func (s *stack) put(t *testing.T, arn, text string) {
	t.Helper()
	if _, err := s.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: &text}); err != nil {
		t.Fatal(err)
	}
}

// function is a compiled function under the emulator.
type function struct {
	url       string
	process   *os.Process // the emulator
	bootstrap string
	stack     *stack
	mu        sync.Mutex // the emulator takes one invocation at a time
}

// start starts a function with more variables in its environment.
func (s *stack) start(t *testing.T, bootstrap string, environment ...string) *function {
	t.Helper()
	address := realparts.FreeAddress(t)
	command := exec.Command(realparts.RIE(t), "--runtime-interface-emulator-address", address, "--runtime-api-address", realparts.FreeAddress(t), bootstrap)
	command.Env = append(append([]string{}, s.environment...), environment...)
	output, err := os.Create(filepath.Join(s.folder, fmt.Sprint(s.files.Add(1))))
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = output, output
	t.Cleanup(func() {
		if text, err := os.ReadFile(output.Name()); t.Failed() {
			t.Logf("output of the function: %s%v", text, err)
		}
		output.Close()
	})
	realparts.WaitUntilListening(t, address, realparts.Start(t, command))
	return &function{url: "http://" + address + "/2015-03-31/functions/function/invocations", process: command.Process, bootstrap: bootstrap, stack: s}
}

// Invoke makes function a lambda.Handler, so that the local program's gateway can stand before it.
func (f *function) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(event))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	f.stack.mu.Lock()
	f.stack.events = append(f.stack.events, event)
	f.stack.answers.Write(answer)
	f.stack.mu.Unlock()
	if response.StatusCode != http.StatusOK || bytes.Contains(answer, []byte(`"errorMessage"`)) {
		return nil, fmt.Errorf("invoking: %s: %s", response.Status, answer)
	}
	return answer, nil
}

// answer invokes f as API Gateway does, and checks that what comes back is an answer for it: 200, or a problem in JSON.
func (f *function) answer(t *testing.T, event []byte) (status int, detail string) {
	t.Helper()
	raw, err := f.Invoke(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		StatusCode int
		Headers    map[string]string
		Body       string
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	var problem struct {
		Type, Title, Detail string
		Status              int
	}
	if answer.StatusCode == http.StatusOK {
		return answer.StatusCode, ""
	}
	if err := json.Unmarshal([]byte(answer.Body), &problem); err != nil || answer.Headers["content-type"] != "application/problem+json" ||
		problem.Status != answer.StatusCode || problem.Title != http.StatusText(answer.StatusCode) {
		t.Errorf("not a problem of RFC 9457: %s", raw)
	}
	return answer.StatusCode, problem.Detail
}

// Every variable at fault is named, and the process ends.
func testBadSettings(t *testing.T, bootstrap string) {
	for _, test := range []struct{ environment, names []string }{
		{nil, []string{"ACCOUNTS_TABLE", "CONNECTIONS_TABLE", "TRANSFERS_TOPIC_ARN", "TERRA_SECRET_ARN", "ACCOUNT_KEY_SECRET_ARN"}},
		{
			[]string{
				"ACCOUNTS_TABLE=a", "CONNECTIONS_TABLE=c", "TRANSFERS_TOPIC_ARN=t", "TERRA_SECRET_ARN=s",
				"REPLAY_WINDOW=a fortnight", "WATCH_DATA_EVENTS=perhaps", "TERRA_API_URL=terra",
			},
			[]string{"ACCOUNT_KEY_SECRET_ARN", "REPLAY_WINDOW", "WATCH_DATA_EVENTS", "TERRA_API_URL"},
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		command := exec.CommandContext(ctx, bootstrap)
		command.Env = test.environment
		output, err := command.CombinedOutput()
		if exit, ended := err.(*exec.ExitError); !ended || exit.ExitCode() <= 0 {
			t.Errorf("the process ended with %v, want a status that is not 0\n%s", err, output)
		}
		for _, name := range test.names {
			if strings.Count(string(output), name) != 1 {
				t.Errorf("%s is not named once:\n%s", name, output)
			}
		}
		if n := strings.Count(string(output), "should be"); n != len(test.names) {
			t.Errorf("%d faults, want %d:\n%s", n, len(test.names), output)
		}
	}
}

// testExamples: each file in events/ is accepted by a function whose replay window reaches back to it. The same file with one byte of its body changed is not,
// and by default it is too old.
func testExamples(t *testing.T, patient, usual *function, folder string) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there is nothing in %s: %v", folder, err)
	}
	for _, file := range files {
		event, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if status, detail := patient.answer(t, event); status != http.StatusOK {
			t.Errorf("%s: answered %d: %s", filepath.Base(file), status, detail)
		}
		if status, detail := patient.answer(t, altered(t, event)); status != http.StatusUnauthorized || !strings.Contains(detail, "not of a secret") {
			t.Errorf("%s, altered: answered %d: %s", filepath.Base(file), status, detail)
		}
		if status, detail := usual.answer(t, event); status != http.StatusUnauthorized || !strings.Contains(detail, "too old") {
			t.Errorf("%s, years later: answered %d: %s", filepath.Base(file), status, detail)
		}
	}
	t.Logf("%d events, each accepted, refused when altered, and refused as too old", len(files))
}

// altered changes one byte of an event's body. (In base64 it is a letter that stands for other bits.)
func altered(t *testing.T, event []byte) []byte {
	t.Helper()
	var members map[string]json.RawMessage
	var body string
	if err := json.Unmarshal(event, &members); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(members["body"], &body); err != nil {
		t.Fatal(err)
	}
	other := []byte(body)
	other[len(other)/2] ^= 1
	if string(members["isBase64Encoded"]) == "true" {
		other = bytes.Replace([]byte(body), []byte("e"), []byte("f"), 1)
	}
	var err error
	if members["body"], err = json.Marshal(string(other)); err != nil {
		t.Fatal(err)
	}
	if event, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	return event
}

// play starts another Terra, whose webhooks go to f.
func (s *stack) play(t *testing.T, f *function, habits simulator.Habits) *simulator.Terra {
	t.Helper()
	gateway := httptest.NewServer(local.NewGateway(f))
	t.Cleanup(gateway.Close)
	s.terra.Store(simulator.New(simulator.Config{
		Secret: local.Secret, WebhookURL: gateway.URL, DevID: devID, APIKey: apiKey, Seed: uint64(time.Now().UnixNano()), Habits: habits, Senders: 2,
	}))
	return s.terra.Load()
}

func deliver(t *testing.T, terra *simulator.Terra) {
	t.Helper()
	if err := terra.Deliver(t.Context()); err != nil || terra.Stats().GivenUp > 0 {
		t.Fatalf("%v, %+v", err, terra.Stats())
	}
}

// testChange: a watch passes from anna to ben and on to carol. Ben's connection is made while Terra's API is down: the sweep finds out.
func (s *stack) testChange(t *testing.T, webhook, sweep *function) {
	terra := s.play(t, webhook, simulator.Habits{Generation: simulator.KeepBoth, CreatedAtInWebhooks: true, AccountInAnswers: true})
	anna := terra.Connect("GARMIN", "the-watch-of-all-three", "anna@example.com")
	deliver(t, terra)
	if messages := s.topic.receive(); len(messages) != 0 {
		t.Fatalf("a first owner is announced: %v", messages)
	}

	terra.SetFaults(simulator.Faults{Fail: 1, Duplicate: 1})
	ben := terra.Connect("GARMIN", "the-watch-of-all-three", "ben@example.com")
	deliver(t, terra)
	s.makeDue(t, ben)
	if got := s.sweep(t, sweep); got.PutOff != 1 || got.Settled != 0 {
		t.Errorf("while Terra's API is down the sweep reports %+v, want one that is put off", got)
	}
	if messages := s.topic.receive(); len(messages) != 0 {
		t.Fatalf("announced before the account was known: %v", messages)
	}
	terra.SetFaults(simulator.Faults{})
	s.makeDue(t, ben)
	if got := s.sweep(t, sweep); got.Settled != 1 || got.Transfers != 1 {
		t.Errorf("the sweep reports %+v, want one that is settled, with a transfer", got)
	}
	if got := s.sweep(t, sweep); got != (report{}) {
		t.Errorf("the next sweep reports %+v, want nothing", got)
	}
	expect(t, s.topic.receive(), passed{anna, "anna@example.com", ben, "ben@example.com"})

	carol := terra.Connect("GARMIN", "the-watch-of-all-three", "carol@example.com")
	deliver(t, terra)
	// Anna's connection is still open, and to be announced only as passed to ben, who is newer.
	expect(t, s.topic.receive(), passed{ben, "ben@example.com", carol, "carol@example.com"})
}

// testHeartbeat: the sweep function finds out whether the way in is open, and runs all the same if it is not.
func (s *stack) testHeartbeat(t *testing.T, webhook *function, bootstrap string) {
	var (
		mu  sync.Mutex
		got []string
	)
	gateway := local.NewGateway(webhook)
	wayIn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		gateway.ServeHTTP(answer, r)
		w.WriteHeader(answer.Code)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprintf("%s %s %d %s", r.Method, r.URL.Path, answer.Code, body))
	}))
	t.Cleanup(wayIn.Close)
	webhooks := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}

	beating := s.start(t, bootstrap, "WEBHOOK_URL="+wayIn.URL+"/webhook", "STACK_NAME=handover-test")
	for range 2 { // of two runs in five minutes one sends a heartbeat
		s.sweep(t, beating)
	}
	if want := []string{"POST /webhook 200 " + telemetry.HeartbeatBody}; !slices.Equal(webhooks(), want) {
		t.Errorf("got %q, want %q", webhooks(), want)
	}

	arn := s.secret(t, "terra-other", `{"signing_secrets":["a-secret-that-the-webhook-function-has-not"]}`)
	estranged := s.start(t, bootstrap, "WEBHOOK_URL="+wayIn.URL+"/webhook", "TERRA_SECRET_ARN="+arn)
	arn = s.secret(t, "terra-none", `{"signing_secrets":[]}`)
	mute := s.start(t, bootstrap, "WEBHOOK_URL="+wayIn.URL+"/webhook", "TERRA_SECRET_ARN="+arn)
	for range 2 { // one that was refused is tried again by the next run
		s.sweep(t, estranged)
		s.sweep(t, mute)
	}
	if all := webhooks(); len(all) != 3 || !strings.HasPrefix(all[1], "POST /webhook 401 ") {
		t.Errorf("got %q", all)
	}
}

type report struct {
	Settled, Failed, Transfers int
	PutOff                     int `json:"put_off"`
}

func (s *stack) sweep(t *testing.T, f *function) (r report) {
	t.Helper()
	answer, err := f.Invoke(t.Context(), []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return r
}

// makeDue lets the time pass that the sweep leaves a connection alone.
func (s *stack) makeDue(t *testing.T, userID string) {
	t.Helper()
	_, err := s.dynamoDB.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
		TableName:                 aws.String(connectionsTable),
		Key:                       map[string]types.AttributeValue{"user_id": &types.AttributeValueMemberS{Value: userID}},
		UpdateExpression:          aws.String("SET next_attempt = :now"),
		ConditionExpression:       aws.String("attribute_exists(todo)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":now": &types.AttributeValueMemberN{Value: fmt.Sprint(time.Now().UnixMilli())}},
	})
	if err != nil {
		t.Fatalf("connection %s has no work mark: %v", userID, err)
	}
}

// passed is a transfer that is expected.
type passed struct{ previousUser, previous, currentUser, current string }

// expect checks that the messages are exactly one announcement, valid by its schema and with the attributes that filter policies name.
func expect(t *testing.T, messages []message, want passed) {
	t.Helper()
	if len(messages) != 1 {
		t.Fatalf("%d messages, want 1: %v", len(messages), messages)
	}
	m := messages[0]
	validate(t, "schema/account-transferred.v1.json", m.body)
	var e event
	var c change
	if err := json.Unmarshal([]byte(m.body), &e); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(e.Data, &c); err != nil {
		t.Fatal(err)
	}
	got := passed{c.Previous.UserID, c.Previous.ReferenceID, c.Current.UserID, c.Current.ReferenceID}
	if got != want || c.Provider != "GARMIN" || !strings.HasPrefix(c.Account, "GARMIN/k") || c.Order != "signed" {
		t.Errorf("announced %s, want %v", m.body, want)
	}
	attributes := fmt.Sprint(map[string]string{"type": "handover.account.transferred.v1", "provider": "GARMIN", "reason": "connected_by_other", "order": "signed"})
	if fmt.Sprint(m.attributes) != attributes {
		t.Errorf("message attributes %v, want %s", m.attributes, attributes)
	}
}

func validate(t *testing.T, schema, document string) {
	t.Helper()
	text, err := announce.Schemas.ReadFile(schema)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(schema, parsed); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile(schema)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(value); err != nil {
		t.Errorf("%v: %s", err, document)
	}
}

// testEmptySecret: before anybody has filled the secret nothing can be verified. Once it is filled the same instance accepts.
func (s *stack) testEmptySecret(t *testing.T, bootstrap string) {
	const empty = `{"signing_secrets":[],"dev_id":"","api_key":""}`
	arn := s.secret(t, "terra-empty", empty)
	f := s.start(t, bootstrap, "REPLAY_WINDOW=876000h", "TERRA_SECRET_ARN="+arn)
	event, err := os.ReadFile(filepath.Join(realparts.Root(t), "events", "auth.json"))
	if err != nil {
		t.Fatal(err)
	}
	if status, detail := f.answer(t, event); status != http.StatusInternalServerError || !strings.Contains(detail, "verified") {
		t.Errorf("with an empty secret: answered %d: %s", status, detail)
	}
	s.put(t, arn, goodSecret)
	eventually(t, 10*time.Second, func() string {
		if status, detail := f.answer(t, event); status != http.StatusOK {
			return fmt.Sprintf("with the secret filled: answered %d: %s", status, detail)
		}
		return ""
	})
	if status, _ := f.answer(t, altered(t, event)); status != http.StatusUnauthorized {
		t.Errorf("altered, with the secret filled: answered %d", status)
	}
}

// testWrongKey: with another account key than that of the accounts every account would be new. So nothing is accepted, until the key is the right one.
func (s *stack) testWrongKey(t *testing.T, bootstrap string) {
	right := strings.Repeat("5a", 32)
	arn := s.secret(t, "account-key-wrong", strings.Repeat("a5", 32))
	f := s.start(t, bootstrap, "REPLAY_WINDOW=876000h", "ACCOUNT_KEY_SECRET_ARN="+arn)
	event, err := os.ReadFile(filepath.Join(realparts.Root(t), "events", "auth.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{strings.Repeat("a5", 32), "not hexadecimal", ""} {
		if key != "" {
			s.put(t, arn, key)
		}
		if status, detail := f.answer(t, event); status != http.StatusInternalServerError || !strings.Contains(detail, "stored") {
			t.Errorf("with the account key %q: answered %d: %s", key, status, detail)
		}
	}
	s.put(t, arn, right)
	eventually(t, 10*time.Second, func() string {
		if status, detail := f.answer(t, event); status != http.StatusOK {
			return fmt.Sprintf("with the right account key: answered %d: %s", status, detail)
		}
		return ""
	})
}

// testPersonal: of nobody whom an event names there is a trace in what the functions wrote or answered, nor in the names of accounts.
func (s *stack) testPersonal(t *testing.T) {
	p := newPersonal(local.Secret, apiKey, strings.Repeat("5a", 32))
	p.addAccount("GARMIN", "the-watch-of-all-three")
	for _, event := range s.events {
		var e struct {
			Body            string
			IsBase64Encoded bool
		}
		if err := json.Unmarshal(event, &e); err != nil {
			t.Fatal(err)
		}
		body := []byte(e.Body)
		if e.IsBase64Encoded {
			body, _ = base64.StdEncoding.DecodeString(e.Body) // an altered one may not be
		}
		if e.Body != telemetry.HeartbeatBody {
			p.addBody(body)
		}
	}
	files, err := filepath.Glob(filepath.Join(s.folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		written += len(text)
		p.check(t, "a function's output", string(text))
	}
	p.check(t, "the answers", s.answers.String())
	scanned, err := s.dynamoDB.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String(accountsTable)})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range scanned.Items {
		p.check(t, "an account's name", item["account"].(*types.AttributeValueMemberS).Value)
	}
	if written == 0 || s.answers.Len() == 0 || len(scanned.Items) == 0 {
		t.Errorf("nothing to search: %d bytes of output, %d of answers, %d accounts", written, s.answers.Len(), len(scanned.Items))
	}
	if !t.Failed() {
		t.Logf("none of %d personal data in %d bytes of output, %d of answers, %d accounts", len(p.known), written, s.answers.Len(), len(scanned.Items))
	}
}
