// Package webhook is the path of one webhook: API Gateway's event → signature → JSON → facts → the ledger → an answer.
//
// Nothing of a body is read before its signature is good, and 200 is answered only once what the event says is stored, or needs no storing.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
)

// maxBody is the size at which a body is refused: the event of a synchronous invocation of Lambda may have 6 MB, the body's escaping included.
const maxBody = 6_000_000

// Terra waits 8 seconds for an answer. What can be done within budget of its arrival is done at once, the sweep does the rest; margin is left to the end
// of Lambda's own time.
const (
	budget = 7 * time.Second
	margin = 300 * time.Millisecond
)

// Secrets is where Terra's signing secrets come from. It bounds the time that reading them takes by itself.
type Secrets interface {
	// Get returns the secrets that are live, or an error if there are none.
	Get(ctx context.Context) (settings.Terra, error)
	// Refresh reads them again, if they were last read long enough ago, and reports whether it did. It returns them as they then are.
	Refresh(ctx context.Context) (settings.Terra, bool, error)
}

// Peeker reads a connection's row cheaply: the answer may lag behind.
type Peeker interface {
	Peek(ctx context.Context, userID string) (ownership.Connection, bool, error)
}

// Handler handles the events of API Gateway. It implements lambda.Handler.
type Handler struct {
	Secrets Secrets
	Window  terra.Window
	Keeper  func(ctx context.Context) (*ownership.Keeper, error) // fails while the account key cannot be had, or is the wrong one
	Peeker  Peeker
	Seen    *Seen // nil: events that only carry data are not looked at

	// Settling has room for the webhooks that may settle at once what they have stored; the others wait a second for a place, and then leave it to the sweep, so
	// that in a rush what comes is stored first. nil: each settles, as on Lambda, where no two webhooks share an instance.
	Settling chan struct{}

	Log *slog.Logger
	Now func() time.Time
}

var (
	errSecret = errors.New("Terra's secret cannot be used")
	errKeeper = errors.New("the account key cannot be used")
)

// Invoke handles one event of API Gateway's, whose bytes it changes, and returns the answer to it. It never returns an error: API Gateway would answer 500 to
// it without a word.
func (h *Handler) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	line := line{now: h.Now()}
	until := time.Now().Add(budget)
	if deadline, ok := ctx.Deadline(); ok && deadline.Add(-margin).Before(until) {
		until = deadline.Add(-margin)
	}
	err := h.handle(ctx, until, event, &line)
	if err == nil {
		h.write(ctx, &line, 200, line.later)
		return append(event[:0], accepted...), nil // in the memory of the event, which nobody needs any more
	}
	answer, status, reason, metric := refusal(err)
	line.outcome, line.reason, line.metric = "refused", reason, metric
	if status >= 500 {
		line.outcome = "failed"
	}
	h.write(ctx, &line, status, err)
	return answer, nil
}

// line is what the one log line of a webhook says.
type line struct {
	now      time.Time // when the webhook came: the one time that it is judged by
	outcome  string
	reason   string
	event    terra.Event
	delivery string
	result   ownership.Result
	later    error // stored, but the rest is left to the sweep

	metric    telemetry.Metric // that counts the refusal
	heartbeat bool             // it is the stack's own
	watch     *telemetry.Watch // on what was done for the event; nil: nothing had to be
}

func (h *Handler) handle(ctx context.Context, until time.Time, event []byte, line *line) error {
	r, err := parseRequest(event)
	if err != nil {
		return err
	}
	signedAt, err := h.verify(ctx, line.now, r)
	if err != nil {
		return err
	}
	line.delivery, line.heartbeat = r.delivery, string(r.body) == telemetry.HeartbeatBody // by bytes that are signed
	e, err := terra.ParseEvent(r.body)
	if err != nil {
		return err
	}
	line.event = e
	return h.apply(ctx, until, e, signedAt, line)
}

