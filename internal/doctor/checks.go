package doctor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/handover-dev/handover/internal/deployed"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
)

// outputs: the stack names everything that the other checks need.
func (e *examination) outputs(context.Context) {
	const check = "outputs"
	var missing []string
	for _, name := range []string{
		deployed.WebhookURL, deployed.TerraSecret, deployed.AccountKeySecret, deployed.AccountsTable, deployed.ConnectionsTable, deployed.TransfersTopic,
		deployed.AlarmsTopic, deployed.WebhookFunction, deployed.SweepFunction,
	} {
		if e.Stack.Outputs[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		e.fault(check, "Is it a stack of Handover, and was its deployment finished? make deploy brings them back.", "the stack has no output %s", strings.Join(missing, ", "))
		return
	}
	e.ok(check, "the stack names all its parts")
}

// tables: both are there, with their keys and the index of what is to do, can be restored, and lose what has expired.
func (e *examination) tables(ctx context.Context) {
	client := dynamodb.NewFromConfig(e.Stack.Config)
	for output, key := range map[string]string{deployed.AccountsTable: "account", deployed.ConnectionsTable: "user_id"} {
		check := map[string]string{"account": "accounts table", "user_id": "connections table"}[key]
		name, ok := e.output(check, output)
		if !ok {
			continue
		}
		described, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
		if absent := (*dynamodbtypes.ResourceNotFoundException)(nil); errors.As(err, &absent) {
			e.fault(check, "Restore it under this name (point-in-time recovery keeps 35 days), or deploy anew: an empty ledger sees no change until it is filled, see handover backfill.", "the table %s is not there", name)
			continue
		}
		if err != nil {
			e.unknown(check, "Do the credentials allow dynamodb:DescribeTable?", err)
			continue
		}
		before := 0
		wrong := func(do, format string, values ...any) { before++; e.fault(check, do, format, values...) }
		table := described.Table
		if table.TableStatus != dynamodbtypes.TableStatusActive {
			wrong("Wait until it is ACTIVE.", "the table %s is %s", name, table.TableStatus)
		}
		if len(table.KeySchema) != 1 || aws.ToString(table.KeySchema[0].AttributeName) != key {
			wrong("It is another program's table: deploy the template's own.", "the key of table %s is not %s", name, key)
		}
		if key == "user_id" && !slices.ContainsFunc(table.GlobalSecondaryIndexes, func(i dynamodbtypes.GlobalSecondaryIndexDescription) bool {
			return aws.ToString(i.IndexName) == "todo" && (i.IndexStatus == dynamodbtypes.IndexStatusActive || i.IndexStatus == "")
		}) {
			wrong("Without it the sweep finds no work: deploy the template again.", "the table %s has no active index todo", name)
		}
		backups, err := client.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &name})
		switch {
		case err != nil:
			before++
			e.unknown(check, "Do the credentials allow dynamodb:DescribeContinuousBackups?", err)
		case !recoverable(backups.ContinuousBackupsDescription):
			wrong("Deploy the template again: it turns point-in-time recovery on.", "the table %s cannot be restored to a point in time", name)
		}
		expiry, err := client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &name})
		switch {
		case err != nil:
			before++
			e.unknown(check, "Do the credentials allow dynamodb:DescribeTimeToLive?", err)
		case !expires(expiry.TimeToLiveDescription):
			wrong("Deploy the template again: it has DynamoDB erase each row at the time in expires_at.", "the table %s keeps what has expired", name)
		}
		if before == 0 {
			e.ok(check, "%s is there, with its key, backups and expiry", name)
		}
	}
}

func recoverable(d *dynamodbtypes.ContinuousBackupsDescription) bool {
	return d.PointInTimeRecoveryDescription != nil && d.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus == dynamodbtypes.PointInTimeRecoveryStatusEnabled
}

func expires(d *dynamodbtypes.TimeToLiveDescription) bool {
	on := d.TimeToLiveStatus == dynamodbtypes.TimeToLiveStatusEnabled || d.TimeToLiveStatus == dynamodbtypes.TimeToLiveStatusEnabling
	return on && aws.ToString(d.AttributeName) == "expires_at"
}

