package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonHandler writes a record as one line of JSON, masked, with its metrics. [slog.JSONHandler] would do for the first two in about twice the time, and this line
// is a large part of a small webhook.
type jsonHandler struct {
	output  *output
	stack   string
	prefix  []byte // the members of With
	grouped bool   // inside of a group, where everything is masked
}

// output is a writer of whole lines.
type output struct {
	mu   sync.Mutex
	w    io.Writer
	line []byte // the memory of the last one
}

func (h *jsonHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *jsonHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.prefix = slices.Clone(h.prefix)
	for _, a := range attrs {
		with.prefix, _ = h.appendAttr(with.prefix, a)
	}
	return &with
}

func (h *jsonHandler) WithGroup(string) slog.Handler {
	group := *h
	group.grouped = true
	return &group
}

func (h *jsonHandler) Handle(_ context.Context, r slog.Record) error {
	h.output.mu.Lock()
	defer h.output.mu.Unlock()
	line := append(h.output.line[:0], `{"time":"`...)
	line = r.Time.Truncate(time.Millisecond).AppendFormat(line, time.RFC3339Nano)
	line = append(line, `","level":"`...)
	line = append(line, r.Level.String()...)
	line = append(line, `","msg":`...)
	line, _ = jsontext.AppendQuote(line, r.Message)
	line = append(line, h.prefix...)
	var room [32]string
	metrics := room[:0]
	r.Attrs(func(a slog.Attr) bool {
		var metric bool
		if line, metric = h.appendAttr(line, a); metric {
			metrics = append(metrics, a.Key)
		}
		return true
	})
	if len(metrics) > 0 {
		line = appendEMF(line, metrics, r.Time.UnixMilli(), h.stack)
	}
	line = append(line, '}', '\n')
	h.output.line = line
	_, err := h.output.w.Write(line)
	return err
}

// appendAttr appends the attribute as a member, and reports whether it carries a metric.
func (h *jsonHandler) appendAttr(line []byte, a slog.Attr) (_ []byte, metric bool) {
	if a.Equal(slog.Attr{}) {
		return line, false
	}
	a.Value = a.Value.Resolve()
	line = append(line, ',')
	metric = measured(a)
	if h.grouped || !metric && !loggable(a) {
		line, _ = jsontext.AppendQuote(line, a.Key) // what is not UTF-8 is replaced, here and below
		return append(line, `:"`+mask+`"`...), false
	}
	line = append(line, '"')
	line = append(line, a.Key...) // those that are known need no escape
	line = append(line, '"', ':')
	return appendValue(line, a.Value), metric
}

// appendValue appends a plain value.
func appendValue(line []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(line, v.Int64(), 10)
	case slog.KindFloat64:
		return strconv.AppendFloat(line, v.Float64(), 'f', 3, 64)
	case slog.KindBool:
		return strconv.AppendBool(line, v.Bool())
	case slog.KindDuration:
		return strconv.AppendInt(line, int64(v.Duration()), 10)
	}
	line, _ = jsontext.AppendQuote(line, v.String())
	return line
}
