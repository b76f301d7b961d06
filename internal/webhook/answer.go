package webhook

import (
	"encoding/json"
	"errors"
	"net/http"

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
	reason string // of the log line
	detail string // of the answer
} {
	return []struct {
		err            error
		status         int
		reason, detail string
	}{
		{errNotGateway, http.StatusBadRequest, "not_gateway", "The request is not an API Gateway event of payload format 2.0."},
		{errTooLarge, http.StatusRequestEntityTooLarge, "too_large", "The body is too large."},
		{terra.ErrNoSignature, http.StatusUnauthorized, "no_signature", "The request has no X-Terra-Signature header."},
		{terra.ErrMalformed, http.StatusUnauthorized, "malformed_signature", "The X-Terra-Signature header is not of the form t=…,v1=…."},
		{terra.ErrMismatch, http.StatusUnauthorized, "wrong_signature", "The signature is not of a secret that is known here."},
		{terra.ErrTooOld, http.StatusUnauthorized, "signature_too_old", "The signature is too old."},
		{terra.ErrTooNew, http.StatusUnauthorized, "signature_too_new", "The signature is of the future."},
		{terra.ErrNotJSON, http.StatusBadRequest, "not_json", "The body is not one whole JSON object."},
		{terra.ErrNoUserID, http.StatusBadRequest, "no_user_id", "The event has no usable user_id."},
		{terra.ErrReferenceTooLong, http.StatusBadRequest, "reference_too_long", "The event's reference_id is longer than 2048 bytes."},
		{errSecret, http.StatusInternalServerError, "terra_secret", "The event could not be verified."},
		{errKeeper, http.StatusInternalServerError, "account_key", "The event could not be stored."},
	}
}

// refusal is the answer to an event that is not accepted because of err, its status, and the reason for the log line.
func refusal(err error) (event []byte, status int, reason string) {
	p := problem{Type: "about:blank", Status: http.StatusInternalServerError, Detail: "The event could not be stored."}
	reason = "not_stored"
	for _, s := range statuses() {
		if errors.Is(err, s.err) {
			p.Status, p.Detail, reason = s.status, s.detail, s.reason
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
	return event, p.Status, reason
}
