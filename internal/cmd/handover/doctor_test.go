package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cloudformationtypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/handover-dev/handover/internal/deployed"
	"github.com/handover-dev/handover/internal/doctor"
	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/stack"
	"github.com/handover-dev/handover/internal/sweep"
	"github.com/handover-dev/handover/internal/telemetry"
)

// deployment is a stack that is well, and can be made ill before or after it is deployed.
type deployment struct {
	t       *testing.T
	ctx     context.Context
	cloud   cloud
	name    string
	outputs map[string]string
	secret  settings.Terra
	key     string
	begun   string // the key that the ledger was begun with
	terra   *simulator.Terra
	unnamed string // user_id of the connection for which Terra names no account
	api     string
}

const goodKey = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// deploy makes the stack, once ill has changed what it is made of.
func (c cloud) deploy(t *testing.T, name string, ill func(*deployment)) *deployment {
	t.Helper()
	ctx := t.Context()
	terra := simulator.New(simulator.Config{DevID: "the-dev-id", APIKey: "the-api-key", Habits: simulator.Habits{
		Generation: simulator.KeepBoth, AccountInAnswers: true, CreatedAtInAnswers: true,
	}})
	d := &deployment{}
	answers := terra.API()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/athlete") && r.URL.Query().Get("user_id") == d.unnamed {
			_, _ = io.WriteString(w, `{"status":"success","user":{"user_id":"`+d.unnamed+`","provider":"POLAR"},"athlete":{}}`)
			return
		}
		answers.ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	*d = deployment{
		t: t, ctx: ctx, cloud: c, name: name, terra: terra, api: api.URL + "/v2", key: goodKey, begun: goodKey,
		secret: settings.Terra{SigningSecrets: []string{"the-secret"}, DevID: "the-dev-id", APIKey: "the-api-key"},
		outputs: map[string]string{
			deployed.AccountsTable: name + "-accounts", deployed.ConnectionsTable: name + "-connections",
			deployed.WebhookFunction: name + "-webhook", deployed.SweepFunction: name + "-sweep",
		},
	}
	if ill != nil {
		ill(d)
	}

	tables := dynamodb.NewFromConfig(c.tables)
	d.must(ledger.CreateTables(ctx, tables, name+"-accounts", name+"-connections"))
	begun, err := settings.ParseAccountKey(d.begun)
	d.must(err)
	keys, err := ownership.NewAccountKeys(begun)
	d.must(err)
	d.must(ledger.NewDynamoDB(tables, name+"-accounts", name+"-connections").CheckKey(ctx, keys.Fingerprint()))

	secrets := secretsmanager.NewFromConfig(c.config)
	keep := func(name, value string) string {
		made, err := secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
		d.must(err)
		return *made.ARN
	}
	terraText, err := json.Marshal(d.secret)
	d.must(err)
	d.default_(deployed.TerraSecret, func() string { return keep(name+"-terra", string(terraText)) })
	d.default_(deployed.AccountKeySecret, func() string { return keep(name+"-key", d.key) })

	topics := sns.NewFromConfig(c.config)
	for _, output := range []string{deployed.TransfersTopic, deployed.AlarmsTopic} {
		d.default_(output, func() string {
			made, err := topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String(name + "-" + output)})
			d.must(err)
			d.subscribe(*made.TopicArn, true)
			return *made.TopicArn
		})
	}

	environment := map[string]string{
		"ACCOUNTS_TABLE": d.outputs[deployed.AccountsTable], "CONNECTIONS_TABLE": d.outputs[deployed.ConnectionsTable], "TERRA_SECRET_ARN": d.outputs[deployed.TerraSecret],
		"ACCOUNT_KEY_SECRET_ARN": d.outputs[deployed.AccountKeySecret], "TRANSFERS_TOPIC_ARN": d.outputs[deployed.TransfersTopic], "TERRA_API_URL": d.api, "STACK_NAME": name,
	}
	s, err := settings.FromEnvironment(func(name string) string { return environment[name] })
	d.must(err)
	built := stack.New(ctx, s, slog.New(slog.DiscardHandler))
	sweeping := built.Sweep()
	d.function(deployed.WebhookFunction, environment, nil)
	d.function(deployed.SweepFunction, environment, func(ctx context.Context, payload []byte) ([]byte, error) {
		var in sweep.Input
		if err := json.Unmarshal(payload, &in); err != nil {
			return nil, err
		}
		out, err := sweeping.Handle(ctx, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	})
	d.default_(deployed.WebhookURL, func() string {
		handler, err := built.Webhook()
		d.must(err)
		mux := http.NewServeMux()
		mux.Handle("POST /webhook", local.NewGateway(handler))
		way := httptest.NewServer(mux)
		t.Cleanup(way.Close)
		return way.URL + "/webhook"
	})

	d.alarm(name+"-Unsettled", true, cloudwatchtypes.StateValueOk)
	d.metric(telemetry.Accepted, time.Now().Add(-time.Hour))
	d.metric(telemetry.Sweeps, time.Now().Add(-time.Minute))

	template := map[string]any{"Resources": map[string]any{"Topic": map[string]any{"Type": "AWS::SNS::Topic"}}, "Outputs": map[string]any{}}
	for output, value := range d.outputs {
		template["Outputs"].(map[string]any)[output] = map[string]any{"Value": value}
	}
	text, err := json.Marshal(template)
	d.must(err)
	_, err = cloudformation.NewFromConfig(c.config).CreateStack(ctx, &cloudformation.CreateStackInput{
		StackName: &name, TemplateBody: aws.String(string(text)), Capabilities: []cloudformationtypes.Capability{cloudformationtypes.CapabilityCapabilityIam},
	})
	d.must(err)
	return d
}

