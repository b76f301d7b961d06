package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/deployed"
	"github.com/handover-dev/handover/internal/ownership"
)

const replayHelp = `
  $ handover replay -queue https://sqs.eu-central-1.amazonaws.com/123456789012/backend-dead -to https://sqs.eu-central-1.amazonaws.com/123456789012/backend
  12 messages in the queue, 12 announcements among them, 12 that are meant: connected_by_other 11, revoked 1.
  Nothing has been sent: send them with -yes.
  $ handover replay -stack handover-production -reason connected_by_other -since 2h -to https://sqs.… -yes
  11 messages sent and taken out of the queue.

It takes announcements from a dead-letter queue and sends them to the queue that they came from, or to another, as they were. First it says how many are meant;
it sends only with -yes, or after your yes. What is not meant stays where it is. Replaying does no harm: an announcement says what was true at its time, under the
same id. A message is taken out only once it has been sent.
`

type replaying struct {
	queue, to, reason, provider, order string
	since                              time.Duration
	yes                                bool
}

// replayed is what was found, and what was done.
type replayed struct {
	Found         int            `json:"found"`
	Announcements int            `json:"announcements"`
	Meant         int            `json:"meant"`
	Kinds         map[string]int `json:"kinds"`
	Sent          int            `json:"sent"`
}

func (t tool) replay(ctx context.Context, args []string) error {
	var r replaying
	f := t.flags("replay", replayHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	f.StringVar(&r.queue, "queue", "", "`URL` of the dead-letter queue (default: the revoke function's, of -stack)")
	f.StringVar(&r.to, "to", "", "`URL` of the queue to send to")
	f.StringVar(&r.reason, "reason", "", "only those with this `reason`: connected_by_other, reauth or reassigned; or revoked")
	f.StringVar(&r.provider, "provider", "", "only those of this `provider`, such as GARMIN")
	f.StringVar(&r.order, "order", "", "only those of this `order`: signed, terra or observed")
	f.DurationVar(&r.since, "since", 0, "only those that came into the queue in this last `time`, such as 24h")
	f.BoolVar(&r.yes, "yes", false, "send without asking")
	if _, err := f.parse(args); err != nil {
		return err
	}
	if r.queue == "" && where.isStack() {
		stack, err := where.openStack(ctx)
		if err != nil {
			return err
		}
		if r.queue, err = stack.Output(deployed.RevokeDeadLettersURL); err != nil {
			return err
		}
	}
	if r.queue == "" || r.to == "" {
		return usage("replay", "give -queue (or a -stack that revokes) and -to: the URLs of two queues")
	}
	if r.queue == r.to {
		return usage("replay", "-queue and -to are the same queue")
	}
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := sqs.NewFromConfig(c)
	meant, result, err := t.receive(ctx, client, r)
	if err != nil {
		return err
	}
	if !f.asJSON {
		fmt.Fprintf(t.stdout, "%s in the queue, %s among them, %d that are meant%s.\n", count(result.Found, "message"), count(result.Announcements, "announcement"), result.Meant, kinds(result.Kinds))
	}
	if result.Meant > 0 && (r.yes || t.asked(result.Meant)) {
		for _, m := range meant {
			if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &r.to, MessageBody: m.Body, MessageAttributes: m.MessageAttributes,
				MessageGroupId: group(r.to, m), MessageDeduplicationId: group(r.to, m)}); err != nil {
				return fmt.Errorf("after %s: sending to %s: %w\nWhat was not sent is still in the queue: call it again", count(result.Sent, "message"), r.to, err)
			}
			if _, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &r.queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
				return fmt.Errorf("a message was sent, but stays in the queue too: %w", err)
			}
			result.Sent++
		}
	}
	for i, m := range meant[result.Sent:] { // what was only looked at is there for others at once
		if _, err := client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &r.queue, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0}); err != nil {
			return fmt.Errorf("giving back message %d: %w\nIt comes back by itself in %s", i+1, err, held5m)
		}
	}
	switch {
	case f.asJSON:
		return t.json(result)
	case result.Sent > 0:
		fmt.Fprintf(t.stdout, "%s sent and taken out of the queue.\n", count(result.Sent, "message"))
	case result.Meant > 0:
		fmt.Fprintln(t.stdout, "Nothing has been sent: send them with -yes.")
	}
	return nil
}

