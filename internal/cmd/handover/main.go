// Command handover is the tool of Handover: it runs everything on one machine, and makes the events that go with the project.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `Handover tells your backend the moment a wearable account passes from one of your users to another.

Usage: handover COMMAND [flags]

  serve     run Handover on this machine: no account and no Docker needed
            $ handover serve -signing-secret "$TERRA_SECRET" -subscriber http://127.0.0.1:9000/
  forget    erase everything held about one of your users, or about one connection (a data-protection request)
            $ handover forget -reference-id alice -dry-run
            Would erase 2 connections, 1 entries in accounts, and 0 traces in rows of others.
  events    write a signed API Gateway event of every type into a folder (events), for sam local invoke
            $ handover events

handover COMMAND -h lists the flags of a command.
`

// errUsage ends the program with status 2: the command line, or a setting, is at fault.
var errUsage = errors.New("see handover -h")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "handover:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "handover:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "serve":
		return serve(ctx, args[1:], getenv, stdout, stderr)
	case "forget":
		return forget(ctx, args[1:], stdout)
	case "events":
		return writeEvents(args[1:])
	case "", "-h", "-help", "--help", "help":
		fmt.Fprint(stdout, usage)
		return flag.ErrHelp
	}
	return fmt.Errorf("there is no command %q: %w", command, errUsage)
}
