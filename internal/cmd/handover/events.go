package main

import (
	"cmp"
	"context"

	"github.com/handover-dev/handover/internal/local"
)

const eventsHelp = `
  $ handover events
  33 files written, such as events/auth.json
  $ sam local invoke WebhookFunction -e events/athlete.json

It writes a file for each type of event into a folder (events), as API Gateway passes it to the function, signed with the local program's secret at a fixed time.
With -json it lists the files.
`

func (t tool) events(_ context.Context, args []string) error {
	f := t.flags("events", eventsHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	given, err := f.parse(args, "[FOLDER]")
	if err != nil {
		return err
	}
	files, err := local.WriteEvents(cmp.Or(given[0], "events"))
	if err == nil && f.asJSON {
		return t.json(files)
	}
	if err == nil {
		t.say("%s written, such as %s\n", count(len(files), "file"), files[0])
	}
	return err
}
