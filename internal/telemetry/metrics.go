package telemetry

import (
	"log/slog"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Metric is the name of a metric, in the namespace [Namespace] and with the one dimension Stack. A log line carries metrics, as numbers among its attributes,
// and CloudWatch reads them out of it: no call is needed. https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
type Metric string

// Namespace is where CloudWatch shows the metrics.
const Namespace = "Handover"

// What the webhook function counts, each only when it is not zero.
const (
	Accepted          Metric = "Accepted"          // answered 200, the own heartbeat aside
	Heartbeats        Metric = "Heartbeats"        // the stack's own heartbeat, answered 200
	Answered500       Metric = "Answered500"       // Terra tries it again
	SignatureFailures Metric = "SignatureFailures" // none, malformed, or wrong
	ClockRefusals     Metric = "ClockRefusals"     // a good signature, too old or too new
	BodiesTooLarge    Metric = "BodiesTooLarge"
)

// What webhook and sweep count, each only when it is not zero.
const (
	TerraSecretUnusable  Metric = "TerraSecretUnusable"
	AccountKeyUnusable   Metric = "AccountKeyUnusable"   // it cannot be read
	AccountKeyMismatch   Metric = "AccountKeyMismatch"   // it is not the one that the ledger's accounts were made with
	Transfers            Metric = "Transfers"            // announced
	Revocations          Metric = "Revocations"          // announced
	Guesses              Metric = "Guesses"              // transfers whose order is only observed
	WithoutReference     Metric = "WithoutReference"     // connections without a reference_id
	Crowded              Metric = "Crowded"              // accounts whose row is too large
	TerraFailures        Metric = "TerraFailures"        // Terra's API failed, or its answer was of no use
	TerraLimited         Metric = "TerraLimited"         // Terra's API limits calls
	AnnouncementFailures Metric = "AnnouncementFailures" // the topic refused one, or failed
)

// What the sweep function measures in each run, also when it is zero; the last three after a walk or a round.
const (
	Sweeps              Metric = "Sweeps"
	Unsettled           Metric = "Unsettled"    // connections with something left to do, those aside whose account nobody names
	UnsettledAge        Metric = "UnsettledAge" // how long the one among them that has waited longest has waited
	Settled             Metric = "Settled"
	PutOff              Metric = "PutOff"
	SweepFailures       Metric = "SweepFailures"
	HeartbeatFailures   Metric = "HeartbeatFailures"
	Unidentifiable      Metric = "Unidentifiable"      // open connections whose account nobody names
	UnidentifiableShare Metric = "UnidentifiableShare" // of all open connections
	NotRevoked          Metric = "NotRevoked"          // superseded connections that are open for too long
)

// What the revoke function counts, each only when it is not zero.
const (
	Ended          Metric = "Ended"
	RevokeFailures Metric = "RevokeFailures"
	LeftToAPerson  Metric = "LeftToAPerson"
	WouldEnd       Metric = "WouldEnd" // a dry run would have
)

// Of is an attribute that carries n of the metric.
func (m Metric) Of(n int) slog.Attr { return slog.Int(string(m), n) }

// Share is an attribute that carries the metric as n percent of all; none of none is 0.
func (m Metric) Share(n, all int) slog.Attr {
	return slog.Float64(string(m), 100*float64(n)/float64(max(all, 1)))
}

// Unit is CloudWatch's unit of the metric, "" if there is no such metric: only what is listed here gets into CloudWatch.
func (m Metric) Unit() string {
	switch m {
	case Accepted, Heartbeats, Answered500, SignatureFailures, ClockRefusals, BodiesTooLarge,
		TerraSecretUnusable, AccountKeyUnusable, AccountKeyMismatch, Transfers, Revocations, Guesses, WithoutReference, Crowded,
		TerraFailures, TerraLimited, AnnouncementFailures,
		Sweeps, Unsettled, Settled, PutOff, SweepFailures, HeartbeatFailures, Unidentifiable, NotRevoked,
		Ended, RevokeFailures, LeftToAPerson, WouldEnd:
		return "Count"
	case UnsettledAge:
		return "Seconds"
	case UnidentifiableShare:
		return "Percent"
	}
	return ""
}

// measured reports whether an attribute carries a metric.
func measured(a slog.Attr) bool {
	switch a.Value.Kind() {
	case slog.KindInt64:
		return Metric(a.Key).Unit() != ""
	case slog.KindFloat64:
		return Metric(a.Key).Unit() != "" && finite(a.Value)
	}
	return false
}

// appendEMF appends the members by which CloudWatch finds the metrics of a line, whose values are members of it already.
func appendEMF(line []byte, metrics []string, milliseconds int64, stack string) []byte {
	line = append(line, `,"_aws":{"Timestamp":`...)
	line = strconv.AppendInt(line, milliseconds, 10)
	line = append(line, `,"CloudWatchMetrics":[{"Namespace":"`+Namespace+`","Dimensions":[["Stack"]],"Metrics":[`...)
	for i, name := range metrics {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, `{"Name":"`...)
		line = append(line, name...)
		line = append(line, `","Unit":"`...)
		line = append(line, Metric(name).Unit()...)
		line = append(line, `"}`...)
	}
	line = append(line, `]}]},"Stack":`...)
	line, _ = jsontext.AppendQuote(line, stack)
	return line
}
