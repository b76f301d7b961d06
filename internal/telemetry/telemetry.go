// Package telemetry writes what operators see: log lines without personal data, and metrics in them.
package telemetry

import (
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// NewLogger returns a logger that writes one JSON object a line to w, with its metrics in CloudWatch's embedded metric format. Their dimension is the name of
// the stack.
func NewLogger(w io.Writer, stack string) *slog.Logger {
	return slog.New(&jsonHandler{output: &output{w: w}, stack: stack})
}

// NewTerminalLogger returns a logger that writes one line of text to w, without metrics, for somebody who watches.
func NewTerminalLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if measured(a) {
			return slog.Attr{}
		}
		a = masked(groups, a)
		if t, ok := a.Value.Any().(time.Time); ok && a.Key == slog.TimeKey {
			return slog.String(a.Key, t.Format("15:04:05.000"))
		}
		return a
	}}))
}

const mask = "[masked]"

// masked masks each attribute that is not on the list of those that may be logged, whatever is in a group, and whatever is neither plain nor an error. A log
// line never holds a body, a secret, a reference_id or a provider's id, whatever is passed by mistake.
func masked(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 || !loggable(a) {
		return slog.String(a.Key, mask)
	}
	return a
}

// loggable reports whether an attribute that is in no group may be logged. The keys of accounts begin with a provider's name, and an event may hold anything there.
func loggable(a slog.Attr) bool {
	return allowed(a.Key) && plain(a.Value) && (a.Key != "account" || strings.Trim(a.Value.String(), accountKeys) == "")
}

// accountKeys are the characters in keys of accounts, and between them.
const accountKeys = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-/. "

// allowed is the list of the keys that may be logged. It is asked for each attribute of each line.
func allowed(key string) bool {
	switch key {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey,
		"outcome", "reason", "status", "type", "provider", "account", "delivery", "ms",
		"transfers", "revocations", "guesses", "asked", "waiting", "crowded", "error",
		"settled", "put_off", "failed",
		"known", "new", "changed", "without_reference", "unusable", "closed", "doubtful", "unidentifiable", "pages", "repeated",
		"not_revoked", "nudges", "ended", "order", "id", "subscriber", "attempts", "version":
		return true
	}
	return false
}

// plain reports whether a value is written as it is: the fields of a structure, say, are nowhere on a list.
func plain(v slog.Value) bool {
	switch v.Kind() {
	case slog.KindGroup:
		return false
	case slog.KindFloat64: // JSON has not all of them
		return finite(v)
	case slog.KindAny:
		switch v.Any().(type) {
		case slog.Level, error:
			return true
		}
		return false
	}
	return true
}

func finite(v slog.Value) bool { return !math.IsNaN(v.Float64()) && !math.IsInf(v.Float64(), 0) }

// Without is text without the given pieces of personal data, as they are or quoted.
func Without(text string, personal ...string) string {
	var masks []string
	for _, p := range personal {
		if p != "" {
			quoted := strconv.Quote(p)
			masks = append(masks, p, mask, quoted[1:len(quoted)-1], mask)
		}
	}
	return strings.NewReplacer(masks...).Replace(text)
}