// accountKey: it can be read, and it is the one that the ledger was begun with.
func (e *examination) accountKey(ctx context.Context) {
	const check = "account key"
	arn, ok := e.output(check, deployed.AccountKeySecret)
	if !ok {
		return
	}
	text, err := settings.SecretsManager(secretsmanager.NewFromConfig(e.Stack.Config), arn)(ctx)
	if err != nil {
		e.fault(check, "Restore the secret if it was deleted, and let the functions' roles read it. Never make a new key.", "the account key cannot be read: %v", err)
		return
	}
	key, err := settings.ParseAccountKey(text)
	if err != nil {
		e.fault(check, "Bring back the value that the stack made: the versions of the secret show it. Never make a new key.", "%v", err)
		return
	}
	keys, err := ownership.NewAccountKeys(key)
	if err != nil {
		e.fault(check, "", "%v", err)
		return
	}
	stored, err := e.Stack.Ledger.KeyFingerprint(ctx)
	switch {
	case err != nil:
		e.unknown(check, "", err)
	case stored == "":
		e.ok(check, "the account key is good; the ledger is not begun yet")
	case stored != keys.Fingerprint():
		e.fault(check, "Bring back the value that the ledger was begun with: the versions of the secret show it. Until then every webhook is answered 500, and nothing is lost for a day.",
			"the account key is not the one that the ledger was begun with")
	default:
		e.ok(check, "the account key is the ledger's")
	}
}

// terraSecret: it can be read and used.
func (e *examination) terraSecret(ctx context.Context) {
	const check = "terra secret"
	arn, ok := e.output(check, deployed.TerraSecret)
	if !ok {
		e.terraErr = errNotAsked
		return
	}
	secret := settings.TerraSecret{Read: settings.SecretsManager(secretsmanager.NewFromConfig(e.Stack.Config), arn), Now: e.Now}
	e.terra, e.terraErr = secret.Get(ctx)
	fill := `Fill it: aws secretsmanager put-secret-value --secret-id ` + arn + ` --secret-string '{"signing_secrets":["…"],"dev_id":"…","api_key":"…"}'`
	switch {
	case e.terraErr != nil:
		e.fault(check, fill, "%v", e.terraErr)
	case e.terra.DevID == "" || e.terra.APIKey == "":
		e.fault(check, fill, "Terra's secret has no dev_id or no api_key: accounts can be learnt from athlete webhooks only")
	case slices.ContainsFunc(e.terra.SigningSecrets, func(s string) bool { return strings.TrimSpace(s) != s }):
		e.fault(check, fill, "a signing secret has a space or a newline around it")
	default:
		e.ok(check, "Terra's secret has %d signing secret(s), dev id and API key", len(e.terra.SigningSecrets))
	}
}

// webhookURL: the way in is open to what is signed, and only to that.
func (e *examination) webhookURL(ctx context.Context) {
	const check = "webhook url"
	url, ok := e.output(check, deployed.WebhookURL)
	if !ok {
		return
	}
	body := []byte(telemetry.HeartbeatBody)
	status, at, err := e.post(ctx, url, body, "")
	switch {
	case err != nil:
		e.fault(check, "Does the API still exist, and is this machine online? The output WebhookUrl says where it should be.", "nothing answers there: %v", err)
		return
	case status/100 == 2:
		e.fault(check, "Whatever answers there is not Handover, which never takes what is not signed. Compare the output WebhookUrl.", "a webhook without a signature was answered %d", status)
		return
	case status != http.StatusUnauthorized:
		e.fault(check, "The log of the webhook function says more; a 403 or 404 is the gateway's own.", "a webhook without a signature was answered %d, not 401", status)
		return
	}
	if skew := e.Now().Sub(at).Abs(); !at.IsZero() && skew > settings.FutureWindow {
		e.fault("clock", "Set this machine's clock: what it signs is refused.", "this machine's clock is %s off", skew.Round(time.Second))
		return
	}
	if e.terraErr != nil {
		e.unknown(check, "", errNotAsked)
		return
	}
	for _, secret := range e.terra.SigningSecrets {
		switch status, _, err := e.post(ctx, url, body, terra.Sign(secret, e.Now(), body)); {
		case err != nil:
			e.fault(check, "", "nothing answers a signed webhook: %v", err)
		case status == http.StatusUnauthorized:
			e.fault(check, "Does the function read another secret (TERRA_SECRET_ARN)? A changed one is read within 30 seconds of the first refusal: try again.", "a webhook signed with the stack's own secret was answered 401")
		case status/100 == 5:
			e.fault(check, "The log of the webhook function says why; the account key and the tables are the usual reasons.", "a signed webhook was answered %d", status)
		case status != http.StatusOK:
			e.fault(check, "", "a signed webhook was answered %d", status)
		default:
			e.ok(check, "what is signed is answered 200, what is not 401")
		}
	}
}

