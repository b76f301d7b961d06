package main

import (
	"bytes"
	"context"
	"errors"
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
	fails := func(want string, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		tool := tool{getenv: os.Getenv, stdout: &stdout, stderr: &stderr}
		if status := tool.status(tool.run(t.Context(), args)); status != statusFault || !strings.Contains(stderr.String(), want) {
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

	// Terra lists three connections that no webhook told of: two of one account, and one for which it names none.
	d.terra.Connect("FITBIT", "the-fitbit", "carol")
	d.terra.Connect("FITBIT", "the-fitbit", "dave")
	d.unnamed = d.terra.Connect("POLAR", "unnamed", "erin")
	run("3 connections listed by Terra: 3 new, 0 known, 0 without reference_id.\nIt would announce 1 transfer and 0 ends: connected_by_other (terra) 1.\n"+
		"Terra names no account for 1 connection.\nNothing has been written", "backfill", "-stack", "views")
	run("[]", "connections", "-stack", "views", "-provider", "FITBIT", "-json") // so it is
	sweeping := d.cloud.functions["views-sweep"]
	sweeping.busy = 2 // it runs already
	run("3 connections listed by Terra: 3 new, 0 known, 0 without reference_id.\n", "backfill", "-stack", "views", "-yes")
	run("2 connections settled, 1 put off, 0 failed; 1 transfer and 0 ends announced.", "settle", "-stack", "views")
	run("FITBIT    connected_by_other  terra", "transfers", "-stack", "views")
	run("Terra names no account", "unsettled", "-stack", "views")
	run(`"put_off":1`, "settle", "-stack", "views", "-json")
	run(`"done":true,"counts":{"known":3,"new":0`, "backfill", "-stack", "views", "-yes", "-json")
	sweeping.handle = func(context.Context, []byte) ([]byte, error) {
		return nil, errors.New("the account key cannot be used")
	}
	fails("the sweep function views-sweep failed: {\"errorMessage\":\"the account key cannot be used\"}", "settle", "-stack", "views")
	fails("The walk goes on by itself", "backfill", "-stack", "views", "-yes")
	fails("Are the name, the region (AWS_REGION) and the credentials (AWS_PROFILE) those of the stack?", "owner", "user-alice", "-stack", "absent")
	fails("stack \"\" has no output SweepFunctionName", "settle", "-output", deployed.AccountsTable+"=views-accounts")

	run("Would erase 1 connection, 1 entry in accounts", "forget", "-reference-id", "alice", "-stack", "views")
	run("Erased 1 connection, 1 entry in accounts", "forget", "-reference-id", "alice", "-stack", "views", "-yes")
	run("0 connections, 0 entries in accounts", "show", "-reference-id", "alice", "-stack", "views")
}
