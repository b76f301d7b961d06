package announce_test

import (
	"context"
	"errors"
	"flag"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ownership"
)

var update = flag.Bool("update", false, "write the golden files")

const topicARN = "arn:aws:sns:eu-central-1:123456789012:transfers"

var _ ownership.Announcer = (*announce.SNS)(nil)

// The golden files are what the publisher sends, byte for byte (and a newline). Subscribers' tests read them too.
func TestPublishedMessagesAreGolden(t *testing.T) {
	schemas := compileSchemas(t)
	for file, a := range map[string]ownership.Announcement{
		"testdata/account-transferred.golden.json":        transferred(),
		"testdata/account-transferred-reauth.golden.json": reauthorized(),
		"testdata/connection-revoked.golden.json":         revoked(),
	} {
		got := aws.ToString(publish(t, topicARN, a).Message) + "\n"
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n got %swant %s", file, got, want)
		}
		if err := schemas[a.Type].Validate(decode(t, want)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestMessageAttributesAreTheEventsOwn(t *testing.T) {
	for _, a := range []ownership.Announcement{transferred(), reauthorized(), revoked()} {
		got := map[string]string{}
		for name, value := range publish(t, topicARN, a).MessageAttributes {
			if aws.ToString(value.DataType) != "String" {
				t.Errorf("attribute %s is a %s", name, aws.ToString(value.DataType))
			}
			got[name] = aws.ToString(value.StringValue)
		}
		if want := event(t, a).Attributes; !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestStandardTopicHasNoGroups(t *testing.T) {
	input := publish(t, topicARN, transferred())
	if *input.TopicArn != topicARN || input.MessageGroupId != nil || input.MessageDeduplicationId != nil {
		t.Errorf("got %+v", input)
	}
}

func TestFIFOTopicGroupsBySubject(t *testing.T) {
	long, spaced, accented := revoked(), revoked(), revoked()
	long.Account = "GARMIN/" + strings.Repeat("x", 122)
	spaced.Account = "GARMIN/k7c1 1f2e"
	accented.Account = "GARMIN/k7c1é"
	for name, test := range map[string]struct {
		announcement ownership.Announcement
		group        string
	}{
		"account":        {transferred(), account},
		"no account":     {reauthorized(), "4735eac4-31a2-47ef-8b11-51e98d84c680"},
		"revoked":        {revoked(), account},
		"129 characters": {long, "dac4716acc43a0763d0115c0d8de6d3460aed00580e8dc9a5367d181ab039e46"},
		"space":          {spaced, "ce670a95d9fdfb5a928d1002a885edda49d1e415983be13a30a4932a5a4264a1"},
		"not ASCII":      {accented, "25a7a7d102ee54612afd2ee6fb157b8143e09a97cddd543cd4ee54e6c4433417"},
	} {
		input := publish(t, topicARN+".fifo", test.announcement)
		if got := aws.ToString(input.MessageGroupId); got != test.group {
			t.Errorf("%s: group %q, want %q", name, got, test.group)
		}
		if got, want := aws.ToString(input.MessageDeduplicationId), event(t, test.announcement).ID; got != want {
			t.Errorf("%s: deduplication id %q, want %q", name, got, want)
		}
	}
}

// An answer of SNS may quote what it refuses.
func TestErrorsQuoteNoMessage(t *testing.T) {
	client := &fakeClient{err: &smithy.OperationError{ServiceID: "SNS", OperationName: "Publish", Err: &smithy.GenericAPIError{
		Code: "InvalidParameter", Message: "Invalid parameter: Message Reason: tony_stark",
	}}}
	err := announce.NewSNS(client, topicARN, "handover").Publish(t.Context(), transferred())
	want := "publishing announcement " + event(t, transferred()).ID + ": SNS answered InvalidParameter"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}

	client.err = context.DeadlineExceeded
	if err := announce.NewSNS(client, topicARN, "handover").Publish(t.Context(), transferred()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
	}
}

// publish returns what is sent to SNS for a.
func publish(t *testing.T, topicARN string, a ownership.Announcement) *sns.PublishInput {
	t.Helper()
	client := &fakeClient{}
	publisher := announce.NewSNS(client, topicARN, "handover")
	publisher.Now = func() time.Time { return now }
	if err := publisher.Publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return client.input
}

type fakeClient struct {
	input *sns.PublishInput
	err   error
}

func (f *fakeClient) Publish(_ context.Context, input *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	f.input = input
	return &sns.PublishOutput{}, f.err
}