// post posts a webhook, and returns the answer's status and date.
func (e *examination) post(ctx context.Context, url string, body []byte, signature string) (status int, at time.Time, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, at, err
	}
	request.Header.Set("Content-Type", "application/json")
	if signature != "" {
		request.Header.Set("X-Terra-Signature", signature)
	}
	response, err := e.HTTP.Do(request)
	if err != nil {
		return 0, at, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	at, _ = http.ParseTime(response.Header.Get("Date"))
	return response.StatusCode, at, nil
}

// topic: somebody hears the announcements, and what cannot be delivered is kept.
func (e *examination) topic(ctx context.Context) {
	e.subscriptions(ctx, "topic", deployed.TransfersTopic, "your backend")
}

// alarmsTopic: somebody hears the alarms.
func (e *examination) alarmsTopic(ctx context.Context) {
	e.subscriptions(ctx, "alarms topic", deployed.AlarmsTopic, "your team")
}

func (e *examination) subscriptions(ctx context.Context, check, output, who string) {
	arn, ok := e.output(check, output)
	if !ok {
		return
	}
	client := sns.NewFromConfig(e.Stack.Config)
	confirmed := 0
	faults := 0
	pages := sns.NewListSubscriptionsByTopicPaginator(client, &sns.ListSubscriptionsByTopicInput{TopicArn: &arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			e.fault(check, "Was the topic deleted? Deploy the template again, and subscribe again.", "the topic %s cannot be asked for its subscriptions: %v", arn, err)
			return
		}
		for _, s := range page.Subscriptions {
			what := fmt.Sprintf("%s %s", aws.ToString(s.Protocol), aws.ToString(s.Endpoint))
			if !strings.HasPrefix(aws.ToString(s.SubscriptionArn), "arn:") { // SNS says PendingConfirmation instead
				faults++
				e.fault(check, "Confirm it: SNS has sent a link there. Until then nothing is delivered, and nothing is kept.", "the subscription of %s is not confirmed", what)
				continue
			}
			got, err := client.GetSubscriptionAttributes(ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: s.SubscriptionArn})
			if err != nil {
				e.unknown(check, "", err)
				continue
			}
			if got.Attributes["PendingConfirmation"] == "true" {
				faults++
				e.fault(check, "Confirm it: SNS has sent a link there. Until then nothing is delivered, and nothing is kept.", "the subscription of %s is not confirmed", what)
				continue
			}
			confirmed++
			if protocol := aws.ToString(s.Protocol); output == deployed.TransfersTopic && got.Attributes["RedrivePolicy"] == "" && protocol != "email" && protocol != "email-json" {
				faults++
				e.fault(check, "Give the subscription a RedrivePolicy with a queue of its own: without one, what it cannot take in the end is lost.", "the subscription of %s has no dead-letter queue", what)
			}
			if output == deployed.TransfersTopic && !fits(got.Attributes) {
				faults++
				e.fault(check, "Compare it with the recipes in internal/announce/schema/filter-policies.json.", "the subscription of %s has a filter policy that no announcement fits: %s", what, got.Attributes["FilterPolicy"])
			}
			if e.absentQueue(ctx, aws.ToString(s.Endpoint)) {
				faults++
				e.fault(check, "Make the queue anew, with a policy that lets the topic send, or take the subscription away. What came meanwhile is in its dead-letter queue, if it has one.", "the queue %s of a subscription is not there", aws.ToString(s.Endpoint))
			}
		}
	}
	switch {
	case confirmed == 0 && faults == 0:
		e.fault(check, "Subscribe "+who+": aws sns subscribe --topic-arn "+arn+" --protocol … --notification-endpoint …", "nobody has subscribed to %s", arn)
	case faults == 0:
		e.ok(check, "%d confirmed subscription(s)", confirmed)
	}
}

