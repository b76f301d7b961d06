package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/telemetry"
)

func serve(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	config, err := local.ParseConfig(args, getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if err != nil {
		return fmt.Errorf("cannot start:\n%w\n%w", err, errUsage)
	}
	return local.Run(ctx, config, stdout, telemetry.NewTerminalLogger(stderr))
}
