package webhook

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// request is what is used of an API Gateway HTTP API event, payload format 2.0:
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
type request struct {
	signature  string // X-Terra-Signature
	deprecated string // Terra-Signature, its deprecated twin, if it is another
	delivery   string // X-Terra-Trace-Id
	body       []byte // the raw bytes that Terra sent
}

var (
	errNotGateway = errors.New("not an API Gateway event")
	errTooLarge   = errors.New("body too large")
)

// decoder is a JSON decoder with the input that it takes without copying, a *bytes.Buffer.
type decoder struct {
	jsontext.Decoder
	input bytes.Buffer
}

// decoders is a package variable because a decoder would be a third of what a webhook allocates. Nothing can be observed through it: a decoder that lies
// here refers to no event.
var decoders = sync.Pool{New: func() any { return new(decoder) }}

func (d *decoder) over(event []byte) {
	d.input = *bytes.NewBuffer(event)
	d.Reset(&d.input, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func (d *decoder) release() {
	d.over(nil)
	decoders.Put(d)
}

// parseRequest reads a gateway event in one pass. The body is unescaped or decoded in place: request.body is a part of event, which is changed. Header
// names are taken in any case, for gateways differ.
func parseRequest(event []byte) (request, error) {
	var (
		r                               request
		signature, deprecated, delivery []byte // parts of event: the headers' values as JSON strings
		body                            []byte // the same of the body
		encoded                         bool
	)
	d := decoders.Get().(*decoder)
	defer d.release()
	d.over(event)
	next := func() (value []byte, err error) { // the next value, in less time than SkipValue, which keeps account of every token
		read, err := d.ReadValue()
		end := int(d.InputOffset())
		return event[end-len(read) : end : end], err
	}
	err := members(d, func(name []byte) error {
		if string(name) == `"headers"` {
			return members(d, func(name []byte) error {
				value, err := next()
				switch {
				case string(value) == `""`: // as none
				case equalFold(name, `"x-terra-signature"`):
					signature = value
				case equalFold(name, `"terra-signature"`):
					deprecated = value
				case equalFold(name, `"x-terra-trace-id"`):
					delivery = value
				}
				return err
			})
		}
		value, err := next()
		switch string(name) {
		case `"isBase64Encoded"`:
			encoded = string(value) == "true"
		case `"body"`:
			body = value
		}
		return err
	})
	if string(body) == "null" {
		body = nil
	}
	if bytes.Equal(deprecated, signature) {
		deprecated = nil
	}
	if err == nil {
		r.signature, err = text(signature)
	}
	if err == nil {
		r.deprecated, err = text(deprecated)
	}
	if err == nil {
		r.delivery, err = text(delivery)
	}
	if err != nil {
		return request{}, errNotGateway
	}
	if body == nil {
		return r, nil // a request without a body
	}
	if r.body, err = jsontext.AppendUnquote(body[:0], body); err != nil {
		return request{}, errNotGateway
	}
	if encoded {
		n, err := base64.StdEncoding.Decode(r.body, r.body)
		if err != nil {
			return request{}, errNotGateway
		}
		r.body = r.body[:n]
	}
	if len(r.body) >= maxBody {
		return r, errTooLarge
	}
	return r, nil
}

// text is the text of a JSON string, "" for nil.
func text(quoted []byte) (string, error) {
	if quoted == nil {
		return "", nil
	}
	var room [128]byte
	unquoted, err := jsontext.AppendUnquote(room[:0], quoted)
	return string(unquoted), err
}

func equalFold(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// members calls read at each member of the object that comes next, with the quoted name as it stands in the input; read must read or skip the value.
func members(d *decoder, read func(name []byte) error) error {
	open, err := d.ReadToken()
	if err != nil {
		return err
	}
	if open.Kind() == 'n' { // null: no members
		return nil
	}
	if open.Kind() != '{' {
		return errNotGateway
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadValue()
		if err != nil {
			return err
		}
		if err := read(name); err != nil {
			return err
		}
	}
	_, err = d.ReadToken() // the closing brace, or why there is none
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
