package ledger_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/realparts"
)

func TestDynamoDBConforms(t *testing.T) {
	client := dynamodb.NewFromConfig(realparts.AWSConfig(realparts.DynamoDB(t)))
	var ledgers atomic.Int64
	ledgertest.Run(t, func(t *testing.T) ledgertest.Ledger {
		n := ledgers.Add(1)
		accounts, connections := fmt.Sprint("accounts-", n), fmt.Sprint("connections-", n)
		if err := ledger.CreateTables(t.Context(), client, accounts, connections); err != nil {
			t.Fatal(err)
		}
		return ledger.NewDynamoDB(client, accounts, connections)
	})
}

var _ = context.Background
