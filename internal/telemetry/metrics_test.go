package telemetry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/telemetry/telemetrytest"
)

// metrics are all constants of type Metric, as the source has them.
func metrics(t *testing.T) (all []telemetry.Metric) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "metrics.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && fmt.Sprint(v.Type) == "Metric" {
			all = append(all, telemetry.Metric(strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`)))
		}
		return true
	})
	if len(all) < 30 {
		t.Fatalf("only %v", all)
	}
	return all
}

// Every metric there is fits into one line, which keeps all rules of the format.
func TestEveryMetric(t *testing.T) {
	all := metrics(t)
	attrs := []slog.Attr{slog.String("outcome", "known")}
	for i, m := range all {
		if m == telemetry.UnidentifiableShare {
			attrs = append(attrs, m.Share(1, 3))
			continue
		}
		attrs = append(attrs, m.Of(i))
	}
	var b bytes.Buffer
	telemetry.NewLogger(&b, "handover-2").LogAttrs(t.Context(), slog.LevelInfo, "webhook", attrs...)
	got := telemetrytest.Metrics(t, b.String(), "handover-2")
	want := map[string]float64{}
	for i, m := range all {
		switch m {
		case telemetry.UnidentifiableShare:
			want["UnidentifiableShare Percent"] = 33.333
		case telemetry.UnsettledAge:
			want["UnsettledAge Seconds"] = float64(i)
		default:
			want[string(m)+" Count"] = float64(i)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("\n got %s\nwant %s", telemetrytest.Words(got), telemetrytest.Words(want))
	}
	if none := telemetry.UnidentifiableShare.Share(0, 0).Value.Float64(); none != 0 {
		t.Errorf("none of none is %v percent", none)
	}
	b.Reset()
	telemetry.NewTerminalLogger(&b).LogAttrs(t.Context(), slog.LevelInfo, "webhook", attrs...)
	if got := b.String(); !strings.HasSuffix(got, " msg=webhook outcome=known\n") {
		t.Errorf("on a terminal: %s", got)
	}
}

// What is no known metric with a number in it does not become one.
func TestNoMetric(t *testing.T) {
	for name, attr := range map[string]slog.Attr{
		"none":                     {},
		"an unknown name":          telemetry.Metric("4735eac4-31a2-47ef-8b11-51e98d84c680").Of(1),
		"a known one in lowercase": slog.Int("accepted", 1),
		"a text":                   slog.String("Accepted", personal),
		"a group":                  slog.Group("Accepted", slog.Int("Accepted", 1)),
		"the dimension":            slog.String("Stack", personal),
		"the directive":            slog.Any("_aws", map[string]int{"Timestamp": 1}),
		"what is no number":        slog.Float64("UnidentifiableShare", math.NaN()),
	} {
		var b bytes.Buffer
		telemetry.NewLogger(&b, "handover").LogAttrs(t.Context(), slog.LevelInfo, "webhook", attr)
		if got := b.String(); !json.Valid(b.Bytes()) || strings.Contains(got, "CloudWatch") || strings.Contains(got, "stark") {
			t.Errorf("%s: %s", name, got)
		}
	}
	var b bytes.Buffer
	telemetry.NewLogger(&b, "handover").WithGroup("group").Info("webhook", telemetry.Accepted.Of(1))
	if strings.Contains(b.String(), "CloudWatch") {
		t.Errorf("in a group: %s", &b)
	}
}

// One line is one write, whatever is in it, also where many goroutines log.
func TestLinesAreWhole(t *testing.T) {
	var lines writes
	log := telemetry.NewLogger(&lines, "handover").With("outcome", "a \"b\" \n \xff", "user_id", personal)
	done := make(chan bool)
	for range 8 {
		go func() {
			for range 50 {
				log.Info("sweep\n\xff", "reason", strings.Repeat("é\x00", 100), telemetry.Settled.Of(1))
			}
			done <- true
		}()
	}
	for range 8 {
		<-done
	}
	for _, line := range lines {
		var members map[string]any
		if err := json.Unmarshal([]byte(line), &members); err != nil || members["outcome"] != "a \"b\" \n \ufffd" || members["user_id"] != "[masked]" ||
			strings.Index(line, "\n") != len(line)-1 {
			t.Fatalf("%v: %q", err, line)
		}
		if got := telemetrytest.Words(telemetrytest.Metrics(t, line, "handover")); got != "Settled Count 1" {
			t.Fatalf("%s: %s", got, line)
		}
	}
	if len(lines) != 400 {
		t.Errorf("%d lines", len(lines))
	}
}

// writes is what was written, a write each. A logger writes one line at a time.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// BenchmarkLine compares the line of a data event with what the library's handler takes for it.
func BenchmarkLine(b *testing.B) {
	attrs := []slog.Attr{
		slog.String("outcome", "known"), slog.Int("status", 200), slog.String("type", "activity"), slog.String("provider", "GARMIN"),
		slog.String("delivery", "5f0c3c1e-8a52-4c55-9d5b-0f5a7c1f7d11"), slog.Int64("ms", 0),
	}
	for name, log := range map[string]*slog.Logger{
		"ours":             telemetry.NewLogger(io.Discard, "handover"),
		"slog, not masked": slog.New(slog.NewJSONHandler(io.Discard, nil)),
		"slog, masked": slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, slog.LevelKey, slog.MessageKey, "outcome", "status", "type", "provider", "delivery", "ms":
				return a
			}
			return slog.String(a.Key, "[masked]")
		}})),
	} {
		for _, metric := range []bool{false, true} {
			attrs := slices.Clone(attrs)
			if metric {
				attrs = append(attrs, telemetry.Accepted.Of(1))
			}
			b.Run(fmt.Sprintf("%s, a metric %v", name, metric), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					record := slog.NewRecord(time.Now(), slog.LevelInfo, "webhook", 0)
					record.AddAttrs(attrs...)
					if err := log.Handler().Handle(b.Context(), record); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
