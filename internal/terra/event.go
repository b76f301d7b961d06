package terra

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// What ParseEvent refuses a body for. No error of this package quotes a body.
var (
	ErrNotJSON          = errors.New("not one whole JSON object")
	ErrNoUserID         = errors.New("no usable user_id where one is due")
	ErrReferenceTooLong = errors.New("reference_id longer than 2048 bytes")
)

// The limits of what is kept: a user_id is a UUID of 36 bytes, a reference_id is the app's own text.
const (
	maxUserID    = 128
	maxReference = 2048
)

// Event is what a webhook says about connections. A string is "" where Terra does not say; each is a copy: nothing refers to the body.
type Event struct {
	Type string
	User User // for a user_reauth its new_user, else its user

	// Only of the types that can change ownership.
	Status         string
	OldUser        User   // of a user_reauth
	ReferenceID    string // the top-level member of legacy auth events
	ProviderUserID string // athlete.provider_user_id: the wearable account's id at the provider
}

// User is one connection, as an event tells of it. Each string is "", and CreatedAt is zero, if Terra does not say.
type User struct {
	Present     bool // the event has this user; UserID is then not empty
	UserID      string
	Provider    string    // upper-case slug, such as "GARMIN"
	ReferenceID string    // a JSON number is kept as its literal
	CreatedAt   time.Time // when the connection was made, UTC
}

// CanChangeOwnership reports whether events of this type may tell that a connection was made, replaced, ended or identified.
func (e Event) CanChangeOwnership() bool {
	switch e.Type {
	case "auth", "athlete", "user_reauth", "deauth", "access_revoked":
		return true
	}
	return false
}

// Known reports whether the type is in Terra's documentation, "Webhooks > Event types". The set is open: other types are to be expected.
func (e Event) Known() bool {
	switch e.Type {
	case "auth_cancelled", "connection_error", "permission_change",
		"activity", "body", "daily", "sleep", "nutrition", "menstruation", "planned_workout", "hormone", "health_observation", "route",
		"large_request_processing", "large_request_sending", "processing", "rate_limit_hit", "google_no_datasource",
		"s3_payload", "lab_report.completed", "lab_report.failed", "healthcheck":
		return true
	}
	return e.CanChangeOwnership()
}

// dueUser reports whether an event of this type, if it has a user at all, must name its user_id. Those that tell of a request, of a file or of nothing but themselves
// mostly have none, and nothing that they say depends on it.
func (e Event) dueUser() bool {
	switch e.Type {
	case "auth":
		return e.Status != "error"
	case "auth_cancelled", "large_request_processing", "large_request_sending", "processing", "rate_limit_hit", "google_no_datasource",
		"s3_payload", "lab_report.completed", "lab_report.failed", "healthcheck":
		return false
	}
	return e.Known()
}

// ParseEvent reads a webhook's body, whose signature the caller has verified, in one pass and without a copy of it.
//
// An event that can change ownership is read to its end: truncated JSON, or anything after it, is refused, and of a repeated name the last
// counts, as in encoding/json. Any other event is read only until its type and its user are known: a data event may be many megabytes, and
// Terra disables a destination that keeps refusing. It is refused neither for what stands after these two, nor, once its type is known, for
// nesting deeper than the 10,000 levels that jsontext reads: what was read until there is returned. Names may repeat and UTF-8 may be broken in every event.
//
// Optional members of the wrong JSON type, and times that are not ISO 8601, read as absent.
//
// The errors are ErrNotJSON, ErrNoUserID and ErrReferenceTooLong. A user_id (a string of 1 to 128 bytes) is due in every event that can
// change ownership, an auth with status "error" excepted, and in every other user or old_user that is not null of an event about a connection: data, an error, a permission.
// Where none is due, a user without one is not Present.
func ParseEvent(body []byte) (Event, error) {
	var doc document
	if err := doc.read(body, false); err != nil {
		return Event{}, err
	}
	e := doc.Event
	switch {
	case !e.CanChangeOwnership():
		e = Event{Type: e.Type, User: e.User}
	case e.Type == "user_reauth":
		e.User = doc.newUser
	default:
		e.OldUser = User{}
	}
	if !e.dueUser() {
		if e.User.check() != nil {
			e.User = User{}
		}
		return e, nil
	}
	if e.CanChangeOwnership() {
		if !e.User.Present {
			return Event{}, ErrNoUserID
		}
		if len(e.ReferenceID) > maxReference {
			return Event{}, ErrReferenceTooLong
		}
	}
	for _, u := range []User{e.User, e.OldUser} {
		if err := u.check(); err != nil {
			return Event{}, err
		}
	}
	return e, nil
}

// check returns what is wrong with a user that is there.
func (u User) check() error {
	switch {
	case !u.Present:
		return nil
	case u.UserID == "" || len(u.UserID) > maxUserID:
		return ErrNoUserID
	case len(u.ReferenceID) > maxReference:
		return ErrReferenceTooLong
	}
	return nil
}

// document is a JSON object of Terra's, a webhook or an answer of the API, before anything is judged: a User that is Present may lack its user_id.
type document struct {
	Event
	newUser User
	typed   bool // the type, whatever it was, has been read
	athlete bool // an athlete, an object, has been read
}

