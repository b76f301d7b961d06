package terra

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVerify(t *testing.T) {
	const (
		published = "599aa529690b885a43f184327c582375068d70705b7a471af15e10682c6f5313" // Terra's documentation, Webhooks > Signature
		wrong     = "0000000000000000000000000000000000000000000000000000000000000000"
	)
	body := []byte(`{'bar':'baz'}`)
	at := time.Unix(12345678, 0)
	w := Window{Past: 26 * time.Hour, Future: 5 * time.Minute}
	foo := []string{"foo"}

	for name, test := range map[string]struct {
		header  string
		body    []byte   // nil: the published one
		secrets []string // nil: foo
		now     time.Time
		want    error
	}{
		"published vector":           {header: "t=12345678,v1=" + published},
		"what Sign makes":            {header: Sign("foo", at, body)},
		"secret in rotation":         {header: "t=12345678,v1=" + published, secrets: []string{"new", "foo"}},
		"empty body":                 {header: Sign("foo", at, nil), body: []byte{}},
		"spaces around commas":       {header: " t=12345678 , v1=" + published + " "},
		"v1 before t":                {header: "v1=" + published + ",t=12345678"},
		"second v1 is good":          {header: "t=12345678,v1=" + wrong + ",v1=" + published},
		"first v1 is short":          {header: "t=12345678,v1=abc,v1=" + published},
		"fiftieth v1 is good":        {header: "t=12345678" + strings.Repeat(",v1="+wrong, 49) + ",v1=" + published},
		"other schemes beside v1":    {header: "t=12345678,v0=" + wrong + ",v2,x=y=z,,v1=" + published},
		"leading zero, as signed":    {header: "t=012345678,v1=" + hexMAC("foo", "012345678", body)},
		"oldest second still inside": {header: "t=12345678,v1=" + published, now: at.Add(w.Past)},
		"newest second still inside": {header: "t=12345678,v1=" + published, now: at.Add(-w.Future)},

		"empty header":             {header: "", want: ErrNoSignature},
		"nothing but spaces":       {header: "  ", want: ErrMalformed},
		"garbage":                  {header: "garbage", want: ErrMalformed},
		"no t":                     {header: "v1=" + published, want: ErrMalformed},
		"no v1":                    {header: "t=12345678", want: ErrMalformed},
		"only other schemes":       {header: "t=12345678,v0=" + published + ",v2=" + published + ",V1=" + published, want: ErrMalformed},
		"two t":                    {header: "t=12345678,t=12345678,v1=" + published, want: ErrMalformed},
		"empty t":                  {header: "t=,v1=" + published, want: ErrMalformed},
		"signed t":                 {header: "t=+12345678,v1=" + published, want: ErrMalformed},
		"negative t":               {header: "t=-12345678,v1=" + published, want: ErrMalformed},
		"space inside t":           {header: "t= 12345678,v1=" + published, want: ErrMalformed},
		"t in Arabic digits":       {header: "t=١٢٣,v1=" + published, want: ErrMalformed},
		"t with 20 digits":         {header: "t=00000000000012345678,v1=" + published, want: ErrMalformed},
		"t beyond 64 bits":         {header: "t=9999999999999999999,v1=" + published, want: ErrMalformed},
		"10 kB of commas":          {header: strings.Repeat(",", 10_000), want: ErrMalformed},
		"wrong v1":                 {header: "t=12345678,v1=" + wrong, want: ErrMismatch},
		"empty v1":                 {header: "t=12345678,v1=", want: ErrMismatch},
		"v1 in upper case":         {header: "t=12345678,v1=" + strings.ToUpper(published), want: ErrMismatch},
		"v1 with more behind":      {header: "t=12345678,v1=" + published + "00", want: ErrMismatch},
		"10 kB of v1":              {header: "t=12345678,v1=" + strings.Repeat("0", 10_000), want: ErrMismatch},
		"50 wrong v1":              {header: "t=12345678" + strings.Repeat(",v1="+wrong, 50), want: ErrMismatch},
		"signature as v0":          {header: "t=12345678,v1=" + wrong + ",v0=" + published, want: ErrMismatch},
		"another t":                {header: "t=12345679,v1=" + published, want: ErrMismatch},
		"another body":             {header: "t=12345678,v1=" + published, body: []byte(`{'bar':'baz'} `), want: ErrMismatch},
		"another secret":           {header: "t=12345678,v1=" + published, secrets: []string{"new"}, want: ErrMismatch},
		"no secret":                {header: "t=12345678,v1=" + published, secrets: []string{}, want: ErrMismatch},
		"signed with empty secret": {header: Sign("", at, body), secrets: []string{""}, want: ErrMismatch},
		"old and forged":           {header: "t=12345678,v1=" + wrong, now: at.Add(w.Past + time.Second), want: ErrMismatch},
		"too old":                  {header: "t=12345678,v1=" + published, now: at.Add(w.Past + 1), want: ErrTooOld},
		"too new":                  {header: "t=12345678,v1=" + published, now: at.Add(-w.Future - 1), want: ErrTooNew},
		"the greatest t":           {header: "t=9223372036854775807,v1=" + hexMAC("foo", "9223372036854775807", body), want: ErrTooNew},
	} {
		t.Run(name, func(t *testing.T) {
			if test.body == nil {
				test.body = body
			}
			if test.secrets == nil {
				test.secrets = foo
			}
			if test.now.IsZero() {
				test.now = at
			}
			signedAt, err := Verify(test.header, test.body, test.secrets, test.now, w)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			switch {
			case err == nil && !signedAt.Equal(at):
				t.Errorf("signed at %v, want %v", signedAt, at)
			case errors.Is(err, ErrMismatch) && !signedAt.IsZero():
				t.Errorf("a forgery has a time: %v", signedAt)
			}
		})
	}
}

