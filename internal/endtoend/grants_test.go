package endtoend

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"go.yaml.in/yaml/v3"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/settings"
	product "github.com/handover-dev/handover/internal/stack"
	"github.com/handover-dev/handover/internal/sweep"
	"github.com/handover-dev/handover/internal/telemetry"
)

// call is a call to AWS: "dynamodb:GetItem", on a resource as the template's policies name it. Of a call about one row of the accounts, key is that row.
type call struct{ action, on, key string }

// recorder is a proxy before the engines that notes each call.
type recorder struct {
	on map[string]string // what the template calls the resources, by the names and ARNs that they have here

	mu    sync.Mutex
	calls []call
}

func (r *recorder) before(t *testing.T, endpoint string) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		r.note(request.Header.Get("X-Amz-Target"), body)
		request.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (r *recorder) note(target string, body []byte) {
	var c call
	service, operation, isJSON := strings.Cut(target, ".")
	if isJSON {
		var input struct {
			TableName, IndexName, SecretId string
			Key, Item                      struct{ Account struct{ S string } }
		}
		_ = json.Unmarshal(body, &input) // what is not JSON is on nothing, and that is granted nowhere
		c.action = map[string]string{"DynamoDB_20120810": "dynamodb", "secretsmanager": "secretsmanager"}[service] + ":" + operation
		c.on, c.key = r.on[input.TableName+input.SecretId], input.Key.Account.S+input.Item.Account.S
		if input.IndexName != "" {
			c.on = "${" + c.on + "}/index/" + input.IndexName
		}
	} else {
		form, _ := url.ParseQuery(string(body))
		c.action, c.on = "sns:"+form.Get("Action"), r.on[form.Get("TopicArn")]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
}

// grant is a call that a role may make; key is what the rows' keys must be like, "" for any.
type grant call

func (g grant) allows(c call) bool {
	prefix, open := strings.CutSuffix(g.key, "*")
	return g.action == c.action && g.on == c.on && (g.key == c.key || g.key == "" || open && strings.HasPrefix(c.key, prefix))
}

// notByTheCode are the actions that a function's role is granted for what happens around the code.
var notByTheCode = map[string]string{
	"logs:":                  "Lambda writes the log of a function with the function's role",
	"xray:":                  "so does the X-Ray daemon with its traces",
	"kms:":                   "DynamoDB, Secrets Manager, SNS, SQS and Lambda use the key in the function's name",
	"sqs:SendMessage":        "Lambda tells the sweep's dead-letter queue about a run that failed",
	"sqs:ReceiveMessage":     "Lambda takes announcements from the queue for the revoke function",
	"sqs:DeleteMessage":      "likewise",
	"sqs:GetQueueAttributes": "likewise",
}

// grants reads from template.yaml what a role may do, apart from notByTheCode.
func grants(t *testing.T, role string) (all []grant) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(realparts.Root(t), "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Resources map[string]struct {
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &template); err != nil {
		t.Fatal(err)
	}
	properties := func(id string) (p struct {
		ManagedPolicyArns []yaml.Node `yaml:"ManagedPolicyArns"`
		PolicyDocument    struct {
			Statement []struct {
				Effect    string                          `yaml:"Effect"`
				Action    yaml.Node                       `yaml:"Action"`
				Resource  yaml.Node                       `yaml:"Resource"`
				Condition map[string]map[string]yaml.Node `yaml:"Condition"`
			} `yaml:"Statement"`
		} `yaml:"PolicyDocument"`
	}) {
		node := template.Resources[id].Properties
		if err := node.Decode(&p); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		return p
	}
	list := func(n yaml.Node) (values []string) {
		if n.Kind == yaml.ScalarNode {
			return []string{n.Value}
		}
		for _, item := range n.Content {
			values = append(values, item.Value)
		}
		return values
	}
	policies := properties(role).ManagedPolicyArns
	if len(policies) == 0 {
		t.Fatalf("%s has no policy", role)
	}
	for _, policy := range policies {
		for _, s := range properties(policy.Value).PolicyDocument.Statement {
			if s.Effect != "Allow" {
				continue
			}
			keys := []string{""}
			for _, operands := range s.Condition {
				if leading, is := operands["dynamodb:LeadingKeys"]; is {
					keys = list(leading)
				}
			}
			for _, action := range list(s.Action) {
				if slices.ContainsFunc(slices.Collect(maps.Keys(notByTheCode)), func(prefix string) bool { return strings.HasPrefix(action, prefix) }) {
					continue
				}
				for _, on := range list(s.Resource) {
					for _, key := range keys {
						all = append(all, grant{action, on, key})
					}
				}
			}
		}
	}
	return all
}

