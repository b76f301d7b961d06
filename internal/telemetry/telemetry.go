// Package telemetry writes what operators see: log lines without personal data.
package telemetry

import (
	"io"
	"log/slog"
	"slices"
	"time"
)

// NewLogger returns a logger that writes one JSON object a line to w.
func NewLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: masked()}))
}

// NewTerminalLogger returns a logger that writes one line of text to w, for somebody who watches.
func NewTerminalLogger(w io.Writer) *slog.Logger {
	mask := masked()
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if t, ok := a.Value.Any().(time.Time); ok && a.Key == slog.TimeKey {
			return slog.String(a.Key, t.Format("15:04:05.000"))
		}
		return mask(groups, a)
	}}))
}

// masked masks each attribute that is not on the list of those that may be logged. A log line never holds a body, a secret, a reference_id or a
// provider's id, whatever is passed by mistake.
func masked() func(groups []string, a slog.Attr) slog.Attr {
	allowed := []string{
		slog.TimeKey, slog.LevelKey, slog.MessageKey,
		"outcome", "reason", "status", "type", "provider", "account", "delivery", "ms",
		"transfers", "revocations", "guesses", "asked", "waiting", "crowded", "error",
		"settled", "put_off", "failed", "order", "id", "subscriber", "attempts",
	}
	return func(_ []string, a slog.Attr) slog.Attr {
		if !slices.Contains(allowed, a.Key) {
			return slog.String(a.Key, "[masked]")
		}
		return a
	}
}
