package webhook

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// Every text that a JSON string can say is read as encoding/json reads it, whatever stands before and behind it in the event; every other one is refused.
func TestBodiesOfAllEscapes(t *testing.T) {
	pieces := []string{`a`, `ü`, `\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0000`, `\u00e9`, `\uD7FF`, `\ue000`, `\ud83d\ude00`, `\uD83D\uDE00`, `😀`, // good
		`\ud83d`, `\ude00`, `\x`, `\u12`, "\x01", "\xff", `\`} // not
	random := rand.New(rand.NewPCG(6, 6))
	refused := 0
	for range 100_000 {
		var quoted strings.Builder
		quoted.WriteByte('"')
		for range random.IntN(6) {
			quoted.WriteString(pieces[random.IntN(min(len(pieces), 17+random.IntN(20)/19*7))])
		}
		quoted.WriteByte('"')
		event := []byte(`{"headers":{"x-terra-trace-id":"before"},"body":` + quoted.String() + []string{``, ` , "isBase64Encoded":false`, `,"headers":{"x-terra-trace-id":"behind"}`}[random.IntN(3)] + "}\n")
		original := bytes.Clone(event)
		var want struct{ Body string }
		good := json.Unmarshal(event, &want) == nil && utf8.Valid(event) && !strings.ContainsRune(want.Body, utf8.RuneError)
		r, err := parseRequest(event)
		if good != (err == nil) || good && (string(r.body) != want.Body || r.delivery == "") {
			t.Fatalf("%s: %q, %v; want %q, good %v", original, r.body, err, want.Body, good)
		}
		if !good {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no text was refused")
	}
}
