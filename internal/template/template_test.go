// Package template_test holds template.yaml to its promises. The linters accept a template that replaces a table, an alarm that can never
// fire, or a policy that silences every alarm; these tests do not. TestMutations shows that each promise notices being broken.
package template_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
)

// faults collects what is wrong.
type faults []string

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// want adds a fault unless the value at path is the one that the JSON says.
func (f *faults) want(in any, path, asJSON string) {
	var wanted any
	if err := json.Unmarshal([]byte(asJSON), &wanted); err != nil {
		panic(err)
	}
	if got := text(at(in, path)); got != text(wanted) {
		f.add("%s is %s, want %s", path, got, text(wanted))
	}
}

// A promise is a function that says how the template breaks it.
var promises = []struct {
	name  string
	check func(template) faults
}{
	{"kept", kept},
	{"tables", tables},
	{"secrets", secrets},
	{"encrypted", encrypted},
	{"key policy", keyPolicy},
	{"least privilege", leastPrivilege},
	{"topics", topics},
	{"way in", wayIn},
	{"functions", functions},
	{"sweep", sweep},
	{"revoke", revoke},
	{"environment", environment},
	{"versions", versions},
	{"alarms", alarms},
	{"composite", composite},
	{"rollback", rollback},
	{"parameters", parameters},
	{"outputs", outputs},
}

func TestPromises(t *testing.T) {
	s, err := parse(read(t, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			for _, fault := range p.check(s) {
				t.Error(fault)
			}
		})
	}
}

// What people put in, or what cannot be made again, stays where it is: under its logical id, whatever happens to the stack.
var keeps = map[string]string{
	"EncryptionKey":    "AWS::KMS::Key",
	"TerraSecret":      "AWS::SecretsManager::Secret",
	"AccountKeySecret": "AWS::SecretsManager::Secret",
	"AccountsTable":    "AWS::DynamoDB::Table",
	"ConnectionsTable": "AWS::DynamoDB::Table",
}

func kept(s template) (f faults) {
	for id, kind := range keeps {
		r := s.resource(id)
		if r.kind != kind {
			f.add("%s is %q, want %s: another logical id is another, empty one", id, r.kind, kind)
		}
		f.want(r.whole, "DeletionPolicy", `"Retain"`)
		f.want(r.whole, "UpdateReplacePolicy", `"Retain"`)
		for _, property := range []string{"TableName", "Name"} {
			if r.properties[property] != nil {
				f.add("%s has a fixed name: a new stack would collide with what the old one left", id)
			}
		}
	}
	return f
}

func tables(s template) (f faults) {
	f.want(s.at("Resources/AccountsTable/Properties"), "KeySchema", `[{"AttributeName":"account","KeyType":"HASH"}]`)
	f.want(s.at("Resources/AccountsTable/Properties"), "AttributeDefinitions", `[{"AttributeName":"account","AttributeType":"S"}]`)
	f.want(s.at("Resources/ConnectionsTable/Properties"), "KeySchema", `[{"AttributeName":"user_id","KeyType":"HASH"}]`)
	f.want(s.at("Resources/ConnectionsTable/Properties"), "AttributeDefinitions", `[{"AttributeName":"user_id","AttributeType":"S"},
		{"AttributeName":"todo","AttributeType":"S"},{"AttributeName":"next_attempt","AttributeType":"N"}]`)
	f.want(s.at("Resources/ConnectionsTable/Properties"), "GlobalSecondaryIndexes", `[{"IndexName":"todo","Projection":{"ProjectionType":"INCLUDE","NonKeyAttributes":["since"]},
		"KeySchema":[{"AttributeName":"todo","KeyType":"HASH"},{"AttributeName":"next_attempt","KeyType":"RANGE"}]}]`)
	for _, table := range s.resources("AWS::DynamoDB::Table") {
		f.want(table.properties, "BillingMode", `"PAY_PER_REQUEST"`)
		f.want(table.properties, "DeletionProtectionEnabled", `true`)
		f.want(table.properties, "PointInTimeRecoverySpecification", `{"PointInTimeRecoveryEnabled":true,"RecoveryPeriodInDays":35}`)
		f.want(table.properties, "TimeToLiveSpecification", `{"AttributeName":"expires_at","Enabled":true}`)
	}
	return f
}

func secrets(s template) (f faults) {
	// A changed value here would overwrite what people have put in.
	f.want(s.at("Resources/TerraSecret/Properties"), "SecretString", `"{\"signing_secrets\":[]}"`)
	f.want(s.at("Resources/AccountKeySecret/Properties"), "GenerateSecretString", `{"PasswordLength":64,"ExcludeCharacters":"ghijklmnopqrstuvwxyz",
		"ExcludeUppercase":true,"ExcludePunctuation":true,"IncludeSpace":false,"RequireEachIncludedType":false}`)
	// And what is left to generate from is what the functions accept, all of it.
	excluded, _ := s.at("Resources/AccountKeySecret/Properties/GenerateSecretString/ExcludeCharacters").(string)
	left := strings.Map(func(c rune) rune {
		if strings.ContainsRune(excluded, c) {
			return -1
		}
		return c
	}, "0123456789abcdefghijklmnopqrstuvwxyz")
	if left != "0123456789abcdef" {
		f.add("the account key is made of %q", left)
	}
	if _, err := settings.ParseAccountKey(strings.Repeat(left, 4)); err != nil {
		f.add("the account key is refused: %v", err)
	}
	return f
}

// theKey is the one key.
const theKey = `{"Fn::If":["OwnKey",{"Fn::GetAtt":"EncryptionKey.Arn"},{"Ref":"KeyArn"}]}`

func encrypted(s template) (f faults) {
	where := map[string]string{
		"AWS::DynamoDB::Table":        "SSESpecification/KMSMasterKeyId",
		"AWS::SNS::Topic":             "KmsMasterKeyId",
		"AWS::SQS::Queue":             "KmsMasterKeyId",
		"AWS::SecretsManager::Secret": "KmsKeyId",
		"AWS::Logs::LogGroup":         "KmsKeyId",
	}
	for _, r := range s.resources() {
		if property, holds := where[r.kind]; holds && text(at(r.properties, property)) != theKey {
			f.add("%s is not encrypted with the key: %s is %s", r.id, property, text(at(r.properties, property)))
		}
	}
	for _, table := range s.resources("AWS::DynamoDB::Table") {
		f.want(table.properties, "SSESpecification/SSEEnabled", `true`)
		f.want(table.properties, "SSESpecification/SSEType", `"KMS"`)
	}
	f.want(s, "Globals/Function/KmsKeyArn", theKey)
	f.want(s, "Resources/EncryptionKey/Properties/EnableKeyRotation", `true`)
	return f
}

