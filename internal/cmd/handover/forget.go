package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/embedded"
	"github.com/handover-dev/handover/internal/ownership"
)

// forget erases everything that a ledger holds about one person.
func (t tool) forget(ctx context.Context, args []string) (err error) {
	stdout := t.stdout
	var (
		person                person
		data, accounts, conns string
	)
	f := flag.NewFlagSet("handover forget", flag.ContinueOnError)
	f.SetOutput(stdout)
	f.StringVar(&person.ReferenceID, "reference-id", "", "forget your user with this `reference_id`")
	f.StringVar(&person.UserID, "user-id", "", "forget the connection with this `user_id` of Terra's")
	f.BoolVar(&person.dryRun, "dry-run", false, "count, and erase nothing")
	f.StringVar(&data, "data", ".handover", "`folder` of the local program, which must not run meanwhile")
	f.StringVar(&accounts, "accounts-table", "", "`name` of the table of accounts, to forget in a deployed stack")
	f.StringVar(&conns, "connections-table", "", "`name` of the table of connections, to forget in a deployed stack")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	switch {
	case (person.ReferenceID == "") == (person.UserID == ""):
		return fmt.Errorf("give one of -reference-id and -user-id: %w", errUsage)
	case (accounts == "") != (conns == ""):
		return fmt.Errorf("give both -accounts-table and -connections-table, or neither: %w", errUsage)
	case accounts != "":
		tables, err := local.OpenTables(ctx, accounts, conns)
		if err != nil {
			return err
		}
		return person.forgetIn(ctx, tables, stdout)
	}
	file, err := embedded.Open(filepath.Join(data, "ledger.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return person.forgetIn(ctx, file, stdout)
}

type person struct {
	ownership.Person
	dryRun bool
}

func (p person) forgetIn(ctx context.Context, store ownership.Eraser, stdout io.Writer) error {
	keeper := ownership.Keeper{Ledger: store, Now: time.Now}
	done, err := keeper.Forget(ctx, store, p.Person, p.dryRun)
	verb := "Erased"
	if p.dryRun {
		verb = "Would erase"
	}
	fmt.Fprintf(stdout, "%s %d connections, %d entries in accounts, and %d traces in rows of others.\n", verb, done.Connections, done.Claims, done.Traces)
	if err != nil {
		return fmt.Errorf("it is not finished, call it again: %w", err)
	}
	if !p.dryRun {
		fmt.Fprint(stdout, "A connection that is still alive at Terra comes back with its next event: end it there first.\n"+
			"Backups (point-in-time recovery) hold what was erased for 35 days more. Announcements that were sent are your backend's.\n")
	}
	return nil
}
