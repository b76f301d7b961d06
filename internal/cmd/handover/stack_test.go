package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/handover-dev/handover/internal/deployed"
)

// TestStack: the commands say of a deployed stack what they say of the local program, found by its name or by its outputs.
func TestStack(t *testing.T) {
	d := newCloud(t).deploy(t, "views", nil)
	run := func(want string, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		tool := tool{getenv: os.Getenv, stdout: &stdout, stderr: &stderr}
		if status := tool.status(tool.run(t.Context(), args)); status != 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("handover %s ended with %d:\n%s%s\nwant %q in it", strings.Join(args, " "), status, stdout.String(), stderr.String(), want)
		}
	}
	for _, name := range []string{"alice", "bob"} {
		run("200 in", "send", "athlete", "-to", d.outputs[deployed.WebhookURL], "-secret", "the-secret", "-set", "user.user_id=user-"+name, "-set", "user.reference_id="+name)
	}
	run("connected_by_other  signed  user-alice  user-bob  open", "transfers", "-stack", "views")
	run("user-alice  GARMIN    superseded", "connections", "-output", deployed.AccountsTable+"=views-accounts", "-output", deployed.ConnectionsTable+"=views-connections")
	run("Everything is settled", "unsettled", "-stack", "views")
	run("bob owns GARMIN/", "owner", "user-alice", "-stack", "views")
	run("Transfer  Announced at", "explain", "user-alice", "-waiting", "-stack", "views")
	run("Backups of the tables", "show", "-reference-id", "alice", "-stack", "views")
	run("It would announce 0 transfers", "backfill", "-stack", "views", "-terra-api", d.api)
	run("Would erase 1 connection, 1 entry in accounts", "forget", "-reference-id", "alice", "-stack", "views")
	run("Erased 1 connection, 1 entry in accounts", "forget", "-reference-id", "alice", "-stack", "views", "-yes")
	run("0 connections, 0 entries in accounts", "show", "-reference-id", "alice", "-stack", "views")
}