func hexMAC(secret, t string, body []byte) string {
	v1 := mac(secret, t, body)
	return string(v1[:])
}

// FuzzVerify checks that exactly what was signed with a live secret verifies, and that a change of any one byte that is signed is noticed.
func FuzzVerify(f *testing.F) {
	f.Add("t=12345678,v1=599aa529690b885a43f184327c582375068d70705b7a471af15e10682c6f5313", []byte(`{'bar':'baz'}`), "foo", int64(12345678), uint(3), byte(1))
	f.Add("t=1,v1=x,v1=y,v0=z", []byte{}, "", int64(0), uint(30), byte(0x20))
	f.Fuzz(func(t *testing.T, header string, body []byte, secret string, seconds int64, where uint, flip byte) {
		at := time.Unix(seconds&0x3ff_ffff_ffff, 0)
		live := []string{"", secret}
		verify := func(header string, body []byte) error {
			_, err := Verify(header, body, live, at, Window{})
			return err
		}

		// A header out of nowhere verifies only if it carries a signature of that body under the secret.
		if _, err := Verify(header, body, live, at, Window{Past: 1 << 62, Future: 1 << 62}); err == nil {
			genuine := slices.ContainsFunc(strings.Split(header, ","), func(part string) bool {
				signedText, ok := strings.CutPrefix(strings.Trim(part, " "), "t=")
				return ok && secret != "" && strings.Contains(header, hexMAC(secret, signedText, body))
			})
			if !genuine {
				t.Fatalf("%q verifies", header)
			}
		}

		good := Sign(secret, at, body)
		if secret == "" {
			if err := verify(good, body); !errors.Is(err, ErrMismatch) {
				t.Fatalf("the empty secret: got %v, want %v", err, ErrMismatch)
			}
			return
		}
		if err := verify(good, body); err != nil {
			t.Fatalf("own signature: %v", err)
		}
		if flip == 0 {
			return
		}
		if len(body) > 0 {
			changed := bytes.Clone(body)
			changed[where%uint(len(body))] ^= flip
			if err := verify(good, changed); !errors.Is(err, ErrMismatch) {
				t.Fatalf("changed body: got %v, want %v", err, ErrMismatch)
			}
		}
		changed := []byte(good)
		changed[where%uint(len(good))] ^= flip
		if err := verify(string(changed), body); !errors.Is(err, ErrMismatch) && !errors.Is(err, ErrMalformed) {
			t.Fatalf("changed header %q: got %v, want %v or %v", changed, err, ErrMismatch, ErrMalformed)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	now := time.Unix(1_800_000_000, 0)
	for _, size := range []int{700, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body := make([]byte, size)
			header := Sign("secret", now, body)
			secrets := []string{"secret"}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(header, body, secrets, now, Window{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
