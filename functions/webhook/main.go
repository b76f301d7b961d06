// Command webhook is the Lambda function behind POST /webhook: it receives Terra's webhooks from API Gateway.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/stack"
	"github.com/handover-dev/handover/internal/telemetry"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "webhook: cannot start:\n%v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s, err := settings.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	stack := stack.New(ctx, s, telemetry.NewLogger(os.Stderr, s.Stack))
	handler, err := stack.Webhook()
	if err != nil {
		return err
	}
	lambda.Start(handler)
	return nil
}
