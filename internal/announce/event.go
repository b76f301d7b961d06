// Package announce turns an [ownership.Announcement] into the message that an app's backend receives, and publishes it to SNS.
//
// The message is a CloudEvents 1.0 event in JSON. It is public: the schemas in schema/ describe it, the golden files in testdata/ are
// examples of it, and a change that a subscriber could notice needs a new type and a new schema.
package announce

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// Schemas holds a JSON Schema (draft-07) of each type of event: schema/account-transferred.v1.json and schema/connection-revoked.v1.json.
//
//go:embed schema/*.json
var Schemas embed.FS

// Event is one announcement as a CloudEvents 1.0 event: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
type Event struct {
	SpecVersion string         `json:"specversion"`
	Type        ownership.Type `json:"type"`
	// ID is the same for the same type and data and differs otherwise, whenever and from wherever it is sent: subscribers dedupe by it.
	ID     string `json:"id"`
	Source string `json:"source"`
	// Subject is the account's key or, where the account is not known, the user_id of the connection that lost it.
	Subject         string          `json:"subject"`
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	DataSchema      string          `json:"dataschema"`
	Data            json.RawMessage `json:"data"`

	// Attributes are the message attributes that a subscription's filter policy can name: type, and of provider, reason and order those
	// that the event has. They go beside the event, not into it.
	Attributes map[string]string `json:"-"`
}

// New makes the event that says a. Source names the sender and must not be empty, now is the time of sending. New refuses an announcement
// that the schema of its type does not allow.
func New(a ownership.Announcement, source string, now time.Time) (Event, error) {
	if err := check(a); err != nil {
		return Event{}, err
	}
	e := Event{
		SpecVersion:     "1.0",
		Type:            a.Type,
		Source:          source,
		Time:            now.UTC(),
		DataContentType: "application/json",
		Attributes:      map[string]string{"type": string(a.Type)},
	}
	if a.Provider != "" { // SNS refuses an empty value
		e.Attributes["provider"] = a.Provider
	}

	var data any
	switch a.Type {
	case ownership.Transferred:
		e.DataSchema = "urn:handover:schema:account-transferred:v1"
		e.Subject = cmp.Or(a.Account, a.Previous.UserID)
		e.Attributes["reason"], e.Attributes["order"] = string(a.Reason), string(a.Order)
		data = transfer{orNull(a.Account), orNull(a.Provider), a.Reason, a.Order, public(a.Previous), public(a.Current)}
	case ownership.Revoked:
		e.DataSchema = "urn:handover:schema:connection-revoked:v1"
		e.Subject = cmp.Or(a.Account, a.Connection.UserID)
		data = revocation{orNull(a.Account), orNull(a.Provider), public(a.Connection)}
	}

	var err error
	if e.Data, err = encode(data); err != nil {
		return Event{}, fmt.Errorf("encoding the data of an announcement: %w", err)
	}
	hash := sha256.Sum256(append([]byte(a.Type+"\n"), e.Data...))
	e.ID = hex.EncodeToString(hash[:16])
	return e, nil
}

// check names every fault of a, without what is personal in it.
func check(a ownership.Announcement) error {
	switch a.Type {
	case ownership.Transferred:
		return errors.Join(
			oneOf("reason", a.Reason, ownership.ConnectedByOther, ownership.Reauth, ownership.Reassigned),
			oneOf("order", a.Order, ownership.Signed, ownership.Terra, ownership.Observed),
			complete("previous", a.Previous),
			complete("current", a.Current),
		)
	case ownership.Revoked:
		return complete("connection", a.Connection)
	}
	return fmt.Errorf("an announcement of unknown type %q", a.Type)
}

func oneOf[T ~string](field string, value T, known ...T) error {
	if slices.Contains(known, value) {
		return nil
	}
	return fmt.Errorf("an announcement of unknown %s %q", field, value)
}

func complete(field string, h ownership.Holder) error {
	if h.UserID != "" && h.ReferenceID != "" && h.Tenure >= 1 {
		return nil
	}
	return fmt.Errorf("an announcement whose %s lacks user_id, reference_id or tenure", field)
}

// ErrNotEvent is Parse's refusal. It quotes nothing of the message.
var ErrNotEvent = errors.New("not a whole event of a known type")

// Parse reads a message of [Event.JSON] back: what was announced, and the event's id. Members that it does not know are skipped, and nothing that New would
// refuse is returned.
func Parse(message []byte) (id string, a ownership.Announcement, err error) {
	var (
		e Event
		t transfer
		r revocation
	)
	if json.Unmarshal(message, &e) != nil || e.ID == "" {
		return "", ownership.Announcement{}, ErrNotEvent
	}
	switch a.Type = e.Type; a.Type {
	case ownership.Transferred:
		err = json.Unmarshal(e.Data, &t)
		a.Account, a.Provider = orEmpty(t.Account), orEmpty(t.Provider)
		a.Reason, a.Order, a.Previous, a.Current = t.Reason, t.Order, t.Previous.private(), t.Current.private()
	case ownership.Revoked:
		err = json.Unmarshal(e.Data, &r)
		a.Account, a.Provider, a.Connection = orEmpty(r.Account), orEmpty(r.Provider), r.Connection.private()
	}
	if err != nil || check(a) != nil {
		return "", ownership.Announcement{}, ErrNotEvent
	}
	return e.ID, a, nil
}

// JSON is the message: the event in the order of its fields, with < > & as they are.
func (e Event) JSON() ([]byte, error) { return encode(e) }

// transfer is the data of an account.transferred event. The order of the fields is part of the event's id.
type transfer struct {
	Account  *string             `json:"account"`
	Provider *string             `json:"provider"`
	Reason   ownership.Reason    `json:"reason"`
	Order    ownership.Certainty `json:"order"`
	Previous holder              `json:"previous"`
	Current  holder              `json:"current"`
}

// revocation is the data of a connection.revoked event. The order of the fields is part of the event's id.
type revocation struct {
	Account    *string `json:"account"`
	Provider   *string `json:"provider"`
	Connection holder  `json:"connection"`
}

type holder struct {
	UserID      string     `json:"user_id"`
	ReferenceID string     `json:"reference_id"`
	ConnectedAt *time.Time `json:"connected_at"`
	Tenure      int        `json:"tenure"`
}

func public(h ownership.Holder) holder {
	p := holder{UserID: h.UserID, ReferenceID: h.ReferenceID, Tenure: h.Tenure}
	if !h.ConnectedAt.IsZero() {
		at := h.ConnectedAt.UTC()
		p.ConnectedAt = &at
	}
	return p
}

// private is public, read back.
func (p holder) private() ownership.Holder {
	h := ownership.Holder{UserID: p.UserID, ReferenceID: p.ReferenceID, Tenure: p.Tenure}
	if p.ConnectedAt != nil {
		h.ConnectedAt = p.ConnectedAt.UTC()
	}
	return h
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// encode is json.Marshal without its escaping of < > &.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
