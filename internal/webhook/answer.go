package webhook

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/telemetry"
	"github.com/handover-dev/handover/internal/terra"
)

// answer is the function's answer to API Gateway, payload format 2.0.
type answer struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
}

// problem is RFC 9457's problem detail. Its texts are constants: no answer contains the text of an internal error.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// accepted answers that what the event says is stored, or needs no storing.
const accepted = `{"statusCode":200,"headers":{"content-type":"application/json"},"body":"{}"}`

// statuses is the one table from errors to answers. The first error that matches counts; whatever is not in it could not be stored.
func statuses() []struct {
	err    error
	status int
	reason string           // of the log line
	metric telemetry.Metric // that counts it, if any does
	detail string           // of the answer
} {
	return []struct {
		err    error
		status int
		reason string
		metric telemetry.Metric
		detail string
	}{
		{errNotGateway, http.StatusBadRequest, "not_gateway", "", "The request is not an API Gateway event of payload format 2.0."},
		{errTooLarge, http.StatusRequestEntityTooLarge, "too_large", telemetry.BodiesTooLarge, "The body is too large."},
		{terra.ErrNoSignature, http.StatusUnauthorized, "no_signature", telemetry.SignatureFailures, "The request has no X-Terra-Signature header."},
		{terra.ErrMalformed, http.StatusUnauthorized, "malformed_signature", telemetry.SignatureFailures, "The X-Terra-Signature header is not of the form t=…,v1=…."},
		{terra.ErrMismatch, http.StatusUnauthorized, "wrong_signature", telemetry.SignatureFailures, "The signature is not of a secret that is known here."},
		{terra.ErrTooOld, http.StatusUnauthorized, "signature_too_old", telemetry.ClockRefusals, "The signature is too old."},
		{terra.ErrTooNew, http.StatusUnauthorized, "signature_too_new", telemetry.ClockRefusals, "The signature is of the future."},
		{terra.ErrNotJSON, http.StatusBadRequest, "not_json", "", "The body is not one whole JSON object."},
		{terra.ErrNoUserID, http.StatusBadRequest, "no_user_id", "", "The event has no usable user_id."},
		{terra.ErrReferenceTooLong, http.StatusBadRequest, "reference_too_long", "", "The event's reference_id is longer than 2048 bytes."},
		{errSecret, http.StatusInternalServerError, "terra_secret", telemetry.TerraSecretUnusable, "The event could not be verified."},
		{ownership.ErrWrongAccountKey, http.StatusInternalServerError, "wrong_account_key", telemetry.AccountKeyMismatch, "The event could not be stored."},
		{errKeeper, http.StatusInternalServerError, "account_key", telemetry.AccountKeyUnusable, "The event could not be stored."},
	}
}

// refusal is the answer to an event that is not accepted because of err, its status, and for the log line the reason and the metric, if one counts it.
func refusal(err error) (event []byte, status int, reason string, metric telemetry.Metric) {
	p := problem{Type: "about:blank", Status: http.StatusInternalServerError, Detail: "The event could not be stored."}
	reason = "not_stored"
	for _, s := range statuses() {
		if errors.Is(err, s.err) {
			p.Status, p.Detail, reason, metric = s.status, s.detail, s.reason, s.metric
			break
		}
	}
	p.Title = http.StatusText(p.Status)
	body, _ := json.Marshal(p) // strings and a number
	event, _ = json.Marshal(answer{
		StatusCode: p.Status,
		Headers:    map[string]string{"content-type": "application/problem+json"},
		Body:       string(body),
	})
	return event, p.Status, reason, metric
}
