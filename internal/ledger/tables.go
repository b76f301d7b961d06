package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// CreateTables makes the two tables of a ledger where they are absent, and returns when both can be used. It is for local use and for
// tests: in an AWS account the template makes them, the same keys and index with backups besides.
func CreateTables(ctx context.Context, client *dynamodb.Client, accounts, connections string) error {
	return errors.Join(
		createTable(ctx, client, &dynamodb.CreateTableInput{
			TableName:            &accounts,
			BillingMode:          types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{attribute("account", types.ScalarAttributeTypeS)},
			KeySchema:            []types.KeySchemaElement{key("account", types.KeyTypeHash)},
		}),
		createTable(ctx, client, &dynamodb.CreateTableInput{
			TableName:   &connections,
			BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{
				attribute("user_id", types.ScalarAttributeTypeS),
				attribute("todo", types.ScalarAttributeTypeS),
				attribute("next_attempt", types.ScalarAttributeTypeN),
			},
			KeySchema: []types.KeySchemaElement{key("user_id", types.KeyTypeHash)},
			GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
				IndexName:  aws.String(index),
				KeySchema:  []types.KeySchemaElement{key("todo", types.KeyTypeHash), key("next_attempt", types.KeyTypeRange)},
				Projection: &types.Projection{ProjectionType: types.ProjectionTypeInclude, NonKeyAttributes: []string{"since"}},
			}},
		}),
	)
}

func createTable(ctx context.Context, client *dynamodb.Client, table *dynamodb.CreateTableInput) error {
	var exists *types.ResourceInUseException
	if _, err := client.CreateTable(ctx, table); err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("creating table %s: %w", *table.TableName, err)
	}
	waiter := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) { o.MinDelay = time.Second })
	if err := waiter.Wait(ctx, &dynamodb.DescribeTableInput{TableName: table.TableName}, time.Minute); err != nil {
		return fmt.Errorf("waiting for table %s: %w", *table.TableName, err)
	}
	return nil
}

func attribute(name string, kind types.ScalarAttributeType) types.AttributeDefinition {
	return types.AttributeDefinition{AttributeName: &name, AttributeType: kind}
}

func key(name string, kind types.KeyType) types.KeySchemaElement {
	return types.KeySchemaElement{AttributeName: &name, KeyType: kind}
}
