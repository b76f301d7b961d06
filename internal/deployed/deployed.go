// Package deployed is a stack in an AWS account as its operator's tool sees it: what its outputs name, its ledger, and its sweep function.
package deployed

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/sweep"
)

// The names of the outputs that the tool uses: see the template.
const (
	WebhookURL           = "WebhookUrl"
	TerraSecret          = "TerraSecretArn"
	TransfersTopic       = "TransfersTopicArn"
	AlarmsTopic          = "AlarmsTopicArn"
	AccountsTable        = "AccountsTableName"
	ConnectionsTable     = "ConnectionsTableName"
	AccountKeySecret     = "AccountKeySecretArn"
	WebhookFunction      = "WebhookFunctionName"
	SweepFunction        = "SweepFunctionName"
	RevokeFunction       = "RevokeFunctionName" // only of a stack that revokes
	RevokeDeadLettersURL = "RevokeDeadLettersUrl"
)

// Alias is what runs of a function: the version that the last deployment left, also while $LATEST is another.
const Alias = "live"

// turn is how long a call waits for the function to be free. The sweep may run only once at a time, and runs for most of each minute while it has much to do.
const turn = 2 * time.Minute

// Stack is a deployed stack.
type Stack struct {
	Name    string
	Config  aws.Config
	Outputs map[string]string
	Ledger  *ledger.DynamoDB
}

// Open finds a stack with the credentials, the region and the endpoints of the environment. known are outputs that need not be asked for; if they have both
// tables, or if name is "", CloudFormation is not asked at all.
func Open(ctx context.Context, name string, known map[string]string) (*Stack, error) {
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	s := &Stack{Name: name, Config: c, Outputs: maps.Clone(known)}
	if s.Outputs == nil {
		s.Outputs = map[string]string{}
	}
	if name != "" && (s.Outputs[AccountsTable] == "" || s.Outputs[ConnectionsTable] == "") {
		if err := s.describe(ctx); err != nil {
			return nil, err
		}
	}
	s.Ledger = ledger.NewDynamoDB(dynamodb.NewFromConfig(c), s.Outputs[AccountsTable], s.Outputs[ConnectionsTable])
	return s, nil
}

func (s *Stack) describe(ctx context.Context) error {
	found, err := cloudformation.NewFromConfig(s.Config).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &s.Name})
	if err != nil {
		return fmt.Errorf("asking CloudFormation for the outputs of stack %s (region %s): %w\nAre the name, the region (AWS_REGION) and the credentials (AWS_PROFILE) those of the stack?",
			s.Name, cmp.Or(s.Config.Region, "none"), err)
	}
	for _, stack := range found.Stacks {
		for _, o := range stack.Outputs {
			if name := aws.ToString(o.OutputKey); s.Outputs[name] == "" {
				s.Outputs[name] = aws.ToString(o.OutputValue)
			}
		}
	}
	return nil
}

// Output is the value of an output, or an error that says what to do without it.
func (s *Stack) Output(name string) (string, error) {
	if value := s.Outputs[name]; value != "" {
		return value, nil
	}
	return "", fmt.Errorf("stack %q has no output %s (it has: %s). Is it a stack of Handover? Give it by -output %s=…",
		s.Name, name, strings.Join(slices.Sorted(maps.Keys(s.Outputs)), ", "), name)
}

// tables fails if it is not known which tables the ledger is in.
func (s *Stack) tables() error {
	for _, name := range []string{AccountsTable, ConnectionsTable} {
		if _, err := s.Output(name); err != nil {
			return err
		}
	}
	return nil
}

// Accounts lists all account rows.
func (s *Stack) Accounts(ctx context.Context) iter.Seq2[ownership.Account, error] {
	return checked(s.tables(), s.Ledger.Accounts(ctx))
}

// Connections lists all connection rows.
func (s *Stack) Connections(ctx context.Context) iter.Seq2[ownership.Connection, error] {
	return checked(s.tables(), s.Ledger.Connections(ctx))
}

func checked[Row any](err error, rows iter.Seq2[Row, error]) iter.Seq2[Row, error] {
	if err == nil {
		return rows
	}
	return func(yield func(Row, error) bool) {
		var none Row
		yield(none, err)
	}
}

// Account reads one account row; false if there is none.
func (s *Stack) Account(ctx context.Context, key string) (ownership.Account, bool, error) {
	if err := s.tables(); err != nil {
		return ownership.Account{}, false, err
	}
	return s.Ledger.Account(ctx, key)
}

// Connection reads one connection row; false if there is none.
func (s *Stack) Connection(ctx context.Context, userID string) (ownership.Connection, bool, error) {
	if err := s.tables(); err != nil {
		return ownership.Connection{}, false, err
	}
	return s.Ledger.Connection(ctx, userID)
}

// TerraAPI is the base URL of Terra's REST API that the sweep function uses; "" if it is not known which function that is.
func (s *Stack) TerraAPI(ctx context.Context) (string, error) {
	name := s.Outputs[SweepFunction]
	if name == "" {
		return "", nil
	}
	f, err := lambda.NewFromConfig(s.Config).GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name, Qualifier: aws.String(Alias)})
	if err != nil || f.Environment == nil {
		return "", err
	}
	return f.Environment.Variables["TERRA_API_URL"], nil
}

// Sweep calls the sweep function, as soon as it does not run already, and waits for its answer.
func (s *Stack) Sweep(ctx context.Context, in sweep.Input) (out sweep.Output, err error) {
	name, err := s.Output(SweepFunction)
	if err != nil {
		return out, err
	}
	payload, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	client := lambda.NewFromConfig(s.Config)
	var answer *lambda.InvokeOutput
	for begun := time.Now(); ; {
		answer, err = client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Qualifier: aws.String(Alias), Payload: payload})
		busy := (*types.TooManyRequestsException)(nil)
		if !errors.As(err, &busy) || time.Since(begun) > turn || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	if err != nil {
		return out, fmt.Errorf("calling the sweep function %s: %w", name, err)
	}
	if answer.FunctionError != nil {
		return out, fmt.Errorf("the sweep function %s failed: %s", name, answer.Payload)
	}
	if err := json.Unmarshal(answer.Payload, &out); err != nil {
		return out, fmt.Errorf("reading the answer of the sweep function %s: %w", name, err)
	}
	return out, nil
}
