package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/deployed"
	"github.com/handover-dev/handover/internal/ownership"
)

const replayHelp = `
  $ handover replay -stack handover-production
  12 messages in the queue, 12 announcements among them, 12 that are meant: connected_by_other 11, revoked 1.
  They came from https://sqs.eu-central-1.amazonaws.com/123456789012/handover-production-RevokeQueue-1ABC.
  Nothing has been sent: send them with -yes.
  $ handover replay -stack handover-production -reason connected_by_other -since 2h -yes
  11 messages sent and taken out of the queue.
  $ handover replay -stack handover-production -queue https://sqs.eu-central-1.amazonaws.com/123456789012/backend-dead -yes

It takes announcements from a dead-letter queue and sends them to the queue that they came from, or to another, as they were. First it says how many are meant;
it sends only with -yes, or after your yes. What is not meant stays where it is. Replaying does no harm: an announcement says what was true at its time, under the
same id. A message is taken out only once it has been sent.

Where they came from: the queue whose RedrivePolicy names the dead-letter queue, or else the subscription of the stack's topic that does. Of a FIFO queue the order
within each account is kept; it shows no more than ten messages of an account at a time, so the count says what is behind them.
`

type replaying struct {
	queue, to, topic, reason, provider, order string
	since                                     time.Duration
	yes                                       bool
}

// replayed is what was found, and what was done.
type replayed struct {
	Queue         string         `json:"queue"`
	To            string         `json:"to"`
	Found         int            `json:"found"`
	Announcements int            `json:"announcements"`
	Meant         int            `json:"meant"`
	Behind        int            `json:"behind"` // about how many more a FIFO queue has, which it shows when those before them have gone
	Kinds         map[string]int `json:"kinds"`
	Sent          int            `json:"sent"`
}

func (t tool) replay(ctx context.Context, args []string) (err error) {
	var r replaying
	f := t.flags("replay", replayHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	f.StringVar(&r.queue, "queue", "", "`URL` of the dead-letter queue (default: the revoke function's, of -stack)")
	f.StringVar(&r.to, "to", "", "`URL` of the queue to send to (default: the one that they came from)")
	f.StringVar(&r.reason, "reason", "", "only those with this `reason`: connected_by_other, reauth or reassigned; or revoked")
	f.StringVar(&r.provider, "provider", "", "only those of this `provider`, such as GARMIN")
	f.StringVar(&r.order, "order", "", "only those of this `order`: signed, terra or observed")
	f.span(&r.since, "since", 0, "only those that came into the queue in this last `time`, such as 24h")
	f.BoolVar(&r.yes, "yes", false, "send without asking")
	if _, err := f.parse(args); err != nil {
		return err
	}
	if !slices.Contains([]string{"", "connected_by_other", "reauth", "reassigned", "revoked"}, r.reason) {
		return usage("replay", "-reason is %q: it should be connected_by_other, reauth, reassigned or revoked", r.reason)
	}
	if !slices.Contains([]string{"", "signed", "terra", "observed"}, r.order) {
		return usage("replay", "-order is %q: it should be signed, terra or observed", r.order)
	}
	if r.queue == "" && !where.isStack() {
		return usage("replay", "give -queue, the URL of a dead-letter queue, or a -stack that revokes")
	}
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if where.isStack() {
		stack, err := where.openStack(ctx)
		if err != nil {
			return err
		}
		c, r.topic = stack.Config, stack.Outputs[deployed.TransfersTopic]
		if r.queue == "" {
			if r.queue, err = stack.Output(deployed.RevokeDeadLettersURL); err != nil {
				return fmt.Errorf("%w\nA stack that does not revoke (Revoke) has no such queue: give your own by -queue", err)
			}
		}
	}
	client := sqs.NewFromConfig(c)
	if r.to == "" {
		if r.to, err = origin(ctx, client, sns.NewFromConfig(c), r.queue, r.topic); err != nil {
			return err
		}
	}
	if r.queue == r.to {
		return usage("replay", "-queue and -to are the same queue")
	}

	hand := hand{tool: t, client: client, replaying: r, result: replayed{Queue: r.queue, To: r.to, Kinds: map[string]int{}}, seen: map[string]bool{}}
	defer func() { err = errors.Join(err, hand.giveBack(context.WithoutCancel(ctx))) }()
	if err := hand.take(ctx); err != nil {
		return err
	}
	result := &hand.result
	if result.Behind, err = hand.behind(ctx); err != nil {
		return err
	}
	if !f.asJSON {
		t.say("%s in the queue, %s among them, %d that are meant%s.\n", count(result.Found, "message"), count(result.Announcements, "announcement"), result.Meant, kinds(result.Kinds))
		if result.Behind > 0 {
			t.say("About %d more are behind them, and come to light as these go.\n", result.Behind)
		}
		if result.Meant > 0 {
			t.say("They came from %s.\n", r.to)
		}
	}
	if result.Meant > 0 && (r.yes || t.asked(result.Meant)) {
		if err := hand.send(ctx); err != nil {
			return err
		}
	}
	switch {
	case f.asJSON:
		return t.json(result)
	case result.Sent > 0:
		t.say("%s sent and taken out of the queue.\n", count(result.Sent, "message"))
	case result.Meant > 0:
		fmt.Fprintln(t.stdout, "Nothing has been sent: send them with -yes.")
	}
	return nil
}

// origin is the URL of the queue whose messages a dead-letter queue holds. SQS knows it; if not, a subscription of the topic may name the dead-letter queue.
func origin(ctx context.Context, client *sqs.Client, topics *sns.Client, dead, topic string) (string, error) {
	var found []string
	sources := sqs.NewListDeadLetterSourceQueuesPaginator(client, &sqs.ListDeadLetterSourceQueuesInput{QueueUrl: &dead})
	for sources.HasMorePages() {
		page, err := sources.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("asking where the messages of %s came from: %w\nName the queue to send to by -to", dead, err)
		}
		found = append(found, page.QueueUrls...)
	}
	if len(found) == 0 && topic != "" {
		var err error
		if found, err = subscribed(ctx, client, topics, dead, topic); err != nil {
			return "", fmt.Errorf("asking whose messages %s keeps: %w\nName the queue to send to by -to", dead, err)
		}
	}
	switch len(found) {
	case 0:
		return "", usage("replay", "no queue has %s for its dead letters: say by -to where to send", dead)
	case 1:
		return found[0], nil
	}
	return "", usage("replay", "several queues have %s for their dead letters: say by -to which one to send to, of\n  %s", dead, strings.Join(found, "\n  "))
}