// fits reports whether a subscription's filter policy can let an announcement through: an attribute that no announcement has, or values of which none is ever
// sent, let nothing. What else a policy may hold is taken to.
func fits(attributes map[string]string) bool {
	var policy map[string][]any
	if attributes["FilterPolicyScope"] == "MessageBody" || json.Unmarshal([]byte(attributes["FilterPolicy"]), &policy) != nil {
		return true
	}
	sent := map[string][]string{
		"type":     {string(ownership.Transferred), string(ownership.Revoked)},
		"reason":   {string(ownership.ConnectedByOther), string(ownership.Reauth), string(ownership.Reassigned)},
		"order":    {string(ownership.Signed), string(ownership.Terra), string(ownership.Observed)},
		"provider": nil, // an open set
	}
	for name, conditions := range policy {
		values, known := sent[name]
		if !slices.ContainsFunc(conditions, func(condition any) bool {
			text, isText := condition.(string)
			return !isText || known && (values == nil || slices.Contains(values, text))
		}) {
			return false
		}
	}
	return true
}

// absentQueue reports whether an ARN is a queue's that is not there. A queue that may not be asked for is there.
func (e *examination) absentQueue(ctx context.Context, endpoint string) bool {
	queue, err := arn.Parse(endpoint)
	if err != nil || queue.Service != "sqs" {
		return false
	}
	client := sqs.NewFromConfig(e.Stack.Config, func(o *sqs.Options) { o.Region = queue.Region })
	_, err = client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &queue.Resource, QueueOwnerAWSAccountId: &queue.AccountID})
	absent := (*sqstypes.QueueDoesNotExist)(nil)
	return errors.As(err, &absent)
}

// alarms: they are there, they act, and none is raised.
func (e *examination) alarms(ctx context.Context) {
	const check = "alarms"
	if e.Stack.Name == "" {
		e.unknown(check, "Give the stack's name by -stack.", errors.New("the alarms are found by the stack's name"))
		return
	}
	pages := cloudwatch.NewDescribeAlarmsPaginator(cloudwatch.NewFromConfig(e.Stack.Config), &cloudwatch.DescribeAlarmsInput{
		AlarmNamePrefix: aws.String(e.Stack.Name + "-"), AlarmTypes: []cloudwatchtypes.AlarmType{cloudwatchtypes.AlarmTypeMetricAlarm},
	})
	alarms, faults := 0, 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			e.unknown(check, "Do the credentials allow cloudwatch:DescribeAlarms?", err)
			return
		}
		for _, a := range page.MetricAlarms {
			// The names of handover-staging begin as those of handover do. What tells another topic than the stack's is another stack's.
			if topic := e.Stack.Outputs[deployed.AlarmsTopic]; topic != "" && len(a.AlarmActions) > 0 && !slices.Contains(a.AlarmActions, topic) {
				continue
			}
			alarms++
			if !aws.ToBool(a.ActionsEnabled) {
				faults++
				e.fault(check, "aws cloudwatch enable-alarm-actions --alarm-names "+aws.ToString(a.AlarmName), "the alarm %s tells nobody: its actions are disabled", aws.ToString(a.AlarmName))
			}
			if a.StateValue == cloudwatchtypes.StateValueAlarm {
				faults++
				e.fault(check, aws.ToString(a.AlarmDescription), "the alarm %s is raised: %s", aws.ToString(a.AlarmName), aws.ToString(a.StateReason))
			}
		}
	}
	switch {
	case alarms == 0:
		e.fault(check, "Deploy the template again: without them, nobody hears of a fault.", "the stack has no alarms")
	case faults == 0:
		e.ok(check, "%d alarms, none raised", alarms)
	}
}

