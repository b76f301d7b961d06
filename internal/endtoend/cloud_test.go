package endtoend

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// topic is an SNS topic with a queue that receives everything from it, as messages alone.
type topic struct {
	t      *testing.T
	arn    string
	queue  *string
	client *sqs.Client
}

type message struct {
	body       string
	attributes map[string]string
}

func newTopic(t *testing.T, config aws.Config, name string) topic {
	t.Helper()
	ctx, topics, queues := t.Context(), sns.NewFromConfig(config), sqs.NewFromConfig(config)
	created, err := topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	described, err := queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: queue.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = topics.Subscribe(ctx, &sns.SubscribeInput{
		TopicArn: created.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(described.Attributes["QueueArn"]),
		Attributes: map[string]string{"RawMessageDelivery": "true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return topic{t, *created.TopicArn, queue.QueueUrl, queues}
}

// receive returns what is in the queue and has not been received before. moto delivers while it publishes, so what has been published is there.
func (q topic) receive() (messages []message) {
	q.t.Helper()
	for {
		got, err := q.client.ReceiveMessage(q.t.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: q.queue, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}, VisibilityTimeout: 43200,
		})
		if err != nil {
			q.t.Fatal(err)
		}
		if len(got.Messages) == 0 {
			return messages
		}
		for _, m := range got.Messages {
			attributes := map[string]string{}
			for name, value := range m.MessageAttributes {
				attributes[name] = aws.ToString(value.StringValue)
			}
			messages = append(messages, message{*m.Body, attributes})
		}
	}
}

// subscribe makes a topic, and subscribes a backend of the app's to it by HTTP.
func subscribe(t *testing.T, config aws.Config, name string, backend http.Handler) {
	t.Helper()
	server := httptest.NewServer(backend)
	t.Cleanup(server.Close)
	client := sns.NewFromConfig(config)
	created, err := client.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: created.TopicArn, Protocol: aws.String("http"), Endpoint: &server.URL})
	if err != nil {
		t.Fatal(err)
	}
}
