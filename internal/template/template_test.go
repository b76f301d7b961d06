package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// is adds a fault unless the value at path stands for the resource of that name.
func (f *faults) is(s stack, in any, path, name string) {
	if got := s.where(at(in, path)); got != name {
		f.add("%s is %s, want %s", path, got, name)
	}
}

// number is the number that v is, 0 if it is none.
func number(v any) int {
	n, err := strconv.Atoi(fmt.Sprint(v))
	if err != nil {
		return 0
	}
	return n
}

// A promise has a function that says how what CloudFormation makes of the template breaks it.
type promise struct {
	name  string
	check func(stack) faults
}

var promises = []promise{
	{"whole", whole},
	{"kept", kept},
	{"names", names},
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
	{"dashboard", dashboard},
	{"rollback", rollback},
	{"parameters", parameters},
	{"outputs", outputs},
}

func TestPromises(t *testing.T) {
	for i, s := range original(t) {
		for _, p := range promises {
			t.Run(p.name+", "+configurations[i].name, func(t *testing.T) {
				for _, fault := range p.check(s) {
					t.Error(fault)
				}
			})
		}
	}
}

// whole: whatever something refers to is there, and nothing waits for itself.
func whole(s stack) (f faults) {
	next := map[string][]string{}
	for _, part := range []string{"Resources", "Outputs"} {
		for _, id := range keys(s.template[part]) {
			refers := references(s.at(part + "/" + id))
			for _, on := range list(s.at(part + "/" + id + "/DependsOn")) {
				refers = append(refers, fmt.Sprint(on))
			}
			for _, other := range refers {
				if s.resource(other).kind == "" {
					f.add("%s refers to %s, which is not there", id, other)
				}
			}
			if part == "Resources" {
				next[id] = refers
			}
		}
	}
	state := map[string]int{}
	var visit func(id string, way []string)
	visit = func(id string, way []string) {
		switch way = append(way, id); state[id] {
		case 0:
			state[id] = 1
			for _, other := range next[id] {
				visit(other, way)
			}
			state[id] = 2
		case 1:
			f.add("a circle: %s", strings.Join(way[slices.Index(way, id):], " → "))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(next)) {
		visit(id, nil)
	}
	for name, kind := range map[string]string{"api": "ApiGatewayV2::Api", "webhook": "Lambda::Function", "sweep": "Lambda::Function", "accounts": "DynamoDB::Table",
		"connections": "DynamoDB::Table", "transfers": "SNS::Topic", "alarms": "SNS::Topic", "terra secret": "SecretsManager::Secret",
		"account key": "SecretsManager::Secret", "composite": "CloudWatch::CompositeAlarm", "webhook logs": "Logs::LogGroup", "api logs": "Logs::LogGroup"} {
		if s.of(name).kind != "AWS::"+kind {
			f.add("there is no %s (%s)", name, kind)
		}
	}
	return f
}

// pinned is what no later version may replace: what people put in or what cannot be made again, under its logical id; and what others point to.
var pinned = map[string]string{
	"EncryptionKey":    "key",
	"TerraSecret":      "terra secret",
	"AccountKeySecret": "account key",
	"AccountsTable":    "accounts",
	"ConnectionsTable": "connections",
	"TransfersTopic":   "transfers",
	"WebhookApi":       "api",
}

func kept(s stack) (f faults) {
	for id, name := range pinned {
		r := s.resource(id)
		if name == "key" && s.values["KeyArn"] != "" {
			if r.kind != "" {
				f.add("there is a key besides the given one")
			}
			continue
		}
		if s.names[id] != name {
			f.add("%s is the %q, want the %s: another logical id is another, empty one", id, s.names[id], name)
		}
		if name == "transfers" || name == "api" {
			continue
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

// names: two stacks of one account do not collide. CloudFormation makes a name for whatever has none; one that is given begins with the stack's.
func names(s stack) (f faults) {
	for kind, property := range map[string]string{
		"AWS::CloudWatch::Alarm": "AlarmName", "AWS::CloudWatch::CompositeAlarm": "AlarmName", "AWS::CloudWatch::Dashboard": "DashboardName",
		"AWS::CodeDeploy::Application": "ApplicationName", "AWS::DynamoDB::Table": "TableName", "AWS::IAM::ManagedPolicy": "ManagedPolicyName", "AWS::IAM::Role": "RoleName",
		"AWS::Lambda::Function": "FunctionName", "AWS::Logs::LogGroup": "LogGroupName", "AWS::Scheduler::Schedule": "Name", "AWS::SecretsManager::Secret": "Name",
		"AWS::SNS::Topic": "TopicName", "AWS::SQS::Queue": "QueueName",
	} {
		for _, r := range s.resources(kind) {
			if name := r.properties[property]; name != nil && !strings.Contains(fmt.Sprint(name), "some-stack") {
				f.add("%s is called %v in every stack", r.id, name)
			}
		}
	}
	return f
}

func tables(s stack) (f faults) {
	f.want(s.of("accounts").properties, "KeySchema", `[{"AttributeName":"account","KeyType":"HASH"}]`)
	f.want(s.of("accounts").properties, "AttributeDefinitions", `[{"AttributeName":"account","AttributeType":"S"}]`)
	f.want(s.of("connections").properties, "KeySchema", `[{"AttributeName":"user_id","KeyType":"HASH"}]`)
	f.want(s.of("connections").properties, "AttributeDefinitions", `[{"AttributeName":"user_id","AttributeType":"S"},
		{"AttributeName":"todo","AttributeType":"S"},{"AttributeName":"next_attempt","AttributeType":"N"}]`)
	f.want(s.of("connections").properties, "GlobalSecondaryIndexes", `[{"IndexName":"todo","Projection":{"ProjectionType":"INCLUDE","NonKeyAttributes":["since"]},
		"KeySchema":[{"AttributeName":"todo","KeyType":"HASH"},{"AttributeName":"next_attempt","KeyType":"RANGE"}]}]`)
	for _, table := range s.resources("AWS::DynamoDB::Table") {
		f.want(table.properties, "BillingMode", `"PAY_PER_REQUEST"`)
		f.want(table.properties, "DeletionProtectionEnabled", `true`)
		f.want(table.properties, "PointInTimeRecoverySpecification", `{"PointInTimeRecoveryEnabled":true,"RecoveryPeriodInDays":35}`)
		f.want(table.properties, "TimeToLiveSpecification", `{"AttributeName":"expires_at","Enabled":true}`)
		if table.properties["OnDemandThroughput"] != nil {
			f.add("%s has a maximum of throughput", table.id)
		}
	}
	return f
}

func secrets(s stack) (f faults) {
	// A changed value here would overwrite what people have put in.
	f.want(s.of("terra secret").properties, "SecretString", `"{\"signing_secrets\":[]}"`)
	f.want(s.of("account key").properties, "GenerateSecretString", `{"PasswordLength":64,"ExcludeCharacters":"ghijklmnopqrstuvwxyz",
		"ExcludeUppercase":true,"ExcludePunctuation":true,"IncludeSpace":false,"RequireEachIncludedType":false}`)
	for _, secret := range s.resources("AWS::SecretsManager::Secret") {
		if secret.properties["ReplicaRegions"] != nil {
			f.add("%s leaves the region", secret.id)
		}
	}
	// And what is left to generate from is what the functions accept, all of it.
	excluded, _ := at(s.of("account key").properties, "GenerateSecretString/ExcludeCharacters").(string)
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

// encrypted: everything that can be, is, with the one key.
func encrypted(s stack) (f faults) {
	for kind, property := range map[string]string{
		"AWS::DynamoDB::Table":        "SSESpecification/KMSMasterKeyId",
		"AWS::SNS::Topic":             "KmsMasterKeyId",
		"AWS::SQS::Queue":             "KmsMasterKeyId",
		"AWS::SecretsManager::Secret": "KmsKeyId",
		"AWS::Logs::LogGroup":         "KmsKeyId",
		"AWS::Lambda::Function":       "KmsKeyArn",
	} {
		for _, r := range s.resources(kind) {
			if key := s.where(at(r.properties, property)); key != "key" {
				f.add("%s is not encrypted with the key, but with %q", r.id, key)
			}
		}
	}
	for _, table := range s.resources("AWS::DynamoDB::Table") {
		f.want(table.properties, "SSESpecification/SSEEnabled", `true`)
		f.want(table.properties, "SSESpecification/SSEType", `"KMS"`)
	}
	for _, key := range s.resources("AWS::KMS::Key") {
		f.want(key.properties, "EnableKeyRotation", `true`)
		f.want(key.properties, "PendingWindowInDays", `30`)
		if enabled := key.properties["Enabled"]; enabled != nil && enabled != true {
			f.add("the key is disabled: nothing can be read or written")
		}
	}
	return f
}

const ofTheAccount = `{"StringEquals":{"aws:SourceAccount":"111122223333"}}`

func keyPolicy(s stack) (f faults) {
	if s.values["KeyArn"] != "" {
		return nil // whose policy is its owner's
	}
	statements := map[string]any{}
	for _, statement := range list(at(s.of("key").properties, "KeyPolicy/Statement")) {
		principal := text(at(statement, "Principal"))
		if statements[principal] != nil {
			f.add("two statements are about %s", principal)
		}
		statements[principal] = statement
	}
	wanted := map[string]string{
		`{"AWS":"arn:aws-odd:iam::111122223333:root"}`:  "nobody could ever change it",
		`{"Service":"cloudwatch.amazonaws.com"}`:        "no alarm would reach its topic",
		`{"Service":"logs.eu-central-1.amazonaws.com"}`: "no log could be written",
		`{"Service":"sns.amazonaws.com"}`:               "no announcement would reach the encrypted queue of the revoke function",
	}
	if s.values["Revoke"] == "" {
		delete(wanted, `{"Service":"sns.amazonaws.com"}`)
	}
	for principal, why := range wanted {
		if statements[principal] == nil {
			f.add("%s may not use the key: %s", principal, why)
		}
	}
	for principal, statement := range statements {
		f.want(statement, "Effect", `"Allow"`)
		switch {
		case wanted[principal] == "":
			f.add("%s may use the key", principal)
		case strings.Contains(principal, "cloudwatch"), strings.Contains(principal, "sns."):
			f.want(statement, "Condition", ofTheAccount)
			f.want(statement, "Action", `["kms:GenerateDataKey*","kms:Decrypt"]`)
		case strings.Contains(principal, "logs."):
			f.want(statement, "Action", `["kms:Encrypt*","kms:Decrypt*","kms:ReEncrypt*","kms:GenerateDataKey*","kms:Describe*"]`)
			if operators := keys(at(statement, "Condition")); !slices.Equal(operators, []string{"ArnLike"}) {
				f.add("any log may use the key: %q", operators)
			}
		default:
			f.want(statement, "Action", `"kms:*"`)
		}
	}
	patterns := at(statements[`{"Service":"logs.eu-central-1.amazonaws.com"}`], "Condition/ArnLike/kms:EncryptionContext:aws:logs:arn")
	for _, group := range s.resources("AWS::Logs::LogGroup") {
		name := fmt.Sprint(group.properties["LogGroupName"])
		if !slices.ContainsFunc(list(patterns), func(pattern any) bool {
			prefix, all := strings.CutSuffix(fmt.Sprint(pattern), "some-stack/*")
			return all && strings.HasPrefix("arn:aws-odd:logs:eu-central-1:111122223333:log-group:"+name, prefix+"some-stack/")
		}) {
			f.add("CloudWatch Logs may not use the key for %s", name)
		}
	}
	return f
}

// settle is what settling a connection takes.
var settle = []string{
	`dynamodb:GetItem accounts if {"ForAllValues:StringEquals":{"dynamodb:LeadingKeys":["#key"]}}`,
	`dynamodb:GetItem connections`,
	`dynamodb:PutItem accounts if {"ForAllValues:StringEquals":{"dynamodb:LeadingKeys":["#key"]}}`,
	`dynamodb:PutItem connections`,
	`dynamodb:UpdateItem accounts`,
	`dynamodb:UpdateItem connections`,
	`secretsmanager:GetSecretValue account key`,
	`secretsmanager:GetSecretValue terra secret`,
	`sns:Publish transfers`,
	`xray:PutTelemetryRecords *`,
	`xray:PutTraceSegments *`,
	`kms:Decrypt key via dynamodb`, `kms:DescribeKey key via dynamodb`, `kms:Encrypt key via dynamodb`, `kms:GenerateDataKey key via dynamodb`,
	`kms:ReEncryptFrom key via dynamodb`, `kms:ReEncryptTo key via dynamodb`,
	`kms:Decrypt key via sns`, `kms:GenerateDataKey key via sns`,
	`kms:Decrypt key via secretsmanager`, `kms:Decrypt key via lambda`,
}

// grants is everything that each role may do, by whom it is for. That each of it is called, and nothing else, is another test's (package endtoend).
func grants(s stack) map[string][]string {
	wanted := map[string][]string{
		"webhook role": append([]string{`logs:CreateLogStream webhook logs`, `logs:PutLogEvents webhook logs`}, settle...),
		"sweep role": append([]string{
			`dynamodb:DeleteItem accounts`, `dynamodb:DeleteItem connections`,
			`dynamodb:GetItem accounts if {"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["#note/*"]}}`,
			`dynamodb:PutItem accounts if {"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["#note/*"]}}`,
			`dynamodb:Scan accounts`, `dynamodb:Scan connections`,
			`dynamodb:Query connections/index/todo`,
			`logs:CreateLogStream sweep logs`, `logs:PutLogEvents sweep logs`,
			`sqs:SendMessage sweep dead letters`, `kms:Decrypt key via sqs`, `kms:GenerateDataKey key via sqs`,
		}, settle...),
		"schedule role":   {`lambda:InvokeFunction sweep:live`, `sqs:SendMessage sweep dead letters`, `kms:Decrypt key via sqs`, `kms:GenerateDataKey key via sqs`},
		"deployment role": {`cloudwatch:DescribeAlarms arn:aws-odd:cloudwatch:eu-central-1:111122223333:alarm:*`},
	}
	deployed := []string{"webhook"}
	if s.values["Revoke"] != "" {
		deployed = append(deployed, "revoke")
		wanted["revoke role"] = append([]string{
			`dynamodb:GetItem accounts`,
			`logs:CreateLogStream revoke logs`, `logs:PutLogEvents revoke logs`,
			`sqs:DeleteMessage revoke queue`, `sqs:GetQueueAttributes revoke queue`, `sqs:ReceiveMessage revoke queue`, `kms:Decrypt key via sqs`,
		}, settle...)
	}
	for _, function := range deployed {
		for _, action := range []string{"lambda:GetAlias ", "lambda:GetProvisionedConcurrencyConfig ", "lambda:UpdateAlias "} {
			wanted["deployment role"] = append(wanted["deployment role"], action+function, action+function+":*")
		}
	}
	return wanted
}

func leastPrivilege(s stack) (f faults) {
	wanted := grants(s)
	for _, r := range s.resources("AWS::IAM::Role") {
		name := s.names[r.id]
		if wanted[name] == nil {
			f.add("%s is a role of nobody", r.id)
		}
		if r.properties["Policies"] != nil {
			f.add("%s has a policy inside", name)
		}
		service := map[string]string{"schedule role": "scheduler", "deployment role": "codedeploy"}[name]
		if service == "" {
			service = "lambda"
		} else {
			f.want(r.properties, "AssumeRolePolicyDocument/Statement/0/Condition", ofTheAccount)
		}
		f.want(r.properties, "AssumeRolePolicyDocument/Statement/0/Principal", fmt.Sprintf(`{"Service":"%s.amazonaws.com"}`, service))
		f.want(r.properties, "AssumeRolePolicyDocument/Statement/0/Action", `"sts:AssumeRole"`)
		f.want(r.properties, "AssumeRolePolicyDocument/Statement/0/Effect", `"Allow"`)
		if r.properties["PermissionsBoundary"] != nil {
			f.add("%s has a boundary, which may take away what it is granted", name)
		}
		if len(list(at(r.properties, "AssumeRolePolicyDocument/Statement"))) != 1 {
			f.add("others, too, may take on %s", name)
		}
	}
	for name, wanted := range wanted {
		var granted []string
		for _, policy := range list(s.of(name).properties["ManagedPolicyArns"]) {
			document := s.resource(s.where(policy))
			if document.kind != "AWS::IAM::ManagedPolicy" {
				f.add("%s has a policy that is not this template's: %s", name, text(policy))
			}
			for _, statement := range list(at(document.properties, "PolicyDocument/Statement")) {
				granted = append(granted, allowed(s, statement)...)
			}
		}
		slices.Sort(granted)
		wanted = slices.Sorted(slices.Values(wanted))
		if !slices.Equal(granted, wanted) {
			f.add("%s may\n%s\nwant\n%s", name, strings.Join(granted, "\n"), strings.Join(wanted, "\n"))
		}
	}
	return f
}

// allowed is what a statement allows: "action resource", and on which condition.
func allowed(s stack, statement any) (grants []string) {
	limit := ""
	vias := []string{""}
	if condition := at(statement, "Condition"); condition != nil {
		limit = " if " + text(condition)
		if via := at(condition, "StringEquals/kms:ViaService"); via != nil && len(keys(condition)) == 1 {
			limit, vias = "", nil
			for _, service := range list(via) {
				name, here := strings.CutSuffix(fmt.Sprint(service), ".eu-central-1.amazonaws.com")
				if !here {
					name = fmt.Sprint(service)
				}
				vias = append(vias, " via "+name)
			}
		}
	}
	if effect := at(statement, "Effect"); effect != "Allow" {
		limit += fmt.Sprint(" is ", effect)
	}
	for _, action := range list(at(statement, "Action")) {
		for _, on := range list(at(statement, "Resource")) {
			for _, via := range vias {
				grants = append(grants, fmt.Sprint(action, " ", s.where(on), via, limit))
			}
		}
	}
	return grants
}

func topics(s stack) (f faults) {
	fifo := s.values["TransfersTopicType"] == "fifo"
	name, _ := s.of("transfers").properties["TopicName"].(string)
	if is := s.of("transfers").properties["FifoTopic"] == true; is != fifo || fifo && (!strings.HasPrefix(name, "some-stack") || !strings.HasSuffix(name, ".fifo")) || !fifo && name != "" {
		f.add("the topic of transfers is a FIFO topic: %v; its name is %q", is, name)
	}
	if s.of("alarms").properties["FifoTopic"] != nil {
		f.add("alarms cannot use a FIFO topic")
	}
	for _, topic := range s.resources("AWS::SNS::Topic") {
		f.want(topic.properties, "SignatureVersion", `"2"`)
		var tls, alarms bool
		for _, statement := range s.policyOf("AWS::SNS::TopicPolicy", "Topics", topic.id) {
			tls = tls || s.tlsOnly(statement, "sns:Publish", topic.id)
			if at(statement, "Effect") == "Allow" {
				if text(at(statement, "Principal")) != `{"Service":"cloudwatch.amazonaws.com"}` || at(statement, "Action") != "sns:Publish" {
					f.add("%s is open to %s", topic.id, text(at(statement, "Principal")))
				}
				alarms = alarms || s.where(at(statement, "Resource")) == s.named(topic.id)
				f.want(statement, "Condition", ofTheAccount)
			}
		}
		if !tls {
			f.add("%s takes messages without TLS", topic.id)
		}
		if alarms != (s.names[topic.id] == "alarms") {
			f.add("CloudWatch may publish to %s: %v", topic.id, alarms)
		}
	}
	for _, queue := range s.resources("AWS::SQS::Queue") {
		if !slices.ContainsFunc(s.policyOf("AWS::SQS::QueuePolicy", "Queues", queue.id), func(statement any) bool { return s.tlsOnly(statement, "sqs:*", queue.id) }) {
			f.add("%s takes messages without TLS", queue.id)
		}
		for _, statement := range s.policyOf("AWS::SQS::QueuePolicy", "Queues", queue.id) {
			if at(statement, "Effect") == "Allow" && text(at(statement, "Principal")) != `{"Service":"sns.amazonaws.com"}` {
				f.add("%s is open to %s", queue.id, text(at(statement, "Principal")))
			}
		}
	}
	var emails []string
	for _, subscription := range s.resources("AWS::SNS::Subscription") {
		if subscription.properties["Protocol"] == "email" {
			f.is(s, subscription.properties, "TopicArn", "alarms")
			emails = append(emails, fmt.Sprint(subscription.properties["Endpoint"]))
		}
	}
	if email := s.values["AlarmEmail"]; strings.Join(emails, " ") != email {
		f.add("alarms go to %q, want %q", emails, email)
	}
	return f
}

// policyOf returns the statements of the policies of one topic or queue.
func (s *stack) policyOf(kind, property, id string) (statements []any) {
	for _, policy := range s.resources(kind) {
		if text(policy.properties[property]) == fmt.Sprintf(`[{"Ref":%q}]`, id) {
			statements = append(statements, list(at(policy.properties, "PolicyDocument/Statement"))...)
		}
	}
	return statements
}

// tlsOnly reports whether the statement refuses the action on the resource to everyone who comes without TLS.
func (s *stack) tlsOnly(statement any, action, on string) bool {
	return at(statement, "Effect") == "Deny" && at(statement, "Principal") == "*" && at(statement, "Action") == action &&
		s.where(at(statement, "Resource")) == s.named(on) && text(at(statement, "Condition")) == `{"Bool":{"aws:SecureTransport":"false"}}`
}

// named is the name of a resource, or its logical id if it has none.
func (s *stack) named(id string) string {
	if name := s.names[id]; name != "" {
		return name
	}
	return id
}

func wayIn(s stack) (f faults) {
	if n := len(s.resources("AWS::ApiGatewayV2::Api", "AWS::ApiGateway::RestApi", "AWS::Lambda::Url", "AWS::ApiGatewayV2::Route")); n != 1 {
		f.add("there are %d ways in", n)
	}
	var routes []string
	for _, path := range keys(at(s.of("api").properties, "Body/paths")) {
		for method := range object(object(at(s.of("api").properties, "Body/paths"))[path]) {
			routes = append(routes, method+" "+path)
		}
	}
	if want := []string{"post /webhook"}; !slices.Equal(routes, want) {
		f.add("the ways in are %q, want %q", routes, want)
	}
	f.want(at(s.of("api").properties, "Body/paths/~webhook/post/x-amazon-apigateway-integration"), "payloadFormatVersion", `"2.0"`)
	// Terra waits 8 seconds, and the function gives up by itself after 7: this is for the case that it hangs.
	f.want(at(s.of("api").properties, "Body/paths/~webhook/post/x-amazon-apigateway-integration"), "timeoutInMillis", `11000`)
	stages := s.resources("AWS::ApiGatewayV2::Stage")
	if len(stages) != 1 {
		f.add("there are %d stages", len(stages))
		return f
	}
	if routes := stages[0].properties["RouteSettings"]; routes != nil {
		f.add("a route has limits of its own: %s", text(routes))
	}
	if origins := at(s.of("api").properties, "Body/x-amazon-apigateway-cors"); origins != nil {
		f.add("the gateway answers browsers: %s", text(origins))
	}
	f.want(s.of("api").properties, "FailOnWarnings", `true`)
	f.want(stages[0].properties, "DefaultRouteSettings", `{"ThrottlingRateLimit":500,"ThrottlingBurstLimit":1000}`)
	f.is(s, stages[0].properties, "AccessLogSettings/DestinationArn", "api logs")

	format, _ := at(stages[0].properties, "AccessLogSettings/Format").(string)
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
	var logged map[string]any
	if err := json.Unmarshal([]byte(line), &logged); err != nil {
		f.add("a line of the access log is not JSON: %v: %s", err, line)
	}
	if logged["stack"] != "some-stack" {
		f.add("the access log does not say whose it is: %v", logged["stack"])
	}
	return f
}

func functions(s stack) (f faults) {
	roles := map[string]string{}
	wanted := []string{"webhook", "sweep"}
	if s.values["Revoke"] != "" {
		wanted = append(wanted, "revoke")
	}
	if n := len(s.resources("AWS::Lambda::Function")); n != len(wanted) {
		f.add("there are %d functions, want %q", n, wanted)
	}
	architecture := `["arm64"]`
	if s.values["Architecture"] != "" {
		architecture = fmt.Sprintf(`[%q]`, s.values["Architecture"])
	}
	for _, name := range wanted {
		function := s.of(name)
		role := s.where(function.properties["Role"])
		if roles[role] != "" {
			f.add("%s and %s have one role", name, roles[role])
		}
		roles[role] = name
		f.want(function.properties, "LoggingConfig/LogFormat", `"JSON"`)
		if level := at(function.properties, "LoggingConfig/ApplicationLogLevel"); level != nil { // metrics are in lines of INFO, which is Lambda's default
			f.add("of %s only lines of %v are kept, and the metrics in them", name, level)
		}
		f.want(function.properties, "Runtime", `"provided.al2023"`)
		f.want(function.properties, "Architectures", architecture)
		f.want(function.properties, "Handler", `"bootstrap"`)
		f.want(s.of(name+":live").properties, "Name", `"live"`)
		group := s.of(name + " logs")
		if group.kind != "AWS::Logs::LogGroup" {
			f.add("%s logs into nothing of this stack's", name)
		}
		if mode := at(function.properties, "TracingConfig/Mode"); mode != "Active" && (name != "webhook" || s.values["WebhookTracing"] != "" || mode != "PassThrough") {
			f.add("the tracing of %s is %v", name, mode)
		}
		reserved := map[string]any{"webhook": s.values["WebhookConcurrency"], "sweep": "1", "revoke": ""}
		if given := s.values["SweepConcurrency"]; given != "" {
			reserved["sweep"] = strings.TrimPrefix(given, "-1")
		}
		if got := fmt.Sprint(function.properties["ReservedConcurrentExecutions"]); strings.TrimPrefix(got, "<nil>") != reserved[name] {
			f.add("of %s %s are reserved, want %q", name, got, reserved[name])
		}
		for _, skip := range append(list(at(function.whole, "Metadata/checkov/skip")), list(at(function.whole, "Metadata/cdk_nag/rules_to_suppress"))...) {
			reason := fmt.Sprint(at(skip, "comment"), at(skip, "reason"))
			if len(reason) < 30 {
				f.add("%s: the suppression of %v has no reason", name, at(skip, "id"))
			}
		}
	}
	f.want(s.of("webhook").properties, "Timeout", `10`)
	for _, group := range s.resources("AWS::Logs::LogGroup") {
		f.want(group.properties, "RetentionInDays", `365`)
		if class := group.properties["LogGroupClass"]; class != nil && class != "STANDARD" { // the others make no metrics, and can have no filter
			f.add("the lines of %s make no metrics: its class is %v", group.id, class)
		}
	}
	for _, permission := range s.resources("AWS::Lambda::Permission") {
		f.is(s, permission.properties, "FunctionName", "webhook:live")
		f.want(permission.properties, "Principal", `"apigateway.amazonaws.com"`)
		if source := s.where(permission.properties["SourceArn"]); !strings.Contains(source, ":api.Ref/") || !strings.HasSuffix(source, "/POST/webhook") {
			f.add("the webhook function may be called by %s", source)
		}
	}
	return f
}

func sweep(s stack) (f faults) {
	schedules := s.resources("AWS::Scheduler::Schedule")
	if len(schedules) != 1 {
		f.add("there are %d schedules", len(schedules))
		return f
	}
	schedule := schedules[0].properties
	f.want(schedule, "ScheduleExpression", `"rate(1 minute)"`)
	f.is(s, schedule, "Target/Arn", "sweep:live")
	f.is(s, schedule, "Target/RoleArn", "schedule role")
	f.is(s, schedule, "Target/DeadLetterConfig/Arn", "sweep dead letters")
	if retries := number(at(schedule, "Target/RetryPolicy/MaximumRetryAttempts")); retries < 1 {
		f.add("a sweep that cannot be started is not tried again")
	}
	f.want(schedule, "Target/RetryPolicy/MaximumEventAgeInSeconds", `60`) // then the next one is due
	f.want(schedule, "FlexibleTimeWindow", `{"Mode":"OFF"}`)
	if schedule["StartDate"] != nil || schedule["EndDate"] != nil {
		f.add("the schedule begins or ends")
	}
	if schedule["Name"] != nil {
		f.add("the schedule has a fixed name: two stacks would collide")
	}
	if state := schedule["State"]; state != nil && state != "ENABLED" {
		f.add("the schedule is %v", state)
	}
	f.want(s.of("sweep").properties, "Timeout", `55`) // less than a minute, or sweeps overlap
	for _, config := range s.resources("AWS::Lambda::EventInvokeConfig") {
		f.want(config.properties, "Qualifier", `"live"`)
		f.is(s, config.properties, "FunctionName", "sweep.Ref")
		f.want(config.properties, "MaximumEventAgeInSeconds", `60`)
		f.want(config.properties, "MaximumRetryAttempts", `0`)
		f.is(s, config.properties, "DestinationConfig/OnFailure/Destination", "sweep dead letters")
	}
	if keeps := number(s.of("sweep dead letters").properties["MessageRetentionPeriod"]); keeps < 4*24*3600 {
		f.add("what failed of a sweep is gone after %d s, before anybody is back from a weekend", keeps)
	}
	if s.of("sweep dead letters").kind != "AWS::SQS::Queue" || s.of("sweep dead letters").properties["FifoQueue"] != nil {
		f.add("what failed of a sweep goes to no standard queue, which EventBridge Scheduler needs")
	}
	return f
}

// revoke: ending a connection cannot be undone. So nothing of it is there unless somebody asks for it, it hears only of what is sure, and no
// announcement that it was to act upon gets lost.
func revoke(s stack) (f faults) {
	f.want(s.whole, "Parameters/Revoke/Default", `"off"`)
	f.want(s.whole, "Parameters/Revoke/AllowedValues", `["off","newest-wins","first-wins"]`)
	f.want(s.whole, "Parameters/RevokeDryRun/AllowedValues", `["true","false"]`)
	if s.values["Revoke"] == "" {
		for _, part := range []string{"Resources", "Outputs"} {
			for _, id := range keys(s.template[part]) {
				if strings.Contains(id, "Revoke") && id != "NotRevokedAlarm" {
					f.add("%s is there though nobody asked for it", id)
				}
			}
		}
		for _, subscription := range s.resources("AWS::SNS::Subscription") {
			if subscription.properties["Protocol"] != "email" {
				f.add("%s is subscribed", subscription.id)
			}
		}
		return f
	}

	function := s.of("revoke").properties
	sources := s.resources("AWS::Lambda::EventSourceMapping")
	if len(sources) != 1 {
		f.add("there are %d sources of announcements", len(sources))
		return f
	}
	source := sources[0].properties
	f.is(s, source, "FunctionName", "revoke:live")
	f.want(source, "FunctionResponseTypes", `["ReportBatchItemFailures"]`) // else one failure brings back the whole batch
	f.want(source, "ScalingConfig", `{"MaximumConcurrency":2}`)
	if enabled := source["Enabled"]; enabled != nil && enabled != true {
		f.add("the source of announcements is off")
	}
	if source["FilterCriteria"] != nil || source["MaximumBatchingWindowInSeconds"] != nil {
		f.add("the source drops announcements, or waits for more")
	}
	timeout, batch := number(function["Timeout"]), number(source["BatchSize"])
	if each, margin := 10, 1; batch == 0 || batch*each+margin > timeout {
		f.add("%d messages of %d s each do not fit into %d s", batch, each, timeout)
	}

	queue := s.of("revoke queue").properties
	if queue["MaximumMessageSize"] != nil || queue["DelaySeconds"] != nil {
		f.add("the queue takes not every message, or not at once")
	}
	f.is(s, queue, "RedrivePolicy/deadLetterTargetArn", "revoke dead letters")
	f.want(queue, "RedrivePolicy/maxReceiveCount", `8`)
	visibility := number(queue["VisibilityTimeout"])
	if visibility < 6*timeout {
		f.add("a message comes again after %d s, while the function may still be at it: want at least 6 × %d s", visibility, timeout)
	}
	if keeps := number(queue["MessageRetentionPeriod"]); keeps < 2*8*visibility {
		f.add("the queue forgets a message after %d s, before it has been tried eight times", keeps)
	}
	fifo := s.values["TransfersTopicType"] == "fifo"
	names := map[string]string{}
	for _, id := range []string{"revoke queue", "revoke dead letters", "undelivered"} {
		p := s.of(id).properties
		// A FIFO topic keeps its order in FIFO queues only, and a dead-letter queue is of its source's type.
		name, _ := p["QueueName"].(string)
		if is := p["FifoQueue"] == true; is != fifo || !fifo && name != "" ||
			fifo && (!strings.HasPrefix(name, "some-stack-") || !strings.HasSuffix(name, ".fifo") || names[name] != "") {
			f.add("the %s is a FIFO queue: %v; its name is %q: want one of its own that begins with the stack's and ends in .fifo", id, is, name)
		}
		names[name] = id
		if id != "revoke queue" {
			// A message keeps its age when it becomes a dead letter.
			f.want(p, "MessageRetentionPeriod", `1209600`)
		}
		if id != "revoke dead letters" && !s.takesFromTheTopic(id) {
			f.add("SNS may not send to the %s, or others may, too", id)
		}
	}

	for _, subscription := range s.resources("AWS::SNS::Subscription") {
		if subscription.properties["Protocol"] == "email" {
			continue
		}
		f.is(s, subscription.properties, "TopicArn", "transfers")
		f.want(subscription.properties, "Protocol", `"sqs"`)
		f.is(s, subscription.properties, "Endpoint", "revoke queue")
		f.want(subscription.properties, "RawMessageDelivery", `true`)
		f.is(s, subscription.properties, "RedrivePolicy/deadLetterTargetArn", "undelivered")
		waits := map[string]bool{} // else the first announcements are refused
		for _, id := range list(subscription.whole["DependsOn"]) {
			waits[s.where(at(s.resource(fmt.Sprint(id)).properties, "Queues/0"))] = true
		}
		if !waits["revoke queue.Ref"] || !waits["undelivered.Ref"] {
			f.add("the subscription is there before SNS may send")
		}
		f = append(f, filter(subscription.properties)...)
	}
	return f
}

// filter says which announcements pass the subscription's filter that should not, and the other way round: what is sure passes, a guess is left to a person.
func filter(subscription map[string]any) (f faults) {
	if scope := subscription["FilterPolicyScope"]; scope != nil && scope != "MessageAttributes" {
		f.add("the filter is on %v", scope)
	}
	passes := func(a ownership.Announcement) bool {
		event, err := announce.New(a, "test", time.Unix(0, 0))
		if err != nil {
			f.add("an announcement: %v", err)
		}
		policy, _ := subscription["FilterPolicy"].(map[string]any)
		for attribute, values := range policy {
			if value, has := event.Attributes[attribute]; !has || !slices.Contains(list(values), any(value)) {
				return false
			}
		}
		return len(policy) > 0
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

// takesFromTheTopic reports whether the queue takes messages from SNS on behalf of the transfers topic, and from nobody else.
func (s *stack) takesFromTheTopic(queue string) bool {
	var open []any
	for _, statement := range s.policyOf("AWS::SQS::QueuePolicy", "Queues", s.ids[queue]) {
		if at(statement, "Effect") == "Allow" {
			open = append(open, statement)
		}
	}
	return len(open) == 1 && text(at(open, "0/Principal")) == `{"Service":"sns.amazonaws.com"}` && at(open, "0/Action") == "sqs:SendMessage" &&
		s.where(at(open, "0/Resource")) == queue && len(keys(at(open, "0/Condition"))) == 1 &&
		s.where(at(open, "0/Condition/ArnEquals/aws:SourceArn")) == "transfers"
}

// environment: what the functions are told is what package settings reads, and their defaults are the template's.
func environment(s stack) (f faults) {
	shared := `"ACCOUNTS_TABLE":"accounts.Ref","ACCOUNT_KEY_SECRET_ARN":"account key","CONNECTIONS_TABLE":"connections.Ref","NOT_REVOKED_AFTER":"24h",` +
		`"REPLAY_WINDOW":"26h","RETENTION":"9600h",%s"SOURCE":"handover","STACK_NAME":"some-stack","TERRA_API_URL":"https://api.tryterra.co/v2",` +
		`"TERRA_SECRET_ARN":"terra secret","TRANSFERS_TOPIC_ARN":"transfers","WATCH_DATA_EVENTS":"true"%s`
	const url = "https://api.Ref.execute-api.eu-central-1.example.net/webhook"
	wanted := map[string]string{"webhook": fmt.Sprintf(shared, "", ""), "sweep": fmt.Sprintf(shared, "", `,"WEBHOOK_URL":"`+url+`"`)}
	if policy := s.values["Revoke"]; policy != "" {
		dry := s.values["RevokeDryRun"]
		if dry == "" {
			dry = "false"
		}
		wanted["revoke"] = fmt.Sprintf(shared, fmt.Sprintf(`"REVOKE_DRY_RUN":%q,"REVOKE_POLICY":%q,`, dry, policy), "")
	}
	for name, variables := range wanted {
		told := map[string]any{}
		for variable, value := range object(at(s.of(name).properties, "Environment/Variables")) {
			told[variable] = s.where(value)
		}
		if got, want := text(told), "{"+variables+"}"; got != want {
			f.add("%s is told\n%s, want\n%s", name, got, want)
		}
		getenv := func(name string) string {
			value, _ := told[name].(string)
			return strings.ReplaceAll(value, " ", "-")
		}
		got, ofRevoke, err := settings.RevokeFromEnvironment(getenv)
		if err != nil {
			f.add("the %s function would not start: %v", name, err)
		}
		if got.TerraAPI != settings.DefaultTerraAPI || got.ReplayWindow != settings.DefaultReplayWindow || got.Source != settings.DefaultSource || !got.WatchDataEvents ||
			got.Retention != settings.DefaultRetention || got.NotRevokedAfter != settings.DefaultNotRevokedAfter || name != "revoke" && ofRevoke.DryRun {
			f.add("the template's defaults are not the functions': %+v, %+v", got, ofRevoke)
		}
		// And whatever a parameter permits, the functions take.
		for variable, edges := range map[string][]string{
			"RETENTION": {"Retention", "100h", "99999h"}, "NOT_REVOKED_AFTER": {"NotRevokedAfter", "1h", "9999h"}, "REPLAY_WINDOW": {"ReplayWindow", "1m", "999h"},
			"TERRA_API_URL": {"TerraApiUrl", "https://access.tryterra.co/api/v2"}, "WATCH_DATA_EVENTS": {"WatchDataEvents", "true", "false"},
		} {
			for _, edge := range edges[1:] {
				for _, fault := range permits(s.whole.at("Parameters/"+edges[0]), edge) {
					f.add("%s: %s", edges[0], fault)
				}
				if _, _, err := settings.RevokeFromEnvironment(func(name string) string {
					if name == variable {
						return edge
					}
					return getenv(name)
				}); err != nil {
					f.add("%s=%s: %v", variable, edge, err)
				}
			}
		}
	}
	return f
}

// other is another permitted value of each parameter.
var other = map[string]string{
	"TerraApiUrl": "https://access.tryterra.co/api/v2", "ReplayWindow": "90m", "WatchDataEvents": "false", "Source": "elsewhere", "TransfersTopicType": "fifo",
	"Revoke": "newest-wins", "RevokeDryRun": "false", "NotRevokedAfter": "72h", "Retention": "2400h", "Architecture": "x86_64", "WebhookMemory": "1024",
	"WebhookConcurrency": "50", "SweepConcurrency": "2", "RateLimit": "10", "BurstLimit": "20", "AlarmEmail": "a@example.com", "QuietHours": "6",
	"LogRetentionDays": "30", "WebhookTracing": "Active", "Deployment": "AllAtOnce",
	"KeyArn": "arn:aws:kms:eu-central-1:111122223333:key/ffffffff-0a1b-4c2d-8e3f-0a1b2c3d4e5f",
}

// versions: SAM publishes no new version when only a parameter's value changes, and the alias would stay with the old one. So a version's description
// changes with the function, and only then, since Lambda refuses to publish a function that has not changed.
func versions(s stack) (f faults) {
	if s.values["Revoke"] == "" || s.values["TransfersTopicType"] == "fifo" {
		return nil // one configuration with all functions is enough
	}
	published := func(s stack, name string) (function, description string) {
		properties := maps.Clone(s.of(name).properties)
		delete(properties, "ReservedConcurrentExecutions") // is of the function, not of a version
		for _, v := range s.resources("AWS::Lambda::Version") {
			if s.where(v.properties["FunctionName"]) == name+".Ref" {
				description = fmt.Sprint(v.properties["Description"])
			}
		}
		return text(properties) + text(s.of("transfers").properties["TopicName"]), description // another name is another topic, under another ARN
	}
	for _, name := range keys(s.whole["Parameters"]) {
		values := maps.Clone(s.values)
		values[name] = other[name]
		if other[name] == "" {
			f.add("the test knows no other value of %s", name)
		}
		for _, fault := range permits(s.whole.at("Parameters/"+name), other[name]) {
			f.add("%s %s", name, fault)
		}
		changed, err := resolved(s.whole, values)
		if err != nil {
			f.add("%s: %v", name, err)
		}
		for _, function := range []string{"webhook", "sweep", "revoke"} {
			was, wasSaid := published(s, function)
			is, said := published(changed, function)
			if (was == is) != (wasSaid == said) || is == "" {
				f.add("with another %s the %s function changes: %v, but its version's description: %v", name, function, was != is, wasSaid != said)
			}
		}
	}
	for _, v := range s.whole.resources("AWS::Lambda::Version") {
		f.want(v.whole, "DeletionPolicy", `"Retain"`) // README moves the alias back by hand
		longest := variable.ReplaceAllStringFunc(fmt.Sprint(at(v.properties, "Description/Fn::Sub")), func(name string) string {
			return strings.Repeat("x", longest(s.whole.at("Parameters/"+strings.Trim(name, "${}"))))
		})
		if len(longest) > 256 {
			f.add("%s can be described by %d characters; Lambda takes 256", v.id, len(longest))
		}
	}
	return f
}

// TestEveryPropertyMakesAVersion: SAM names a version after what it is made of. So whatever a later template changes of a function reaches the alias.
func TestEveryPropertyMakesAVersion(t *testing.T) {
	var templates []template
	for _, timeout := range []int{5, 6} {
		parsed, err := parse(read(t, "template.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, function := range parsed.resources("AWS::Serverless::Function") {
			function.properties["Timeout"] = timeout
		}
		templates = append(templates, parsed)
	}
	made, refused := transformed(t, templates...)
	if err := errors.Join(refused...); err != nil {
		t.Fatal(err)
	}
	for _, v := range made[0].resources("AWS::Lambda::Version") {
		if made[1].resource(v.id).kind != "" {
			t.Errorf("%s stays the version of a function that changes", v.id)
		}
	}
}

// longest is the length of the parameter's longest value.
func longest(parameter any) int {
	for _, limit := range []string{"MaxLength", "MaxValue"} {
		if n := at(parameter, limit); n != nil && limit == "MaxLength" {
			return number(n)
		} else if n != nil {
			return len(fmt.Sprint(n))
		}
	}
	length := 1000
	for i, value := range list(at(parameter, "AllowedValues")) {
		if n := len(fmt.Sprint(value)); i == 0 || n > length {
			length = n
		}
	}
	return length
}

// rollback: a deployment looks at what tells of a bad version, and at nothing that is raised when nothing happens.
func rollback(s stack) (f faults) {
	wanted := map[string][]string{"webhook": {"AWS/Lambda Errors", "AWS/Lambda Duration", "Handover Answered500"}}
	if s.values["Revoke"] != "" {
		wanted["revoke"] = []string{"AWS/Lambda Errors"}
	}
	f.want(s.whole, "Parameters/Deployment/Default", `"Canary10Percent5Minutes"`)
	for name, metrics := range wanted {
		group := s.resource(fmt.Sprint(at(s.of(name+":live").whole, "UpdatePolicy/CodeDeployLambdaAliasUpdate/DeploymentGroupName/Ref")))
		if group.kind != "AWS::CodeDeploy::DeploymentGroup" {
			f.add("%s has no deployment", name)
			continue
		}
		f.is(s, group.properties, "ServiceRoleArn", "deployment role")
		if s.values["Deployment"] == "AllAtOnce" { // the way to get a fix out while alarms are raised
			if group.properties["AlarmConfiguration"] != nil && len(object(group.properties["AlarmConfiguration"])) > 0 {
				f.add("%s cannot be deployed while an alarm is raised", name)
			}
			continue
		}
		f.want(group.properties, "DeploymentConfigName", `"CodeDeployDefault.LambdaCanary10Percent5Minutes"`)
		f.want(group.properties, "AlarmConfiguration/Enabled", `true`)
		f.want(group.properties, "AutoRollbackConfiguration/Enabled", `true`)
		if !slices.Contains(list(at(group.properties, "AutoRollbackConfiguration/Events")), any("DEPLOYMENT_STOP_ON_ALARM")) {
			f.add("an alarm does not roll back %s", name)
		}
		var watched []string
		for _, entry := range list(at(group.properties, "AlarmConfiguration/Alarms")) {
			alarm := s.resource(fmt.Sprint(at(entry, "Name/Ref")))
			if alarm.kind != "AWS::CloudWatch::Alarm" || alarm.properties["TreatMissingData"] != "notBreaching" {
				f.add("%s cannot stop a deployment", alarm.id)
			}
			watched = append(watched, fmt.Sprint(alarm.properties["Namespace"], " ", alarm.properties["MetricName"]))
			if on := s.where(at(alarm.properties, "Dimensions/0/Value")); on != name+".Ref" && on != "some-stack" {
				f.add("the deployment of %s looks at %s", name, on)
			}
		}
		if slices.Sort(watched); !slices.Equal(watched, slices.Sorted(slices.Values(metrics))) {
			f.add("the deployment of %s looks at %q, want %q", name, watched, metrics)
		}
	}
	return f
}

// outOfRange are values of each parameter that are refused.
var outOfRange = map[string][]string{
	"TerraApiUrl":  {"http://api.tryterra.co/v2", "https://api.tryterra.co/v2/", "api.tryterra.co/v2", "https://" + strings.Repeat("a", 57)},
	"ReplayWindow": {"26", "0h", "1.5h", "1000h", "10000m", "1d"}, "WatchDataEvents": {"yes"}, "Source": {"", "two words", "-a", strings.Repeat("a", 33)},
	"TransfersTopicType": {"FIFO"}, "Revoke": {"on", "newest"}, "RevokeDryRun": {"yes"}, "NotRevokedAfter": {"24", "0h", "30m", "10000h"},
	"Retention": {"99h", "400d", "100000h"}, "Architecture": {"amd64"}, "WebhookMemory": {"127", "3009"}, "WebhookConcurrency": {"-2", "0", "10001"},
	"SweepConcurrency": {"-2", "0", "11"}, "RateLimit": {"0", "10001"}, "BurstLimit": {"0", "5001"}, "AlarmEmail": {"team", "a b@example.com", "a@example.com,b@example.com"},
	"QuietHours": {"0", "169"}, "LogRetentionDays": {"7", "366"}, "WebhookTracing": {"On"}, "Deployment": {"Canary10Percent30Minutes"},
	"KeyArn": {"0a1b2c3d", "arn:aws:kms:eu-central-1:111122223333:alias/handover"},
}

// broken returns what the template's rules say about the value of a parameter; nothing if they accept it.
func broken(whole template, parameter, value string) (said []string) {
	r := resolver{values: map[string]any{}}
	for _, name := range keys(whole["Parameters"]) {
		r.values[name] = whole.at("Parameters/" + name + "/Default")
	}
	r.values[parameter] = value
	for _, rule := range keys(whole["Rules"]) {
		for _, assertion := range list(whole.at("Rules/" + rule + "/Assertions")) {
			if condition, _ := at(assertion, "Assert").(map[string]any); !r.holds(condition) {
				said = append(said, fmt.Sprint(at(assertion, "AssertDescription")))
			}
		}
	}
	return said
}

func parameters(s stack) (f faults) {
	var grouped []string
	for _, group := range list(s.whole.at("Metadata/AWS::CloudFormation::Interface/ParameterGroups")) {
		for _, name := range list(at(group, "Parameters")) {
			grouped = append(grouped, fmt.Sprint(name))
		}
	}
	slices.Sort(grouped)
	names := keys(s.whole["Parameters"])
	if !slices.Equal(grouped, names) {
		f.add("the groups have %q, want %q", grouped, names)
	}
	used := references(map[string]any{"r": s.whole["Resources"], "c": s.whole["Conditions"], "o": s.whole["Outputs"]})
	for _, name := range names {
		p := s.whole.at("Parameters/" + name)
		for _, fault := range permits(p, fmt.Sprint(at(p, "Default"))) {
			f.add("the default of %s %s", name, fault)
		}
		if at(p, "Default") == nil {
			f.add("%s must be given", name)
		}
		if at(p, "Description") == nil || s.whole.at("Metadata/AWS::CloudFormation::Interface/ParameterLabels/"+name) == nil {
			f.add("%s has no description or no label", name)
		}
		if at(p, "AllowedPattern") == nil && at(p, "MinValue") == nil && at(p, "AllowedValues") == nil {
			f.add("%s has no limits", name)
		}
		if at(p, "ConstraintDescription") == nil { // CloudFormation alone would not even say which values are allowed
			f.add("%s does not say what it must be", name)
		}
		if !slices.Contains(used, name) {
			f.add("%s is not used", name)
		}
		if at(p, "NoEcho") != nil || regexp.MustCompile(`(?i)secret|apikey|devid|password|token`).MatchString(name) {
			f.add("%s: no credential goes through a parameter", name)
		}
	}
	for _, name := range names {
		if len(outOfRange[name]) == 0 {
			f.add("the test knows no value of %s that is out of range", name)
		}
		for _, value := range outOfRange[name] {
			if len(permits(s.whole.at("Parameters/"+name), value)) == 0 && len(broken(s.whole, name, value)) == 0 {
				f.add("%s may be %q", name, value)
			}
		}
		if rules := broken(s.whole, name, fmt.Sprint(s.whole.at("Parameters/"+name+"/Default"))); len(rules) > 0 {
			f.add("the default of %s is refused: %q", name, rules)
		}
	}
	for _, path := range []string{"Name", "Description", "Author", "SpdxLicenseId", "LicenseUrl", "ReadmeUrl", "SemanticVersion", "SourceCodeUrl"} {
		if s.whole.at("Metadata/AWS::ServerlessRepo::Application/"+path) == nil {
			f.add("the Serverless Application Repository wants %s", path)
		}
	}
	return f
}

// permits says why CloudFormation would refuse the value; nothing if it would not.
func permits(parameter any, value string) (f faults) {
	if pattern, has := at(parameter, "AllowedPattern").(string); has && !regexp.MustCompile(pattern).MatchString(value) {
		f.add("%q does not match %s", value, pattern)
	}
	if most := at(parameter, "MaxLength"); most != nil && len(value) > number(most) {
		f.add("%q is longer than %v", value, most)
	}
	if at(parameter, "Type") == "Number" {
		least, most := at(parameter, "MinValue"), at(parameter, "MaxValue")
		if n, err := strconv.Atoi(value); err != nil || least != nil && n < number(least) || most != nil && n > number(most) {
			f.add("%q is not a number from %v to %v", value, least, most)
		}
	}
	if allowed := list(at(parameter, "AllowedValues")); allowed != nil && !slices.ContainsFunc(allowed, func(v any) bool { return fmt.Sprint(v) == value }) {
		f.add("%q is not one of %v", value, allowed)
	}
	return f
}

func outputs(s stack) (f faults) {
	wanted := map[string]string{
		"WebhookUrl":            "https://api.Ref.execute-api.eu-central-1.example.net/webhook",
		"TransfersTopicArn":     "transfers",
		"AlarmsTopicArn":        "alarms",
		"TerraSecretArn":        "terra secret",
		"AccountKeySecretArn":   "account key",
		"AccountsTableName":     "accounts.Ref",
		"ConnectionsTableName":  "connections.Ref",
		"EncryptionKeyArn":      "key",
		"DashboardUrl":          "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#dashboards/dashboard/Dashboard.Ref",
		"NeedsAPersonAlarmName": "composite.Ref",
		"WebhookFunctionName":   "webhook.Ref",
		"SweepFunctionName":     "sweep.Ref",
	}
	if s.values["Revoke"] != "" {
		wanted["RevokeFunctionName"], wanted["RevokeDeadLettersUrl"] = "revoke.Ref", "revoke dead letters.Ref"
	}
	for name, value := range wanted {
		f.is(s, s.template, "Outputs/"+name+"/Value", value)
	}
	for _, name := range keys(s.template["Outputs"]) {
		if s.at("Outputs/"+name+"/Description") == nil {
			f.add("the output %s has no description", name)
		}
	}
	return f
}