// functions: they are active, and use the parts that the outputs name.
func (e *examination) functions(ctx context.Context) {
	client := lambda.NewFromConfig(e.Stack.Config)
	functions := []string{deployed.WebhookFunction, deployed.SweepFunction}
	if e.Stack.Outputs[deployed.RevokeFunction] != "" {
		functions = append(functions, deployed.RevokeFunction)
	}
	for _, function := range functions {
		check := strings.ToLower(strings.TrimSuffix(function, "FunctionName")) + " function"
		name, ok := e.output(check, function)
		if !ok {
			continue
		}
		f, err := client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name, Qualifier: aws.String(deployed.Alias)})
		if absent := (*lambdatypes.ResourceNotFoundException)(nil); errors.As(err, &absent) {
			e.fault(check, "Deploy the template again.", "the function %s is not there", name)
			continue
		}
		if err != nil {
			e.unknown(check, "Do the credentials allow lambda:GetFunctionConfiguration?", err)
			continue
		}
		var faults []string
		if f.State != lambdatypes.StateActive {
			faults = append(faults, fmt.Sprintf("is %s: %s", f.State, aws.ToString(f.StateReason)))
		}
		if f.Environment != nil {
			e.TerraAPI = cmp.Or(e.TerraAPI, f.Environment.Variables["TERRA_API_URL"])
			for variable, output := range map[string]string{
				"ACCOUNTS_TABLE": deployed.AccountsTable, "CONNECTIONS_TABLE": deployed.ConnectionsTable, "TRANSFERS_TOPIC_ARN": deployed.TransfersTopic,
				"TERRA_SECRET_ARN": deployed.TerraSecret, "ACCOUNT_KEY_SECRET_ARN": deployed.AccountKeySecret,
			} {
				if got, want := f.Environment.Variables[variable], e.Stack.Outputs[output]; want != "" && got != want {
					faults = append(faults, fmt.Sprintf("has %s=%s, but the stack's is %s", variable, got, want))
				}
			}
		}
		if len(faults) > 0 {
			slices.Sort(faults)
			e.fault(check, "Deploy the template again: somebody has changed the function by hand.", "the function %s %s", name, strings.Join(faults, "; and "))
			continue
		}
		e.ok(check, "%s is active, with the stack's own parts", name)
	}
}

// lastWebhook: Terra's webhooks come.
func (e *examination) lastWebhook(ctx context.Context) {
	e.lately(ctx, "last webhook", telemetry.Accepted, e.Quiet,
		"Is the URL pasted into Terra, is the destination enabled there, and limited to no type? A quiet app is set by -quiet.", "no webhook of Terra's was accepted")
}

// lastSweep: the sweep runs every minute.
func (e *examination) lastSweep(ctx context.Context) {
	e.lately(ctx, "last sweep", telemetry.Sweeps, 15*time.Minute,
		"Is its schedule enabled (EventBridge Scheduler), and may it call the function? What webhooks leave is not finished meanwhile.", "the sweep has not run")
}

