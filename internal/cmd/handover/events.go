package main

import (
	"cmp"
	"context"

	"github.com/handover-dev/handover/internal/local"
)

const eventsHelp = `
  $ handover events
  $ sam local invoke WebhookFunction -e events/athlete.json

It writes a file for each type of event into a folder (events), as API Gateway passes it to the function, signed with the local program's secret at a fixed time.
`

func (t tool) events(_ context.Context, args []string) error {
	given, err := t.flags("events", eventsHelp).parse(args, "[FOLDER]")
	if err != nil {
		return err
	}
	return local.WriteEvents(cmp.Or(given[0], "events"))
}
