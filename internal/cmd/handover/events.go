package main

import (
	"fmt"

	"github.com/handover-dev/handover/internal/local"
)

func writeEvents(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("events takes one argument, a folder: %w", errUsage)
	}
	return local.WriteEvents(args[0])
}
