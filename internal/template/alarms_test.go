package template

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/handover-dev/handover/internal/realparts"
	"github.com/handover-dev/handover/internal/telemetry"
)

// provided are the metrics of AWS that alarms and the dashboard may rest on: namespace and name, then the one dimension that gives data, what it has to hold
// for a resource, and of which kind that is. Any other spelling makes an alarm that never fires.
var provided = map[string]struct{ dimension, holds, kind string }{
	"AWS/ApiGateway Latency":                     {"ApiId", "Ref", "AWS::ApiGatewayV2::Api"},
	"AWS/Lambda Errors":                          {"FunctionName", "Ref", "AWS::Lambda::Function"},
	"AWS/Lambda Throttles":                       {"FunctionName", "Ref", "AWS::Lambda::Function"},
	"AWS/Lambda Duration":                        {"FunctionName", "Ref", "AWS::Lambda::Function"},
	"AWS/SQS ApproximateNumberOfMessagesVisible": {"QueueName", "QueueName", "AWS::SQS::Queue"},
	"AWS/SQS ApproximateAgeOfOldestMessage":      {"QueueName", "QueueName", "AWS::SQS::Queue"},
	"AWS/SNS NumberOfNotificationsFailed":        {"TopicName", "TopicName", "AWS::SNS::Topic"},
	"AWS/SNS NumberOfNotificationsDelivered":     {"TopicName", "TopicName", "AWS::SNS::Topic"},
	"AWS/DynamoDB WriteThrottleEvents":           {"TableName", "Ref", "AWS::DynamoDB::Table"},
}

// watched is what must be watched at least: metric and resource.
var watched = []string{
	"AWS/ApiGateway Latency api", "AWS/Lambda Errors webhook", "AWS/Lambda Throttles webhook", "AWS/Lambda Duration webhook", "AWS/Lambda Errors sweep",
	"AWS/SQS ApproximateNumberOfMessagesVisible sweep dead letters", "AWS/SNS NumberOfNotificationsFailed transfers",
	"AWS/DynamoDB WriteThrottleEvents accounts", "AWS/DynamoDB WriteThrottleEvents connections",
	"Handover Accepted", "Handover Heartbeats", "Handover Answered500", "Handover SignatureFailures", "Handover ClockRefusals", "Handover BodiesTooLarge",
	"Handover GatewayTooLarge", "Handover GatewayUnreadable", "Handover GatewayThrottled", "Handover TerraSecretUnusable", "Handover AccountKeyUnusable",
	"Handover AccountKeyMismatch", "Handover Sweeps", "Handover UnsettledAge", "Handover UnidentifiableShare", "Handover WithoutReference", "Handover Guesses",
	"Handover Crowded", "Handover TerraFailures", "Handover TerraLimited", "Handover AnnouncementFailures", "Handover NotRevoked",
}

// refusals are the metrics that a filter of the API's log makes, and the status that each counts.
var refusals = map[string]string{"GatewayTooLarge": "413", "GatewayThrottled": "429", "GatewayUnreadable": "400"}

// highest is the highest threshold at which an alarm still comes in time, or at all: what counts single things tells of the first.
var highest = map[string]int{
	"Latency":                       8000,      // Terra waits no longer
	"Duration":                      6999,      // the function gives up after 7 s
	"SignatureFailures":             10,        // Terra tries one webhook about as often
	"UnidentifiableShare":           50,        // percent
	"UnsettledAge":                  4 * 3600,  // a connection is tried each hour
	"ApproximateAgeOfOldestMessage": 24 * 3600, // the queue forgets after four days
}

