package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/simulator"
)

// ended is what a command line came to.
type ended struct {
	status         int
	stdout, stderr string
}

// faultLines is an error as every command tells it: one line that says what is wrong, and if it is not said there, one that says what to do.
var faultLines = regexp.MustCompile(`^handover: [^\n]+\n([^\n]+\n)?$`)

// fuzzed runs a command line with nothing in the environment, and checks what holds of each: the exit code is one of the documented ones, an error is told in
// a line or two, and what is at fault prints nothing else.
func fuzzed(t *testing.T, stdin []byte, args ...string) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	tool := tool{getenv: func(string) string { return "" }, stdin: bytes.NewReader(stdin), stdout: &stdout, stderr: &stderr}
	e := ended{status: tool.status(tool.run(t.Context(), args))}
	e.stdout, e.stderr = stdout.String(), stderr.String()
	switch e.status {
	case 0:
		if e.stderr != "" {
			t.Fatalf("%q is done, and says %q", args, e.stderr)
		}
	case statusFault, statusUsage:
		if !faultLines.MatchString(e.stderr) {
			t.Fatalf("%q ends with %d and says %q", args, e.status, e.stderr)
		}
	default:
		t.Fatalf("%q ends with %d: %s", args, e.status, e.stderr)
	}
	if e.status == statusUsage && (e.stdout != "" || !strings.Contains(e.stderr, " -h")) {
		t.Fatalf("%q is at fault: %q, %q", args, e.stdout, e.stderr)
	}
	return e
}

// FuzzSend: whatever is to be set, send refuses the command line, or signs a body that is valid JSON, has exactly that changed, and verifies under its secret
// and no other.
func FuzzSend(f *testing.F) {
	f.Add(uint(0), "user.reference_id", "alice", false, "s")
	f.Add(uint(1), "user.reference_id", "null", true, "s")
	f.Add(uint(2), "user.active", "{", true, "s")
	f.Add(uint(3), "new_user.a.b", "o'brien \"\\\u2028\n\xff", false, " ")
	f.Add(uint(4), "type.a", "1", false, "s\n")
	f.Add(uint(5), "data.0.metadata", `{"a":[1e400,"\ud800"]}`, true, "s")
	f.Add(uint(5), "data.a", "0", false, "s") // data is an array
	f.Add(uint(6), "data.-1", "\x00", false, "\xff")
	f.Add(uint(7), `a\.b:c|@this`, "x", false, local.Secret)
	f.Fuzz(func(t *testing.T, kind uint, path, value string, raw bool, secret string) {
		types := simulator.Types()
		before := simulator.Newer.Example(types[kind%uint(len(types))])
		assign := "="
		if raw {
			assign = ":="
		}
		if strings.Contains(path, "=") || secret == "" || !raw && strings.HasSuffix(path, ":") {
			return // another path, another assignment, or the default secret
		}
		send := func(output string) ended {
			return fuzzed(t, before, "send", "-body", "-", "-secret="+secret, "-set="+path+assign+value, "-o", output)
		}
		var after, want any
		if err := decode(string(before), &want); err != nil {
			t.Fatal(err)
		}
		defined := plain(path) && (!raw || json.Valid([]byte(value))) && put(t, want.(map[string]any), strings.Split(path, "."), value, raw)
		body := send("body")
		if body.status != 0 {
			if defined {
				t.Fatalf("%s%s%q is refused: %s", path, assign, value, body.stderr)
			}
			return
		}
		text := strings.TrimSuffix(body.stdout, "\n")
		if err := decode(text, &after); err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		if defined && !reflect.DeepEqual(after, want) {
			t.Fatalf("%s%s%q makes\n%v of\n%s", path, assign, value, after, before)
		}
		event := []byte(send("event").stdout)
		signature, signed, err := tool{stdin: bytes.NewReader(event)}.event("-")
		if err != nil || string(signed) != text || !strings.Contains(signature, hmacOf(secret, signature, signed)) {
			t.Fatalf("%v: %s of %q, want of %q", err, signature, signed, text)
		}
		for _, test := range []struct {
			secret string
			status int
		}{{secret, 0}, {secret + "x", statusFault}} {
			if got := fuzzed(t, event, "verify", "-event", "-", "-secret="+test.secret); got.status != test.status {
				t.Fatalf("with secret %q verify says %+v of %s", test.secret, got, event)
			}
		}
	})
}

// plain reports whether a path is made of names, without anything that has a meaning of its own to sjson.
func plain(path string) bool {
	for _, name := range strings.Split(path, ".") {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return false
		}
	}
	return true
}

// put sets what is at a path of names, as send should. It reports false where that is not defined: inside of what is no object.
func put(t *testing.T, object map[string]any, path []string, value string, raw bool) bool {
	if len(path) > 1 {
		inner, ok := object[path[0]].(map[string]any)
		if there, isThere := object[path[0]]; isThere && there != nil && !ok {
			return false
		}
		if !ok {
			inner = map[string]any{}
			object[path[0]] = inner
		}
		return put(t, inner, path[1:], value, raw)
	}
	if !raw {
		object[path[0]] = strings.ToValidUTF8(value, "\ufffd")
		return utf8.ValidString(value)
	}
	var parsed any
	if err := decode(value, &parsed); err != nil {
		t.Fatalf("%q is valid JSON: %v", value, err)
	}
	object[path[0]] = parsed
	return true
}