func (d *deployment) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// default_ sets an output, unless an illness has.
func (d *deployment) default_(output string, value func() string) {
	if _, set := d.outputs[output]; !set {
		d.outputs[output] = value()
	}
}

// function makes the function that an output names.
func (d *deployment) function(output string, environment map[string]string, handle func(context.Context, []byte) ([]byte, error)) {
	d.cloud.mu.Lock()
	defer d.cloud.mu.Unlock()
	d.cloud.functions[d.outputs[output]] = &function{state: "Active", environment: maps.Clone(environment), handle: handle}
}

// subscribe subscribes a queue to a topic, with a queue for what it cannot take or without.
func (d *deployment) subscribe(topic string, redrive bool) {
	d.t.Helper()
	queue, err := sqs.NewFromConfig(d.cloud.config).CreateQueue(d.ctx, &sqs.CreateQueueInput{QueueName: aws.String(fmt.Sprintf("%s-%d", d.name, time.Now().UnixNano()))})
	d.must(err)
	arn := "arn:aws:sqs:us-east-1:123456789012:" + (*queue.QueueUrl)[strings.LastIndex(*queue.QueueUrl, "/")+1:]
	attributes := map[string]string{}
	if redrive {
		attributes["RedrivePolicy"] = `{"deadLetterTargetArn":"` + arn + `"}`
	}
	_, err = sns.NewFromConfig(d.cloud.config).Subscribe(d.ctx, &sns.SubscribeInput{TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: &arn, Attributes: attributes})
	d.must(err)
}

// alarm makes an alarm, which tells the stack's topic unless another is given.
func (d *deployment) alarm(name string, acts bool, state cloudwatchtypes.StateValue, topic ...string) {
	d.t.Helper()
	if len(topic) == 0 {
		topic = []string{d.outputs[deployed.AlarmsTopic]}
	}
	client := cloudwatch.NewFromConfig(d.cloud.config)
	_, err := client.PutMetricAlarm(d.ctx, &cloudwatch.PutMetricAlarmInput{
		AlarmName: &name, AlarmDescription: aws.String("what the alarm's description says to do"), ActionsEnabled: &acts, AlarmActions: topic, Namespace: aws.String("Handover"),
		MetricName: aws.String("Unsettled"), Statistic: cloudwatchtypes.StatisticSum, Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(1),
		ComparisonOperator: cloudwatchtypes.ComparisonOperatorGreaterThanThreshold,
	})
	d.must(err)
	_, err = client.SetAlarmState(d.ctx, &cloudwatch.SetAlarmStateInput{AlarmName: &name, StateValue: state, StateReason: aws.String("the test said so")})
	d.must(err)
}

