package announce

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"

	"github.com/handover-dev/handover/internal/ownership"
)

// SNS publishes announcements to an SNS topic. It is an [ownership.Announcer].
type SNS struct {
	Now func() time.Time // the clock; time.Now by default

	client   publisher
	topicARN string
	source   string
}

// publisher is the part of *sns.Client that is used.
type publisher interface {
	Publish(context.Context, *sns.PublishInput, ...func(*sns.Options)) (*sns.PublishOutput, error)
}

// NewSNS publishes to the topic of that ARN, a FIFO topic if the ARN ends in ".fifo". Source is the events' source.
func NewSNS(client publisher, topicARN, source string) *SNS {
	return &SNS{Now: time.Now, client: client, topicARN: topicARN, source: source}
}

// Publish sends a to the topic, and returns nil once SNS has accepted it. On a FIFO topic the events of one account keep their order, and SNS
// drops a repeat within five minutes, which is what a subscriber would do with it. The error names the event's id and nothing personal.
func (s *SNS) Publish(ctx context.Context, a ownership.Announcement) error {
	event, err := New(a, s.source, s.Now())
	if err != nil {
		return err
	}
	message, err := event.JSON()
	if err != nil {
		return fmt.Errorf("encoding announcement %s: %w", event.ID, err)
	}
	input := &sns.PublishInput{
		TopicArn:          aws.String(s.topicARN),
		Message:           aws.String(string(message)),
		MessageAttributes: make(map[string]types.MessageAttributeValue, len(event.Attributes)),
	}
	for name, value := range event.Attributes {
		input.MessageAttributes[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(value)}
	}
	if strings.HasSuffix(s.topicARN, ".fifo") {
		input.MessageGroupId = aws.String(group(event.Subject))
		input.MessageDeduplicationId = aws.String(event.ID)
	}
	if _, err := s.client.Publish(ctx, input); err != nil {
		return fmt.Errorf("publishing announcement %s: %w", event.ID, impersonal(err))
	}
	return nil
}

// group is the subject itself if SNS takes it as a MessageGroupId, which has 1 to 128 ASCII letters, digits and punctuation marks, or else its hash.
// https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
func group(subject string) string {
	refused := func(r rune) bool { return r <= ' ' || r > '~' }
	if len(subject) <= 128 && !strings.ContainsFunc(subject, refused) {
		return subject
	}
	hash := sha256.Sum256([]byte(subject))
	return hex.EncodeToString(hash[:])
}

// impersonal replaces an answer of SNS by its error code: the text of the answer may quote the message.
func impersonal(err error) error {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		return fmt.Errorf("SNS answered %s", answer.ErrorCode())
	}
	return err
}
