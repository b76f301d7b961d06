package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/telemetry"
)

func (t tool) serve(ctx context.Context, args []string) error {
	config, err := local.ParseConfig(args, t.getenv, t.stdout)
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if err != nil {
		return fmt.Errorf("cannot start:\n%w\nSee handover serve -h%w", err, silent{errUsage})
	}
	log := telemetry.NewTerminalLogger(t.stderr)
	if config.AsJSON {
		log = telemetry.NewLogger(t.stderr, "local")
	}
	return local.Run(ctx, config, t.stdout, log)
}
