package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/handover-dev/handover/internal/local/embedded"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/sweep"
)

const forgetHelp = `
  $ handover forget -reference-id alice
  Would erase 2 connections, 1 entry in accounts, 1 trace in rows of others.
  Nothing has been erased: do it with -yes. handover show tells what it is.
  $ handover forget -reference-id alice -yes
  Erased 2 connections, 1 entry in accounts, 1 trace in rows of others.
  A connection that is still alive at Terra comes back with its next event: end it there first.

  Beside these rows:
    Backups of the tables (point-in-time recovery): until 35 days after a row is erased.
  …
  $ handover forget -user-id 40f7b0e1-89e2-43ac-a5b8-1e29c8d47cad -stack handover-production -yes

It erases everything held about one of your users, or about one connection: a data subject's request. The accounts stay, so a change among those who are left is still noticed.
`

// forgotten is what was erased or would be.
type forgotten struct {
	Erased      bool      `json:"erased"` // false: it was only counted
	Connections int       `json:"connections"`
	Entries     int       `json:"entries"`
	Traces      int       `json:"traces"`
	Elsewhere   []remains `json:"elsewhere"`
}

func (t tool) forget(ctx context.Context, args []string) error {
	var person ownership.Person
	f := t.flags("forget", forgetHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	f.person(&person)
	yes := f.Bool("yes", false, "erase; without it, only count")
	data := f.String("data", "", "`folder` of a local program that does not run, to be worked on directly")
	if _, err := f.parse(args); err != nil {
		return err
	}
	if err := onePerson("forget", person); err != nil {
		return err
	}
	fmt.Fprintln(t.stderr, "looking through all rows: a million take some minutes")
	done, err := forget(ctx, where, *data, person, !*yes)
	if err != nil && *yes {
		return fmt.Errorf("%w\nIt may not be finished: call it again until it finds nothing", err)
	}
	if err != nil {
		return err
	}
	result := forgotten{*yes, done.Connections, done.Claims, done.Traces, elsewhere(where.isStack())}
	if f.asJSON {
		return t.json(result)
	}
	verb := "Would erase"
	if *yes {
		verb = "Erased"
	}
	t.say("%s %s, %s, %s.\n", verb, count(done.Connections, "connection"), counts(done.Claims, "entry in accounts", "entries in accounts"),
		counts(done.Traces, "trace in rows of others", "traces in rows of others"))
	if !*yes {
		fmt.Fprintln(t.stdout, "Nothing has been erased: do it with -yes. handover show tells what it is.")
		return nil
	}
	fmt.Fprintln(t.stdout, "A connection that is still alive at Terra comes back with its next event: end it there first.")
	t.tellElsewhere(result.Elsewhere)
	return nil
}

// forget works on the tables of a stack and on the file of a stopped program directly, and asks a running program to do it.
func forget(ctx context.Context, where *where, data string, person ownership.Person, dryRun bool) (done ownership.Forgotten, err error) {
	switch {
	case where.isStack():
		stack, err := where.openStack(ctx)
		if err != nil {
			return done, err
		}
		keeper := ownership.Keeper{Ledger: stack.Ledger, Now: time.Now}
		return keeper.Forget(ctx, stack.Ledger, person, dryRun)
	case data != "":
		file, err := embedded.Open(filepath.Join(data, "ledger.db"))
		if err != nil {
			return done, err
		}
		defer file.Close()
		keeper := ownership.Keeper{Ledger: file, Now: time.Now}
		return keeper.Forget(ctx, file, person, dryRun)
	}
	p, err := where.open(ctx)
	if err != nil {
		return done, err
	}
	out, err := p.Sweep(ctx, sweep.Input{Forget: &sweep.Forget{ReferenceID: person.ReferenceID, UserID: person.UserID, DryRun: dryRun}})
	if out.Forgotten != nil {
		done = *out.Forgotten
	}
	return done, err
}