func keyPolicy(s template) (f faults) {
	statements := map[string]any{}
	for _, statement := range list(s.at("Resources/EncryptionKey/Properties/KeyPolicy/Statement")) {
		condition := at(statement, "Fn::If/0")
		if condition != nil {
			statement = at(statement, "Fn::If/1")
		}
		if principal := text(at(statement, "Principal")); (condition == "Revoking") != (principal == `{"Service":"sns.amazonaws.com"}`) {
			f.add("%s may use the key on the condition %v", principal, condition)
		}
		principal := text(at(statement, "Principal"))
		if strings.Contains(principal, `"*"`) {
			f.add("the key is open to everyone")
		}
		statements[principal] = statement
	}
	ofTheAccount := `{"StringEquals":{"aws:SourceAccount":{"Ref":"AWS::AccountId"}}}`
	if root := statements[`{"AWS":{"Fn::Sub":"arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}`]; root == nil {
		f.add("the account itself is not in the key's policy: nobody could ever change it")
	}
	for service, why := range map[string]string{
		"cloudwatch": "no alarm would reach its topic",
		"sns":        "no announcement would reach the encrypted queue of the revoke function",
	} {
		if statement := statements[fmt.Sprintf(`{"Service":"%s.amazonaws.com"}`, service)]; statement == nil {
			f.add("%s may not use the key: %s", service, why)
		} else {
			f.want(statement, "Condition", ofTheAccount)
			f.want(statement, "Action", `["kms:GenerateDataKey*","kms:Decrypt"]`)
		}
	}
	logs := statements[`{"Service":{"Fn::Sub":"logs.${AWS::Region}.amazonaws.com"}}`]
	for _, group := range s.resources("AWS::Logs::LogGroup") {
		name, _ := at(group.properties, "LogGroupName/Fn::Sub").(string)
		var covered bool
		for _, pattern := range list(at(logs, "Condition/ArnLike/kms:EncryptionContext:aws:logs:arn")) {
			arn, _ := at(pattern, "Fn::Sub").(string)
			_, prefix, _ := strings.Cut(strings.TrimSuffix(arn, "*"), ":log-group:")
			covered = covered || prefix != "" && strings.Contains(prefix, "${AWS::StackName}/") && strings.HasPrefix(name, prefix)
		}
		if !covered {
			f.add("CloudWatch Logs may not use the key for %s (%s)", group.id, name)
		}
	}
	return f
}

// grants is everything that each role may do, apart from keys: "action resource", once for each.
var grants = map[string][]string{
	"WebhookRole": append([]string{
		`logs:CreateLogStream {"Fn::GetAtt":"WebhookLogs.Arn"}`,
		`logs:PutLogEvents {"Fn::GetAtt":"WebhookLogs.Arn"}`,
	}, settle...),
	"SweepRole": append([]string{
		`dynamodb:DeleteItem {"Fn::GetAtt":"AccountsTable.Arn"}`,
		`dynamodb:DeleteItem {"Fn::GetAtt":"ConnectionsTable.Arn"}`,
		`dynamodb:GetItem {"Fn::GetAtt":"AccountsTable.Arn"} only {"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["#note/*"]}}`,
		`dynamodb:PutItem {"Fn::GetAtt":"AccountsTable.Arn"} only {"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["#note/*"]}}`,
		`dynamodb:Scan {"Fn::GetAtt":"AccountsTable.Arn"}`,
		`dynamodb:Scan {"Fn::GetAtt":"ConnectionsTable.Arn"}`,
		`dynamodb:Query {"Fn::Sub":"${ConnectionsTable.Arn}/index/todo"}`,
		`logs:CreateLogStream {"Fn::GetAtt":"SweepLogs.Arn"}`,
		`logs:PutLogEvents {"Fn::GetAtt":"SweepLogs.Arn"}`,
		`sqs:SendMessage {"Fn::GetAtt":"SweepDeadLetters.Arn"}`,
	}, settle...),
	"RevokeRole": append([]string{
		`dynamodb:GetItem {"Fn::GetAtt":"AccountsTable.Arn"}`,
		`logs:CreateLogStream {"Fn::GetAtt":"RevokeLogs.Arn"}`,
		`logs:PutLogEvents {"Fn::GetAtt":"RevokeLogs.Arn"}`,
		`sqs:DeleteMessage {"Fn::GetAtt":"RevokeQueue.Arn"}`,
		`sqs:GetQueueAttributes {"Fn::GetAtt":"RevokeQueue.Arn"}`,
		`sqs:ReceiveMessage {"Fn::GetAtt":"RevokeQueue.Arn"}`,
	}, settle...),
	"ScheduleRole": {
		`lambda:InvokeFunction {"Ref":"SweepFunction.Alias"}`,
		`sqs:SendMessage {"Fn::GetAtt":"SweepDeadLetters.Arn"}`,
	},
	"DeploymentRole": {
		`cloudwatch:DescribeAlarms {"Fn::Sub":"arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:*"}`,
		`lambda:GetAlias {"Fn::GetAtt":"WebhookFunction.Arn"}`,
		`lambda:GetAlias {"Fn::Sub":"${WebhookFunction.Arn}:*"}`,
		`lambda:GetAlias {"Fn::If":["Revoking",{"Fn::GetAtt":"RevokeFunction.Arn"},{"Ref":"AWS::NoValue"}]}`,
		`lambda:GetAlias {"Fn::If":["Revoking",{"Fn::Sub":"${RevokeFunction.Arn}:*"},{"Ref":"AWS::NoValue"}]}`,
		`lambda:GetProvisionedConcurrencyConfig {"Fn::GetAtt":"WebhookFunction.Arn"}`,
		`lambda:GetProvisionedConcurrencyConfig {"Fn::Sub":"${WebhookFunction.Arn}:*"}`,
		`lambda:GetProvisionedConcurrencyConfig {"Fn::If":["Revoking",{"Fn::GetAtt":"RevokeFunction.Arn"},{"Ref":"AWS::NoValue"}]}`,
		`lambda:GetProvisionedConcurrencyConfig {"Fn::If":["Revoking",{"Fn::Sub":"${RevokeFunction.Arn}:*"},{"Ref":"AWS::NoValue"}]}`,
		`lambda:UpdateAlias {"Fn::GetAtt":"WebhookFunction.Arn"}`,
		`lambda:UpdateAlias {"Fn::Sub":"${WebhookFunction.Arn}:*"}`,
		`lambda:UpdateAlias {"Fn::If":["Revoking",{"Fn::GetAtt":"RevokeFunction.Arn"},{"Ref":"AWS::NoValue"}]}`,
		`lambda:UpdateAlias {"Fn::If":["Revoking",{"Fn::Sub":"${RevokeFunction.Arn}:*"},{"Ref":"AWS::NoValue"}]}`,
	},
}

// settle is what settling a connection takes.
var settle = []string{
	`dynamodb:GetItem {"Fn::GetAtt":"AccountsTable.Arn"} only {"ForAllValues:StringEquals":{"dynamodb:LeadingKeys":["#key"]}}`,
	`dynamodb:GetItem {"Fn::GetAtt":"ConnectionsTable.Arn"}`,
	`dynamodb:PutItem {"Fn::GetAtt":"AccountsTable.Arn"} only {"ForAllValues:StringEquals":{"dynamodb:LeadingKeys":["#key"]}}`,
	`dynamodb:PutItem {"Fn::GetAtt":"ConnectionsTable.Arn"}`,
	`dynamodb:UpdateItem {"Fn::GetAtt":"AccountsTable.Arn"}`,
	`dynamodb:UpdateItem {"Fn::GetAtt":"ConnectionsTable.Arn"}`,
	`secretsmanager:GetSecretValue {"Ref":"AccountKeySecret"}`,
	`secretsmanager:GetSecretValue {"Ref":"TerraSecret"}`,
	`sns:Publish {"Ref":"TransfersTopic"}`,
	`xray:PutTelemetryRecords "*"`,
	`xray:PutTraceSegments "*"`,
}

