package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/handover-dev/handover/internal/announce"
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
		event, err := announce.New(ownership.Announcement{
			Type: ownership.Transferred, Account: provider + "/k000.1", Provider: provider, Reason: ownership.ConnectedByOther, Order: order,
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
	const counted = "5 messages in the queue, 4 announcements among them, 2 that are meant: connected_by_other 2.\n"
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
