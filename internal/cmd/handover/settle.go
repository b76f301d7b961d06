package main

import (
	"context"
	"fmt"

	"github.com/handover-dev/handover/internal/sweep"
)

const settleHelp = `
  $ handover settle
  2 connections settled, 1 put off, 0 failed; 1 transfer and 0 ends announced.
  $ handover settle -stack handover-production -json

It calls the sweep now, and has it try everything that waits, whenever its next attempt would be. handover unsettled lists what is left.
Exit code 1 says that some failed.
`

func (t tool) settle(ctx context.Context, args []string) error {
	f := t.flags("settle", settleHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	if _, err := f.parse(args); err != nil {
		return err
	}
	p, err := where.open(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(t.stderr, "settling: this takes up to a minute, and longer if the sweep is running already")
	out, err := p.Sweep(ctx, sweep.Input{Settle: true})
	if err != nil {
		return err
	}
	r := out.Report
	if r == nil {
		return fmt.Errorf("the sweep function says nothing: is it an older Handover?")
	}
	if f.asJSON {
		err = t.json(r)
	} else {
		t.say("%s settled, %d put off, %d failed; %s and %s announced.\n",
			count(r.Settled, "connection"), r.PutOff, r.Failed, count(r.Transfers, "transfer"), count(r.Revocations, "end"))
	}
	if err == nil && r.Failed > 0 {
		err = fmt.Errorf("%s failed: the log of the sweep says why", count(r.Failed, "connection"))
	}
	return err
}
