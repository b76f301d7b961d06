// Command revoke is the Lambda function behind a queue of announcements: it ends the connection that lost its wearable account.
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
		fmt.Fprintf(os.Stderr, "revoke: cannot start:\n%v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s, r, err := settings.RevokeFromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	stack := stack.New(ctx, s, telemetry.NewLogger(os.Stderr, s.Stack))
	lambda.Start(stack.Revoke(r).Handle)
	return nil
}
