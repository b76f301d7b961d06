package subscribers_test

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssns "github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/handover-dev/handover/internal/realparts"
)

// queue is a topic of moto's with a subscribed queue, which has a dead-letter queue.
type queue struct {
	moto, topic, url, dead string
	topics                 *awssns.Client
	queues                 *sqs.Client
}

var queueNumber atomic.Int64

func newQueue(t *testing.T, moto string, raw bool) *queue {
	t.Helper()
	config := realparts.AWSConfig(moto)
	q := &queue{moto: moto, topics: awssns.NewFromConfig(config), queues: sqs.NewFromConfig(config)}
	name := "transfers-" + strconv.FormatInt(queueNumber.Add(1), 10)
	var deadARN, arn string
	q.dead, deadARN = q.create(t, name+"-dead", nil)
	q.url, arn = q.create(t, name, map[string]string{
		"VisibilityTimeout": "1", "RedrivePolicy": `{"maxReceiveCount":"4","deadLetterTargetArn":"` + deadARN + `"}`,
	})
	topic, err := q.topics.CreateTopic(t.Context(), &awssns.CreateTopicInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	q.topic = *topic.TopicArn
	_, err = q.topics.Subscribe(t.Context(), &awssns.SubscribeInput{
		TopicArn: &q.topic, Protocol: aws.String("sqs"), Endpoint: &arn, Attributes: map[string]string{"RawMessageDelivery": strconv.FormatBool(raw)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func (q *queue) create(t *testing.T, name string, attributes map[string]string) (url, arn string) {
	t.Helper()
	created, err := q.queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	described, err := q.queues.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: created.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn},
	})
	if err != nil {
		t.Fatal(err)
	}
	return *created.QueueUrl, described.Attributes["QueueArn"]
}

func (q *queue) environment() map[string]string {
	return map[string]string{"TOPIC_ARN": q.topic, "QUEUE_URL": q.url, "AWS_ENDPOINT_URL_SQS": q.moto}
}

func (q *queue) deliver(t *testing.T, message string) {
	t.Helper()
	if _, err := q.topics.Publish(t.Context(), &awssns.PublishInput{TopicArn: &q.topic, Message: &message}); err != nil {
		t.Fatal(err)
	}
}

func (q *queue) again(*testing.T) {} // SQS does

func (q *queue) undeliverable(t *testing.T) (bodies []string) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); len(bodies) == 0 && time.Now().Before(deadline); {
		got, err := q.queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &q.dead, WaitTimeSeconds: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range got.Messages {
			bodies = append(bodies, *m.Body)
		}
	}
	return bodies
}

// A queue may be fed by several topics. Only one of them is listened to.
func givesUpAnEnvelopeOfAnotherTopic(t *testing.T, command []string, q, other *queue) {
	environment := q.environment()
	environment["TOPIC_ARN"] = other.topic
	s := newSubscriber(t, command, environment)
	q.deliver(t, golden(t, "account-transferred"))
	s.heard(t, "wrong_topic")
	for _, body := range q.undeliverable(t) {
		if !strings.Contains(body, q.topic) {
			t.Errorf("given up: %s", body)
		}
	}
	if got := s.terra.took(); got != nil {
		t.Errorf("Terra was asked to end %v", got)
	}
}