func (d *deployment) metric(metric telemetry.Metric, at time.Time) {
	d.t.Helper()
	_, err := cloudwatch.NewFromConfig(d.cloud.config).PutMetricData(d.ctx, &cloudwatch.PutMetricDataInput{
		Namespace: aws.String("Handover"), MetricData: []cloudwatchtypes.MetricDatum{{
			MetricName: aws.String(string(metric)), Timestamp: &at, Value: aws.Float64(1), Dimensions: []cloudwatchtypes.Dimension{{Name: aws.String("Stack"), Value: &d.name}},
		}},
	})
	d.must(err)
}

// examine runs the tool, and returns what it found by check: "check: what", and how it ended.
func (d *deployment) examine() (faults []string, all []doctor.Finding, status int) {
	d.t.Helper()
	var stdout, stderr bytes.Buffer
	tool := tool{getenv: os.Getenv, stdout: &stdout, stderr: &stderr}
	status = tool.status(tool.run(d.ctx, []string{"doctor", "-stack", d.name, "-json"}))
	decoder := json.NewDecoder(&stdout)
	for decoder.More() {
		var f doctor.Finding
		d.must(decoder.Decode(&f))
		all = append(all, f)
		if f.State == doctor.Fault {
			faults = append(faults, f.Check+": "+f.What)
		}
	}
	return faults, all, status
}

