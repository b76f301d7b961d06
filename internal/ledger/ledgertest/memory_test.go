package ledgertest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
)

func TestMemoryConforms(t *testing.T) {
	ledgertest.Run(t, func(_ *testing.T, now func() time.Time) ledgertest.Ledger {
		m := ledgertest.NewMemory()
		m.Now = now
		return m
	})
}

func TestMemoryFaults(t *testing.T) {
	m := ledgertest.NewMemory()
	notApplied, applied := errors.New("failed and not applied"), errors.New("failed but applied")
	for _, fault := range []struct {
		before, after, want error
		stored              bool
	}{
		{before: notApplied, want: notApplied, stored: false},
		{after: applied, want: applied, stored: true},
	} {
		m.Fault = func(op string) (error, error) {
			if op != "Insert" {
				return nil, nil
			}
			return fault.before, fault.after
		}
		if _, _, err := m.Insert(t.Context(), ownership.Connection{UserID: "user", Version: 1}); !errors.Is(err, fault.want) {
			t.Errorf("Insert = %v, want %v", err, fault.want)
		}
		if _, found, err := m.Connection(t.Context(), "user"); found != fault.stored || err != nil {
			t.Errorf("%v: Connection = %v, %v, want %v", fault.want, found, err, fault.stored)
		}
	}
	if got := m.Calls("Insert"); got != 2 {
		t.Errorf("Calls = %d, want 2", got)
	}
}