// decode reads one JSON value, with its numbers as they are written.
func decode(text string, value any) error {
	if !json.Valid([]byte(text)) {
		return fmt.Errorf("not JSON: %q", text)
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(value)
}

// hmacOf is the v1 that a body's signature must have by Terra's documentation, for the t of a header. It is made without the package that verifies.
func hmacOf(secret, header string, body []byte) string {
	t := ""
	for part := range strings.SplitSeq(header, ",") {
		if text, ok := strings.CutPrefix(strings.Trim(part, " "), "t="); ok {
			t = text
		}
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// FuzzVerifyCommand: verify takes what is signed with a secret and is of its time; of anything else it says why not, with exit code 1. It says the same in JSON,
// and of the same webhook as an event of API Gateway.
func FuzzVerifyCommand(f *testing.F) {
	f.Add("", []byte(`{"type":"auth"}`), "s", int64(1730000000), uint(0), byte(0))
	f.Add("", []byte(`{"type":"auth"}`), "s", int64(1730000000), uint(3), byte(1))
	f.Add("", []byte("\xff\x00"), " s", int64(math.MaxUint32), uint(30), byte(0x20))
	f.Add("t=12345678,v1=599aa529690b885a43f184327c582375068d70705b7a471af15e10682c6f5313", []byte(`{'bar':'baz'}`), "foo", int64(0), uint(0), byte(0))
	f.Add("t=1,v1=00,v0=", []byte("eyJ9"), "s", int64(0), uint(0), byte(0))
	f.Add("v1=5", []byte("{ }\r\n"), "s", int64(0), uint(0), byte(0))
	f.Add(" ", []byte{}, "s", int64(0), uint(0), byte(0))
	f.Fuzz(func(t *testing.T, header string, body []byte, secret string, seconds int64, where uint, flip byte) {
		if secret == "" {
			return // nothing verifies with it
		}
		genuine := header == ""
		if genuine { // sign it, and then spoil a byte of header or body, unless flip is 0
			seconds &= math.MaxUint32 // to the year 2106
			if ahead := seconds - time.Now().Unix(); ahead > -60 && ahead < 600 {
				return // it would depend on the clock
			}
			header = "t=" + strconv.FormatInt(seconds, 10)
			header += "," + hmacOf(secret, header, body)
			if at := where % uint(len(header)+len(body)); flip != 0 && at < uint(len(header)) {
				spoilt := []byte(header)
				spoilt[at] ^= flip
				header = string(spoilt)
			} else if flip != 0 {
				body = bytes.Clone(body)
				body[at-uint(len(header))] ^= flip
			}
		}
		asked := []string{"verify", "-past", "0", "-secret=" + secret, "-signature=" + header}
		got := fuzzed(t, body, asked...)
		if want := flip == 0 && seconds < time.Now().Unix(); genuine && (got.status == 0) != want {
			t.Fatalf("%q of %q ends with %+v", header, body, got)
		}
		if got.status == statusUsage || got.status == 0 && !strings.Contains(header, hmacOf(secret, header, body)) {
			t.Fatalf("%q of %q ends with %+v", header, body, got)
		}
		if (got.status == 0) != strings.HasPrefix(got.stdout, "signed by this secret at ") {
			t.Fatalf("%q of %q ends with %+v", header, body, got)
		}

		asJSON := fuzzed(t, body, append(asked, "-json")...)
		var v verdict
		if err := json.Unmarshal([]byte(asJSON.stdout), &v); err != nil || asJSON.status != got.status || asJSON.stderr != got.stderr || v.Verified != (got.status == 0) {
			t.Fatalf("%v: %+v, and in JSON %+v", err, got, asJSON)
		}
		if said := fmt.Sprintf("handover: %s\n%s\n", v.Rule, v.Hint); !v.Verified && said != got.stderr {
			t.Fatalf("%q, and in JSON %q", got.stderr, said)
		}
		if !utf8.ValidString(header) {
			return // no event can carry it
		}
		event, err := local.SignedEvent("http://localhost/webhook", body, header, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if inEvent := fuzzed(t, event, "verify", "-past", "0", "-secret="+secret, "-event", "-"); inEvent != got {
			t.Fatalf("%+v, and in an event %+v", got, inEvent)
		}
	})
}

// FuzzCommandLine: any arguments at all, one a line, end with a documented exit code. Only what calls, reads files or serves is left out.
func FuzzCommandLine(f *testing.F) {
	for _, line := range []string{
		"", "-h", "help\nsend", "help\nnothing", "version", "-version\nx", "unknown", "unknown\nline", "send", "send\nathlete\n-set\nuser.reference_id=a", "send\n-age\nsoon",
		"send\n-x\ny", "send\nauth\nauth", "send\nauth\n-forge\nscheme\n-age=-10m", "verify\n-h", "verify\n-json\n-secret\n\n-signature\nt=1,v1=2", "verify\n-past\n1\n-future=-1h\n--", "verify\n-\n-",
	} {
		f.Add(line, []byte(`{"type":"auth"}`))
	}
	f.Fuzz(func(t *testing.T, line string, stdin []byte) {
		args := strings.Split(line, "\n")
		switch args[0] {
		case "send":
			args = append(args, "-o", "body")
		case "verify", "version", "help":
		default:
			for _, c := range commands() {
				if c.name == args[0] {
					return
				}
			}
		}
		if strings.Contains(line, "/") {
			return // a file
		}
		t.Chdir(t.TempDir()) // where there are none
		fuzzed(t, stdin, args...)
	})
}
