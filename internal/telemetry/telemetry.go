// Package telemetry writes what operators see: JSON log lines without personal data.
package telemetry

import (
	"io"
	"log/slog"
	"slices"
)

// keys are the only attributes that reach a log line. Whatever else is passed by mistake is masked: a log line never holds a body, a
// secret, a reference_id or a provider's id.
func keys() []string {
	return []string{
		slog.TimeKey, slog.LevelKey, slog.MessageKey,
		"outcome", "reason", "status", "type", "provider", "account", "delivery", "ms",
		"transfers", "revocations", "guesses", "asked", "waiting", "crowded", "error",
		"settled", "put_off", "failed", "order", "id", "url", "signal", "data",
	}
}

// NewLogger returns a logger that writes one JSON object a line to w.
func NewLogger(w io.Writer) *slog.Logger {
	allowed := keys()
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if !slices.Contains(allowed, a.Key) {
				return slog.String(a.Key, "[masked]")
			}
			return a
		},
	}))
}