func leastPrivilege(s template) (f faults) {
	for _, r := range s.resources("AWS::IAM::Role") {
		if grants[r.id] == nil {
			f.add("%s is not in the list of grants", r.id)
		}
	}
	for role, wanted := range grants {
		r := s.resource(role)
		if r.properties["Policies"] != nil {
			f.add("%s has a policy of its own inside", role)
		}
		trust := list(at(r.properties, "AssumeRolePolicyDocument/Statement"))
		service, _ := at(trust, "0/Principal/Service").(string)
		if len(trust) != 1 || service == "" {
			f.add("%s may be taken on by %s", role, text(trust))
		}
		if service != "lambda.amazonaws.com" {
			f.want(trust, "0/Condition", `{"StringEquals":{"aws:SourceAccount":{"Ref":"AWS::AccountId"}}}`)
		}
		var granted []string
		for _, policy := range list(r.properties["ManagedPolicyArns"]) {
			id, _ := at(policy, "Ref").(string)
			if s.resource(id).kind != "AWS::IAM::ManagedPolicy" {
				f.add("%s has a policy that is not this template's: %s", role, text(policy))
			}
			for _, statement := range list(at(s.resource(id).properties, "PolicyDocument/Statement")) {
				condition := at(statement, "Condition")
				for _, action := range list(at(statement, "Action")) {
					if action := action.(string); strings.HasPrefix(action, "kms:") {
						if via := at(condition, "StringEquals/kms:ViaService"); via == nil || text(at(statement, "Resource")) != theKey {
							f.add("%s: %s is not limited to the key by way of a service", id, action)
						}
						continue
					}
					for _, on := range list(at(statement, "Resource")) {
						grant := fmt.Sprint(action, " ", text(on))
						if condition != nil {
							grant += " only " + text(condition)
						}
						granted = append(granted, grant)
					}
				}
			}
		}
		slices.Sort(granted)
		wanted = slices.Sorted(slices.Values(wanted))
		if !slices.Equal(granted, wanted) {
			f.add("%s may\n%s\nwant\n%s", role, strings.Join(granted, "\n"), strings.Join(wanted, "\n"))
		}
	}
	// Whoever may reach an encrypted thing may use its key by way of its service.
	f = append(f, viaServices(s, "SettlePolicy", "dynamodb", "lambda", "secretsmanager", "sns")...)
	f = append(f, viaServices(s, "SweepPolicy", "sqs")...)
	f = append(f, viaServices(s, "SchedulePolicy", "sqs")...)
	f = append(f, viaServices(s, "RevokePolicy", "sqs")...)
	return f
}

func viaServices(s template, policy string, services ...string) (f faults) {
	var found []string
	for _, statement := range list(s.at("Resources/" + policy + "/Properties/PolicyDocument/Statement")) {
		for _, via := range list(at(statement, "Condition/StringEquals/kms:ViaService")) {
			if !slices.Contains(list(at(statement, "Action")), "kms:Decrypt") {
				f.add("%s does not let %s decrypt", policy, text(via))
			}
			service, _ := at(via, "Fn::Sub").(string)
			found = append(found, strings.TrimSuffix(service, ".${AWS::Region}.amazonaws.com"))
		}
	}
	if slices.Sort(found); !slices.Equal(found, services) {
		f.add("%s uses the key by way of %q, want %q", policy, found, services)
	}
	return f
}

func topics(s template) (f faults) {
	f.want(s, "Resources/TransfersTopic/Properties/FifoTopic", `{"Fn::If":["Fifo",true,{"Ref":"AWS::NoValue"}]}`)
	f.want(s, "Resources/TransfersTopic/Properties/TopicName", `{"Fn::If":["Fifo",{"Fn::Sub":"${AWS::StackName}-transfers.fifo"},{"Ref":"AWS::NoValue"}]}`)
	if s.at("Resources/AlarmsTopic/Properties/FifoTopic") != nil {
		f.add("alarms cannot use a FIFO topic")
	}
	for _, topic := range s.resources("AWS::SNS::Topic") {
		f.want(topic.properties, "SignatureVersion", `"2"`)
		var tls, alarms bool
		for _, policy := range s.resources("AWS::SNS::TopicPolicy") {
			if text(policy.properties["Topics"]) != fmt.Sprintf(`[{"Ref":%q}]`, topic.id) {
				continue
			}
			for _, statement := range list(at(policy.properties, "PolicyDocument/Statement")) {
				tls = tls || tlsOnly(statement, "sns:Publish", fmt.Sprintf(`{"Ref":%q}`, topic.id))
				if at(statement, "Effect") == "Allow" {
					alarms = alarms || text(at(statement, "Principal")) == `{"Service":"cloudwatch.amazonaws.com"}`
					f.want(statement, "Condition", `{"StringEquals":{"aws:SourceAccount":{"Ref":"AWS::AccountId"}}}`)
				}
			}
		}
		if !tls {
			f.add("%s takes messages without TLS", topic.id)
		}
		if alarms != (topic.id == "AlarmsTopic") {
			f.add("CloudWatch may publish to %s: %v", topic.id, alarms)
		}
	}
	for _, queue := range s.resources("AWS::SQS::Queue") {
		var tls bool
		for _, policy := range s.resources("AWS::SQS::QueuePolicy") {
			for _, statement := range list(at(policy.properties, "PolicyDocument/Statement")) {
				tls = tls || tlsOnly(statement, "sqs:*", fmt.Sprintf(`{"Fn::GetAtt":"%s.Arn"}`, queue.id))
			}
		}
		if !tls {
			f.add("%s takes messages without TLS", queue.id)
		}
	}
	return f
}

// tlsOnly reports whether the statement refuses the action on the resource to everyone who comes without TLS.
func tlsOnly(statement any, action, on string) bool {
	return at(statement, "Effect") == "Deny" && at(statement, "Principal") == "*" && at(statement, "Action") == action &&
		text(at(statement, "Resource")) == on && text(at(statement, "Condition")) == `{"Bool":{"aws:SecureTransport":"false"}}`
}

func wayIn(s template) (f faults) {
	var routes []string
	for _, function := range s.resources("AWS::Serverless::Function") {
		for _, name := range keys(function.properties["Events"]) {
			event := at(function.properties["Events"], name)
			if at(event, "Type") == "SQS" {
				continue // a queue of the stack's own, see revoke
			}
			routes = append(routes, fmt.Sprint(at(event, "Type"), " ", at(event, "Properties/Method"), " ", at(event, "Properties/Path"), " ", text(at(event, "Properties/ApiId"))))
		}
		if function.properties["FunctionUrlConfig"] != nil {
			f.add("%s has a second way in", function.id)
		}
	}
	if want := []string{`HttpApi POST /webhook {"Ref":"WebhookApi"}`}; !slices.Equal(routes, want) {
		f.add("the ways in are %q, want %q", routes, want)
	}
	f.want(s, "Resources/WebhookApi/Properties/DefaultRouteSettings", `{"ThrottlingRateLimit":{"Ref":"RateLimit"},"ThrottlingBurstLimit":{"Ref":"BurstLimit"}}`)
	f.want(s, "Resources/WebhookApi/Properties/AccessLogSettings/DestinationArn", `{"Fn::GetAtt":"WebhookApiLogs.Arn"}`)

	format, _ := s.at("Resources/WebhookApi/Properties/AccessLogSettings/Format/Fn::Sub").(string)
	line := regexp.MustCompile(`\$context\.[A-Za-z.]+`).ReplaceAllStringFunc(format, func(name string) string {
		switch strings.TrimPrefix(name, "$context.") {
		case "status", "responseLatency":
			return "200" // always there
		case "requestTime", "requestId", "routeKey", "integration.latency", "integration.status", "dataProcessed", "error.responseType":
			return "-"
		}
		f.add("the access log tells %s, which is not in the list of what holds no personal data", name)
		return "-"
	})
	if err := json.Unmarshal([]byte(line), new(map[string]any)); err != nil {
		f.add("a line of the access log is not JSON: %v: %s", err, line)
	}
	return f
}