// metric says what a metric is of, as in watched, or why it does not exist. dimension is its one dimension, which holds value.
func (s *stack) metric(namespace, name, dimension any, value any) (of string, fault error) {
	metric := fmt.Sprint(namespace, " ", name)
	on := s.where(value)
	if namespace == telemetry.Namespace {
		if telemetry.Metric(fmt.Sprint(name)).Unit() == "" && !s.filtered(fmt.Sprint(name)) {
			return "", fmt.Errorf("no function counts %v, and no filter of the log", name)
		}
		if dimension != "Stack" || on != "some-stack" {
			return "", fmt.Errorf("%s has the one dimension Stack, not %v=%s", metric, dimension, on)
		}
		return metric, nil
	}
	known, is := provided[metric]
	resource, holds, _ := strings.Cut(on, ".")
	if !is {
		return "", fmt.Errorf("AWS has no metric %q that may be used here", metric)
	}
	id := s.ids[resource]
	if id == "" {
		id = resource
	}
	if dimension != known.dimension || holds != known.holds || s.resource(id).kind != known.kind {
		return "", fmt.Errorf("%s has the dimension %s of a %s, not %v=%s", metric, known.dimension, known.kind, dimension, on)
	}
	return metric + " " + resource, nil
}

// filtered reports whether a filter of the API's log counts the metric, for this stack.
func (s *stack) filtered(name string) bool {
	for _, filter := range s.resources("AWS::Logs::MetricFilter") {
		for _, made := range list(filter.properties["MetricTransformations"]) {
			if at(made, "MetricNamespace") == telemetry.Namespace && at(made, "MetricName") == name && at(made, "MetricValue") == "1" &&
				text(at(made, "Dimensions")) == `[{"Key":"Stack","Value":"$.stack"}]` && at(made, "DefaultValue") == nil && s.where(filter.properties["LogGroupName"]) == "api logs.Ref" {
				return filter.properties["FilterPattern"] == fmt.Sprintf(`{ $.route = "POST /webhook" && $.status = %s }`, refusals[name])
			}
		}
	}
	return false
}

