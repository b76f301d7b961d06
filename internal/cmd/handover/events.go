package main

import (
	"fmt"

	"github.com/handover-dev/handover/internal/local"
)

func writeEvents(args []string) error {
	folder := "events"
	switch len(args) {
	case 0:
	case 1:
		folder = args[0]
	default:
		return fmt.Errorf("events takes one argument at most, a folder: %w", errUsage)
	}
	return local.WriteEvents(folder)
}