func functions(s template) (f faults) {
	roles := map[string]string{}
	for _, function := range s.resources("AWS::Serverless::Function") {
		id := function.id
		short := strings.TrimSuffix(id, "Function")
		roles[text(function.properties["Role"])] += id
		f.want(function.properties, "Role", fmt.Sprintf(`{"Fn::GetAtt":"%sRole.Arn"}`, short))
		f.want(function.properties, "LoggingConfig/LogGroup", fmt.Sprintf(`{"Ref":"%sLogs"}`, short))
		f.want(function.properties, "LoggingConfig/LogFormat", `"JSON"`)
		f.want(function.whole, "Metadata/BuildMethod", `"makefile"`)
		f.want(function.properties, "AutoPublishAliasAllProperties", `true`)
		if fed := at(function.properties["Events"], "Announcements"); fed != nil {
			f.want(fed, "Properties/ScalingConfig", `{"MaximumConcurrency":2}`)
			if function.properties["ReservedConcurrentExecutions"] != nil || !suppressed(function, "CKV_AWS_115") {
				f.add("%s: its queue bounds how often it runs at once; it needs a reason instead of a reservation", id)
			}
		} else {
			f = append(f, reserved(s, function, short)...)
		}
		if function.properties["Tracing"] == nil {
			f.add("%s says nothing of tracing", id)
		}
		if function.properties["DeadLetterQueue"] == nil && !suppressed(function, "CKV_AWS_116") {
			f.add("%s has neither a dead-letter queue nor a reason", id)
		}
	}
	f.want(s, "Globals/Function/Runtime", `"provided.al2023"`)
	f.want(s, "Globals/Function/Architectures", `[{"Ref":"Architecture"}]`)
	f.want(s, "Globals/Function/Handler", `"bootstrap"`)
	f.want(s, "Globals/Function/CodeUri", `"."`)
	f.want(s, "Globals/Function/AutoPublishAlias", `"live"`)
	f.want(s, "Parameters/Architecture/Default", `"arm64"`)
	// Terra waits 8 seconds, and the function gives up by itself after 7: these are for the case that it hangs.
	f.want(s, "Resources/WebhookFunction/Properties/Timeout", `10`)
	f.want(s, "Resources/WebhookFunction/Properties/Events/Webhook/Properties/TimeoutInMillis", `11000`)
	for role, of := range roles {
		if strings.Count(of, "Function") > 1 {
			f.add("%s is the role of more than one function: %s", role, of)
		}
	}
	for _, group := range s.resources("AWS::Logs::LogGroup") {
		f.want(group.properties, "RetentionInDays", `{"Ref":"LogRetentionDays"}`)
	}
	return f
}

// reserved wants of a function that a parameter reserves its concurrency, or reserves none.
func reserved(s template, function resource, short string) (f faults) {
	f.want(function.properties, "ReservedConcurrentExecutions", fmt.Sprintf(`{"Fn::If":["Reserve%s",{"Ref":"%[1]sConcurrency"},{"Ref":"AWS::NoValue"}]}`, short))
	f.want(s, "Conditions/Reserve"+short, fmt.Sprintf(`{"Fn::Not":[{"Fn::Equals":[{"Ref":"%sConcurrency"},"-1"]}]}`, short))
	return f
}

// suppressed reports whether a finding is suppressed at the resource, with a reason.
func suppressed(r resource, id string) bool {
	for _, skip := range list(at(r.whole, "Metadata/checkov/skip")) {
		if reason, _ := at(skip, "comment").(string); at(skip, "id") == id && len(reason) > 20 {
			return true
		}
	}
	return false
}

func sweep(s template) (f faults) {
	schedule := s.resource("SweepSchedule")
	f.want(schedule.whole, "Type", `"AWS::Scheduler::Schedule"`)
	f.want(schedule.properties, "ScheduleExpression", `"rate(1 minute)"`)
	f.want(schedule.properties, "Target/Arn", `{"Ref":"SweepFunction.Alias"}`)
	f.want(schedule.properties, "Target/RoleArn", `{"Fn::GetAtt":"ScheduleRole.Arn"}`)
	f.want(schedule.properties, "Target/DeadLetterConfig/Arn", `{"Fn::GetAtt":"SweepDeadLetters.Arn"}`)
	if schedule.properties["Name"] != nil {
		f.add("the schedule has a fixed name: two stacks would collide")
	}
	if state := schedule.properties["State"]; state != nil && state != "ENABLED" {
		f.add("the schedule is %v", state)
	}
	f.want(s, "Resources/SweepFunction/Properties/Timeout", `55`) // less than a minute, or sweeps overlap
	f.want(s, "Resources/SweepFunction/Properties/EventInvokeConfig", `{"MaximumEventAgeInSeconds":60,"MaximumRetryAttempts":0,
		"DestinationConfig":{"OnFailure":{"Type":"SQS","Destination":{"Fn::GetAtt":"SweepDeadLetters.Arn"}}}}`)
	f.want(s, "Parameters/SweepConcurrency/Default", `1`)
	if s.at("Resources/SweepDeadLetters/Properties/FifoQueue") != nil {
		f.add("EventBridge Scheduler needs a standard queue")
	}
	return f
}

