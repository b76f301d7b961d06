package stack

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
)

// What was read ahead spares the check only if it is the key's own fingerprint.
func TestStoredFingerprint(t *testing.T) {
	text := strings.Repeat("0f", 32)
	key, err := settings.ParseAccountKey(text)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ownership.NewAccountKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	unreadable, wrong := errors.New("unreadable"), errors.New("wrong")
	for name, test := range map[string]struct {
		stored  func(context.Context) (string, error)
		checked bool
	}{
		"not read ahead": {nil, true},
		"the key's":      {func(context.Context) (string, error) { return keys.Fingerprint(), nil }, false},
		"none":           {func(context.Context) (string, error) { return "", nil }, true},
		"another":        {func(context.Context) (string, error) { return "another", nil }, true},
		"unreadable":     {func(context.Context) (string, error) { return "", unreadable }, true},
	} {
		t.Run(name, func(t *testing.T) {
			keeper := Keeper{
				Parts:  ownership.Keeper{Now: time.Now},
				Key:    func(context.Context) (string, error) { return text, nil },
				Stored: test.stored,
				Check: func(_ context.Context, fingerprint string) error {
					if fingerprint != keys.Fingerprint() {
						t.Errorf("checked %q", fingerprint)
					}
					return wrong
				},
			}
			got, err := keeper.Get(t.Context())
			if test.checked != errors.Is(err, wrong) || test.checked != (got == nil) {
				t.Errorf("Get = %v, %v; want an error: %v", got, err, test.checked)
			}
		})
	}
}
