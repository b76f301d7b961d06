package endtoend

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// personal finds personal data and secrets in texts that must be without: each as it is, and in the encodings in which a program might let it slip.
// Case does not count. What is shorter than window in an encoding is not looked for in that one: it would be found everywhere.
type personal struct {
	needles map[string][]needle // by their first bytes
	known   map[string]bool
}

type needle struct{ text, data, encoding string }

const window = 8

func newPersonal(secrets ...string) *personal {
	p := &personal{needles: map[string][]needle{}, known: map[string]bool{"": true}}
	for _, secret := range secrets {
		p.add(secret)
	}
	return p
}

func (p *personal) add(data string) {
	if p.known[data] {
		return
	}
	p.known[data] = true
	for encoding, text := range encodings(data) {
		if text = strings.ToLower(text); len(text) >= window {
			p.needles[text[:window]] = append(p.needles[text[:window]], needle{text, data, encoding})
		}
	}
}

// encodings are those of data, by their names. Of a hash the first 16 bytes count: it may have been cut.
func encodings(data string) map[string]string {
	quoted, _ := json.Marshal(data) // a string can always be encoded
	once := string(quoted[1 : len(quoted)-1])
	quoted, _ = json.Marshal(once)
	hash := sha256.Sum256([]byte(data))
	all := map[string]string{
		"as it is": data, "JSON": once, "JSON in JSON": string(quoted[1 : len(quoted)-1]), "query": url.QueryEscape(data), "path": url.PathEscape(data),
		"hex": hex.EncodeToString([]byte(data)), "SHA-256, hex": hex.EncodeToString(hash[:16]),
		"SHA-256, base64": base64.RawStdEncoding.EncodeToString(hash[:15]), "SHA-256, base64url": base64.RawURLEncoding.EncodeToString(hash[:15]),
	}
	// In the base64 of a longer text data begins at one of three places in a group; the characters that also depend on its neighbours do not count.
	for before := range 3 {
		padded := []byte(strings.Repeat("\x00", before) + data)
		from, to := (before*8+5)/6, len(padded)*8/6
		if from < to {
			name := ", " + string(rune('0'+before)) + " bytes into a group"
			all["base64"+name] = base64.RawStdEncoding.EncodeToString(padded)[from:to]
			all["base64url"+name] = base64.RawURLEncoding.EncodeToString(padded)[from:to]
		}
	}
	return all
}

// addBody adds what a webhook's body says of a person, and the body itself in pieces.
func (p *personal) addBody(body []byte) {
	const piece = 32
	for i := 0; i+piece <= len(body) && i < 100*piece; i += piece {
		p.add(string(body[i : i+piece]))
	}
	var value any
	if json.Unmarshal(body, &value) == nil {
		p.addMembers("", value)
	}
}

func (p *personal) addMembers(provider string, value any) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			p.addMembers(provider, element)
		}
	case map[string]any:
		for name, member := range value {
			text, isText := member.(string)
			switch {
			case isText && (name == "user_id" || name == "reference_id" || strings.HasSuffix(name, "_name") || name == "email"):
				p.add(text)
			case isText && name == "provider_user_id":
				p.addAccount(provider, text)
			}
			p.addMembers(provider, member)
		}
	}
}

// addAccount adds a provider's id of a person, and what a hash without a key, or with an empty one, might be made of.
func (p *personal) addAccount(provider, id string) {
	message := "handover/account/v1\x00" + provider + "\x00" + id
	unkeyed := hmac.New(sha256.New, nil)
	unkeyed.Write([]byte(message))
	hash := hex.EncodeToString(unkeyed.Sum(nil)[:16])
	for _, data := range []string{id, provider + id, provider + "/" + id, provider + ":" + id, provider + "\x00" + id, message, hash} {
		p.add(data)
	}
}

// in returns what is found in text, once each.
func (p *personal) in(text string) (found []needle) {
	text = strings.ToLower(text)
	seen := map[needle]bool{}
	for i := 0; i+window <= len(text); i++ {
		for _, n := range p.needles[text[i:i+window]] {
			if !seen[n] && strings.HasPrefix(text[i:], n.text) {
				seen[n] = true
				found = append(found, n)
			}
		}
	}
	return found
}

// check fails the test if text has personal data in it.
func (p *personal) check(t *testing.T, what, text string) {
	t.Helper()
	for i, n := range p.in(text) {
		if i == 3 {
			t.Errorf("%s: and more", what)
			return
		}
		at := strings.Index(strings.ToLower(text), n.text)
		t.Errorf("%s: there is %q (%s): …%s…", what, n.data, n.encoding, text[max(0, at-100):min(len(text), at+len(n.text)+100)])
	}
}

// checkPersonal: of nobody in the story there is a trace in what the program wrote, in an answer to a webhook, or in the name of an account.
func (s *story) checkPersonal() {
	p := newPersonal(signingSecret, apiKey)
	for _, account := range s.terra.Truth() {
		p.addAccount(account.Provider, account.ID)
		for _, h := range account.Holdings {
			p.add(h.UserID)
			p.add(h.Reference)
		}
	}
	var answers strings.Builder
	for i, a := range s.wire.all() {
		if i < 500 {
			p.addBody(a.body)
		}
		answers.WriteString(a.answer)
	}
	var accounts []account
	if err := s.program.get("/api/accounts", &accounts); err != nil {
		s.t.Fatal(err)
	}
	names := make([]string, len(accounts))
	for i, a := range accounts {
		names[i] = a.Account
	}
	output := s.program.output()
	if output == "" || answers.Len() == 0 || len(names) == 0 {
		s.t.Errorf("nothing to search: %d bytes of output, %d of answers, %d accounts", len(output), answers.Len(), len(names))
	}
	p.check(s.t, "the program's output", output)
	p.check(s.t, "the answers to webhooks", answers.String())
	p.check(s.t, "the accounts' names", strings.Join(names, "\n"))
	s.t.Logf("%s: none of %d personal data in %d bytes of output, %d of answers, %d accounts", s.name, len(p.known), len(output), answers.Len(), len(names))
}

func TestPersonal(t *testing.T) {
	const id = `Ann O'Hara <ann+1@example.com> "ü"`
	p := newPersonal(id)
	p.addAccount("FITBIT", "6XYZ78")
	for name, text := range encodings(id) {
		if found := p.in("time=now msg=" + text + " level=INFO"); len(found) == 0 || found[0].data != id {
			t.Errorf("%s: %s: found %v", name, text, found)
		}
	}
	for before := range 6 {
		text := strings.Repeat("x", before) + id + "and what follows"
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			if len(p.in(encoding.EncodeToString([]byte(text)))) == 0 {
				t.Errorf("not found in base64 %d bytes into a text", before)
			}
		}
	}
	hash := sha256.Sum256([]byte("6XYZ78"))
	if len(p.in("FITBIT/"+strings.ToUpper(hex.EncodeToString(hash[:])))) == 0 {
		t.Error("a plain hash of a provider's short id is not found")
	}
	if found := p.in(`FITBIT/k7c1.1f2e3d4c5b6a79880123456789abcdef {"level":"INFO","msg":"webhook","type":"auth"}`); len(found) != 0 {
		t.Errorf("found %v where nothing is", found)
	}
}
