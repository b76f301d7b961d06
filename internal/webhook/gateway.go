package webhook

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

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
		body                            []byte // a part of event
		encoded                         bool
		err, bodyErr                    error
	)
	d := decoders.Get().(*decoder)
	defer d.release()
	next := func() (value []byte, err error) { // the next value, in less time than SkipValue, which keeps account of every token
		read, err := d.ReadValue()
		end := int(d.InputOffset())
		return event[end-len(read) : end : end], err
	}
	read := func(name []byte) error {
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
		if string(name) == `"body"` && d.PeekKind() == '"' {
			body, event, bodyErr = cutBody(d.UnreadBuffer())
			return errBody
		}
		value, err := next()
		switch string(name) {
		case `"isBase64Encoded"`:
			encoded = string(value) == "true"
		case `"body"`: // not a string
			body = nil
			if string(value) != "null" {
				return errNotGateway
			}
		}
		return err
	}
	for err = errBody; err == errBody; {
		d.over(event)
		err = members(d, read)
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
	if bodyErr != nil {
		return request{}, bodyErr
	}
	r.body = body
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

// errBody ends the reading of an event at its body, to go on behind it.
var errBody = errors.New("the body comes next")

// cutBody cuts the body, a JSON string, out of what has not been read of an event, and unescapes it in place. What follows the body begins with a comma; with
// a brace instead, the rest is an object of its own. It is nil if the body has no end.
func cutBody(unread []byte) (body, rest []byte, err error) {
	s := unread[bytes.IndexByte(unread, '"'):]
	body, end, err := unescape(s)
	if end == len(s) {
		return nil, nil, errNotGateway
	}
	if !utf8.Valid(body) {
		err = errNotGateway
	}
	rest = bytes.TrimLeft(s[end+1:], " \t\r\n")
	if bytes.HasPrefix(rest, []byte(",")) {
		rest[0] = '{'
	} else { // the event's closing brace
		rest = s[end:]
		rest[0] = '{'
	}
	return body, rest, err
}

// unescape is the text of the JSON string that s begins with, in the memory of s, and the place of its closing quote, or len(s). The body is nearly all of an
// event, so this is one loop that finds its end and unescapes it. jsontext needs one for each, ReadValue and AppendUnquote, and with them parseRequest took
// 8.5 µs instead of 3.5 for a body of 700 B, 90 instead of 26 for 16 KB, 5.4 ms instead of 2.5 for 1 MB: a small webhook half as long again in all.
func unescape(s []byte) (text []byte, end int, err error) {
	i := len(s)
	for _, end := range []byte(`"\`) { // up to the first escape nothing moves; base64 has none
		if at := bytes.IndexByte(s[1:i], end); at >= 0 {
			i = 1 + at
		}
	}
	for _, c := range s[1:i] {
		if c < ' ' {
			err = errNotGateway
		}
	}
	n := i // s[1:n] is the text so far: it stays behind what is read, for no escape is shorter than what it stands for
	for i < len(s) && s[i] != '"' {
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '"': // by far the most frequent
			s[n] = '"'
			n++
			i += 2
		case s[i] == '\\':
			size := escapeSize(s[i:])
			var room [16]byte
			quoted := append(append(append(room[:0], '"'), s[i:i+size]...), '"')
			character, bad := jsontext.AppendUnquote(quoted[:0], quoted)
			if bad != nil {
				err = errNotGateway
			}
			n += copy(s[n:i+size], character)
			i += size
		default:
			if s[i] < ' ' {
				err = errNotGateway
			}
			s[n] = s[i]
			n++
			i++
		}
	}
	return s[1:n], i, err
}

// escapeSize is the size of the escape that s begins with: \n, \u00e9, or \ud83d\ude00, where the first half of a character (D800 to DBFF) needs the second.
func escapeSize(s []byte) int {
	size := 2
	if bytes.HasPrefix(s, []byte(`\u`)) {
		size = 6
		if len(s) >= 12 && (s[2] == 'd' || s[2] == 'D') && strings.IndexByte("89abAB", s[3]) >= 0 && s[6] == '\\' && s[7] == 'u' {
			size = 12
		}
	}
	return min(size, len(s))
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
