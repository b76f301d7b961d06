package explain_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/explain"
	"github.com/handover-dev/handover/internal/ownership"
)

var update = flag.Bool("update", false, "write the golden files anew")

func at(minute int) time.Time { return time.Date(2026, 11, 1, 10, minute, 0, 0, time.UTC) }

// story is one account with everything in its past that the rule knows a word for.
func story() (ownership.Account, []ownership.Connection) {
	claim := func(userID string, at time.Time, certainty ownership.Certainty, tenures ...string) ownership.Claim {
		return ownership.Claim{UserID: userID, Tenures: tenures, ConnectedAt: at, Certainty: certainty, Version: 1}
	}
	ended := claim("user-1", at(1), ownership.Signed, "alice")
	ended.Closed = true
	anna := claim("user-3", at(3), ownership.Signed, "alice")
	anna.Closed = true
	old := claim("user-6", at(9), ownership.Signed, "fay")
	old.ReplacedBy = []string{"user-7"}
	row := ownership.Account{
		Key: "GARMIN/k7c1.1f2e", Claims: map[string]ownership.Claim{},
		Marks: map[string]ownership.Mark{
			"user-3#1":       {Name: "user-3#1", User: "user-3", Current: "user-4", Tenure: 1, ConnectedAt: at(4), At: at(5), Nudged: true},
			"user-3#revoked": {Name: "user-3#revoked", User: "user-3", At: at(6)},
		},
	}
	for _, c := range []ownership.Claim{
		claim("user-0", time.Time{}, ownership.Unknown, "zoe"),
		ended,
		claim("user-2", at(1), ownership.Terra, "bob"),
		anna,
		claim("user-4", at(4), ownership.Observed, "dan", "eve"),
		old,
		claim("user-7", at(7), ownership.Signed, "gus"),
		claim("user-8", at(8), ownership.Signed, "gus"),
	} {
		row.Claims[c.UserID] = c
	}
	return row, []ownership.Connection{
		{UserID: "user-8", Tenures: []string{"gus"}, Accounts: []string{row.Key}, Version: 1},
		{UserID: "user-9", Provider: "GARMIN", Accounts: []string{row.Key}, Version: 1, ToDo: true, NextAttempt: at(20)},
		{UserID: "elsewhere", Accounts: []string{"GARMIN/k7c1.other"}, Version: 1},
	}
}

// TestWords: every sentence that an account's explanation can say.
func TestWords(t *testing.T) {
	row, connections := story()
	golden(t, "account.txt", explain.Of(row, connections).Text())
}

// TestJSON: the shape that programs read.
func TestJSON(t *testing.T) {
	row, connections := story()
	golden(t, "account.json", indented(t, explain.Of(row, connections)))
	golden(t, "nobody.json", indented(t, explain.Of(ownership.Account{Key: "FITBIT/k7c1.2"}, nil)))
}

// TestConnectionWords: every sentence that a connection's explanation can say.
func TestConnectionWords(t *testing.T) {
	var text strings.Builder
	for _, c := range []ownership.Connection{
		{UserID: "settled", Provider: "GARMIN", Tenures: []string{"alice"}, ConnectedAt: at(1), Certainty: ownership.Signed, Accounts: []string{"GARMIN/k7c1.1"}},
		{UserID: "two references", Provider: "APPLE", Tenures: []string{"alice", "bob"}, Suspects: []string{"carol"}, ConnectedAt: at(1), Certainty: ownership.Observed,
			ToDo: true, NextAttempt: at(2)},
		{UserID: "unidentifiable", Provider: "POLAR", Tenures: []string{"alice"}, ToDo: true, Waiting: "Terra names no account", NextAttempt: at(30), Attempts: 4},
		{UserID: "replaced", Provider: "GARMIN", Tenures: []string{"alice"}, ConnectedAt: at(1), Certainty: ownership.Terra, ClosedAt: at(3), Accounts: []string{"GARMIN/k7c1.1"},
			Replaces: []string{"before"}, ReplacedBy: []ownership.Successor{{UserID: "new", Reference: "bob"}}},
		{UserID: "nothing known"},
	} {
		text.WriteString(explain.OfConnection(c).Text() + "\n")
	}
	golden(t, "connections.txt", text.String())
}

func indented(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// golden compares got with a file of testdata, and shows the first line that differs.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s, line %d:\ngot  %s\nwant %s", path, i+1, g[i], w[i])
		}
	}
	t.Fatalf("%s: %d lines, want %d", path, len(g), len(w))
}