// revoke: ending a connection cannot be undone. So nothing of it is there unless somebody asks for it, it hears only of what is sure, and no
// announcement that it was to act upon gets lost.
func revoke(s template) (f faults) {
	f.want(s, "Parameters/Revoke/Default", `"off"`)
	f.want(s, "Parameters/Revoke/AllowedValues", `["off","newest-wins","first-wins"]`)
	f.want(s, "Parameters/RevokeDryRun/AllowedValues", `["true","false"]`)
	f.want(s, "Conditions/Revoking", `{"Fn::Not":[{"Fn::Equals":[{"Ref":"Revoke"},"off"]}]}`)
	for _, section := range []string{"Resources", "Outputs"} {
		for _, id := range keys(s[section]) {
			part := s.at(section + "/" + id)
			isOfIt := strings.HasPrefix(id, "Revoke")
			if has := at(part, "Condition") == "Revoking"; has != isOfIt {
				f.add("%s %s is there on the condition %v", section, id, at(part, "Condition"))
			}
			for _, other := range references(unless(part, "Revoking")) {
				if !isOfIt && s.at("Resources/"+other) != nil && s.at("Resources/"+other+"/Condition") == "Revoking" {
					f.add("%s %s needs %s, which is not there if Revoke is off", section, id, other)
				}
			}
		}
	}

	function := s.resource("RevokeFunction").properties
	f.want(function, "DeploymentPreference", `{"Type":{"Ref":"Deployment"},"PassthroughCondition":true,"Role":{"Fn::GetAtt":"DeploymentRole.Arn"},
		"Alarms":{"Fn::If":["RollBack",[{"Ref":"RevokeErrorsAlarm"}],[{"Ref":"AWS::NoValue"}]]}}`)
	if n := len(keys(function["Events"])); n != 1 {
		f.add("the revoke function has %d sources of events", n)
	}
	source := at(function, "Events/Announcements")
	f.want(source, "Type", `"SQS"`)
	f.want(source, "Properties/Queue", `{"Fn::GetAtt":"RevokeQueue.Arn"}`)
	f.want(source, "Properties/FunctionResponseTypes", `["ReportBatchItemFailures"]`) // else one failure brings back the whole batch
	timeout, _ := function["Timeout"].(int)
	batch, _ := at(source, "Properties/BatchSize").(int)
	if each, margin := 10, 1; batch == 0 || batch*each+margin > timeout {
		f.add("%d messages of %d s each do not fit into %d s", batch, each, timeout)
	}

	queue := s.resource("RevokeQueue").properties
	f.want(queue, "RedrivePolicy", `{"deadLetterTargetArn":{"Fn::GetAtt":"RevokeDeadLetters.Arn"},"maxReceiveCount":8}`)
	visibility, _ := queue["VisibilityTimeout"].(int)
	if visibility < 6*timeout {
		f.add("a message comes again after %d s, while the function may still be at it: want at least 6 × %d s", visibility, timeout)
	}
	keeps, _ := queue["MessageRetentionPeriod"].(int)
	if keeps < 2*8*visibility {
		f.add("RevokeQueue forgets a message after %d s, before it has been tried eight times", keeps)
	}
	names := map[string]string{}
	for _, id := range []string{"RevokeQueue", "RevokeDeadLetters", "RevokeUndelivered"} {
		p := s.resource(id).properties
		// A FIFO topic delivers to FIFO queues only, and a dead-letter queue is of its source's type.
		f.want(p, "FifoQueue", `{"Fn::If":["Fifo",true,{"Ref":"AWS::NoValue"}]}`)
		f.want(p, "QueueName/Fn::If/0", `"Fifo"`)
		f.want(p, "QueueName/Fn::If/2", `{"Ref":"AWS::NoValue"}`)
		name, _ := at(p, "QueueName/Fn::If/1/Fn::Sub").(string)
		if !strings.HasPrefix(name, "${AWS::StackName}-") || !strings.HasSuffix(name, ".fifo") || names[name] != "" {
			f.add("%s: the name of a FIFO queue is its own, begins with the stack's and ends in .fifo: %q", id, name)
		}
		names[name] = id
		if id != "RevokeQueue" {
			// A message keeps its age when it becomes a dead letter.
			f.want(p, "MessageRetentionPeriod", `1209600`)
		}
		if id != "RevokeDeadLetters" && !takesFromTheTopic(s, id) {
			f.add("SNS may not send to %s, or others may, too", id)
		}
	}

	subscription := s.resource("RevokeSubscription")
	f.want(subscription.properties, "TopicArn", `{"Ref":"TransfersTopic"}`)
	f.want(subscription.properties, "Protocol", `"sqs"`)
	f.want(subscription.properties, "Endpoint", `{"Fn::GetAtt":"RevokeQueue.Arn"}`)
	f.want(subscription.properties, "RawMessageDelivery", `true`)
	f.want(subscription.properties, "RedrivePolicy", `{"deadLetterTargetArn":{"Fn::GetAtt":"RevokeUndelivered.Arn"}}`)
	f.want(subscription.whole, "DependsOn", `["RevokeQueuePolicy","RevokeUndeliveredPolicy"]`) // else the first announcements are refused
	if scope := subscription.properties["FilterPolicyScope"]; scope != nil && scope != "MessageAttributes" {
		f.add("the filter is on %v", scope)
	}
	passes := func(a ownership.Announcement) bool {
		event, err := announce.New(a, "test", time.Unix(0, 0))
		if err != nil {
			f.add("an announcement: %v", err)
		}
		filter, _ := subscription.properties["FilterPolicy"].(map[string]any)
		for attribute, values := range filter {
			if value, has := event.Attributes[attribute]; !has || !slices.Contains(list(values), any(value)) {
				return false
			}
		}
		return len(filter) > 0
	}
	previous, current := ownership.Holder{UserID: "a", ReferenceID: "anna", Tenure: 1}, ownership.Holder{UserID: "b", ReferenceID: "ben", Tenure: 1}
	for order, wanted := range map[ownership.Certainty]bool{ownership.Signed: true, ownership.Terra: true, ownership.Observed: false} {
		for _, reason := range []ownership.Reason{ownership.ConnectedByOther, ownership.Reauth} {
			a := ownership.Announcement{Type: ownership.Transferred, Account: "GARMIN/k.1", Provider: "GARMIN", Reason: reason, Order: order, Previous: previous, Current: current}
			if passes(a) != wanted {
				f.add("the filter lets pass a transfer (%s) whose order is %s: %v", reason, order, !wanted)
			}
		}
	}
	if passes(ownership.Announcement{Type: ownership.Revoked, Account: "GARMIN/k.1", Provider: "GARMIN", Connection: previous}) {
		f.add("the filter lets pass what is no transfer")
	}
	return f
}

// unless is v as it is when the condition does not hold.
func unless(v any, condition string) any {
	switch v := v.(type) {
	case []any:
		var rest []any
		for _, item := range v {
			rest = append(rest, unless(item, condition))
		}
		return rest
	case map[string]any:
		if at(v, "Fn::If/0") == condition {
			return unless(at(v, "Fn::If/2"), condition)
		}
		rest := map[string]any{}
		for name, item := range v {
			rest[name] = unless(item, condition)
		}
		return rest
	}
	return v
}

// takesFromTheTopic reports whether the queue takes messages from SNS on behalf of the transfers topic, and from nobody else.
func takesFromTheTopic(s template, queue string) bool {
	var allowed []any
	for _, policy := range s.resources("AWS::SQS::QueuePolicy") {
		if text(policy.properties["Queues"]) != fmt.Sprintf(`[{"Ref":%q}]`, queue) {
			continue
		}
		for _, statement := range list(at(policy.properties, "PolicyDocument/Statement")) {
			if at(statement, "Effect") == "Allow" {
				allowed = append(allowed, statement)
			}
		}
	}
	return len(allowed) == 1 && text(at(allowed, "0/Principal")) == `{"Service":"sns.amazonaws.com"}` && at(allowed, "0/Action") == "sqs:SendMessage" &&
		text(at(allowed, "0/Resource")) == fmt.Sprintf(`{"Fn::GetAtt":"%s.Arn"}`, queue) &&
		text(at(allowed, "0/Condition")) == `{"ArnEquals":{"aws:SourceArn":{"Ref":"TransfersTopic"}}}`
}