// verify checks the signature under either header against all live secrets. When it is of none, the secrets are read again, so that no webhook is refused
// because of a rotation.
func (h *Handler) verify(ctx context.Context, now time.Time, r request) (signedAt time.Time, err error) {
	secret, err := h.Secrets.Get(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", errSecret, err)
	}
	signedAt, err = h.check(now, r, secret)
	if !errors.Is(err, terra.ErrMismatch) {
		return signedAt, err
	}
	known := secret.SigningSecrets
	secret, refreshed, readErr := h.Secrets.Refresh(ctx)
	switch {
	case readErr != nil:
		return time.Time{}, fmt.Errorf("%w: %w", errSecret, readErr)
	case !refreshed && slices.Equal(secret.SigningSecrets, known): // else another webhook has just read it again
		return time.Time{}, err
	}
	return h.check(now, r, secret)
}

// check checks both headers: one that is right is enough. When neither is, the error is that of the one that came nearest.
func (h *Handler) check(now time.Time, r request, secret settings.Terra) (time.Time, error) {
	signedAt, err := terra.Verify(r.signature, r.body, secret.SigningSecrets, now, h.Window)
	if err == nil || r.deprecated == "" {
		return signedAt, err
	}
	twinSignedAt, twinErr := terra.Verify(r.deprecated, r.body, secret.SigningSecrets, now, h.Window)
	genuine := errors.Is(err, terra.ErrTooOld) || errors.Is(err, terra.ErrTooNew)
	if twinErr != nil && (genuine || errors.Is(err, terra.ErrMismatch) && errors.Is(twinErr, terra.ErrMalformed)) {
		return signedAt, err
	}
	return twinSignedAt, twinErr
}

// apply does what the event asks for, until then: DESIGN's table "What each event does".
func (h *Handler) apply(ctx context.Context, until time.Time, e terra.Event, signedAt time.Time, line *line) error {
	passing := !e.CanChangeOwnership()
	switch {
	case !e.User.Present, !e.Known(), e.Type == "auth" && e.Status == "error": // what an event of unknown type says of its user, nobody knows
		line.outcome = "nothing_to_store"
		return nil
	case passing && h.Seen == nil:
		line.outcome = "not_watched"
		return nil
	case passing && h.Seen.has(of(e.User), line.now):
		line.outcome = "known"
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	facts := factsOf(e, signedAt, line.now)
	keeper, err := h.Keeper(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errKeeper, err)
	}
	line.watch = new(telemetry.Watch)
	keeper = line.watch.Over(keeper)
	if e.Type == "athlete" {
		if account := keeper.Keys.Account(e.User.Provider, e.ProviderUserID); account != "" {
			facts[0].Accounts, facts[0].Named = []string{account}, true
		}
	}
	if passing {
		r, found, err := h.Peeker.Peek(ctx, facts[0].UserID)
		if err != nil {
			return fmt.Errorf("reading a connection: %w", err)
		}
		if found && !ownership.Adds(r, facts[0]) {
			h.Seen.add(r, line.now)
			line.outcome = "known"
			return nil
		}
	}

	var toDo []ownership.Connection
	line.outcome = "known"
	for _, f := range facts {
		r, news, err := keeper.Record(ctx, f)
		if err != nil {
			return err
		}
		if news {
			line.outcome = "recorded"
			h.Seen.forget(f.UserID)
		}
		if r.ToDo {
			toDo = append([]ownership.Connection{r}, toDo...) // of a user_reauth the old one first
		}
	}
	// From here everything is stored, and 200 is owed whatever happens.
	if h.Settling != nil {
		select {
		case h.Settling <- struct{}{}:
			defer func() { <-h.Settling }()
		case <-time.After(time.Second): // of the 8 that Terra gives
			line.result.Waiting = "others are settled first"
			return nil
		}
	}
	line.result, line.later = keeper.Settle(ctx, toDo...)
	return nil
}

// factsOf are what an event says, now: of one connection, or of two.
func factsOf(e terra.Event, signedAt, now time.Time) []ownership.Facts {
	seen := signedAt // when this was seen to happen, if Terra does not say
	if now.Before(seen) {
		seen = now
	}
	f := of(e.User)
	switch e.Type {
	case "auth":
		if f.Reference == "" {
			f.Reference = e.ReferenceID // the legacy shape
		}
		guess(&f, seen)
	case "user_reauth":
		guess(&f, seen)
		if !e.OldUser.Present || e.OldUser.UserID == e.User.UserID {
			break // then it is an auth
		}
		old := of(e.OldUser)
		old.ClosedAt = seen
		old.ReplacedBy = []ownership.Successor{{UserID: f.UserID, Reference: f.Reference}}
		f.Replaces = []string{old.UserID}
		return []ownership.Facts{f, old}
	case "deauth", "access_revoked":
		f.ClosedAt = seen
	}
	return []ownership.Facts{f}
}