func alarms(s stack) (f faults) {
	var seen []string
	for _, alarm := range s.resources("AWS::CloudWatch::Alarm") {
		p := alarm.properties
		f = append(f, s.described(alarm)...)
		if s.where(at(p, "AlarmActions/0")) != "alarms" || len(list(p["AlarmActions"])) != 1 {
			f.add("%s tells %s", alarm.id, text(p["AlarmActions"]))
		}
		if p["ActionsEnabled"] != nil || p["Unit"] != nil || p["EvaluateLowSampleCountPercentile"] != nil { // a quiet app's percentiles are of few samples
			f.add("%s: ActionsEnabled, Unit or EvaluateLowSampleCountPercentile", alarm.id)
		}

		// A simple alarm names its metric itself, one with an expression in its list.
		type metric struct{ of, period, stat any }
		found := []metric{{p, p["Period"], p["Statistic"]}}
		if p["ExtendedStatistic"] != nil {
			found[0].stat = p["ExtendedStatistic"]
		}
		if p["Metrics"] != nil {
			found = nil
			var all []string
			for _, query := range list(p["Metrics"]) {
				if stat := at(query, "MetricStat"); stat != nil {
					f.want(query, "ReturnData", `false`)
					found = append(found, metric{at(stat, "Metric"), at(stat, "Period"), at(stat, "Stat")})
					all = append(all, fmt.Sprintf("FILL(%v, 0)", at(query, "Id")))
				} else if at(query, "ReturnData") == false {
					f.add("%s looks at nothing", alarm.id)
				}
			}
			// One of them is enough, also where the other has no data.
			if expression := at(p, "Metrics/0/Expression"); expression != "MAX(["+strings.Join(all, ", ")+"])" {
				f.add("%s looks at %v", alarm.id, expression)
			}
		}
		for _, m := range found {
			name := fmt.Sprint(at(m.of, "MetricName"))
			of, err := s.metric(at(m.of, "Namespace"), name, at(m.of, "Dimensions/0/Name"), at(m.of, "Dimensions/0/Value"))
			if err != nil || len(list(at(m.of, "Dimensions"))) != 1 {
				f.add("%s: %v", alarm.id, err)
				continue
			}
			seen = append(seen, of)

			period, evaluated := number(m.period), number(p["EvaluationPeriods"])
			limit := 24 * 3600
			if period >= 3600 {
				limit *= 7
			}
			if evaluated == 0 || period%60 != 0 || period == 0 || period*evaluated > limit {
				f.add("%s: CloudWatch does not take %d periods of %d s", alarm.id, evaluated, period)
			}
			if enough, has := p["DatapointsToAlarm"]; has && (number(enough) > evaluated || number(enough) == 0) {
				f.add("%s: %v data points out of %d", alarm.id, enough, evaluated)
			}
			// What fails now and then does not fail in each period; and within an hour it must be told.
			if p["TreatMissingData"] != "breaching" && (p["DatapointsToAlarm"] == nil && evaluated != 1 || period*evaluated > 3600) {
				f.add("%s wants each of %d periods of %d s to be bad", alarm.id, evaluated, period)
			}
			if most := max(1, highest[name]); number(p["Threshold"]) > most {
				f.add("%s: %s does not reach %v in time", alarm.id, name, p["Threshold"])
			}
			// What is counted is summed up; what is measured now and then has a greatest value; of times the slow ones count.
			wanted := "Sum"
			switch name {
			case "Latency", "Duration":
				wanted = "p99"
			case "ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage", "UnsettledAge", "UnidentifiableShare", "NotRevoked":
				wanted = "Maximum"
			}
			// https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html: of a queue only what is given up.
			if name == "NumberOfNotificationsFailed" && !strings.Contains(s.where(p["AlarmDescription"]), "to an HTTP(S) endpoint each failed attempt counts") {
				f.add("%s speaks of what SNS gives up, but it is raised before that", alarm.id)
			}
			if m.stat != wanted {
				f.add("%s: the statistic of %s is %v, want %s", alarm.id, name, m.stat, wanted)
			}
			// Where nothing comes, there is no data: an alarm on "nothing came" must take that for what it waits for; one on what is measured once an hour or a
			// day must stay as it is meanwhile; any other must not be raised.
			missing, comparison := "notBreaching", "GreaterThanOrEqualToThreshold"
			switch name {
			case "Accepted", "Heartbeats", "Sweeps":
				missing, comparison = "breaching", "LessThanThreshold"
				f.want(p, "Threshold", `1`)
				quiet := number(s.values["QuietHours"])
				if quiet == 0 {
					quiet = 24
				}
				// A heartbeat is due every five minutes, a sweep every minute: a period must be that long, or the alarm is always raised.
				due, within := map[string]int{"Accepted": 3600, "Heartbeats": 300, "Sweeps": 60}[name], map[string]int{"Accepted": quiet * 3600, "Heartbeats": 900, "Sweeps": 300}[name]
				if period < due || period*evaluated != within || p["DatapointsToAlarm"] != nil {
					f.add("%s: silence of %d s is an alarm, in %d periods; want %d s in periods of at least %d", alarm.id, period*evaluated, evaluated, within, due)
				}
			case "UnidentifiableShare", "NotRevoked":
				missing = "ignore"
			}
			if p["TreatMissingData"] != missing || p["ComparisonOperator"] != comparison || number(p["Threshold"]) < 1 {
				f.add("%s: %v %v with missing data %v", alarm.id, p["ComparisonOperator"], p["Threshold"], p["TreatMissingData"])
			}
		}
	}
	wanted := slices.Clone(watched)
	if s.values["Revoke"] != "" {
		wanted = append(wanted, "AWS/Lambda Errors revoke")
	}
	for _, queue := range s.resources("AWS::SQS::Queue") {
		metric := "AWS/SQS ApproximateNumberOfMessagesVisible "
		if queue.properties["RedrivePolicy"] != nil { // a queue at work holds messages; they must not grow old
			metric = "AWS/SQS ApproximateAgeOfOldestMessage "
		}
		wanted = append(wanted, metric+s.named(queue.id))
	}
	for _, metric := range wanted {
		if !slices.Contains(seen, metric) {
			f.add("nothing watches %s", metric)
		}
	}
	return f
}