// subscribed are the URLs of the queues which the topic puts announcements into, or into the queue dead where it cannot.
func subscribed(ctx context.Context, client *sqs.Client, topics *sns.Client, dead, topic string) (urls []string, err error) {
	asked, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &dead, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}})
	if err != nil {
		return nil, err
	}
	pages := sns.NewListSubscriptionsByTopicPaginator(topics, &sns.ListSubscriptionsByTopicInput{TopicArn: &topic})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range page.Subscriptions {
			if aws.ToString(s.Protocol) != "sqs" {
				continue
			}
			got, err := topics.GetSubscriptionAttributes(ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: s.SubscriptionArn})
			if err != nil {
				return nil, err
			}
			var redrive struct{ DeadLetterTargetArn string }
			if json.Unmarshal([]byte(got.Attributes["RedrivePolicy"]), &redrive) != nil || redrive.DeadLetterTargetArn != asked.Attributes[string(types.QueueAttributeNameQueueArn)] {
				continue
			}
			queue, err := arn.Parse(aws.ToString(s.Endpoint))
			if err != nil {
				return nil, err
			}
			named, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &queue.Resource, QueueOwnerAWSAccountId: &queue.AccountID})
			if err != nil {
				return nil, err
			}
			urls = append(urls, aws.ToString(named.QueueUrl))
		}
	}
	return urls, nil
}

// hand is what a replay has taken in hand: messages that are kept from others until they are sent on or given back.
type hand struct {
	tool
	replaying
	client *sqs.Client
	result replayed

	seen          map[string]bool // by message id
	meant, others []types.Message // in the order in which they are to be sent
}

// inHand is how long the messages in hand are kept from others: long enough for as many as SQS lets one have in hand of a FIFO queue, 20,000.
const inHand = 30 * time.Minute

// take takes in hand all messages that the queue shows.
func (h *hand) take(ctx context.Context) error {
	for empty := 0; empty < 2; { // one empty answer is no proof: SQS asks only some of its servers
		got, err := h.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &h.queue, MaxNumberOfMessages: 10, WaitTimeSeconds: 1, VisibilityTimeout: int32(inHand / time.Second), MessageAttributeNames: []string{"All"},
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameSentTimestamp, types.MessageSystemAttributeNameMessageGroupId},
		})
		if err != nil {
			return fmt.Errorf("receiving from %s: %w", h.queue, err)
		}
		if empty++; len(got.Messages) > 0 {
			empty = 0
		}
		for _, m := range got.Messages {
			if h.seen[aws.ToString(m.MessageId)] {
				continue
			}
			h.seen[aws.ToString(m.MessageId)] = true
			if h.result.Found++; h.result.Found%1000 == 0 {
				fmt.Fprintf(h.stderr, "%d messages looked at\n", h.result.Found)
			}
			kind, wanted := h.judge(m, time.Now())
			if kind != "" {
				h.result.Announcements++
			}
			if !wanted {
				h.others = append(h.others, m)
				continue
			}
			h.result.Meant++
			h.result.Kinds[kind]++
			h.meant = append(h.meant, m)
		}
	}
	if !isFIFO(h.queue) {
		slices.SortStableFunc(h.meant, func(a, b types.Message) int { return sentAt(a).Compare(sentAt(b)) })
	}
	return nil
}