// lately: a metric has counted something in the last time.
func (e *examination) lately(ctx context.Context, check string, metric telemetry.Metric, last time.Duration, do, fault string) {
	if e.Stack.Name == "" {
		e.unknown(check, "Give the stack's name by -stack.", errors.New("the metrics are found by the stack's name"))
		return
	}
	period := int32(60)
	for last/time.Duration(period) > 1000*time.Second { // CloudWatch returns at most 1,440 data points
		period *= 2
	}
	now := e.Now()
	got, err := cloudwatch.NewFromConfig(e.Stack.Config).GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String(telemetry.Namespace), MetricName: aws.String(string(metric)),
		Dimensions: []cloudwatchtypes.Dimension{{Name: aws.String("Stack"), Value: &e.Stack.Name}},
		StartTime:  aws.Time(now.Add(-last)), EndTime: aws.Time(now.Add(time.Minute)), Period: &period, Statistics: []cloudwatchtypes.Statistic{cloudwatchtypes.StatisticSum},
	})
	if err != nil {
		e.unknown(check, "Do the credentials allow cloudwatch:GetMetricStatistics?", err)
		return
	}
	var latest time.Time
	for _, point := range got.Datapoints {
		if aws.ToFloat64(point.Sum) > 0 && aws.ToTime(point.Timestamp).After(latest) {
			latest = aws.ToTime(point.Timestamp)
		}
	}
	if latest.IsZero() {
		e.fault(check, do, "%s for %s", fault, last)
		return
	}
	e.ok(check, "at about %s", latest.UTC().Format("2006-01-02 15:04Z"))
}

// waiting: nothing that is due has been left for long.
func (e *examination) waiting(ctx context.Context) {
	const check, limit = "unsettled", 1000
	if e.Stack.Outputs[deployed.ConnectionsTable] == "" {
		e.unknown(check, "", errNotAsked)
		return
	}
	overdue, err := e.Stack.Ledger.ToDo(ctx, e.Now().Add(-15*time.Minute), limit)
	switch {
	case err != nil:
		e.unknown(check, "", err)
	case len(overdue) == limit:
		e.fault(check, "handover unsettled says why; is the sweep running?", "%d connections or more have been due for over 15 minutes", limit)
	case len(overdue) > 0:
		e.fault(check, "handover unsettled says why; is the sweep running?", "%d connection(s) have been due for over 15 minutes", len(overdue))
	default:
		e.ok(check, "nothing has been due for long")
	}
}

// deadLetters: the revoke function, if there is one, could end what it was asked to.
func (e *examination) deadLetters(ctx context.Context) {
	const check = "dead letters"
	url := e.Stack.Outputs[deployed.RevokeDeadLettersURL]
	if url == "" {
		return // the stack does not revoke
	}
	got, err := sqs.NewFromConfig(e.Stack.Config).GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameApproximateNumberOfMessages},
	})
	if err != nil {
		e.unknown(check, "Do the credentials allow sqs:GetQueueAttributes?", err)
		return
	}
	if n, _ := strconv.Atoi(got.Attributes["ApproximateNumberOfMessages"]); n > 0 {
		e.fault(check, "The log of the revoke function says why. Then: handover replay -stack "+e.Stack.Name, "%d announcement(s) whose connection could not be ended", n)
		return
	}
	e.ok(check, "none")
}

// terraAPI: Terra knows the credentials.
func (e *examination) terraAPI(ctx context.Context) {
	const check = "terra credentials"
	if e.terraErr != nil || e.terra.DevID == "" || e.terra.APIKey == "" {
		e.unknown(check, "", errNotAsked)
		return
	}
	base := cmp.Or(e.TerraAPI, settings.DefaultTerraAPI)
	client := &terra.Client{BaseURL: base, HTTP: terra.NewHTTPClient(), Credentials: func(context.Context) (string, string, error) {
		return e.terra.DevID, e.terra.APIKey, nil
	}}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := client.Subscriptions(ctx, 0, 1, func(terra.Subscription) error { return nil })
	status := (*terra.StatusError)(nil)
	limited := (*ownership.Limited)(nil)
	switch {
	case err == nil, errors.As(err, &limited):
		e.ok(check, "Terra's API knows them")
	case errors.As(err, &status) && (status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden):
		e.fault(check, "Compare dev_id and api_key of the secret with Terra's dashboard: is it the same environment?", "Terra's API refuses them: %v", err)
	default:
		e.fault(check, "Is "+base+" the right base URL (TerraApiUrl), and is Terra well?", "Terra's API does not answer: %v", err)
	}
}
