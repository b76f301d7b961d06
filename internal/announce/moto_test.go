package announce_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/realparts"
)

// A queue subscribes with raw delivery and with a filter policy that leaves out guesses. A revocation has no order.
func TestQueueReceivesWhatItsFilterPolicyNames(t *testing.T) {
	config := realparts.AWSConfig(realparts.Moto(t))
	for _, name := range []string{"transfers", "transfers.fifo"} {
		t.Run(name, func(t *testing.T) {
			topicARN, receive := subscribedQueue(t, config, name, `{"order":["signed","terra"]}`)
			publisher := announce.NewSNS(sns.NewFromConfig(config), topicARN, "handover")
			publisher.Now = func() time.Time { return now }

			guessed := transferred()
			guessed.Order = ownership.Observed
			for _, a := range []ownership.Announcement{transferred(), guessed, reauthorized(), revoked()} {
				if err := publisher.Publish(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}

			want := []string{string(encode(t, event(t, transferred()))), string(encode(t, event(t, reauthorized())))}
			if got := receive(); !slices.Equal(got, want) {
				t.Errorf("received\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// subscribedQueue makes a topic and a queue of that name, and subscribes the queue with that filter policy. The returned receive empties the queue.
func subscribedQueue(t *testing.T, config aws.Config, name, filterPolicy string) (topicARN string, receive func() []string) {
	t.Helper()
	ctx, topics, queues := t.Context(), sns.NewFromConfig(config), sqs.NewFromConfig(config)
	var topicAttributes, queueAttributes map[string]string
	if strings.HasSuffix(name, ".fifo") {
		topicAttributes, queueAttributes = map[string]string{"FifoTopic": "true"}, map[string]string{"FifoQueue": "true"}
	}
	topic, err := topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name, Attributes: topicAttributes})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: queueAttributes})
	if err != nil {
		t.Fatal(err)
	}
	described, err := queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl:       queue.QueueUrl,
		AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = topics.Subscribe(ctx, &sns.SubscribeInput{
		TopicArn:   topic.TopicArn,
		Protocol:   aws.String("sqs"),
		Endpoint:   aws.String(described.Attributes["QueueArn"]),
		Attributes: map[string]string{"RawMessageDelivery": "true", "FilterPolicy": filterPolicy},
	})
	if err != nil {
		t.Fatal(err)
	}
	return *topic.TopicArn, func() (bodies []string) {
		t.Helper()
		for {
			got, err := queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, MaxNumberOfMessages: 10})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Messages) == 0 { // moto delivers while it publishes, so this is all
				return bodies
			}
			for _, m := range got.Messages {
				bodies = append(bodies, *m.Body)
				_, err := queues.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: queue.QueueUrl, ReceiptHandle: m.ReceiptHandle})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