// TestDoctor: a stack that is well has no fault; each planted fault is named, and no other.
func TestDoctor(t *testing.T) {
	c := newCloud(t)

	t.Run("well", func(t *testing.T) {
		faults, all, status := c.deploy(t, "well", nil).examine()
		if len(faults) > 0 || status != 0 {
			t.Errorf("a stack that is well has faults: %q, and it ended with %d", faults, status)
		}
		for _, f := range all {
			if f.State == doctor.Unknown {
				t.Errorf("%s was not examined: %s", f.Check, f.What)
			}
		}
	})

	tests := []struct {
		name    string
		before  func(*deployment) // ill from the beginning
		after   func(*deployment) // falls ill
		want    string
		andWhat string // what follows from it
	}{
		{"no-output", func(d *deployment) { d.outputs[deployed.WebhookURL] = "" }, nil, "outputs: the stack has no output WebhookUrl", ""},
		{"dead-url", func(d *deployment) { d.outputs[deployed.WebhookURL] = "http://127.0.0.1:1/webhook" }, nil, "webhook url: nothing answers there", ""},
		{"not-handover", func(d *deployment) {
			takesAll := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			d.t.Cleanup(takesAll.Close)
			d.outputs[deployed.WebhookURL] = takesAll.URL
		}, nil, "webhook url: a webhook without a signature was answered 200", ""},
		{"another-secret", func(d *deployment) { // the way in is that of a function with another one, which refuses all
			refusesAll := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
			d.t.Cleanup(refusesAll.Close)
			d.outputs[deployed.WebhookURL] = refusesAll.URL
		}, nil, "webhook url: a webhook signed with the stack's own secret was answered 401", ""},
		{"empty-secret", func(d *deployment) { d.secret = settings.Terra{} }, nil, "terra secret: Terra's secret has no signing secret", "webhook url: a webhook without a signature was answered 500"},
		{"no-api-key", func(d *deployment) { d.secret.APIKey = "" }, nil, "terra secret: Terra's secret has no dev_id or no api_key", ""},
		{"wrong-api-key", func(d *deployment) { d.secret.APIKey = "another" }, nil, "terra credentials: Terra's API refuses them", ""},
		{"terra-down", func(d *deployment) { d.api = "http://127.0.0.1:1/v2" }, nil, "terra credentials: Terra's API does not answer", ""},
		{"unusable-key", func(d *deployment) { d.key = "lost" }, nil, "account key: the account key is not 64 hexadecimal digits", "webhook url: a signed webhook was answered 500"},
		{"another-key", func(d *deployment) { d.begun = strings.Repeat("ab", 32) }, nil, "account key: the account key is not the one that the ledger was begun with", "webhook url: a signed webhook was answered 500"},
		{"no-table", func(d *deployment) { d.outputs[deployed.ConnectionsTable] = "absent" }, nil, "connections table: the table absent is not there", ""},
		{"no-index", func(d *deployment) { d.outputs[deployed.ConnectionsTable] = d.name + "-accounts" }, nil, "connections table: the table no-index-accounts has no active index todo",
			"connections table: the key of table no-index-accounts is not user_id"},
		{"no-subscriber", func(d *deployment) { d.outputs[deployed.TransfersTopic] = d.topic() }, nil, "topic: nobody has subscribed to arn:", ""},
		{"no-team", func(d *deployment) { d.outputs[deployed.AlarmsTopic] = d.topic() }, nil, "alarms topic: nobody has subscribed to arn:", ""},
		{"no-topic", func(d *deployment) { d.outputs[deployed.TransfersTopic] = "arn:aws:sns:us-east-1:123456789012:gone" }, nil, "topic: the topic arn:aws:sns:us-east-1:123456789012:gone cannot be asked", ""},
		{"no-redrive", nil, func(d *deployment) { d.subscribe(d.outputs[deployed.TransfersTopic], false) }, "topic: the subscription of sqs arn:", ""},
		{"no-fit", nil, func(d *deployment) { d.filter(`{"type":["handover.transfer"]}`) }, "topic: the subscription of sqs arn:aws:sqs:us-east-1:123456789012:no-fit-", ""},
		{"no-attribute", nil, func(d *deployment) {
			d.filter(`{"order":["signed","terra"],"Type":["handover.account.transferred.v1"]}`)
		}, "topic: the subscription of sqs arn:aws:sqs:us-east-1:123456789012:no-attribute-", ""},
		{"no-queue", nil, func(d *deployment) {
			queues := sqs.NewFromConfig(d.cloud.config)
			queue, err := queues.GetQueueUrl(d.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(d.subscriber())})
			d.must(err)
			_, err = queues.DeleteQueue(d.ctx, &sqs.DeleteQueueInput{QueueUrl: queue.QueueUrl})
			d.must(err)
		}, "topic: the queue arn:aws:sqs:us-east-1:123456789012:no-queue-", ""},
		{"raised", nil, func(d *deployment) { d.alarm("raised-Raised", true, cloudwatchtypes.StateValueAlarm) }, "alarms: the alarm raised-Raised is raised: the test said so", ""},
		{"mute", nil, func(d *deployment) { d.alarm("mute-Mute", false, cloudwatchtypes.StateValueOk) }, "alarms: the alarm mute-Mute tells nobody", ""},
		{"waits", nil, func(d *deployment) {
			rows := ledger.NewDynamoDB(dynamodb.NewFromConfig(d.cloud.tables), d.outputs[deployed.AccountsTable], d.outputs[deployed.ConnectionsTable])
			_, _, err := rows.Insert(d.ctx, ownership.Connection{UserID: "w", Version: 1, ToDo: true, NextAttempt: time.Now().Add(-time.Hour)})
			d.must(err)
		}, "unsettled: 1 connection(s) have been due for over 15 minutes", ""},
		{"dead-letters", func(d *deployment) {
			queues := sqs.NewFromConfig(d.cloud.config)
			queue, err := queues.CreateQueue(d.ctx, &sqs.CreateQueueInput{QueueName: aws.String("dead-letters")})
			d.must(err)
			_, err = queues.SendMessage(d.ctx, &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: aws.String("{}")})
			d.must(err)
			d.outputs[deployed.RevokeDeadLettersURL] = *queue.QueueUrl
		}, nil, "dead letters: 1 announcement(s) whose connection could not be ended", ""},
		{"late-clock", func(d *deployment) {
			early := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(time.Hour+30*time.Minute).UTC().Format(http.TimeFormat))
				w.WriteHeader(http.StatusUnauthorized)
			}))
			d.t.Cleanup(early.Close)
			d.outputs[deployed.WebhookURL] = early.URL
		}, nil, "clock: this machine's clock is 1h", ""},
		{"no-recovery", nil, func(d *deployment) { d.cloud.noRecovery["no-recovery-accounts"] = true }, "accounts table: the table no-recovery-accounts cannot be restored to a point in time", ""},
		{"no-expiry", nil, func(d *deployment) { d.cloud.expires["no-expiry-connections"] = "" }, "connections table: the table no-expiry-connections keeps what has expired", ""},
		{"other-expiry", nil, func(d *deployment) { d.cloud.expires["other-expiry-accounts"] = "ttl" }, "accounts table: the table other-expiry-accounts keeps what has expired", ""},
		{"unconfirmed", nil, func(d *deployment) { d.cloud.unconfirmed[d.outputs[deployed.TransfersTopic]] = true }, "topic: the subscription of sqs arn:aws:sqs:us-east-1:123456789012:unconfirmed-", ""},
		{"unconfirmed-team", nil, func(d *deployment) { d.cloud.unconfirmed[d.outputs[deployed.AlarmsTopic]] = true }, "alarms topic: the subscription of sqs arn:", ""},
		{"no-function", nil, func(d *deployment) { delete(d.cloud.functions, "no-function-webhook") }, "webhook function: the function no-function-webhook is not there", ""},
		{"inactive", nil, func(d *deployment) { d.cloud.functions["inactive-sweep"].state = "Failed" }, "sweep function: the function inactive-sweep is Failed", ""},
		{"no-revoke", func(d *deployment) { d.outputs[deployed.RevokeFunction] = "no-revoke-revoke" }, nil, "revoke function: the function no-revoke-revoke is not there", ""},
		{"other-table", nil, func(d *deployment) {
			d.cloud.functions["other-table-webhook"].environment["ACCOUNTS_TABLE"] = "another"
		},
			"webhook function: the function other-table-webhook has ACCOUNTS_TABLE=another, but the stack's is other-table-accounts", ""},
		{"other-index", nil, func(d *deployment) { delete(d.cloud.functions["other-index-sweep"].environment, "CONNECTIONS_TABLE") },
			"sweep function: the function other-index-sweep has CONNECTIONS_TABLE=, but the stack's is other-index-connections", ""},
		{"other-topic", nil, func(d *deployment) {
			d.cloud.functions["other-topic-sweep"].environment["TRANSFERS_TOPIC_ARN"] = "arn:mine"
		},
			"sweep function: the function other-topic-sweep has TRANSFERS_TOPIC_ARN=arn:mine, but the stack's is arn:", ""},
		{"other-key", nil, func(d *deployment) {
			d.cloud.functions["other-key-webhook"].environment["ACCOUNT_KEY_SECRET_ARN"] = "arn:mine"
		},
			"webhook function: the function other-key-webhook has ACCOUNT_KEY_SECRET_ARN=arn:mine, but the stack's is arn:", ""},
		{"other-terra", nil, func(d *deployment) {
			d.cloud.functions["other-terra-webhook"].environment["TERRA_SECRET_ARN"] = "arn:mine"
		},
			"webhook function: the function other-terra-webhook has TERRA_SECRET_ARN=arn:mine, but the stack's is arn:", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := c.deploy(t, test.name, test.before)
			if test.after != nil {
				test.after(d)
			}
			faults, _, status := d.examine()
			if status != statusFault {
				t.Errorf("it ended with %d, want %d", status, statusFault)
			}
			found := slices.DeleteFunc(faults, func(f string) bool { return test.andWhat != "" && strings.HasPrefix(f, test.andWhat) })
			if len(found) != 1 || !strings.HasPrefix(found[0], test.want) {
				t.Errorf("found %q, want %q", found, test.want)
			}
		})
	}

	t.Run("filter policies", func(t *testing.T) {
		d := c.deploy(t, "filtered", nil)
		text, err := os.ReadFile("../../announce/schema/filter-policies.json")
		d.must(err)
		var recipes []struct{ Policy json.RawMessage }
		d.must(json.Unmarshal(text, &recipes))
		for _, recipe := range recipes {
			d.filter(string(recipe.Policy))
			if faults, _, status := d.examine(); len(faults) > 0 || status != 0 {
				t.Errorf("%s: found %q, and ended with %d", recipe.Policy, faults, status)
			}
		}
	})

	t.Run("no webhook, no sweep, no alarms", func(t *testing.T) {
		d := c.deploy(t, "quiet", nil)
		d.name = "silent" // another stack's metrics and alarms are not this one's
		_, err := cloudformation.NewFromConfig(c.config).CreateStack(d.ctx, &cloudformation.CreateStackInput{StackName: &d.name, TemplateBody: aws.String(
			`{"Resources":{"T":{"Type":"AWS::SNS::Topic"}},"Outputs":{"AccountsTableName":{"Value":"quiet-accounts"}}}`)})
		d.must(err)
		faults, _, _ := d.examine()
		for _, want := range []string{"outputs: the stack has no output WebhookUrl, TerraSecretArn", "alarms: the stack has no alarms", "last webhook: no webhook of Terra's was accepted for 24h0m0s", "last sweep: the sweep has not run for 15m0s"} {
			if !slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, want) }) {
				t.Errorf("%q is not among %q", want, faults)
			}
		}
	})

	// samconfig.toml has handover and handover-staging.
	t.Run("another stack's alarms", func(t *testing.T) {
		d := c.deploy(t, "twin", nil)
		d.alarm("twin-staging-Raised", true, cloudwatchtypes.StateValueAlarm, "arn:aws:sns:us-east-1:123456789012:twin-staging-alarms")
		if faults, _, status := d.examine(); len(faults) > 0 || status != 0 {
			t.Errorf("found %q, and ended with %d", faults, status)
		}
	})

	t.Run("what may not be asked", func(t *testing.T) {
		d := c.deploy(t, "forbidden", nil)
		t.Setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:1")
		faults, all, status := d.examine()
		unknown := slices.DeleteFunc(slices.Clone(all), func(f doctor.Finding) bool { return f.State != doctor.Unknown })
		if len(faults) > 0 || len(unknown) != 3 || unknown[0].Check != "alarms" || unknown[1].Check != "last webhook" || status != statusFault {
			t.Errorf("found %q and %+v, and ended with %d", faults, unknown, status)
		}
	})

	t.Run("no such stack", func(t *testing.T) {
		d := deployment{t: t, ctx: t.Context(), name: "absent"}
		if faults, all, status := d.examine(); status != statusFault || len(faults)+len(all) > 0 {
			t.Errorf("it ended with %d and %v", status, all)
		}
	})
}

