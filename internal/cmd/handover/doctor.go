package main

import (
	"context"
	"fmt"
	"time"

	"github.com/handover-dev/handover/internal/doctor"
)

const doctorHelp = `
  $ handover doctor -stack handover-production
  ok     outputs            the stack names all its parts
  ok     accounts table     handover-production-AccountsTable-1ABC is there, with its key, backups and expiry
  …
  FAULT  topic              nobody has subscribed to arn:aws:sns:eu-central-1:123456789012:handover-production-TransfersTopic-1ABC
                            → Subscribe your backend: aws sns subscribe --topic-arn …
  FAULT  terra credentials  Terra's API refuses them: GET /subscriptions: HTTP status 401
                            → Compare dev_id and api_key of the secret with Terra's dashboard: is it the same environment?
  handover: 2 faults

Usage: handover doctor -stack NAME [flags]

It examines a deployed stack end to end, and changes nothing: it sends the stack's own heartbeat, which counts as nothing else. "?" means that something could
not be examined. Exit code 1 says that there is a fault, or that a check could not be made.
`

func (t tool) doctor(ctx context.Context, args []string) error {
	var quiet time.Duration
	f := t.flags("doctor", doctorHelp)
	f.BoolVar(&f.asJSON, "json", false, "each finding as a line of JSON")
	where := f.where(t)
	api := f.String("terra-api", "", "base `URL` of Terra's REST API (default: the one that the stack's functions use)")
	f.span(&quiet, "quiet", 24*time.Hour, "`duration` that the stack may go without a webhook of Terra's")
	if _, err := f.parse(args); err != nil {
		return err
	}
	if !where.isStack() {
		return usage("doctor", "-stack is missing: the name of the deployed stack, such as handover-production (make outputs shows it)")
	}
	stack, err := where.openStack(ctx)
	if err != nil {
		return err
	}
	client := newHTTPClient()
	client.Timeout = 15 * time.Second
	d := doctor.Doctor{Stack: stack, TerraAPI: *api, Quiet: quiet, Now: time.Now, HTTP: client}
	faults, unknown := 0, 0
	var failed error
	d.Examine(ctx, func(finding doctor.Finding) {
		switch finding.State {
		case doctor.Fault:
			faults++
		case doctor.Unknown:
			unknown++
		}
		if f.asJSON {
			if err := t.json(finding); err != nil {
				failed = err
			}
			return
		}
		sign := map[doctor.State]string{doctor.OK: "ok", doctor.Fault: "FAULT", doctor.Unknown: "?"}[finding.State]
		t.say("%-6s %-18s %s\n", sign, finding.Check, finding.What)
		if finding.Do != "" {
			t.say("%-25s → %s\n", "", finding.Do)
		}
	})
	switch {
	case failed != nil:
		return failed
	case faults > 0:
		return fmt.Errorf("%s", count(faults, "fault"))
	case unknown > 0:
		return fmt.Errorf("no fault, but %s not be made", counts(unknown, "check could", "checks could"))
	case !f.asJSON:
		fmt.Fprintln(t.stdout, "The stack is well.")
	}
	return nil
}
