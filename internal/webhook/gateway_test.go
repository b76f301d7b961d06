package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// fixture is an event as AWS documents it:
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html, format 2.0
func fixture(t testing.TB) []byte {
	raw, err := os.ReadFile("testdata/apigateway-v2.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParseRequest(t *testing.T) {
	got, err := parseRequest(fixture(t))
	if err != nil {
		t.Fatal(err)
	}
	want := request{signature: "t=1,v1=aa", deprecated: "t=1,v1=bb", delivery: "5f0c:chunk:1", body: []byte(`{"type": "healthcheck", "text": "ü/\"\n😀"}`)}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// The decoder is used again by the next event, and remembers nothing of the last.
func TestParseRequestAgain(t *testing.T) {
	for _, test := range []struct {
		event string
		want  request
		err   error
	}{
		{event: `{"headers":{"x-terra-signature":"s","terra-signature":"d","x-terra-trace-id":"i"},"body":"b"}`, want: request{"s", "d", "i", []byte("b")}},
		{event: `{"headers":{"x-terra-`, err: errNotGateway},
		{event: `{"body":"eA==","isBase64Encoded":true}`, want: request{body: []byte("x")}},
		{event: `{"body":"eA=="}`, want: request{body: []byte("eA==")}},
		{event: strings.Repeat(`{"a":`, 5000), err: errNotGateway},
		{event: `{}`},
	} {
		got, err := parseRequest([]byte(test.event))
		if !errors.Is(err, test.err) || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
			t.Errorf("%.40s: got %q, %v, want %q, %v", test.event, got, err, test.want, test.err)
		}
	}
}

// Every escape that JSON has, alone and between others, in text that only shrinks in place.
func TestBodyIsUnescaped(t *testing.T) {
	for _, escaped := range []string{
		`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0000`, `\u001f`, `\u0022`, `\u005c`, `\u007f`, `\u0080`, `\u00e4`, `\u07ff`, `\u0800`, `\u20AC`, `\u2028`, `\uffff`,
		`\ufffd`, `\ud83d\ude00`, `\uD83D\uDE00`, `\udbff\udfff`, `\ud800\udc00`, `ä`, `€`, `😀`, "\x7f", "\u2028", `\\u0041`, `\\\"`, `\\\\`,
	} {
		for _, body := range []string{escaped, escaped + escaped, "a" + escaped, escaped + "b", strings.Repeat("ab"+escaped, 1000), `{\"a\":\"` + escaped + `\"}`} {
			var want string
			if err := json.Unmarshal([]byte(`"`+body+`"`), &want); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			got, err := parseRequest([]byte(`{"version":"2.0","body":"` + body + `","isBase64Encoded":false}`))
			if err != nil || string(got.body) != want {
				t.Errorf("%.60s: got %.60q, %v, want %.60q", body, got.body, err, want)
			}
		}
	}
}

func TestBodyIsDecoded(t *testing.T) {
	for size := range 300 {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i*7 + size)
		}
		text := base64.StdEncoding.EncodeToString(want)
		for _, text := range []string{text, strings.ReplaceAll(text, "/", `\/`), strings.ReplaceAll(text, "+", `\u002b`)} {
			got, err := parseRequest([]byte(`{"isBase64Encoded":true,"body":"` + text + `"}`))
			if err != nil || !bytes.Equal(got.body, want) {
				t.Fatalf("%s: got %q, %v, want %q", text, got.body, err, want)
			}
		}
	}
}

// FuzzParseRequest checks that what is read is what encoding/json reads from the same event.
func FuzzParseRequest(f *testing.F) {
	f.Add(fixture(f))
	f.Add([]byte(`{"headers":{"X-Terra-Signature":"t=1,v1=\u0061"},"body":"eyJ9\n","isBase64Encoded":true}`))
	f.Add([]byte(`{"headers":null,"body":null,"isBase64Encoded":null}`))
	f.Add([]byte(`{"body":"\ud83d\ude00\ud83d","body":"\\u0041\/"}`))
	f.Add([]byte(` { "isBase64Encoded" : false , "body" : "a" , "x" : [ {} , 1e9 , "\u0000" ] } `))
	f.Add([]byte("{\"body\":\"\xff\xff\xff\xff\xff\"}"))
	f.Add([]byte(`{"headers":{"terra-signature":"","TERRA-SIGNATURE":"x"},"body":"=","isBase64Encoded":true}`))
	escapedName := regexp.MustCompile(`\\[^"]*"\s*:`) // the names that are read here are never escaped by the gateway
	f.Fuzz(func(t *testing.T, event []byte) {
		var want struct{ fields map[string]json.RawMessage }
		err := json.Unmarshal(event, &want.fields)
		valid := err == nil && want.fields != nil && utf8.Valid(event) && !escapedName.Match(event)
		original := bytes.Clone(event)
		got, gotErr := parseRequest(event)
		if gotErr != nil && !errors.Is(gotErr, errNotGateway) && !errors.Is(gotErr, errTooLarge) {
			t.Fatalf("error %v", gotErr)
		}
		if !valid {
			return
		}

		var gateway events.APIGatewayV2HTTPRequest
		for name, field := range map[string]any{"headers": &gateway.Headers, "body": &gateway.Body, "isBase64Encoded": &gateway.IsBase64Encoded} {
			if raw, ok := want.fields[name]; ok && json.Unmarshal(raw, field) != nil {
				return // not a gateway's
			}
		}
		body := []byte(gateway.Body)
		if gateway.IsBase64Encoded {
			if body, err = base64.StdEncoding.DecodeString(gateway.Body); err != nil {
				return
			}
		}
		if strings.ContainsRune(gateway.Body, utf8.RuneError) && gotErr != nil {
			return // half a surrogate: no text that was ever sent
		}
		for name, value := range gateway.Headers {
			if strings.Contains(strings.ToLower(name), "terra") && (strings.ContainsRune(value, utf8.RuneError) || value == "") {
				return // the same, or a null: not a gateway's
			}
		}
		if gotErr != nil {
			t.Fatalf("%q is refused: %v", original, gotErr)
		}
		if !bytes.Equal(got.body, body) {
			t.Fatalf("%q: body %q, want %q", original, got.body, body)
		}
		for header, value := range map[string]string{"x-terra-signature": got.signature, "x-terra-trace-id": got.delivery} {
			if want, only := one(gateway.Headers, header); only && value != want {
				t.Fatalf("%q: %s %q, want %q", original, header, value, want)
			}
		}
	})
}

// one is the value of the header whose name is name in any case, and whether there is but one.
func one(headers map[string]string, name string) (value string, only bool) {
	found := 0
	for n, v := range headers {
		if strings.EqualFold(n, name) && len(n) == len(name) {
			value = v
			found++
		}
	}
	return value, found <= 1
}