// environment is what DESIGN fixes, and what package settings reads.
func environment(s template) (f faults) {
	f.want(s, "Globals/Function/Environment/Variables", `{
		"ACCOUNTS_TABLE":         {"Ref":"AccountsTable"},
		"CONNECTIONS_TABLE":      {"Ref":"ConnectionsTable"},
		"TRANSFERS_TOPIC_ARN":    {"Ref":"TransfersTopic"},
		"TERRA_SECRET_ARN":       {"Ref":"TerraSecret"},
		"ACCOUNT_KEY_SECRET_ARN": {"Ref":"AccountKeySecret"},
		"TERRA_API_URL":          {"Ref":"TerraApiUrl"},
		"REPLAY_WINDOW":          {"Ref":"ReplayWindow"},
		"WATCH_DATA_EVENTS":      {"Ref":"WatchDataEvents"},
		"SOURCE":                 {"Ref":"Source"},
		"RETENTION":              {"Ref":"Retention"},
		"NOT_REVOKED_AFTER":      {"Ref":"NotRevokedAfter"},
		"STACK_NAME":             {"Ref":"AWS::StackName"}}`)
	f.want(s, "Resources/SweepFunction/Properties/Environment/Variables", fmt.Sprintf(`{"WEBHOOK_URL":%s}`, text(s.at("Outputs/WebhookUrl/Value"))))
	for _, function := range s.resources("AWS::Serverless::Function") {
		if function.properties["Environment"] != nil && function.id == "WebhookFunction" {
			f.add("%s has an environment of its own", function.id)
		}
	}
	own := s.at("Resources/RevokeFunction/Properties/Environment/Variables")
	f.want(s, "Resources/RevokeFunction/Properties/Environment/Variables", `{"REVOKE_POLICY":{"Ref":"Revoke"},"REVOKE_DRY_RUN":{"Ref":"RevokeDryRun"}}`)
	value := func(name string) string {
		if name == "REVOKE_POLICY" { // the function is not there with the default
			return "first-wins"
		}
		switch name {
		case "STACK_NAME":
			return "handover"
		case "WEBHOOK_URL":
			return "https://abc123.execute-api.eu-central-1.amazonaws.com/webhook"
		}
		variable := s.at("Globals/Function/Environment/Variables/" + name)
		if variable == nil {
			variable = at(own, name)
		}
		id, _ := at(variable, "Ref").(string)
		if s.resource(id).kind != "" {
			return id
		}
		return fmt.Sprint(s.at("Parameters/" + id + "/Default"))
	}
	got, ofRevoke, err := settings.RevokeFromEnvironment(value)
	if err != nil {
		f.add("the functions would not start: %v", err)
	}
	if got.TerraAPI != settings.DefaultTerraAPI || got.ReplayWindow != settings.DefaultReplayWindow || got.Source != settings.DefaultSource || !got.WatchDataEvents ||
		got.Retention != settings.DefaultRetention || got.NotRevokedAfter != settings.DefaultNotRevokedAfter || ofRevoke.DryRun {
		f.add("the template's defaults are not the functions': %+v, %+v", got, ofRevoke)
	}
	// And whatever a parameter permits, the functions take.
	for parameter, edges := range map[string][]string{
		"Retention": {"100h", "99999h"}, "NotRevokedAfter": {"1h", "9999h"}, "ReplayWindow": {"1m", "999h"}, "Revoke": {"newest-wins", "first-wins"},
	} {
		for _, edge := range edges {
			for _, fault := range permits(s.at("Parameters/"+parameter), edge) {
				f.add("%s: %s", parameter, fault)
			}
			_, _, err := settings.RevokeFromEnvironment(func(name string) string {
				variable := s.at("Globals/Function/Environment/Variables/" + name)
				if variable == nil {
					variable = at(own, name)
				}
				if at(variable, "Ref") == parameter {
					return edge
				}
				return value(name)
			})
			if err != nil {
				f.add("%s=%s: %v", parameter, edge, err)
			}
		}
	}
	return f
}

// versions: SAM publishes no new version when only a parameter's value changes. So VersionDescription names each parameter that ends up in a
// version, and no other, since Lambda refuses to publish a function that has not changed.
func versions(s template) (f faults) {
	for _, function := range s.resources("AWS::Serverless::Function") {
		description, _ := at(function.properties, "VersionDescription/Fn::Sub").(string)
		named := references(map[string]any{"Fn::Sub": description})

		versioned := map[string]any{}
		for _, properties := range []any{s.at("Globals/Function"), function.properties} {
			for name, value := range properties.(map[string]any) {
				if !slices.Contains([]string{"ReservedConcurrentExecutions", "DeploymentPreference", "VersionDescription", "Events", "EventInvokeConfig"}, name) {
					versioned[name+text(value)] = value
				}
			}
		}
		reached := map[string]any{}
		var follow func(any)
		follow = func(v any) {
			for _, id := range references(v) {
				switch {
				case s.at("Parameters/"+id) != nil:
					reached[id] = nil
				case s.at("Conditions/"+id) != nil:
					follow(s.at("Conditions/" + id))
				default: // another name is another resource, under another ARN
					follow(s.at("Resources/" + id + "/Properties/TopicName"))
				}
			}
		}
		follow(versioned)
		if wanted := keys(reached); !slices.Equal(named, wanted) {
			f.add("%s: VersionDescription names %q, want %q", function.id, named, wanted)
		}

		longest := variable.ReplaceAllStringFunc(description, func(v string) string {
			return strings.Repeat("x", longest(s.at("Parameters/"+strings.Trim(v, "${}"))))
		})
		if len(longest) > 256 {
			f.add("%s: VersionDescription can become %d characters long; Lambda takes 256", function.id, len(longest))
		}
	}
	return f
}

// longest is the length of the parameter's longest value.
func longest(parameter any) int {
	if n, has := at(parameter, "MaxLength").(int); has {
		return n
	}
	if n, has := at(parameter, "MaxValue").(int); has {
		return len(strconv.Itoa(n))
	}
	length := 1000
	for i, value := range list(at(parameter, "AllowedValues")) {
		if n := len(fmt.Sprint(value)); i == 0 || n > length {
			length = n
		}
	}
	return length
}

// metrics are those that AWS provides and that the alarms may rest on: namespace and name, then the one dimension that gives data, and what it
// has to hold for a resource of which kind. Any other spelling makes an alarm that never fires.
var metrics = map[string]struct{ dimension, value, kind string }{
	"AWS/ApiGateway Latency":                     {"ApiId", `{"Ref":"%s"}`, "AWS::Serverless::HttpApi"},
	"AWS/Lambda Errors":                          {"FunctionName", `{"Ref":"%s"}`, "AWS::Serverless::Function"},
	"AWS/Lambda Throttles":                       {"FunctionName", `{"Ref":"%s"}`, "AWS::Serverless::Function"},
	"AWS/Lambda Duration":                        {"FunctionName", `{"Ref":"%s"}`, "AWS::Serverless::Function"},
	"AWS/SQS ApproximateNumberOfMessagesVisible": {"QueueName", `{"Fn::GetAtt":"%s.QueueName"}`, "AWS::SQS::Queue"},
	"AWS/SQS ApproximateAgeOfOldestMessage":      {"QueueName", `{"Fn::GetAtt":"%s.QueueName"}`, "AWS::SQS::Queue"},
	"AWS/SNS NumberOfNotificationsFailed":        {"TopicName", `{"Fn::GetAtt":"%s.TopicName"}`, "AWS::SNS::Topic"},
	"AWS/DynamoDB WriteThrottleEvents":           {"TableName", `{"Ref":"%s"}`, "AWS::DynamoDB::Table"},
}