// TestCallsAreGranted lets each function do all that it can do, and compares the calls that it made to AWS with what the template grants its role: nothing is
// missing, and nothing is granted that was not used.
func TestCallsAreGranted(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, s *stack, record func() *product.Stack, plain func() *product.Stack){
		"WebhookRole": useWebhook, "SweepRole": useSweep, "RevokeRole": useRevoke,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t)
			r := recorder{on: map[string]string{
				accountsTable: "AccountsTable.Arn", connectionsTable: "ConnectionsTable.Arn", s.topic.arn: "TransfersTopic",
				s.terraSecret: "TerraSecret", s.keySecret: "AccountKeySecret",
			}}
			connect := func(before func(endpoint string) string) func() *product.Stack {
				return func() *product.Stack {
					for _, variable := range s.environment {
						name, value, _ := strings.Cut(variable, "=")
						if strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
							value = before(value)
						}
						t.Setenv(name, value)
					}
					settings, err := settings.FromEnvironment(os.Getenv)
					if err != nil {
						t.Fatal(err)
					}
					return product.New(t.Context(), settings, telemetry.NewLogger(t.Output(), settings.Stack))
				}
			}
			use(t, s, connect(func(endpoint string) string { return r.before(t, endpoint) }), connect(func(endpoint string) string { return endpoint }))

			granted := grants(t, name)
			used := map[call]bool{}
			for _, c := range r.calls {
				if c.on != "AccountsTable.Arn" || !strings.HasPrefix(c.key, "#") {
					c.key = ""
				}
				used[c] = true
			}
			for c := range used {
				if !slices.ContainsFunc(granted, func(g grant) bool { return g.allows(c) }) {
					t.Errorf("%s may not %s on %s %s", name, c.action, c.on, c.key)
				}
			}
			for _, g := range granted {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(used)), g.allows) {
					t.Errorf("%s may %s on %s %s, and never does", name, g.action, g.on, g.key)
				}
			}
			t.Logf("%d calls, %d kinds of call, %d grants", len(r.calls), len(used), len(granted))
		})
	}
}

// useWebhook: a new connection, a data event of one that is not known yet, a change.
func useWebhook(t *testing.T, s *stack, record, _ func() *product.Stack) {
	handler, err := record().Webhook()
	if err != nil {
		t.Fatal(err)
	}
	s.change(t, local.NewGateway(handler))
}

// change lets a watch pass from anna to ben. It returns their user_ids.
func (s *stack) change(t *testing.T, gateway http.Handler) (anna, ben simulator.User) {
	t.Helper()
	sim := simulator.New(simulator.Config{DevID: devID, APIKey: apiKey, Habits: simulator.Habits{Generation: simulator.KeepBoth, AccountInAnswers: true}})
	s.terra.Store(sim)
	connect := func(reference string) simulator.User {
		return simulator.User{UserID: sim.Connect("GARMIN", "watch", reference), Provider: "GARMIN", ReferenceID: reference, CreatedAt: time.Now()}
	}
	anna = connect("anna")
	ben = connect("ben")
	for _, body := range [][]byte{simulator.Newer.Auth(anna), simulator.Newer.Body("activity", anna), simulator.Newer.Auth(ben)} {
		if status := post(t, gateway, body); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
	}
	return anna, ben
}

// useSweep: a walk records two connections of one watch, which are settled; a round looks through the accounts; both are forgotten.
func useSweep(t *testing.T, s *stack, record, _ func() *product.Stack) {
	sim := simulator.New(simulator.Config{DevID: devID, APIKey: apiKey, Habits: simulator.Habits{Generation: simulator.KeepBoth, AccountInAnswers: true}})
	s.terra.Store(sim)
	users := []string{sim.Connect("GARMIN", "watch", "anna"), sim.Connect("GARMIN", "watch", "ben")}
	sweeping := record().Sweep()
	if _, err := sweeping.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, userID := range users {
		s.makeDue(t, userID)
	}
	if report, err := sweeping.Run(t.Context()); err != nil || report.Settled != 2 || report.Transfers != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	for _, reference := range []string{"anna", "ben"} {
		if _, err := sweeping.Handle(t.Context(), sweep.Input{Forget: &sweep.Forget{ReferenceID: reference}}); err != nil {
			t.Fatal(err)
		}
	}
}

// useRevoke: an announcement ends a connection; the same again finds that it has ended, and records that.
func useRevoke(t *testing.T, s *stack, record, plain func() *product.Stack) {
	revoker := record().Revoke(settings.Revoke{Policy: "newest-wins"}) // it is the first to use the account key
	handler, err := plain().Webhook()
	if err != nil {
		t.Fatal(err)
	}
	s.change(t, local.NewGateway(handler))
	messages := s.topic.receive()
	if len(messages) != 1 {
		t.Fatalf("announced %v", messages)
	}
	batch := events.SQSEvent{Records: []events.SQSMessage{{MessageId: "1", Body: messages[0].body}}}
	for range 2 {
		if response, err := revoker.Handle(t.Context(), batch); err != nil || len(response.BatchItemFailures) > 0 {
			t.Fatal(response, err)
		}
	}
	if said := s.topic.receive(); len(said) != 1 || !strings.Contains(said[0].body, "handover.connection.revoked.v1") {
		t.Fatalf("announced %v", said)
	}
}
