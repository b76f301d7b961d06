package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/handover-dev/handover/internal/realparts"
)

// configurations are the values of parameters with which the template is judged. A promise holds in each.
var configurations = []struct {
	name   string
	values map[string]string
}{
	{"default", nil},
	{"an address", map[string]string{"AlarmEmail": "somebody@example.com"}},
	{"all on", map[string]string{"Revoke": "newest-wins", "TransfersTopicType": "fifo", "WebhookConcurrency": "100", "AlarmEmail": "somebody@example.com",
		"WebhookTracing": "Active", "QuietHours": "168"}},
	{"own key", map[string]string{"Revoke": "first-wins", "RevokeDryRun": "true", "SweepConcurrency": "-1", "Architecture": "x86_64", "Deployment": "AllAtOnce",
		"KeyArn": "arn:aws:kms:eu-central-1:111122223333:key/0a1b2c3d-0a1b-4c2d-8e3f-0a1b2c3d4e5f"}},
}

// pseudo are CloudFormation's own parameters. No text of the template has these values by itself.
var pseudo = map[string]string{
	"AWS::StackName": "some-stack", "AWS::Region": "eu-central-1", "AWS::AccountId": "111122223333", "AWS::Partition": "aws-odd", "AWS::URLSuffix": "example.net",
}

// stack is what CloudFormation makes of the template in one configuration.
type stack struct {
	template                     // what is there, with everything resolved that depends on parameters
	values     map[string]string // of the parameters that are not left at their default
	whole      template          // the transformed template before that
	names, ids map[string]string // what each resource is for, by logical id, and the other way round
}

// transformed returns what SAM makes of templates, all in one process; of one that SAM refuses, the error.
func transformed(t *testing.T, templates ...template) (made []template, refused []error) {
	t.Helper()
	command := exec.Command(realparts.SAM(t), top+"/.tools/transform.py")
	input, err := json.Marshal(templates)
	if err != nil {
		t.Fatal(err)
	}
	var output, log bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &output, &log
	if err := command.Run(); err != nil {
		t.Fatalf("%v: %s", err, log.Bytes())
	}
	var results []struct {
		Template template
		Error    string
	}
	if err := json.Unmarshal(output.Bytes(), &results); err != nil || len(results) != len(templates) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for _, result := range results {
		var err error
		if result.Error != "" {
			err = errors.New(result.Error)
		}
		made, refused = append(made, result.Template), append(refused, err)
	}
	return made, refused
}

// resolved is what CloudFormation makes of a transformed template.
func resolved(whole template, values map[string]string) (stack, error) {
	all := map[string]string{}
	for _, given := range []map[string]string{pseudo, values} {
		for name, value := range given {
			all[name] = value
		}
	}
	there, err := Resolve(whole, all)
	s := stack{template: there, values: values, whole: whole, names: map[string]string{}, ids: map[string]string{}}
	if err == nil {
		s.name()
	}
	return s, err
}