// watched is what must be watched at least: metric and resource.
var watched = []string{
	"AWS/ApiGateway Latency WebhookApi",
	"AWS/Lambda Errors WebhookFunction", "AWS/Lambda Throttles WebhookFunction", "AWS/Lambda Duration WebhookFunction",
	"AWS/Lambda Errors SweepFunction",
	"AWS/Lambda Errors RevokeFunction", "AWS/SQS ApproximateAgeOfOldestMessage RevokeQueue",
	"AWS/SQS ApproximateNumberOfMessagesVisible RevokeDeadLetters", "AWS/SQS ApproximateNumberOfMessagesVisible RevokeUndelivered",
	"AWS/SQS ApproximateNumberOfMessagesVisible SweepDeadLetters", "AWS/SNS NumberOfNotificationsFailed TransfersTopic",
	"AWS/DynamoDB WriteThrottleEvents AccountsTable", "AWS/DynamoDB WriteThrottleEvents ConnectionsTable",
}

func alarms(s template) (f faults) {
	var seen []string
	for _, alarm := range s.resources("AWS::CloudWatch::Alarm") {
		p := alarm.properties
		f = append(f, described(alarm)...)
		f.want(p, "AlarmActions", `[{"Ref":"AlarmsTopic"}]`)
		if p["ActionsEnabled"] != nil {
			f.add("%s: ActionsEnabled", alarm.id)
		}

		// A simple alarm names its metric itself, one with an expression in its list.
		type metric struct {
			of     any
			period any
			stat   any
		}
		found := []metric{{p, p["Period"], p["Statistic"]}}
		if p["ExtendedStatistic"] != nil {
			found[0].stat = p["ExtendedStatistic"]
		}
		if p["Metrics"] != nil {
			found = nil
			for _, query := range list(p["Metrics"]) {
				if stat := at(query, "MetricStat"); stat != nil {
					f.want(query, "ReturnData", `false`)
					found = append(found, metric{at(stat, "Metric"), at(stat, "Period"), at(stat, "Stat")})
				}
			}
		}
		for _, m := range found {
			name := fmt.Sprint(at(m.of, "Namespace"), " ", at(m.of, "MetricName"))
			if strings.HasPrefix(name, "Handover ") { // counted by the functions themselves, or in the API's log
				f.want(m.of, "Dimensions", `[{"Name":"Stack","Value":{"Ref":"AWS::StackName"}}]`)
				continue
			}
			known, is := metrics[name]
			if !is {
				f.add("%s: AWS has no metric %q that the alarms may use", alarm.id, name)
				continue
			}
			f.want(m.of, "Dimensions/0/Name", strconv.Quote(known.dimension))
			value := at(m.of, "Dimensions/0/Value")
			targets := references(value)
			if len(list(at(m.of, "Dimensions"))) != 1 || len(targets) != 1 || text(value) != fmt.Sprintf(known.value, targets[0]) || s.resource(targets[0]).kind != known.kind {
				f.add("%s: %s has the dimensions %s, want the one %s of a %s", alarm.id, name, text(at(m.of, "Dimensions")), fmt.Sprintf(known.value, "…"), known.kind)
				continue
			}
			seen = append(seen, name+" "+targets[0])

			period, _ := m.period.(int)
			evaluated, _ := p["EvaluationPeriods"].(int)
			if evaluated == 0 && text(p["EvaluationPeriods"]) == `{"Ref":"QuietHours"}` {
				evaluated, _ = s.at("Parameters/QuietHours/MaxValue").(int)
			}
			limit := 24 * 3600
			if period >= 3600 {
				limit *= 7
			}
			if evaluated == 0 || period%60 != 0 || period == 0 || period*evaluated > limit {
				f.add("%s: CloudWatch does not take %d periods of %d s", alarm.id, evaluated, period)
			}
			if enough, has := p["DatapointsToAlarm"].(int); has && enough > evaluated {
				f.add("%s: %d data points out of %d", alarm.id, enough, evaluated)
			}
			counts := !strings.HasSuffix(name, "Latency") && !strings.HasSuffix(name, "Duration")
			if stat := fmt.Sprint(m.stat); counts != (stat == "Sum" || stat == "Maximum") || !counts && stat != "p99" {
				f.add("%s: the statistic of %s is %s", alarm.id, name, stat)
			}
		}

		// Where nothing comes, there is no data: an alarm on "nothing came" must take that for what it waits for, any other must not.
		missing, comparison := p["TreatMissingData"], p["ComparisonOperator"]
		switch {
		case missing == "breaching" && comparison == "LessThanThreshold" && p["Threshold"] == 1:
		case missing != "breaching" && comparison == "GreaterThanOrEqualToThreshold" && p["Threshold"] != 0:
		default:
			f.add("%s: %v %v with missing data %v", alarm.id, comparison, p["Threshold"], missing)
		}
	}
	for _, metric := range watched {
		if !slices.Contains(seen, metric) {
			f.add("nothing watches %s", metric)
		}
	}
	for _, queue := range s.resources("AWS::SQS::Queue") {
		metric := "AWS/SQS ApproximateNumberOfMessagesVisible "
		if queue.properties["RedrivePolicy"] != nil { // a queue at work holds messages; they must not grow old
			metric = "AWS/SQS ApproximateAgeOfOldestMessage "
		}
		if !slices.Contains(seen, metric+queue.id) {
			f.add("nobody hears of messages in %s", queue.id)
		}
	}
	return f
}

// described wants of an alarm that it says what it means and what to run first.
func described(alarm resource) (f faults) {
	description, _ := at(alarm.properties, "AlarmDescription/Fn::Sub").(string)
	meaning, first, _ := strings.Cut(description, " First: ")
	if len(meaning) < 40 || len(first) < 20 {
		f.add("%s: its description has not what it means and, after \"First:\", what to do", alarm.id)
	}
	// The longest values that stand for a variable are ARNs and URLs of queues.
	if len(variable.ReplaceAllString(description, strings.Repeat("x", 150))) > 1024 {
		f.add("%s: its description can become longer than CloudWatch's 1024 characters", alarm.id)
	}
	return f
}

func composite(s template) (f faults) {
	all := s.resource("NeedsAPersonAlarm")
	f = append(f, described(all)...)
	f.want(all.properties, "AlarmActions", `[{"Ref":"AlarmsTopic"}]`)
	always, _ := at(all.properties, "AlarmRule/Fn::Sub/0").(string)
	sometimes := at(all.properties, "AlarmRule/Fn::Sub/1/OfRevoke")
	f.want(sometimes, "Fn::If/0", `"Revoking"`)
	f.want(sometimes, "Fn::If/2", `""`)
	revoking, _ := at(sometimes, "Fn::If/1/Fn::Sub").(string)
	for _, on := range []bool{false, true} {
		rest := ""
		if on {
			rest = revoking
		}
		rule := strings.Replace(always, "${OfRevoke}", rest, 1)
		var wanted []string
		for _, alarm := range s.resources("AWS::CloudWatch::Alarm") {
			if on || alarm.whole["Condition"] == nil {
				wanted = append(wanted, fmt.Sprintf(`ALARM("${%s}")`, alarm.id))
			}
		}
		if got := slices.Sorted(slices.Values(strings.Split(strings.Join(strings.Fields(rule), " "), " OR "))); !slices.Equal(got, wanted) {
			f.add("the rule is of\n%q, want\n%q (revoking: %v)", got, wanted, on)
		}
	}
	return f
}