const runbook = "https://github.com/handover-dev/handover/blob/main/.github/RUNBOOK.md#"

// described wants of an alarm that it says what it means, what to run first, and where the runbook goes on.
func (s *stack) described(alarm resource) (f faults) {
	description := s.where(alarm.properties["AlarmDescription"])
	meaning, rest, _ := strings.Cut(description, " First: ")
	first, link, _ := strings.Cut(rest, " Runbook: ")
	if len(meaning) < 40 || len(first) < 20 || link != runbook+section(alarm.id) {
		f.add("%s: its description has not what it means, and after \"First:\" what to do, and then the link to the runbook's section %s", alarm.id, section(alarm.id))
	}
	for _, field := range regexp.MustCompile(`\$\.(\w+)`).FindAllStringSubmatch(first, -1) {
		if !logged(field[1]) {
			f.add("%s: no log line has %s", alarm.id, field[1])
		}
	}
	for _, group := range regexp.MustCompile(`/aws/[\w/-]+`).FindAllString(first, -1) {
		if !slices.ContainsFunc(s.resources("AWS::Logs::LogGroup"), func(r resource) bool { return r.properties["LogGroupName"] == group }) {
			f.add("%s: there is no log %s", alarm.id, group)
		}
	}
	// The longest values that stand for a variable are ARNs and URLs of queues.
	if sub := at(alarm.properties["AlarmDescription"], "Fn::Sub"); sub != nil {
		description = fmt.Sprint(sub)
	}
	if n := len(variable.ReplaceAllString(description, strings.Repeat("x", 150))); n > 1024-128 { // a stack's name may have 128 characters
		f.add("%s: its description can become longer than CloudWatch's 1024 characters: %d", alarm.id, n)
	}
	return f
}

// logged reports whether log lines have the field: a metric, or what the functions' lines and the API's have alike.
func logged(field string) bool {
	return telemetry.Metric(field).Unit() != "" || field == "status" || field == "ms"
}

// section is the runbook's section about an alarm: QuietAlarm's is quiet, NotRevokedAlarm's not-revoked.
func section(alarm string) string {
	words := regexp.MustCompile(`[A-Z][a-z]*`).FindAllString(strings.TrimSuffix(alarm, "Alarm"), -1)
	return strings.ToLower(strings.Join(words, "-"))
}

func composite(s stack) (f faults) {
	all := s.of("composite")
	f = append(f, s.described(all)...)
	for _, actions := range []string{"AlarmActions", "OKActions"} {
		if s.where(at(all.properties, actions+"/0")) != "alarms" {
			f.add("%s go to %s", actions, text(all.properties[actions]))
		}
	}
	if !strings.Contains(s.where(all.properties["AlarmDescription"]), "AlarmActions[0]=='alarms'") { // the name of another stack may begin with this one's
		f.add("%s has people look at the alarms of other stacks, too", all.id)
	}
	if all.properties["ActionsEnabled"] != nil || all.properties["ActionsSuppressor"] != nil {
		f.add("%s tells nobody, or not always", all.id)
	}
	rule, _ := at(all.properties, "AlarmRule/Fn::Sub").(string)
	var wanted []string
	for _, alarm := range s.resources("AWS::CloudWatch::Alarm") {
		wanted = append(wanted, fmt.Sprintf(`ALARM("${%s}")`, alarm.id))
	}
	if got := slices.Sorted(slices.Values(strings.Split(strings.Join(strings.Fields(rule), " "), " OR "))); !slices.Equal(got, wanted) {
		f.add("the rule is of\n%q, want\n%q", got, wanted)
	}
	if len(wanted) > 100 || len(rule) > 10_240-len(wanted)*150 {
		f.add("CloudWatch takes no rule as long as this")
	}
	return f
}

