package main

import (
	"context"
	"fmt"

	"github.com/handover-dev/handover/internal/version"
)

const versionHelp = `
  $ handover version
  handover v1.4.0 (commit 0a1b2c3d4e5f) go1.26.0 linux/amd64
  $ handover version -json
  {"version":"v1.4.0","commit":"0a1b2c3d4e5f…","go":"go1.26.0","platform":"linux/amd64"}

The functions log the same version when they start.
`

func (t tool) version(_ context.Context, args []string) error {
	f := t.flags("version", versionHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	if _, err := f.parse(args); err != nil {
		return err
	}
	if f.asJSON {
		return t.json(version.Info())
	}
	fmt.Fprintln(t.stdout, version.Info())
	return nil
}
