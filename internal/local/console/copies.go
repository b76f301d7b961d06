package console

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Curl is a command line that posts a webhook with these headers, as it is: its signature holds as long as the window of time does.
func Curl(url string, header map[string]string, body []byte) string {
	var b strings.Builder
	b.WriteString("curl -i " + quote(url))
	for _, name := range []string{"Content-Type", "Content-Encoding", "X-Terra-Signature", "Terra-Signature", traceHeader} {
		if value := header[name]; value != "" {
			b.WriteString(" -H " + quote(name+": "+value))
		}
	}
	return piped(b.String()+" --data-binary ", "@-", body)
}

// curl is Curl for a captured webhook.
func (c *Console) curl(w *Webhook) string {
	header := map[string]string{}
	for name, values := range w.Request.Header {
		header[name] = strings.Join(values, ",")
	}
	return Curl(c.options.URL+"/webhook", header, w.Body)
}

// command is a command line of the tool's that signs the same body anew, and sends it. It runs in the project's folder. A secret that is not the well-known one is
// not in it, but in the environment.
func (c *Console) command(w *Webhook) string {
	secret := ""
	if c.options.SecretVariable != "" {
		secret = ` -secret "${` + c.options.SecretVariable + `:?the signing secret}"`
	}
	return piped("go run ./internal/cmd/handover send -to "+quote(c.options.URL+"/webhook")+secret+" -body ", "-", w.Body)
}

// event is the file that `sam local invoke` takes: the event that the function got.
func (c *Console) event(w *Webhook) ([]byte, error) {
	event, err := c.options.Event(w.Request, w.Body, w.Arrived)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, event, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// maxArgument is below what Linux takes as one argument of a program: 128 KiB.
const maxArgument = 100_000

// piped is a command line whose standard input is body: stdin is the command's name for it. Where a shell can hand the body over as an argument, and the command
// takes one, it is that.
func piped(command, stdin string, body []byte) string {
	plain := utf8.Valid(body) && bytes.IndexByte(body, 0) < 0 && len(body) < maxArgument
	switch {
	case plain && stdin == "@-" && !bytes.HasPrefix(body, []byte("@")):
		return command + quote(string(body))
	case plain:
		return "printf %s " + quote(string(body)) + " | " + command + stdin
	}
	return "base64 -d <<'END' | " + command + stdin + "\n" + wrapped(body) + "END\n"
}

// wrapped is body in base64, in lines.
func wrapped(body []byte) string {
	var b strings.Builder
	for text := base64.StdEncoding.EncodeToString(body); text != ""; {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.String()
}

// quote is s as one word of a POSIX shell.
func quote(s string) string {
	if s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:=@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// text is a body for people: as it came, and as JSON with its keys in their order.
type text struct {
	Before, Mark, After string // as it came; Mark is where the JSON is broken
	Cut                 bool   // it is longer than is shown
	Pretty              string // "" if it is not JSON, or too long
	Fault               string // why it is not JSON, and where; "" if it is
	Size                int
}

// maxShown is how much of a body the page shows, in bytes, and maxPretty how much that may become by indenting.
const (
	maxShown  = 256 << 10
	maxPretty = 4 << 20
)

func textOf(body []byte) text {
	t := text{Size: len(body)}
	err := json.Unmarshal(body, new(json.RawMessage))
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		at := max(0, min(int(syntax.Offset)-1, len(body)))
		end := len(body) // of a body that just ends there is nothing to mark
		if at < len(body) && !strings.HasPrefix(syntax.Error(), "unexpected end") {
			_, size := utf8.DecodeRune(body[at:])
			end = at + size
		} else {
			at = end
		}
		line := 1 + bytes.Count(body[:at], []byte("\n"))
		column := 1 + utf8.RuneCount(body[bytes.LastIndexByte(body[:at], '\n')+1:at])
		t.Fault = fmt.Sprintf("Line %d, column %d: %s", line, column, syntax)
		from, to := max(0, at-maxShown/2), min(len(body), at+maxShown/2)
		t.Before, t.Mark, t.After = printable(body[from:at]), printable(body[at:end]), printable(body[end:max(end, to)])
		if t.Mark == "" {
			t.Mark = "⟨end⟩"
		}
		t.Cut = from > 0 || to < len(body)
		return t
	}
	t.Before, t.Cut = printable(body[:min(len(body), maxShown)]), len(body) > maxShown
	if !t.Cut && indentedSize(body) <= maxPretty {
		var indented bytes.Buffer
		_ = json.Indent(&indented, body, "", "  ") // it is JSON
		t.Pretty = printable(indented.Bytes())
	}
	return t
}

// indentedSize is about how long JSON becomes by indenting; once it is beyond maxPretty, it does not count on. It grows with the square of the depth: 20 kB of
// brackets, which anybody can send, would become 200 MB.
func indentedSize(body []byte) (size int) {
	depth, inString, escaped := 0, false, false
	for _, c := range body {
		size++
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '{', c == '[':
			depth++
			size += 1 + 2*depth
		case c == '}', c == ']':
			depth--
			size += 1 + 2*depth
		case c == ',':
			size += 1 + 2*depth
		}
		if size > maxPretty {
			break
		}
	}
	return size
}

// printable is text as it is, and \x and two hex digits for each byte that is none.
func printable(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&s, `\x%02x`, b[0])
		} else {
			s.WriteRune(r)
		}
		b = b[size:]
	}
	return s.String()
}