// dashboard: one look answers the four questions, and everything it draws exists.
func dashboard(s stack) (f faults) {
	boards := s.resources("AWS::CloudWatch::Dashboard")
	if len(boards) != 1 {
		f.add("there are %d dashboards", len(boards))
		return f
	}
	body := fmt.Sprint(at(boards[0].properties, "DashboardBody/Fn::Sub"))
	var board struct {
		Widgets []struct {
			Type       string
			X, Y       int
			Properties struct {
				Title, Region string
				Alarms        []string
				Metrics       [][]any
			}
		}
	}
	decoder := json.NewDecoder(strings.NewReader(body))
	if err := decoder.Decode(&board); err != nil {
		f.add("the dashboard is not JSON: %v", err)
	}
	var shown, wanted, drawn []string
	titles := map[string]int{}
	for _, widget := range board.Widgets {
		titles[widget.Properties.Title] = len(widget.Properties.Metrics)
		shown = append(shown, widget.Properties.Alarms...)
		if widget.Type == "metric" && widget.Properties.Region != "eu-central-1" {
			f.add("%s is of the region %s", widget.Properties.Title, widget.Properties.Region)
		}
		for _, metric := range widget.Properties.Metrics {
			if len(metric) < 4 {
				f.add("%s draws %v", widget.Properties.Title, metric)
				continue
			}
			var value any = metric[3]
			if reference := variable.FindStringSubmatch(fmt.Sprint(metric[3])); reference != nil {
				value = map[string]any{"Fn::Sub": reference[0]}
				if !strings.Contains(reference[1], ".") {
					value = map[string]any{"Ref": reference[1]}
				}
			}
			of, err := s.metric(metric[0], metric[1], metric[2], value)
			if err != nil {
				f.add("%s: %v", widget.Properties.Title, err)
			}
			drawn = append(drawn, of)
		}
	}
	for _, question := range []string{"Is it receiving?", "Is it settling?", "Is it announcing?", "Is anyone waiting?"} {
		if titles[question] < 3 {
			f.add("the dashboard does not answer: %s", question)
		}
	}
	for _, metric := range []string{"Handover Accepted", "Handover UnsettledAge", "Handover Transfers", "Handover NotRevoked", "Handover LeftToAPerson"} {
		if !slices.Contains(drawn, metric) {
			f.add("the dashboard does not draw %s", metric)
		}
	}
	for _, queue := range s.resources("AWS::SQS::Queue") {
		if !slices.Contains(drawn, "AWS/SQS ApproximateNumberOfMessagesVisible "+s.named(queue.id)) {
			f.add("the dashboard does not draw %s", queue.id)
		}
	}
	for _, alarm := range s.resources("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm") {
		wanted = append(wanted, "${"+alarm.id+".Arn}")
	}
	if slices.Sort(shown); !slices.Equal(shown, wanted) {
		f.add("the dashboard shows the alarms\n%q, want\n%q", shown, wanted)
	}
	return f
}