// held5m is how long the messages that are looked at are kept from others.
const held5m = 5 * time.Minute

// group is what a FIFO queue asks for: nil for any other.
func group(queue string, m types.Message) *string {
	if strings.HasSuffix(queue, ".fifo") {
		return m.MessageId
	}
	return nil
}

func kinds(by map[string]int) string {
	text, sign := "", ": "
	for _, kind := range []string{"connected_by_other", "reauth", "reassigned", "revoked"} {
		if by[kind] > 0 {
			text += fmt.Sprintf("%s%s %d", sign, kind, by[kind])
			sign = ", "
		}
	}
	return text
}

// asked asks the person at the terminal, if there is one.
func (t tool) asked(n int) bool {
	file, ok := t.stdin.(*os.File)
	if !ok {
		return false
	}
	if info, err := file.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	fmt.Fprintf(t.stderr, "Send %s? (yes/no) ", count(n, "message"))
	line, _ := bufio.NewReader(file).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}

// receive takes all messages of the queue in hand, and gives back at once those that are not meant.
func (t tool) receive(ctx context.Context, client *sqs.Client, r replaying) (meant []types.Message, result replayed, err error) {
	result.Kinds = map[string]int{}
	seen := map[string]bool{}
	var others []types.Message
	for empty := 0; empty < 2; { // one empty answer is no proof: SQS asks only some of its servers
		got, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &r.queue, MaxNumberOfMessages: 10, WaitTimeSeconds: 1, VisibilityTimeout: int32(held5m / time.Second), MessageAttributeNames: []string{"All"},
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameSentTimestamp},
		})
		if err != nil {
			return nil, result, fmt.Errorf("receiving from %s: %w", r.queue, err)
		}
		if empty++; len(got.Messages) > 0 {
			empty = 0
		}
		for _, m := range got.Messages {
			if seen[aws.ToString(m.MessageId)] {
				continue
			}
			seen[aws.ToString(m.MessageId)] = true
			result.Found++
			kind, wanted := r.judge(m, time.Now())
			if kind != "" {
				result.Announcements++
			}
			if !wanted {
				others = append(others, m)
				continue
			}
			result.Kinds[kind]++
			meant = append(meant, m)
		}
		if result.Found%1000 < 10 && result.Found >= 1000 {
			fmt.Fprintf(t.stderr, "%d messages looked at\n", result.Found)
		}
	}
	result.Meant = len(meant)
	for _, m := range others {
		if _, err := client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &r.queue, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0}); err != nil {
			return nil, result, fmt.Errorf("giving a message back: %w\nIt comes back by itself in %s", err, held5m)
		}
	}
	return meant, result, nil
}

// judge says what a message announces, "" if it is no announcement, and whether it is meant. The announcement may be in SNS's envelope.
func (r replaying) judge(m types.Message, now time.Time) (kind string, meant bool) {
	body := []byte(aws.ToString(m.Body))
	var envelope struct{ Type, Message string }
	if json.Unmarshal(body, &envelope) == nil && envelope.Type == "Notification" {
		body = []byte(envelope.Message)
	}
	_, a, err := announce.Parse(body)
	if err != nil {
		return "", false
	}
	kind = string(a.Reason)
	if a.Type == ownership.Revoked {
		kind = "revoked"
	}
	var sent int64
	_, _ = fmt.Sscan(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], &sent) // absent: then it is of any age
	age := now.Sub(time.UnixMilli(cmp.Or(sent, now.UnixMilli())))
	return kind, (r.reason == "" || r.reason == kind) && (r.order == "" || r.order == string(a.Order)) &&
		(r.provider == "" || strings.EqualFold(r.provider, a.Provider)) && (r.since == 0 || age <= r.since)
}