// rollback: CodeDeploy takes metric alarms only. An alarm on the API would be a circle, and one that is raised when nothing happens would undo every
// deployment on a quiet day.
func rollback(s template) (f faults) {
	preference := s.at("Resources/WebhookFunction/Properties/DeploymentPreference")
	f.want(preference, "Type", `{"Ref":"Deployment"}`)
	f.want(preference, "Role", `{"Fn::GetAtt":"DeploymentRole.Arn"}`)
	if canary, _ := s.at("Parameters/Deployment/Default").(string); !strings.HasPrefix(canary, "Canary") {
		f.add("a new version takes all webhooks at once: %s", canary)
	}
	f.want(preference, "Alarms/Fn::If/0", `"RollBack"`)
	ids := references(at(preference, "Alarms/Fn::If/1"))
	if !slices.Contains(ids, "WebhookErrorsAlarm") {
		f.add("errors do not stop a deployment")
	}
	for _, id := range ids {
		alarm := s.resource(id)
		if alarm.kind != "AWS::CloudWatch::Alarm" || alarm.properties["TreatMissingData"] != "notBreaching" {
			f.add("%s cannot stop a deployment", id)
		}
		if slices.Contains(references(alarm.properties), "WebhookApi") {
			f.add("%s makes a circle: it rests on the API, which rests on the alias", id)
		}
	}
	return f
}

func parameters(s template) (f faults) {
	var grouped []string
	for _, group := range list(s.at("Metadata/AWS::CloudFormation::Interface/ParameterGroups")) {
		for _, name := range list(at(group, "Parameters")) {
			grouped = append(grouped, name.(string))
		}
	}
	slices.Sort(grouped)
	names := keys(s["Parameters"])
	if !slices.Equal(grouped, names) {
		f.add("the groups have %q, want %q", grouped, names)
	}
	used := strings.Join(references(map[string]any{"r": s["Resources"], "g": s["Globals"], "c": s["Conditions"], "o": s["Outputs"]}), " ")
	for _, name := range names {
		p := s.at("Parameters/" + name)
		for _, fault := range permits(p, fmt.Sprint(at(p, "Default"))) {
			f.add("the default of %s %s", name, fault)
		}
		if at(p, "Description") == nil || s.at("Metadata/AWS::CloudFormation::Interface/ParameterLabels/"+name) == nil {
			f.add("%s has no description or no label", name)
		}
		limited := at(p, "AllowedPattern") != nil || at(p, "MinValue") != nil
		if !limited && at(p, "AllowedValues") == nil {
			f.add("%s has no limits", name)
		}
		if limited && at(p, "ConstraintDescription") == nil {
			f.add("%s does not say what it must be", name)
		}
		if !slices.Contains(strings.Fields(used), name) {
			f.add("%s is not used", name)
		}
		if at(p, "NoEcho") != nil || regexp.MustCompile(`(?i)secret|apikey|devid|password|token`).MatchString(name) {
			f.add("%s: no credential goes through a parameter", name)
		}
	}
	return f
}

// permits says why CloudFormation would refuse the value; nothing if it would not.
func permits(parameter any, value string) (f faults) {
	if pattern, has := at(parameter, "AllowedPattern").(string); has && !regexp.MustCompile(pattern).MatchString(value) {
		f.add("%q does not match %s", value, pattern)
	}
	if most, has := at(parameter, "MaxLength").(int); has && len(value) > most {
		f.add("%q is longer than %d", value, most)
	}
	if at(parameter, "Type") == "Number" {
		n, err := strconv.Atoi(value)
		least, hasLeast := at(parameter, "MinValue").(int)
		most, hasMost := at(parameter, "MaxValue").(int)
		if err != nil || hasLeast && n < least || hasMost && n > most {
			f.add("%q is not a number from %d to %d", value, least, most)
		}
	}
	if allowed := list(at(parameter, "AllowedValues")); allowed != nil && !slices.ContainsFunc(allowed, func(v any) bool { return fmt.Sprint(v) == value }) {
		f.add("%q is not one of %v", value, allowed)
	}
	return f
}

func outputs(s template) (f faults) {
	for name, value := range map[string]string{
		"WebhookUrl":           `{"Fn::Sub":"https://${WebhookApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/webhook"}`,
		"TransfersTopicArn":    `{"Ref":"TransfersTopic"}`,
		"AlarmsTopicArn":       `{"Ref":"AlarmsTopic"}`,
		"TerraSecretArn":       `{"Ref":"TerraSecret"}`,
		"AccountKeySecretArn":  `{"Ref":"AccountKeySecret"}`,
		"AccountsTableName":    `{"Ref":"AccountsTable"}`,
		"ConnectionsTableName": `{"Ref":"ConnectionsTable"}`,
	} {
		f.want(s, "Outputs/"+name+"/Value", value)
		if s.at("Outputs/"+name+"/Description") == nil {
			f.add("the output %s has no description", name)
		}
	}
	return f
}

// TestBuild: every function has its code, and the target by which `sam build` makes it.
func TestBuild(t *testing.T) {
	s, err := parse(read(t, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	makefile := read(t, "Makefile")
	for _, function := range s.resources("AWS::Serverless::Function") {
		folder := strings.ToLower(strings.TrimSuffix(function.id, "Function"))
		if _, err := os.Stat(filepath.Join(top, "functions", folder, "main.go")); err != nil {
			t.Error(err)
		}
		if target := "\nbuild-" + function.id + ":\n\t$(call bootstrap," + folder + ",$(or $(GOARCH),arm64),$(ARTIFACTS_DIR))\n"; !strings.Contains(makefile, target) {
			t.Errorf("the Makefile has not the target %s", target)
		}
	}
}

// TestStackPolicy: `make protect` covers everything that is kept, and what others point to.
func TestStackPolicy(t *testing.T) {
	var policy struct {
		Statement []struct {
			Effect   string
			Resource any
		}
	}
	if err := json.Unmarshal([]byte(read(t, ".tools/stack-policy.json")), &policy); err != nil {
		t.Fatal(err)
	}
	protected := text(policy.Statement[1].Resource)
	for _, id := range append(keys(toAny(keeps)), "TransfersTopic", "WebhookApi") {
		if !strings.Contains(protected, `"LogicalResourceId/`+id+`"`) {
			t.Errorf("the stack policy does not protect %s", id)
		}
	}
}

func toAny(m map[string]string) any {
	converted := map[string]any{}
	for name, value := range m {
		converted[name] = value
	}
	return converted
}

// TestConfigurations: CloudFormation would accept what samconfig.toml says.
func TestConfigurations(t *testing.T) {
	s, err := parse(read(t, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := read(t, "samconfig.toml")
	for _, environment := range []string{"default", "staging", "production"} {
		for _, section := range []string{"global", "build", "deploy"} {
			if !strings.Contains(config, fmt.Sprintf("\n[%s.%s.parameters]\n", environment, section)) {
				t.Errorf("there is no %s.%s", environment, section)
			}
		}
	}
	overrides := regexp.MustCompile(`(?m)^  "(\w+)=(.*)",$`).FindAllStringSubmatch(config, -1)
	if len(overrides) == 0 {
		t.Fatal("no parameter is set")
	}
	for _, o := range overrides {
		p := s.at("Parameters/" + o[1])
		if p == nil {
			t.Errorf("there is no parameter %s", o[1])
		}
		for _, fault := range permits(p, o[2]) {
			t.Errorf("%s %s", o[1], fault)
		}
	}
}