// TestRunbook: one section for each alarm, and whatever a section tells people to run or to look at exists.
func TestRunbook(t *testing.T) {
	runbook := read(t, ".github/RUNBOOK.md")
	s := original(t)[2]
	var wanted []string
	for _, alarm := range s.resources("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm") {
		wanted = append(wanted, section(alarm.id))
	}
	var found []string
	parts := strings.Split(runbook, "\n## ")
	for _, part := range parts[1:] {
		title, body, _ := strings.Cut(part, "\n")
		name := strings.ReplaceAll(strings.ToLower(title), " ", "-")
		if slices.Contains(wanted, name) {
			for _, label := range []string{"**Means**", "**First**", "**Then**", "**Over**"} {
				if strings.Count(body, label) != 1 {
					t.Errorf("%s: %d times %s", title, strings.Count(body, label), label)
				}
			}
		}
		found = append(found, name)
	}
	found = slices.DeleteFunc(found, func(name string) bool { return name == "before-you-begin" })
	if slices.Sort(found); !slices.Equal(found, slices.Sorted(slices.Values(wanted))) {
		t.Errorf("the runbook is about\n%q, want\n%q", found, wanted)
	}
	for _, output := range regexp.MustCompile(`<([A-Z]\w+)>`).FindAllStringSubmatch(runbook, -1) {
		if s.at("Outputs/"+output[1]) == nil {
			t.Errorf("there is no output %s", output[1])
		}
	}
	for _, name := range regexp.MustCompile("`([A-Z]\\w+)`").FindAllStringSubmatch(runbook, -1) {
		metric := telemetry.Metric(name[1]).Unit() != "" || s.filtered(name[1])
		if !metric && s.whole.at("Parameters/"+name[1]) == nil && s.at("Outputs/"+name[1]) == nil && s.resource(name[1]).kind == "" {
			t.Errorf("there is no parameter, output, resource or metric %s", name[1])
		}
	}
	for _, group := range regexp.MustCompile(`/aws/[\w/-]*\$STACK[\w/-]*`).FindAllString(runbook, -1) {
		if !slices.ContainsFunc(s.resources("AWS::Logs::LogGroup"), func(r resource) bool {
			return r.properties["LogGroupName"] == strings.ReplaceAll(group, "$STACK", "some-stack")
		}) {
			t.Errorf("there is no log %s", group)
		}
	}
	for _, field := range regexp.MustCompile(`\$\.(\w+)`).FindAllStringSubmatch(runbook, -1) {
		if !logged(field[1]) {
			t.Errorf("no log line has %s", field[1])
		}
	}
	makefile := read(t, "Makefile")
	for _, target := range regexp.MustCompile("(?m)(?:`|^\\$ )make ([a-z]+)").FindAllStringSubmatch(runbook, -1) {
		if !strings.Contains(makefile, "\n"+target[1]+":") {
			t.Errorf("there is no make %s", target[1])
		}
	}
	if strings.Contains(runbook, "](#") {
		for _, link := range regexp.MustCompile(`\]\(#([\w-]+)\)`).FindAllStringSubmatch(runbook, -1) {
			if !slices.Contains(append(found, "before-you-begin"), link[1]) {
				t.Errorf("the runbook links to no section #%s", link[1])
			}
		}
	}
}

// TestCommands: AWS has every operation and option of the commands that alarms and pages tell people to run.
func TestCommands(t *testing.T) {
	var commands []string
	for _, alarm := range original(t)[2].resources("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm") {
		_, first, _ := strings.Cut(text(at(alarm.properties, "AlarmDescription")), " First: ")
		first, _, _ = strings.Cut(first, " Runbook: ")
		commands = append(commands, regexp.MustCompile(`\baws [a-z]+ [a-z-]+(?: (?:'[^']*'|--?[\w-]+|\$\{[^}]+\}[\w-]*|/[\w/-]+|[0-9a-z]+h|[A-Z]\w+))*`).FindAllString(first, -1)...)
	}
	found := len(commands)
	for _, page := range []string{".github/RUNBOOK.md", ".github/OPERATIONS.md", "README.md"} {
		whole := strings.ReplaceAll(read(t, page), "\\\n", " ")
		for _, command := range regexp.MustCompile("(?m)(?:`|^ *\\$ )(aws [a-z]+ [^`\n]*)").FindAllStringSubmatch(whole, -1) {
			one, _, _ := strings.Cut(command[1], " && ")
			commands = append(commands, one)
		}
	}
	if found < 25 || len(commands) < found+30 {
		t.Errorf("only %d commands were found, %d of them in alarms", len(commands), found)
	}
	check := exec.Command(realparts.SAM(t), top+"/.tools/commands.py")
	check.Stdin = strings.NewReader(strings.Join(commands, "\n"))
	if output, err := check.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("%v\n%s", err, output)
	}
}