// topic makes a topic without subscriptions.
func (d *deployment) topic() string {
	made, err := sns.NewFromConfig(d.cloud.config).CreateTopic(d.ctx, &sns.CreateTopicInput{Name: aws.String(d.name + "-lonely")})
	d.must(err)
	return *made.TopicArn
}

// subscription is the one that the topic of announcements has.
func (d *deployment) subscription() snstypes.Subscription {
	d.t.Helper()
	listed, err := sns.NewFromConfig(d.cloud.config).ListSubscriptionsByTopic(d.ctx, &sns.ListSubscriptionsByTopicInput{TopicArn: aws.String(d.outputs[deployed.TransfersTopic])})
	d.must(err)
	return listed.Subscriptions[0]
}

// subscriber is the name of its queue.
func (d *deployment) subscriber() string {
	endpoint := *d.subscription().Endpoint
	return endpoint[strings.LastIndex(endpoint, ":")+1:]
}

// filter gives it a filter policy.
func (d *deployment) filter(policy string) {
	d.t.Helper()
	_, err := sns.NewFromConfig(d.cloud.config).SetSubscriptionAttributes(d.ctx, &sns.SetSubscriptionAttributesInput{
		SubscriptionArn: d.subscription().SubscriptionArn, AttributeName: aws.String("FilterPolicy"), AttributeValue: &policy,
	})
	d.must(err)
}