// behind is about how many messages a FIFO queue does not show yet.
func (h *hand) behind(ctx context.Context) (int, error) {
	if !isFIFO(h.queue) {
		return 0, nil
	}
	got, err := h.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &h.queue, AttributeNames: []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}})
	if err != nil {
		return 0, fmt.Errorf("asking how many messages %s has: %w", h.queue, err)
	}
	all := 0
	for _, text := range got.Attributes {
		n, _ := strconv.Atoi(text)
		all += n
	}
	return max(0, all-h.result.Found), nil
}

// send sends on what is meant, and what comes to light behind it.
func (h *hand) send(ctx context.Context) error {
	for len(h.meant) > 0 {
		m := h.meant[0]
		group, once := inGroup(h.to, m)
		if _, err := h.client.SendMessage(ctx, &sqs.SendMessageInput{
			QueueUrl: &h.to, MessageBody: m.Body, MessageAttributes: m.MessageAttributes, MessageGroupId: group, MessageDeduplicationId: once,
		}); err != nil {
			return fmt.Errorf("after %s: sending to %s: %w\nWhat was not sent is still in the queue: call it again", count(h.result.Sent, "message"), h.to, err)
		}
		h.meant = h.meant[1:]
		if _, err := h.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &h.queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
			return fmt.Errorf("a message was sent, but stays in the queue too: %w", err)
		}
		if h.result.Sent++; h.result.Sent%1000 == 0 {
			fmt.Fprintf(h.stderr, "%d messages sent\n", h.result.Sent)
		}
		if len(h.meant) == 0 && isFIFO(h.queue) {
			if err := h.take(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// giveBack gives others at once what is still in hand.
func (h *hand) giveBack(ctx context.Context) error {
	for _, m := range slices.Concat(h.meant, h.others) {
		if _, err := h.client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &h.queue, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0}); err != nil {
			return fmt.Errorf("giving back what was only looked at: %w\nIt comes back by itself in %s", err, inHand)
		}
	}
	return nil
}

func isFIFO(queue string) bool { return strings.HasSuffix(queue, ".fifo") }

// inGroup is what a FIFO queue asks for, nil for any other. The group is the message's, or the announcement's as a FIFO topic has it. The message's own id, which
// it keeps in a dead-letter queue, is not that of its first sending, within five minutes of which SQS would drop it unseen.
func inGroup(queue string, m types.Message) (group, once *string) {
	if !isFIFO(queue) {
		return nil, nil
	}
	if of, ok := m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]; ok {
		return &of, m.MessageId
	}
	var event struct{ Subject string }
	_ = json.Unmarshal(announced(m), &event) // it has been read before
	return &event.Subject, m.MessageId
}

// sentAt is when a message came into the queue; now, if that is not known.
func sentAt(m types.Message) time.Time {
	ms, err := strconv.ParseInt(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64)
	if err != nil {
		return time.Now()
	}
	return time.UnixMilli(ms)
}

// announced is a message's body, out of SNS's envelope if it is in one.
func announced(m types.Message) []byte {
	var envelope struct{ Type, Message string }
	if json.Unmarshal([]byte(aws.ToString(m.Body)), &envelope) == nil && envelope.Type == "Notification" {
		return []byte(envelope.Message)
	}
	return []byte(aws.ToString(m.Body))
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

// judge says what a message announces, "" if it is no announcement, and whether it is meant.
func (r replaying) judge(m types.Message, now time.Time) (kind string, meant bool) {
	_, a, err := announce.Parse(announced(m))
	if err != nil {
		return "", false
	}
	kind = string(a.Reason)
	if a.Type == ownership.Revoked {
		kind = "revoked"
	}
	return kind, (r.reason == "" || r.reason == kind) && (r.order == "" || r.order == string(a.Order)) &&
		(r.provider == "" || strings.EqualFold(r.provider, a.Provider)) && (r.since == 0 || now.Sub(sentAt(m)) <= r.since)
}