// of is what every event says of a user that is in it.
func of(u terra.User) ownership.Facts {
	f := ownership.Facts{UserID: u.UserID, Provider: u.Provider, Reference: u.ReferenceID}
	if !u.CreatedAt.IsZero() {
		f.ConnectedAt, f.Certainty = u.CreatedAt, ownership.Signed
	}
	return f
}

// guess takes the time at which a connection was seen being made, for want of Terra's own.
func guess(f *ownership.Facts, seen time.Time) {
	if f.Certainty == ownership.Unknown {
		f.ConnectedAt, f.Certainty = seen, ownership.Observed
	}
}

// write writes the one log line. err is why the event was not accepted, or why a part of what follows from it is left to the sweep.
func (h *Handler) write(ctx context.Context, l *line, status int, err error) {
	level := slog.LevelInfo
	switch {
	case status >= 500 || status == 200 && err != nil:
		level = slog.LevelError
	case status >= 400:
		level = slog.LevelWarn
	}
	if !h.Log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("outcome", l.outcome), slog.Int("status", status))
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	count := func(key string, n int) {
		if n > 0 {
			attrs = append(attrs, slog.Int(key, n))
		}
	}
	add("reason", l.reason)
	if l.event.Known() {
		add("type", l.event.Type)
	} else if status == 200 {
		add("type", "other")
	}
	add("provider", slug(l.event.User.Provider))
	add("account", strings.Join(distinct(l.result.Accounts), " "))
	add("delivery", traceID(l.delivery))
	count("transfers", l.result.Transfers)
	count("revocations", l.result.Revocations)
	count("guesses", l.result.Guesses)
	count("asked", l.result.Asked)
	if l.result.Waiting != "" {
		add("waiting", l.withoutIDs(l.result.Waiting))
	}
	if l.result.Nameless {
		attrs = append(attrs, slog.Bool("without_reference", true))
	}
	if l.result.Crowded {
		attrs = append(attrs, slog.Bool("crowded", true))
	}
	if level == slog.LevelError {
		add("error", l.withoutIDs(err.Error()))
	}
	now := h.Now()
	attrs = append(attrs, slog.Int64("ms", now.Sub(l.now).Milliseconds()))
	record := slog.NewRecord(now, level, "webhook", 0) // LogAttrs would look for the line of code, which no log shows
	record.AddAttrs(l.measure(attrs, status)...)
	_ = h.Log.Handler().Handle(ctx, record) // as LogAttrs
}

// measure appends the metrics of the webhook, each of which is at least 1.
func (l *line) measure(attrs []slog.Attr, status int) []slog.Attr {
	count := func(metric telemetry.Metric, counts bool) {
		if counts {
			attrs = append(attrs, metric.Of(1))
		}
	}
	count(telemetry.Accepted, status == 200 && !l.heartbeat)
	count(telemetry.Heartbeats, status == 200 && l.heartbeat)
	count(telemetry.Answered500, status >= 500)
	count(l.metric, l.metric != "")
	count(telemetry.WithoutReference, l.result.Nameless)
	count(telemetry.Crowded, l.result.Crowded)
	return l.watch.Append(attrs)
}

// withoutIDs is the text of an error without what the event says of people. Such a text is of others' making, and could quote what was sent to them.
func (l *line) withoutIDs(text string) string {
	e := l.event
	return telemetry.Without(text, e.User.UserID, e.User.ReferenceID, e.OldUser.UserID, e.OldUser.ReferenceID, e.ReferenceID, e.ProviderUserID)
}

// distinct is the sorted set of what is in list.
func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// slug is a provider's name if it looks like one of Terra's, which are upper-case words. The set is open, and an event may hold anything.
func slug(provider string) string {
	if only(provider, 32, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") {
		return provider
	}
	return "other"
}

// traceID is the id of a delivery. The header is not signed and may hold anything.
func traceID(header string) string {
	if only(header, 100, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:-_") {
		return header
	}
	return "other"
}

// only reports whether s has at most limit bytes, all of them in set.
func only(s string, limit int, set string) bool {
	return len(s) <= limit && strings.Trim(s, set) == ""
}
