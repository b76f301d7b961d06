package webhook

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// request is what is used of an API Gateway HTTP API event, payload format 2.0:
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
type request struct {
	signature  string // X-Terra-Signature
	deprecated string // Terra-Signature, its deprecated twin
	delivery   string // X-Terra-Trace-Id
	body       []byte // the raw bytes that Terra sent
}

var (
	errNotGateway = errors.New("not an API Gateway event")
	errTooLarge   = errors.New("body too large")
)

// parseRequest reads a gateway event in one pass. The body is unescaped or decoded in place: request.body is a part of event, which is changed. Header
// names are taken in any case, for gateways differ.
func parseRequest(event []byte) (request, error) {
	var (
		r       request
		body    []byte // a part of event: the body as a JSON string
		encoded bool
	)
	d := jsontext.NewDecoder(bytes.NewBuffer(event), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	err := members(d, func(name []byte) error {
		switch string(name) {
		case `"headers"`:
			return members(d, func(name []byte) error {
				value, err := headerValue(d, name)
				switch {
				case err != nil || value == "":
				case equalFold(name, `"x-terra-signature"`):
					r.signature = value
				case equalFold(name, `"terra-signature"`):
					r.deprecated = value
				default:
					r.delivery = value
				}
				return err
			})
		case `"isBase64Encoded"`:
			value, err := d.ReadValue()
			encoded = value.Kind() == 't'
			return err
		case `"body"`:
			value, err := d.ReadValue()
			if err != nil {
				return err
			}
			body = nil
			if value.Kind() == '"' {
				end := int(d.InputOffset())
				body = event[end-len(value) : end : end]
			}
			return nil
		}
		return d.SkipValue()
	})
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

// headerValue reads the value of a header that is used, and skips that of any other.
func headerValue(d *jsontext.Decoder, name []byte) (string, error) {
	if !equalFold(name, `"x-terra-signature"`) && !equalFold(name, `"terra-signature"`) && !equalFold(name, `"x-terra-trace-id"`) {
		return "", d.SkipValue()
	}
	token, err := d.ReadToken()
	if err != nil || token.Kind() != '"' {
		return "", errNotGateway
	}
	return token.String(), nil
}

func equalFold(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// members calls read at each member of the object that comes next, with the quoted name as it stands in the input; read must read or skip the value.
func members(d *jsontext.Decoder, read func(name []byte) error) error {
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
