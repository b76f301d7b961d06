package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/telemetry"
)

const personal = "tony.stark@example.com"

func loggers() map[string]func(io.Writer) *slog.Logger {
	return map[string]func(io.Writer) *slog.Logger{"JSON": func(w io.Writer) *slog.Logger { return telemetry.NewLogger(w, "handover") }, "terminal": telemetry.NewTerminalLogger}
}

type row struct{ Reference string }

// valuer is resolved only when it is logged.
type valuer struct{ v slog.Value }

func (v valuer) LogValue() slog.Value { return v.v }

func TestPersonalDataIsMasked(t *testing.T) {
	for name, log := range map[string]func(*slog.Logger){
		"a key that is not on the list": func(l *slog.Logger) { l.Info("webhook", "reference_id", personal) },
		"key in another case":           func(l *slog.Logger) { l.Info("webhook", "Outcome", personal) },
		"With":                          func(l *slog.Logger) { l.With("reference_id", personal).Info("webhook") },
		"a group":                       func(l *slog.Logger) { l.Info("webhook", slog.Group("user", "reference_id", personal)) },
		"a group, key on the list":      func(l *slog.Logger) { l.Info("webhook", slog.Group("user", "id", personal, "time", personal)) },
		"groups in groups":              func(l *slog.Logger) { l.Info("webhook", slog.Group("a", slog.Group("b", "id", personal))) },
		"a group named like the list":   func(l *slog.Logger) { l.Info("webhook", slog.Group("error", "error", personal)) },
		"an inlined group":              func(l *slog.Logger) { l.Info("webhook", slog.Group("", "reference_id", personal)) },
		"WithGroup":                     func(l *slog.Logger) { l.WithGroup("user").Info("webhook", "id", personal) },
		"WithGroup and With":            func(l *slog.Logger) { l.WithGroup("user").With("id", personal).Info("webhook") },
		"a valuer":                      func(l *slog.Logger) { l.Info("webhook", "name", valuer{slog.StringValue(personal)}) },
		"a valuer of a group":           func(l *slog.Logger) { l.Info("webhook", "id", valuer{slog.GroupValue(slog.String("id", personal))}) },
		"a structure":                   func(l *slog.Logger) { l.Info("webhook", "account", row{personal}) },
		"a pointer":                     func(l *slog.Logger) { l.Info("webhook", "account", &row{personal}) },
		"a list":                        func(l *slog.Logger) { l.Info("webhook", "account", []string{personal}) },
		"a map":                         func(l *slog.Logger) { l.Info("webhook", "account", map[string]string{"x": personal}) },
		"an account of an odd provider": func(l *slog.Logger) { l.Info("webhook", "account", "GARMIN/k7c1.1f2e "+personal+"/k7c1.1f2e") },
		"bytes":                         func(l *slog.Logger) { l.Info("webhook", "type", []byte(personal)) },
		"raw JSON":                      func(l *slog.Logger) { l.Info("webhook", "type", json.RawMessage(`"`+personal+`"`)) },
		"no key":                        func(l *slog.Logger) { l.Info("webhook", []any{personal}...) },
		"an attribute":                  func(l *slog.Logger) { l.LogAttrs(t.Context(), slog.LevelError, "webhook", slog.Any("body", personal)) },
	} {
		for kind, newLogger := range loggers() {
			var b bytes.Buffer
			log(newLogger(&b))
			if got := b.String(); strings.Contains(got, "stark") || !strings.Contains(got, "[masked]") || strings.Count(got, "\n") != 1 {
				t.Errorf("%s, %s: %s", name, kind, got)
			}
		}
	}
}

func TestWhatMayBeLogged(t *testing.T) {
	for kind, newLogger := range loggers() {
		var b bytes.Buffer
		newLogger(&b).LogAttrs(t.Context(), slog.LevelWarn, "webhook", slog.String("outcome", "refused"), slog.Int("status", 401), slog.Int64("ms", 7),
			slog.Bool("crowded", true), slog.Any("error", errors.New("no\nanswer")), slog.Duration("waiting", time.Second))
		want := `"level":"WARN","msg":"webhook","outcome":"refused","status":401,"ms":7,"crowded":true,"error":"no\nanswer","waiting":1000000000}` + "\n"
		if kind == "terminal" {
			want = ` level=WARN msg=webhook outcome=refused status=401 ms=7 crowded=true error="no\nanswer" waiting=1s` + "\n"
		}
		if got := b.String(); !strings.HasSuffix(got, want) {
			t.Errorf("%s:\n got %swant …%s", kind, got, want)
		}
		if kind == "JSON" {
			var line struct{ Time time.Time }
			if err := json.Unmarshal(b.Bytes(), &line); err != nil || time.Since(line.Time).Abs() > time.Minute {
				t.Errorf("time %v, %v", line.Time, err)
			}
		} else if _, err := time.Parse("time=15:04:05.000", strings.Fields(b.String())[0]); err != nil {
			t.Error(err)
		}
	}
}

func TestDebugIsNotLogged(t *testing.T) {
	for kind, newLogger := range loggers() {
		var b bytes.Buffer
		if newLogger(&b).Debug("webhook"); b.Len() > 0 {
			t.Errorf("%s: %s", kind, b.String())
		}
	}
}

func TestWithout(t *testing.T) {
	for _, test := range []struct {
		text     string
		personal []string
		want     string
	}{
		{"putting item: no answer", nil, "putting item: no answer"},
		{"putting item: no answer", []string{"", ""}, "putting item: no answer"},
		{"item tony of tony and ben", []string{"tony", "", "ben"}, "item [masked] of [masked] and [masked]"},
		{"item " + fmt.Sprintf("%q", "a\n\"b\""), []string{"a\n\"b\""}, `item "[masked]"`},
		{"a mask", []string{"a", "m", "s", "k"}, "[masked] [masked][masked][masked][masked]"}, // once each, not the masks again
	} {
		if got := telemetry.Without(test.text, test.personal...); got != test.want {
			t.Errorf("Without(%q, %q) = %q, want %q", test.text, test.personal, got, test.want)
		}
	}
}