// original is the template as it is, in each configuration.
func original(t *testing.T) (stacks []stack) {
	t.Helper()
	parsed, err := parse(read(t, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	made, refused := transformed(t, parsed)
	if refused[0] != nil {
		t.Fatal(refused[0])
	}
	for _, configuration := range configurations {
		s, err := resolved(made[0], configuration.values)
		if err != nil {
			t.Fatal(err)
		}
		stacks = append(stacks, s)
	}
	return stacks
}

// name finds out what each resource is for: from the ways in to the functions, from their settings to what they use. Logical ids say nothing.
func (s *stack) name() {
	call := func(id, name string) {
		if id != "" && s.names[id] == "" && s.ids[name] == "" {
			s.names[id], s.ids[name] = name, id
		}
	}
	target := func(v any) string { // the one resource that v refers to
		if ids := references(v); len(ids) == 1 {
			return ids[0]
		}
		return ""
	}
	function := func(alias any, name string) { // what an alias stands for
		id := target(alias)
		call(id, name+":live")
		call(target(s.at("Resources/"+id+"/Properties/FunctionName")), name)
	}
	for _, api := range s.resources("AWS::ApiGatewayV2::Api") {
		call(api.id, "api")
		function(at(api.properties["Body"], "paths/~webhook/post/x-amazon-apigateway-integration/uri"), "webhook")
	}
	for _, stage := range s.resources("AWS::ApiGatewayV2::Stage") {
		call(target(at(stage.properties, "AccessLogSettings/DestinationArn")), "api logs")
	}
	for _, schedule := range s.resources("AWS::Scheduler::Schedule") {
		function(at(schedule.properties, "Target/Arn"), "sweep")
		call(target(at(schedule.properties, "Target/RoleArn")), "schedule role")
	}
	for _, source := range s.resources("AWS::Lambda::EventSourceMapping") {
		function(source.properties["FunctionName"], "revoke")
		queue := target(source.properties["EventSourceArn"])
		call(queue, "revoke queue")
		call(target(s.at("Resources/"+queue+"/Properties/RedrivePolicy/deadLetterTargetArn")), "revoke dead letters")
	}
	for _, c := range s.resources("AWS::Lambda::EventInvokeConfig") {
		call(target(at(c.properties, "DestinationConfig/OnFailure/Destination")), "sweep dead letters")
	}
	for _, f := range []string{"webhook", "sweep", "revoke"} {
		properties := s.of(f).properties
		call(target(properties["Role"]), f+" role")
		call(target(at(properties, "LoggingConfig/LogGroup")), f+" logs")
	}
	for variable, name := range map[string]string{"ACCOUNTS_TABLE": "accounts", "CONNECTIONS_TABLE": "connections", "TRANSFERS_TOPIC_ARN": "transfers",
		"TERRA_SECRET_ARN": "terra secret", "ACCOUNT_KEY_SECRET_ARN": "account key"} {
		call(target(at(s.of("webhook").properties, "Environment/Variables/"+variable)), name)
	}
	for _, subscription := range s.resources("AWS::SNS::Subscription") {
		call(target(at(subscription.properties, "RedrivePolicy/deadLetterTargetArn")), "undelivered")
	}
	for _, group := range s.resources("AWS::CodeDeploy::DeploymentGroup") {
		call(target(group.properties["ServiceRoleArn"]), "deployment role")
	}
	for _, alarm := range s.resources("AWS::CloudWatch::CompositeAlarm") {
		call(alarm.id, "composite")
		call(target(alarm.properties["AlarmActions"]), "alarms")
	}
	for _, key := range s.resources("AWS::KMS::Key") {
		call(key.id, "key")
	}
}

// of returns what is called name.
func (s *stack) of(name string) resource { return s.resource(s.ids[name]) }

// where says which resource a value stands for, by its name. What is no ARN is told apart: "accounts.Ref" is a table's name, "alarms.TopicName" a topic's.
func (s *stack) where(v any) string {
	called := func(id, attribute string) string {
		name := s.names[id]
		if name == "" {
			name = id
		}
		if attribute == "" {
			kinds := []string{"AWS::SNS::Topic", "AWS::SecretsManager::Secret", "AWS::Lambda::Alias", "AWS::IAM::ManagedPolicy"}
			if slices.Contains(kinds, s.resource(id).kind) { // their Ref is their ARN
				return name
			}
			return name + ".Ref"
		}
		return strings.TrimSuffix(name+"."+attribute, ".Arn")
	}
	switch {
	case v == nil:
		return ""
	case at(v, "Ref") != nil:
		return called(fmt.Sprint(at(v, "Ref")), "")
	case at(v, "Fn::GetAtt") != nil:
		return called(fmt.Sprint(at(v, "Fn::GetAtt/0")), fmt.Sprint(at(v, "Fn::GetAtt/1")))
	case at(v, "Fn::Sub") != nil:
		return variable.ReplaceAllStringFunc(fmt.Sprint(at(v, "Fn::Sub")), func(reference string) string {
			id, attribute, _ := strings.Cut(reference[2:len(reference)-1], ".")
			return called(id, attribute)
		})
	case v == s.values["KeyArn"]:
		return "key"
	}
	if plain, is := v.(string); is {
		return plain
	}
	return text(v)
}
