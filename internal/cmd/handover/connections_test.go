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