// reader is a decoder with the input that it takes without copying, a *bytes.Buffer.
type reader struct {
	decoder jsontext.Decoder
	input   bytes.Buffer
}

// readers is a package variable because a decoder is most of what reading an event allocates (0.4 of 0.5 kB), and the webhook's whole budget is
// 1 kB an event. Nothing can be observed through it: a reader that lies here refers to no body.
var readers = sync.Pool{New: func() any { return new(reader) }}

func (r *reader) over(body []byte) *jsontext.Decoder {
	r.input = *bytes.NewBuffer(body)
	r.decoder.Reset(&r.input, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return &r.decoder
}

func (r *reader) release() {
	r.over(nil)
	readers.Put(r)
}

// errEnough ends the reading of an object before its end.
var errEnough = errors.New("enough")

// read reads the object of body: whole, or as far as ParseEvent promises.
func (doc *document) read(body []byte, whole bool) error {
	r := readers.Get().(*reader)
	defer r.release()
	d := r.over(body)
	if d.PeekKind() != '{' {
		return ErrNotJSON
	}
	var userRead bool
	err := object(d, func(name []byte) (err error) {
		switch string(name) {
		case "type":
			doc.Type, err = text(d)
			doc.typed = true
		case "status":
			doc.Status, err = text(d)
		case "reference_id":
			doc.ReferenceID, err = id(d)
		case "user":
			doc.User, err = user(d)
			userRead = true
		case "new_user":
			doc.newUser, err = user(d)
		case "old_user":
			doc.OldUser, err = user(d)
		case "athlete":
			err = doc.readAthlete(d)
		default:
			err = skip(d)
		}
		if err == nil && !whole && doc.typed && userRead && !doc.CanChangeOwnership() {
			err = errEnough
		}
		return err
	})
	if err == nil {
		if _, err = d.ReadToken(); err == io.EOF {
			return nil
		}
	}
	if err == errEnough || !whole && doc.typed && !doc.CanChangeOwnership() && tooDeep(err) {
		return nil
	}
	return fmt.Errorf("%w (after byte %d)", ErrNotJSON, d.InputOffset())
}

func (doc *document) readAthlete(d *jsontext.Decoder) error {
	doc.athlete = d.PeekKind() == '{'
	doc.ProviderUserID = ""
	if !doc.athlete {
		return skip(d)
	}
	return object(d, func(name []byte) (err error) {
		if string(name) != "provider_user_id" {
			return skip(d)
		}
		doc.ProviderUserID, err = id(d)
		return err
	})
}

// tooDeep reports whether the decoder gave up at its nesting limit: the only fault that jsontext finds at a place this deep, truncation aside.
func tooDeep(err error) bool {
	fault, ok := errors.AsType[*jsontext.SyntacticError](err)
	return ok && fault.Err != io.ErrUnexpectedEOF && strings.Count(string(fault.JSONPointer), "/") >= 10_000
}

// object reads the object before which d stands. For each member it calls f, which must read the member's value from d; an error of f ends it.
// The name is valid until then.
func object(d *jsontext.Decoder, f func(name []byte) error) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		quoted, err := d.ReadValue()
		if err != nil {
			return err
		}
		name := quoted[1 : len(quoted)-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			name, _ = jsontext.AppendUnquote(nil, quoted) // the error is about UTF-8
		}
		if err := f(name); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// user reads a user. One that is neither an object nor null is Present without a user_id.
func user(d *jsontext.Decoder) (u User, err error) {
	kind := d.PeekKind()
	u.Present = kind != 'n'
	if kind != '{' {
		return u, skip(d)
	}
	err = object(d, func(name []byte) (err error) {
		switch string(name) {
		case "user_id":
			u.UserID, err = text(d)
		case "provider":
			u.Provider, err = text(d)
		case "reference_id":
			u.ReferenceID, err = id(d)
		case "created_at":
			var s string
			s, err = text(d)
			u.CreatedAt = instant(s)
		default:
			err = skip(d)
		}
		return err
	})
	if err != nil {
		return User{}, err // not half of one: see tooDeep
	}
	return u, nil
}

// id reads an id that is not of Terra's making: a number counts as its literal, so that no digit is lost.
func id(d *jsontext.Decoder) (string, error) {
	if d.PeekKind() != '0' {
		return text(d)
	}
	literal, err := d.ReadValue()
	return string(literal), err
}

// text reads a string; any other value reads as "".
func text(d *jsontext.Decoder) (string, error) {
	if d.PeekKind() != '"' {
		return "", skip(d)
	}
	token, err := d.ReadToken()
	if err != nil {
		return "", err
	}
	return token.String(), nil
}

// skip reads a value and drops it. ReadValue hands out a view of the body, and takes about half of SkipValue's time.
func skip(d *jsontext.Decoder) error {
	_, err := d.ReadValue()
	return err
}

// instant reads a time of ISO 8601, with a T or a space, with or without fraction and offset; without offset it is UTC. Anything else, and a
// year that RFC 3339 cannot write, is the zero time.
func instant(s string) time.Time {
	if len(s) > 10 && s[10] == ' ' {
		s = s[:10] + "T" + s[11:]
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07"} {
		if t, err := time.Parse(layout, s); err == nil && t.UTC().Year() >= 1 && t.UTC().Year() <= 9999 {
			return t.UTC()
		}
	}
	return time.Time{}
}
