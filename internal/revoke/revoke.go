// Package revoke is the reference subscriber: told that a wearable account has passed from one end user to another, it ends the connection that is to
// end, so that this access is really over.
//
// Ending a connection cannot be taken back, and a message can be days old. So nothing is ended on a message's word alone: the ledger is asked, with
// consistent reads, whether what the message says of the connection still holds. What is in doubt stays as it is, and is logged, for a person to decide.
package revoke

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/telemetry"
)

// Revoker ends connections. Handling a message again does no harm, nor do two Revokers at once.
type Revoker struct {
	Policy    Policy
	Ledger    Ledger
	Directory Directory // used by FirstWins only
	Terra     Deauthenticator

	// End records that Terra has no such connection any more: ownership.Keeper.End. That announces the revocation. A repeat does no harm.
	End func(ctx context.Context, userID string) error

	Log *slog.Logger
	Now func() time.Time
}

// Ledger is what is asked of the ledger. Both reads are strongly consistent; false says that there is no row.
type Ledger interface {
	Connection(ctx context.Context, userID string) (ownership.Connection, bool, error)
	Account(ctx context.Context, key string) (ownership.Account, bool, error)
}

// Directory tells whether Terra knows a connection: it is a part of [ownership.Directory].
type Directory interface {
	UserInfo(ctx context.Context, userID string) (ownership.Profile, error)
}

// Deauthenticator ends a connection at Terra.
type Deauthenticator interface {
	// Deauthenticate returns nil if Terra has accepted it, [ownership.ErrGone] if Terra knows no such connection, and [ErrDryRun] if it only would have
	// asked. After any other error it may be called again, whether it was carried out or not.
	Deauthenticate(ctx context.Context, userID string) error
}

// DryRun is a Deauthenticator that ends nothing: the log lines then say what would have been done.
type DryRun struct{}

// ErrDryRun is the answer of a DryRun.
var ErrDryRun = errors.New("a dry run ends no connection")

// Deauthenticate returns ErrDryRun.
func (DryRun) Deauthenticate(context.Context, string) error { return ErrDryRun }

// outcome is what became of a message.
type outcome string

const (
	revoked    outcome = "revoked"    // Terra has accepted to end the connection; its deauth webhook, or the sweep, will confirm that it did
	gone       outcome = "gone"       // Terra has no such connection any more, which is now recorded
	dryRun     outcome = "dry_run"    // the connection would have been ended
	ignored    outcome = "ignored"    // the message tells of no transfer
	reassigned outcome = "reassigned" // the connection is another reference's by now, or both sides are one connection
	observed   outcome = "observed"   // which of the two came first is only a guess
	unknown    outcome = "unknown"    // the ledger has no such connection: it has been forgotten, or ended long ago
	owner      outcome = "owner"      // the connection is the one that the policy wants to keep
	failed     outcome = "failed"     // to be tried again
)

// metric is what counts the outcome, "" if nothing does.
func (o outcome) metric() telemetry.Metric {
	switch o {
	case revoked, gone:
		return telemetry.Ended
	case dryRun:
		return telemetry.WouldEnd
	case observed:
		return telemetry.LeftToAPerson
	case failed:
		return telemetry.RevokeFailures
	}
	return ""
}

const (
	each   = 10 * time.Second // for one message
	margin = time.Second      // left of Lambda's time to answer which messages have failed
)

// Handle handles a batch of messages from an SQS queue that is subscribed to the topic, with or without raw delivery. It answers which of them have
// failed and must come again (ReportBatchItemFailures), in the end to a dead-letter queue: a message that cannot be read is one of them. In a FIFO
// queue a failure holds up the later messages of its group, and no others.
func (r *Revoker) Handle(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	var response events.SQSEventResponse
	heldUp := map[string]bool{}
	for _, m := range batch.Records {
		group := m.Attributes["MessageGroupId"]
		if !heldUp[group] && r.handle(ctx, m.Body) == nil {
			continue
		}
		heldUp[group] = group != ""
		response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
	}
	return response, nil
}

// handle handles the message and writes its log line.
func (r *Revoker) handle(ctx context.Context, body string) error {
	start := r.Now()
	ctx, cancel := context.WithTimeout(ctx, each)
	defer cancel()

	var o outcome
	id, a, err := announce.Parse(unwrap(body))
	if err == nil {
		o, err = r.revoke(ctx, a)
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.String("type", string(a.Type)), slog.String("account", a.Account), slog.String("id", id), slog.Int64("ms", r.Now().Sub(start).Milliseconds())}
	if err != nil {
		level, o = slog.LevelError, failed
		text := telemetry.Without(err.Error(), a.Previous.UserID, a.Previous.ReferenceID, a.Current.UserID, a.Current.ReferenceID)
		attrs = append(attrs, slog.String("error", text))
	}
	attrs = append(attrs, slog.String("outcome", string(o)))
	if metric := o.metric(); metric != "" {
		attrs = append(attrs, metric.Of(1))
	}
	r.Log.LogAttrs(ctx, level, "revoke", attrs...)
	return err
}

// unwrap returns the event in the body of a message: raw delivery's body is the event, otherwise SNS's envelope is around it.
// https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html
func unwrap(body string) []byte {
	var envelope struct{ Type, Message string }
	if json.Unmarshal([]byte(body), &envelope) == nil && envelope.Type == "Notification" {
		return []byte(envelope.Message)
	}
	return []byte(body)
}

// revoke ends the connection that the policy wants to end. The outcome counts only if there is no error.
//
// That Terra has accepted to end it is not yet its end, and what is recorded cannot be taken back: so nothing is recorded then. The deauth webhook that
// follows closes the row, or, should it be lost, the sweep does. Only where Terra says that there is no such connection is its end known here and now.
func (r *Revoker) revoke(ctx context.Context, a ownership.Announcement) (outcome, error) {
	userID, kept, err := r.decide(ctx, a)
	if err != nil || userID == "" {
		return kept, err
	}
	err = r.Terra.Deauthenticate(ctx, userID)
	switch {
	case errors.Is(err, ownership.ErrGone):
		return gone, r.End(ctx, userID)
	case errors.Is(err, ErrDryRun):
		return dryRun, nil
	}
	return revoked, err
}
