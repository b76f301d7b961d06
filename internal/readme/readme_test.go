// Package readme_test runs every command of the documents, and follows every link that stays in the repository.
//
//	go test ./internal/readme -update     writes what the commands print into the documents
//
// Two things are not done as a reader does them. "make run" becomes the program that it runs, since make would outlive the test. And "make deploy" gets a SAM CLI that
// only says what it was told, for deploying needs AWS; what it builds and deploys has tests of its own (internal/template). The AWS CLI is the real one, and speaks to moto.
// Inline commands, such as `make bench`, are not run: it is checked that there is such a target, command and flag;
// those of the AWS CLI are run, and must be understood.
package readme_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"go.yaml.in/yaml/v3"

	"github.com/handover-dev/handover/internal/realparts"
)

var update = flag.Bool("update", false, "write what the commands print into the documents")

// command is one command of a document with what it is said to print.
type command struct {
	text, output string
	line         int // the number of the command's first line, from 0
	after        int // the number of the line after its output
}

// commands are the commands of the console blocks: lines after "$ ", with a backslash at the end if they go on.
func commands(document string) (all []command) {
	inside := false
	lines := strings.Split(document, "\n")
	for i := 0; i < len(lines); i++ {
		text, isCommand := strings.CutPrefix(lines[i], "$ ")
		switch {
		case strings.HasPrefix(lines[i], "```"):
			inside = lines[i] == "```console"
		case inside && isCommand:
			c := command{text: text, line: i}
			for strings.HasSuffix(lines[i], `\`) {
				i++
				c.text += "\n" + lines[i]
			}
			c.after = i + 1
			all = append(all, c)
		case inside:
			last := &all[len(all)-1]
			last.output += lines[i] + "\n"
			last.after = i + 1
		}
	}
	return all
}

// stage is where the commands run: a local program and an AWS, as the documents assume them.
type stage struct {
	root, scratch string // the repository; where files of the reader's are
	moto          string // its URL
	program       string // host:port of the local program
	endpoint      string // host:port of the reader's own
	environment   []string
	replace       *strings.Replacer // what a reader replaces in a command
	restore       *strings.Replacer // what a reader sees in an output
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{root: realparts.Root(t), scratch: t.TempDir(), program: realparts.FreeAddress(t), endpoint: realparts.FreeAddress(t)}
	s.moto = realparts.Moto(t)
	aws, bin := realparts.AWSCLI(t), t.TempDir()
	const sam = "#!/bin/sh\necho \"sam $*\"\ngrep -q \"^\\[$3\\.$1\\.\" samconfig.toml\n" // the part of samconfig.toml must be there
	if err := os.WriteFile(filepath.Join(bin, "sam"), []byte(sam), 0o700); err != nil {
		t.Fatal(err)
	}
	s.environment = append(os.Environ(),
		"PATH="+bin+":"+aws+":"+os.Getenv("PATH"), "GOBIN="+bin, "MAKEFLAGS=--no-print-directory", "SAM="+filepath.Join(bin, "sam"),
		"HANDOVER_LISTEN="+s.program, "HANDOVER_DATA="+filepath.Join(s.scratch, "data"), "HANDOVER_URL=http://"+s.program,
		"AWS_ENDPOINT_URL="+s.moto, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_DEFAULT_REGION=us-east-1", "AWS_REGION=us-east-1", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1", "AWS_CONFIG_FILE=/dev/null",
	)
	s.replace = strings.NewReplacer("127.0.0.1:8080", s.program, "127.0.0.1:9000", s.endpoint)
	for _, build := range []string{"./internal/cmd/handover", "./internal/subscribers/go"} {
		s.sh(t, "go build -o "+bin+"/ "+build)
	}
	if err := os.Rename(filepath.Join(bin, "go"), filepath.Join(bin, "subscriber")); err != nil { // or it would be the go command
		t.Fatal(err)
	}

	// A stack that has what the template's outputs name.
	topic := strings.TrimSpace(s.sh(t, "aws sns create-topic --name handover-transfers --query TopicArn --output text"))
	alarms := strings.TrimSpace(s.sh(t, "aws sns create-topic --name handover-alarms --query TopicArn --output text"))
	secret := strings.TrimSpace(s.sh(t, "aws secretsmanager create-secret --name terra --secret-string {} --query ARN --output text"))
	const stack = `{"Resources":{"Topic":{"Type":"AWS::SNS::Topic"}},"Outputs":{"TransfersTopicArn":{"Description":"Subscribe your backend to this topic","Value":{"Ref":"Topic"}}}}`
	s.sh(t, "aws cloudformation create-stack --stack-name handover --template-body '"+stack+"'")
	s.replace = strings.NewReplacer("127.0.0.1:8080", s.program, "127.0.0.1:9000", s.endpoint,
		"<TransfersTopicArn>", topic, "<AlarmsTopicArn>", alarms, "<TerraSecretArn>", secret)
	s.restore = strings.NewReplacer(s.program, "127.0.0.1:8080", s.endpoint, "127.0.0.1:9000",
		topic, "<TransfersTopicArn>", alarms, "<AlarmsTopicArn>", secret, "<TerraSecretArn>")
	return s
}

// sh runs a command in the repository and returns what it prints; it must end well.
func (s *stage) sh(t *testing.T, text string) string {
	t.Helper()
	return s.in(t, s.root, text)
}

func (s *stage) in(t *testing.T, folder, text string) string {
	t.Helper()
	text = s.replace.Replace(text)
	command := exec.Command("sh", "-c", text)
	command.Dir, command.Env = folder, s.environment
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", text, err, output, &stderr)
	}
	return string(output)
}

// background runs a command until the test ends; printed waits until it has printed that.
func (s *stage) background(t *testing.T, printed, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "output")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	command := exec.Command("sh", "-c", "exec env "+s.replace.Replace(text)+" 2>/dev/null")
	command.Dir, command.Env, command.Stdout = s.scratch, s.environment, file
	ended := realparts.Start(t, command)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		output, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(output, []byte(printed)) {
			return string(output)
		}
		select {
		case <-ended:
			t.Fatalf("%s has ended:\n%s", text, output)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has not printed %q:\n%s", text, printed, output)
		}
	}
}

// run runs a command as the documents mean it, and returns what it prints.
func (s *stage) run(t *testing.T, c command) string {
	t.Helper()
	switch first, _, _ := strings.Cut(c.text, " "); {
	case c.text == "make run":
		line := s.sh(t, "make -n run")
		if line != "go run ./internal/cmd/handover serve\n" {
			t.Fatalf("make run runs %s", line)
		}
		return line + s.background(t, "Waiting for your own webhooks.", "handover serve")
	case strings.HasSuffix(c.text, " go run ./internal/subscribers/go"):
		text := strings.ReplaceAll(strings.TrimSuffix(c.text, " go run ./internal/subscribers/go"), "\\\n", " ")
		return s.background(t, "", text+" subscriber")
	case strings.HasPrefix(c.text, "make deploy "):
		return s.sh(t, c.text+` SAM="$SAM"`)
	case strings.HasPrefix(c.text, "handover send "):
		return s.sh(t, c.text+" -to http://"+s.program+"/webhook")
	case strings.Contains(c.text, "terra.json"), strings.Contains(c.text, "topic.pem"):
		return s.in(t, s.scratch, c.text)
	case first == "aws", first == "handover", first == "go", first == "curl":
		return s.sh(t, c.text)
	}
	t.Fatalf("nobody has said how to try %q", c.text)
	return ""
}

// matches reports whether a command prints what is shown. A line "…" stands for any lines.
func matches(output, shown string) bool {
	parts := strings.Split(vague(shown), "\n…\n")
	rest, begins := strings.CutPrefix(vague(output), parts[0])
	for _, part := range parts[1:] {
		at := strings.LastIndex(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return begins && rest == ""
}

// vague replaces what differs from run to run.
func vague(output string) string {
	for _, pattern := range []string{
		`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, // a user_id
		`k[0-9a-f]{3}\.[0-9a-f]{32}`,                                   // an account
		`t=\d+,v1=[0-9a-f]{64}`,                                        // a signature
		`[0-9a-f]{32}`,                                                 // an event's id
		`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)`,         // a time
		`garmin-\d+`,
		`\b\d+ ms\b`,
		`(signed|terra ) `, // how sure a time is: the first walk may meet a connection before its webhook comes
		`c0ffee00-0000-4000-8000-[0-9a-f]{12}`,
	} {
		output = regexp.MustCompile(pattern).ReplaceAllString(output, "…")
	}
	return strings.TrimSpace(output)
}

func TestEveryCommandRuns(t *testing.T) {
	for _, name := range []string{"README.md", "internal/subscribers/README.md", ".github/OPERATIONS.md"} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			path := filepath.Join(s.root, name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all := commands(string(text))
			if len(all) == 0 {
				t.Fatal("there are no commands")
			}
			lines := strings.Split(string(text), "\n")
			var outputs []string
			for _, c := range all {
				if strings.HasPrefix(c.text, "cat ") { // the document shows a file of the reader's
					file := strings.TrimPrefix(c.text, "cat ")
					if err := os.WriteFile(filepath.Join(s.scratch, file), []byte(c.output), 0o600); err != nil {
						t.Fatal(err)
					}
					outputs = append(outputs, c.output)
					continue
				}
				output := s.restore.Replace(s.run(t, c))
				outputs = append(outputs, output)
				if shown := c.output; shown != "" && !*update && !matches(output, shown) {
					t.Errorf("line %d: %s prints\n%s\nand not\n%s", c.line+1, c.text, output, shown)
				}
			}
			if name == "README.md" {
				s.check(t)
			}
			if !*update {
				return
			}
			for i, c := range slices.Backward(all) { // only where an output is shown
				if c.output != "" && !matches(outputs[i], c.output) {
					shown := strings.Split(strings.TrimRight(outputs[i], "\n"), "\n")
					lines = slices.Replace(lines, c.after-strings.Count(c.output, "\n"), c.after, shown...)
				}
			}
			if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// check sees to it that the README's commands have done what it says.
func (s *stage) check(t *testing.T) {
	t.Helper()
	secret := s.sh(t, "aws secretsmanager get-secret-value --secret-id <TerraSecretArn> --query SecretString --output text")
	var terra struct {
		SigningSecrets []string `json:"signing_secrets"`
		DevID          string   `json:"dev_id"`
		APIKey         string   `json:"api_key"`
	}
	if err := json.Unmarshal([]byte(secret), &terra); err != nil || len(terra.SigningSecrets) != 1 || terra.DevID == "" || terra.APIKey == "" {
		t.Errorf("the secret is %s: %v", secret, err)
	}
	if _, err := os.Stat(filepath.Join(s.scratch, "terra.json")); err == nil {
		t.Error("terra.json is still there")
	}
	subscribed := s.sh(t, "aws sns list-subscriptions --query 'Subscriptions[].Endpoint' --output text")
	for _, endpoint := range []string{"https://backend.example.com/transfers", "team@example.com"} {
		if !strings.Contains(subscribed, endpoint) {
			t.Errorf("%s is not subscribed: %s", endpoint, subscribed)
		}
	}
	// moto would really POST to the endpoint, which is nobody's.
	s.sh(t, `aws sns unsubscribe --subscription-arn "$(aws sns list-subscriptions --query "Subscriptions[?Protocol=='https'].SubscriptionArn" --output text)"`)
	// moto takes queue.yaml, but makes no subscription of it: so it is subscribed here as the file says.
	var tree any
	var file struct {
		Resources struct {
			Subscription struct {
				Properties struct {
					Protocol           string
					RawMessageDelivery bool
					FilterPolicy       map[string][]string
				}
			}
		}
	}
	err := yaml.Unmarshal([]byte(read(t, "internal/subscribers/queue.yaml")), &tree)
	text, jsonErr := json.Marshal(tree)
	if err := errors.Join(err, jsonErr, json.Unmarshal(text, &file)); err != nil {
		t.Fatal(err)
	}
	subscription := file.Resources.Subscription.Properties
	policy, err := json.Marshal(subscription.FilterPolicy)
	if err != nil {
		t.Fatal(err)
	}
	s.sh(t, "aws cloudformation describe-stacks --stack-name handover-queue")
	queues := sqs.NewFromConfig(realparts.AWSConfig(s.moto)) // version 1 of the AWS CLI takes no other endpoint for SQS
	name := "transfers"
	queue, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	attributes, err := json.Marshal(map[string]string{"RawMessageDelivery": fmt.Sprint(subscription.RawMessageDelivery), "FilterPolicy": string(policy)})
	if err != nil {
		t.Fatal(err)
	}
	s.sh(t, "aws sns subscribe --topic-arn <TransfersTopicArn> --protocol "+subscription.Protocol+
		" --notification-endpoint arn:aws:sqs:us-east-1:123456789012:transfers --attributes '"+string(attributes)+"'")
	for _, order := range []string{"observed", "terra"} {
		s.sh(t, `aws sns publish --topic-arn <TransfersTopicArn> --message `+order+` --message-attributes '{"order":{"DataType":"String","StringValue":"`+order+`"}}'`)
	}
	got, err := queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, MaxNumberOfMessages: 10})
	if err != nil || len(got.Messages) != 1 || *got.Messages[0].Body != "terra" {
		t.Errorf("the queue has %v (%v), want what a program may act on, raw", got, err)
	}
}

// The announcement that the README shows is the golden event.
func TestTheAnnouncementIsTheGoldenEvent(t *testing.T) {
	text := read(t, "README.md")
	_, rest, _ := strings.Cut(text, "```json\n")
	shown, _, _ := strings.Cut(rest, "```")
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(shown)); err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(read(t, "internal/announce/testdata/account-transferred.golden.json")); compact.String() != want {
		t.Errorf("got %s\nwant %s", &compact, want)
	}
}

// What the documents say in passing exists: targets of make, commands of the tool and their flags, parameters and outputs of the template.
func TestWhatIsNamedExists(t *testing.T) {
	root := realparts.Root(t)
	binary := filepath.Join(t.TempDir(), "handover")
	build := exec.Command("go", "build", "-o", binary, "./internal/cmd/handover")
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	makefile, template, metrics := "\n"+read(t, "Makefile"), read(t, "template.yaml"), read(t, "internal/telemetry/metrics.go")
	span := regexp.MustCompile("`([^`\n]+)`")
	var tried []string
	for _, name := range documents(t) {
		text := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(read(t, name), "")
		for _, match := range span.FindAllStringSubmatch(text, -1) {
			words := strings.Fields(match[1])
			switch {
			case words[0] == "make" && len(words) > 1:
				if !strings.Contains(makefile, "\n"+words[1]+":") {
					t.Errorf("%s: the Makefile has no %s", name, match[1])
				}
			case words[0] == "handover" && len(words) > 1 && words[1] != "help":
				help, _ := exec.Command(binary, words[1], "-h").CombinedOutput() // an unknown command is noticed by what it prints
				for _, word := range words[1:] {
					if strings.HasPrefix(word, "-") && word != "-h" && !strings.Contains(string(help), "  "+word) {
						t.Errorf("%s: `%s`: there is no flag %s", name, match[1], word)
					}
				}
				if !bytes.Contains(help, []byte("handover "+words[1])) {
					t.Errorf("%s: there is no command %s:\n%s", name, match[1], help)
				}
			case regexp.MustCompile(`^[A-Z][a-z]+[A-Z][A-Za-z]+(=\S+)?$|^Revoke=\S+$`).MatchString(match[1]): // a name of the template, or of a metric
				parameter, _, _ := strings.Cut(match[1], "=")
				if !strings.Contains(template, "\n  "+parameter+":") && !strings.Contains(metrics, parameter) && !knownElsewhere[parameter] {
					t.Errorf("%s: neither the template nor a metric has the name %s", name, parameter)
				}
			default:
				continue
			}
			tried = append(tried, match[1])
		}
	}
	if len(tried) < 20 {
		t.Errorf("only %d names were looked for: %v", len(tried), tried)
	}
}

// The AWS CLI takes every inline command: nothing is misspelled. Whether it finds what the command names is not judged, for moto has only a little of it.
func TestTheAWSCLITakesEveryInlineCommand(t *testing.T) {
	// All in one process: the CLI takes most of a second to start. 2 is a usage error.
	const program = `
import json, os, shlex, sys
from awscli.clidriver import create_clidriver
for text in json.load(sys.stdin):
    try:
        status = create_clidriver().main(shlex.split(os.path.expandvars(text))[1:])
    except SystemExit as end:
        status = end.code
    if status == 2:
        print("MISSPELLED", text)
`
	placeholder, spaces := regexp.MustCompile(`<[^>]+>`), regexp.MustCompile(`\s+`)
	tail := regexp.MustCompile(`^aws logs tail (\S+) --since [0-9]+[mhd]\b`) // only version 2 has it; this is the same in version 1:
	const filter = "aws logs filter-log-events --log-group-name $1"
	var texts []string
	for _, name := range documents(t) {
		for _, match := range regexp.MustCompile("`(aws [^`]+ --[^`]+)`").FindAllStringSubmatch(read(t, name), -1) {
			text, _, _ := strings.Cut(match[1], " | ")
			texts = append(texts, placeholder.ReplaceAllString(tail.ReplaceAllString(spaces.ReplaceAllString(text, " "), filter), "x"))
		}
	}
	slices.Sort(texts)
	input, err := json.Marshal(slices.Compact(texts))
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	command := exec.Command(filepath.Join(realparts.AWSCLI(t), "python"), "-c", program)
	command.Dir, command.Env, command.Stdin = s.scratch, append(s.environment, "STACK=handover"), bytes.NewReader(input)
	output, err := command.CombinedOutput()
	if err != nil || len(texts) == 0 {
		t.Fatalf("%d commands: %v\n%s", len(texts), err, output)
	}
	for line := range strings.Lines(string(output)) {
		if strings.HasPrefix(line, "MISSPELLED") {
			t.Error(line)
		}
	}
}

// knownElsewhere are names in the template's style that are SNS's.
var knownElsewhere = map[string]bool{"SubscribeURL": true, "TopicArn": true, "SignatureVersion": true, "SigningCertURL": true}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Every link to a file of the repository, and to a heading, leads somewhere.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	root := realparts.Root(t)
	found := 0
	for _, name := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(read(t, name), -1) {
			target, heading, _ := strings.Cut(match[1], "#")
			if strings.HasPrefix(target, "https://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			found++
			path := filepath.Join(filepath.Dir(name), target)
			if target == "" {
				path = name
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if heading != "" && !slices.Contains(headings(read(t, path)), heading) {
				t.Errorf("%s: %s has no heading #%s", name, path, heading)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d links were found", found)
	}
}

// headings are the anchors of a document's headings, as GitHub makes them.
func headings(text string) (anchors []string) {
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			kept := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			anchors = append(anchors, strings.ReplaceAll(kept, " ", "-"))
		}
	}
	return anchors
}

// A README that is not read to its end explains nothing.
func TestTheREADMEIsShort(t *testing.T) {
	if lines := strings.Count(read(t, "README.md"), "\n"); lines > 400 {
		t.Errorf("the README has %d lines; put details into .github", lines)
	}
}

// documents are the paths of all Markdown files.
func documents(t *testing.T) (names []string) {
	t.Helper()
	list := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md")
	list.Dir = realparts.Root(t)
	output, err := list.Output()
	if err != nil {
		t.Fatal(fmt.Errorf("git ls-files: %w", err))
	}
	return strings.Fields(string(output))
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(realparts.Root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
