package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/deployed"
	"github.com/handover-dev/handover/internal/ownership"
)

// TestReplay: what is meant goes to the other queue as it was, with its attributes; the rest, and what is only counted, stays.
func TestReplay(t *testing.T) {
	c := newCloud(t)
	client := sqs.NewFromConfig(c.config)
	queue := func(name string) string {
		made, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name})
		if err != nil {
			t.Fatal(err)
		}
		return *made.QueueUrl
	}
	dead, alive := queue("dead"), queue("alive")
	put := func(body string) {
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &dead, MessageBody: &body, MessageAttributes: map[string]types.MessageAttributeValue{
			"type": {DataType: aws.String("String"), StringValue: aws.String("kept")},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	announcement := func(userID, provider string, order ownership.Certainty) string {
		return announcementOf(t, userID, provider+"/k000.1", provider, order)
	}
	enveloped, err := json.Marshal(map[string]string{"Type": "Notification", "Message": announcement("u2", "GARMIN", ownership.Signed)})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{announcement("u1", "GARMIN", ownership.Signed), string(enveloped), announcement("u3", "FITBIT", ownership.Signed), announcement("u4", "GARMIN", ownership.Observed), "poison"} {
		put(body)
	}

	replay := func(args ...string) (string, int) {
		var stdout, stderr bytes.Buffer
		tool := tool{getenv: os.Getenv, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
		status := tool.status(tool.run(t.Context(), append([]string{"replay", "-queue", dead, "-to", alive}, args...)))
		return stdout.String() + stderr.String(), status
	}
	filter := []string{"-provider", "garmin", "-order", "signed", "-reason", "connected_by_other", "-since", "1h"}
	counted := "5 messages in the queue, 4 announcements among them, 2 that are meant: connected_by_other 2.\nThey came from " + alive + ".\n"
	for range 2 { // counting changes nothing
		if got, status := replay(filter...); got != counted+"Nothing has been sent: send them with -yes.\n" || status != 0 {
			t.Fatalf("counted: %q, status %d", got, status)
		}
	}
	if got, status := replay(append(filter, "-yes")...); got != counted+"2 messages sent and taken out of the queue.\n" || status != 0 {
		t.Fatalf("sent: %q, status %d", got, status)
	}
	if got, _ := replay("-json"); !strings.Contains(got, `"found":3,"announcements":2,"meant":2`) || !strings.Contains(got, `"sent":0`) {
		t.Errorf("left: %s", got)
	}
	sent, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &alive, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(sent.Messages) != 2 {
		t.Fatalf("%d messages arrived, want 2", len(sent.Messages))
	}
	for _, m := range sent.Messages {
		if !strings.Contains(*m.Body, "u1") && *m.Body != string(enveloped) || aws.ToString(m.MessageAttributes["type"].StringValue) != "kept" {
			t.Errorf("it arrived changed: %s %v", *m.Body, m.MessageAttributes)
		}
	}
	if got, status := replay("-yes", "-reason", "reauth"); !strings.Contains(got, "0 that are meant") || strings.Contains(got, "sent") || status != 0 {
		t.Errorf("nothing was meant: %q, status %d", got, status)
	}
}

func announcementOf(t *testing.T, userID, account, provider string, order ownership.Certainty) string {
	t.Helper()
	event, err := announce.New(ownership.Announcement{
		Type: ownership.Transferred, Account: account, Provider: provider, Reason: ownership.ConnectedByOther, Order: order,
		Previous: ownership.Holder{UserID: userID, ReferenceID: "alice", Tenure: 1}, Current: ownership.Holder{UserID: "new", ReferenceID: "bob", Tenure: 1},
	}, "handover", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := event.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReplayOfAStack: a stack says where its dead letters came from, by the queue or by the subscription; and the order of each account is kept.
func TestReplayOfAStack(t *testing.T) {
	c := newCloud(t)
	ctx, client, topics := t.Context(), sqs.NewFromConfig(c.config), sns.NewFromConfig(c.config)
	queue := func(name string, attributes map[string]string) (url, arn string) {
		attributes["FifoQueue"] = "true"
		made, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(name + ".fifo"), Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		return *made.QueueUrl, "arn:aws:sqs:us-east-1:123456789012:" + name + ".fifo"
	}
	put := func(to, body, group, once string) {
		if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &to, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &once}); err != nil {
			t.Fatal(err)
		}
	}
	dead, deadARN := queue("stack-dead", map[string]string{})
	revoke, revokeARN := queue("stack-revoke", map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"` + deadARN + `","maxReceiveCount":8}`})
	undelivered, undeliveredARN := queue("stack-undelivered", map[string]string{})
	made, err := topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("stack.fifo"), Attributes: map[string]string{"FifoTopic": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	topic := *made.TopicArn
	c.deploy(t, "redriven", func(d *deployment) {
		d.outputs[deployed.RevokeDeadLettersURL], d.outputs[deployed.TransfersTopic] = dead, topic
	})
	subscription := map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"` + undeliveredARN + `"}`}
	if _, err := topics.Subscribe(ctx, &sns.SubscribeInput{TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: &revokeARN, Attributes: subscription}); err != nil {
		t.Fatal(err)
	}
	replay := func(args ...string) (string, int) {
		var stdout, stderr bytes.Buffer
		tool := tool{getenv: os.Getenv, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
		status := tool.status(tool.run(ctx, append([]string{"replay"}, args...)))
		return stdout.String() + stderr.String(), status
	}
	// received are the messages in the queue, as "user_id/group", in order.
	received := func(from string) (list []string) {
		for {
			got, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &from, MaxNumberOfMessages: 10, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"}})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Messages) == 0 {
				return list
			}
			for _, m := range got.Messages {
				_, a, err := announce.Parse(announced(m))
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, a.Previous.UserID+"/"+m.Attributes["MessageGroupId"])
				if _, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &from, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}

	// Two accounts in turn, and one of them has more than SQS shows at a time.
	var first, second []string
	for i := range 28 {
		id := fmt.Sprintf("u%02d", i)
		group := map[bool]string{true: "a", false: "b"}[i%2 == 0 || i > 8]
		put(dead, announcementOf(t, id, "GARMIN/k000."+group, "GARMIN", ownership.Signed), group, id)
		if group == "a" {
			first = append(first, id+"/a")
		} else {
			second = append(second, id+"/b")
		}
	}
	for range 2 {
		if got, status := replay("-stack", "redriven"); status != 0 || !strings.Contains(got, "10 messages in the queue, 10 announcements among them, 10 that are meant") ||
			!strings.Contains(got, "About 18 more are behind them") || !strings.Contains(got, "They came from "+revoke+".\nNothing has been sent") {
			t.Fatalf("counted: %q, status %d", got, status)
		}
	}
	if got, status := replay("-stack", "redriven", "-yes"); status != 0 || !strings.Contains(got, "28 messages sent and taken out of the queue.\n") {
		t.Errorf("sent: %q, status %d", got, status)
	}
	got := received(revoke)
	of := func(group string) []string {
		return slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !strings.HasSuffix(s, group) })
	}
	if !slices.Equal(of("/a"), first) || !slices.Equal(of("/b"), second) {
		t.Errorf("they arrived as %q, want %q and %q", got, first, second)
	}

	// What SNS could not deliver was meant for the subscription's queue. It had no group of its own there.
	put(undelivered, announcementOf(t, "u1", "GARMIN/k000.a", "GARMIN", ownership.Signed), "GARMIN/k000.a", "1")
	if got, status := replay("-stack", "redriven", "-queue", undelivered, "-yes", "-json"); status != 0 || !strings.Contains(got, `"to":"`+revoke+`"`) || !strings.Contains(got, `"sent":1`) {
		t.Errorf("sent: %q, status %d", got, status)
	}
	if got := received(revoke); !slices.Equal(got, []string{"u1/GARMIN/k000.a"}) {
		t.Errorf("they arrived as %q", got)
	}

	// From a queue without groups they get those of the topic.
	plain, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("plain")})
	if err != nil {
		t.Fatal(err)
	}
	body := announcementOf(t, "u2", "GARMIN/k000.c", "GARMIN", ownership.Signed)
	if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: plain.QueueUrl, MessageBody: &body}); err != nil {
		t.Fatal(err)
	}
	if got, status := replay("-queue", *plain.QueueUrl, "-to", revoke, "-yes"); status != 0 {
		t.Errorf("sent: %q, status %d", got, status)
	}
	if got := received(revoke); !slices.Equal(got, []string{"u2/GARMIN/k000.c"}) {
		t.Errorf("they arrived as %q", got)
	}

	// Where it is not clear, it asks.
	queue("stack-other", map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"` + deadARN + `","maxReceiveCount":8}`})
	for want, args := range map[string][]string{
		"several queues have " + dead: {"-stack", "redriven"},
		"no queue has " + revoke:      {"-stack", "redriven", "-queue", revoke},
		"no queue has " + undelivered: {"-queue", undelivered},
		`-reason is "other"`:          {"-queue", dead, "-reason", "other"},
		`-order is "sure"`:            {"-queue", dead, "-order", "sure"},
	} {
		if got, status := replay(args...); status != statusUsage || !strings.Contains(got, want) {
			t.Errorf("replay %v: %q, status %d, want %q", args, got, status, want)
		}
	}
}
