package local

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/awsconfig"
	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/settings"
)

// The names of what the local program makes at an endpoint that it is given.
const (
	accountsTable    = "handover-accounts"
	connectionsTable = "handover-connections"
	topicName        = "handover-transfers"
)

// awsAt loads the configuration of the AWS SDK. An emulator takes any credentials and region: without any in the environment, some are made up.
func awsAt(ctx context.Context) (aws.Config, error) {
	config, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return aws.Config{}, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	awsconfig.Limit(&config)
	if config.Region == "" {
		config.Region = "us-east-1"
	}
	if os.Getenv("AWS_ACCESS_KEY_ID") == "" && os.Getenv("AWS_PROFILE") == "" {
		config.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
		})
	}
	return config, nil
}

func openDynamoDB(ctx context.Context, endpoint string) (*ledger.DynamoDB, error) {
	config, err := awsAt(ctx)
	if err != nil {
		return nil, err
	}
	client := dynamodb.NewFromConfig(config, func(o *dynamodb.Options) { o.BaseEndpoint = &endpoint })
	if err := ledger.CreateTables(ctx, client, accountsTable, connectionsTable); err != nil {
		return nil, fmt.Errorf("making the tables at -dynamodb-endpoint: %w", err)
	}
	return ledger.NewDynamoDB(client, accountsTable, connectionsTable), nil
}

func openSNS(ctx context.Context, endpoint string) (*announce.SNS, error) {
	config, err := awsAt(ctx)
	if err != nil {
		return nil, err
	}
	client := sns.NewFromConfig(config, func(o *sns.Options) { o.BaseEndpoint = &endpoint })
	created, err := client.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String(topicName)})
	if err != nil {
		return nil, fmt.Errorf("making the topic at -sns-endpoint: %w", err)
	}
	return announce.NewSNS(client, aws.ToString(created.TopicArn), settings.DefaultSource), nil
}
