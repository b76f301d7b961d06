package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/handover-dev/handover/internal/explain"
	"github.com/handover-dev/handover/internal/ownership"
)

// A list with nothing in it is a list, for programs that go through it.
func TestListsAreNeverNull(t *testing.T) {
	for name, row := range map[string]any{"connections": rowOf(ownership.Connection{}, false), "show": explain.OfConnection(ownership.Connection{})} {
		text, err := json.Marshal(row)
		if err != nil || !strings.Contains(string(text), `"accounts":[]`) || strings.Contains(string(text), `"tenures":null`) {
			t.Errorf("%s -json: %s, %v", name, text, err)
		}
	}
}

// A connection is unidentifiable once Terra has said so, and not because it cannot be asked.
func TestStates(t *testing.T) {
	open := ownership.Connection{Tenures: []string{"alice"}, ToDo: true, Waiting: ownership.NoAccount}
	unreached, named, recorded := open, open, open
	unreached.Waiting, recorded.Waiting = "asking Terra: HTTP status 503", ""
	named.Accounts = []string{"GARMIN/k7c1.1f2e"}
	for state, rows := range map[string][]ownership.Connection{unidentifiable: {open}, unsettled: {unreached, named, recorded}} {
		for _, row := range rows {
			if got := rowOf(row, false); got.State != state {
				t.Errorf("%q with accounts %v: %s, want %s", row.Waiting, row.Accounts, got.State, state)
			}
		}
	}
}
