package settings_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/handover-dev/handover/internal/settings"
)

// source is where a secret is read from.
type source struct {
	text  string
	err   error
	hang  bool
	reads int
}

func (s *source) read(ctx context.Context) (string, error) {
	s.reads++
	if s.hang {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return s.text, s.err
}

func TestTerraSecret(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		want    settings.Terra
		wantErr error
	}{
		"whole":              {text: `{"signing_secrets":["one","two"],"dev_id":"d","api_key":"k"}`, want: settings.Terra{SigningSecrets: []string{"one", "two"}, DevID: "d", APIKey: "k"}},
		"only what it needs": {text: `{"signing_secrets":["one"]}`, want: settings.Terra{SigningSecrets: []string{"one"}}},
		"more than it needs": {text: ` {"signing_secrets":["one"],"note":{"by":"ops"}} `, want: settings.Terra{SigningSecrets: []string{"one"}}},
		"empty ones between": {text: `{"signing_secrets":["","one","","two",""]}`, want: settings.Terra{SigningSecrets: []string{"one", "two"}}},
		"an odd one":         {text: `{"signing_secrets":["ü \"quoted\""]}`, want: settings.Terra{SigningSecrets: []string{`ü "quoted"`}}},

		"nothing":                  {text: ``, wantErr: settings.ErrNotTerraSecret},
		"the secret itself":        {text: `hunter2`, wantErr: settings.ErrNotTerraSecret},
		"a string":                 {text: `"hunter2"`, wantErr: settings.ErrNotTerraSecret},
		"a list":                   {text: `["hunter2"]`, wantErr: settings.ErrNotTerraSecret},
		"one instead of a list":    {text: `{"signing_secrets":"hunter2"}`, wantErr: settings.ErrNotTerraSecret},
		"a number":                 {text: `{"signing_secrets":[42]}`, wantErr: settings.ErrNotTerraSecret},
		"truncated":                {text: `{"signing_secrets":["hunter2"`, wantErr: settings.ErrNotTerraSecret},
		"more behind":              {text: `{"signing_secrets":["hunter2"]}}`, wantErr: settings.ErrNotTerraSecret},
		"an API key of wrong type": {text: `{"signing_secrets":["hunter2"],"api_key":7}`, wantErr: settings.ErrNotTerraSecret},
		"null":                     {text: `null`, wantErr: settings.ErrNoSigningSecret},
		"an empty object":          {text: `{}`, wantErr: settings.ErrNoSigningSecret},
		"no secret":                {text: `{"signing_secrets":[],"api_key":"hunter2"}`, wantErr: settings.ErrNoSigningSecret},
		"null for a list":          {text: `{"signing_secrets":null}`, wantErr: settings.ErrNoSigningSecret},
		"only empty ones":          {text: `{"signing_secrets":["",""]}`, wantErr: settings.ErrNoSigningSecret},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings.TerraSecret{Read: (&source{text: test.text}).read, Now: time.Now}
			got, err := s.Get(t.Context())
			if !errors.Is(err, test.wantErr) {
				t.Fatalf("got error %v, want %v", err, test.wantErr)
			}
			if err == nil && fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter") || len(got.SigningSecrets) > 0) {
				t.Errorf("got %q, error %v", got, err)
			}
		})
	}
}

// When the secret is read, by the second.
func TestTerraSecretIsCached(t *testing.T) {
	const one, two = `{"signing_secrets":["one"]}`, `{"signing_secrets":["two"]}`
	away := errors.New("throttled")
	type step struct {
		at      time.Duration
		source  source // from here on; its reads are how many there have been after the step
		refresh bool
		want    string // the signing secret
		wantErr error
		read    bool // what Refresh reports
	}
	for name, steps := range map[string][]step{
		"believed for 10 minutes": {
			{at: 0, source: source{text: one, reads: 1}, want: "one"},
			{at: 9*time.Minute + 59*time.Second, source: source{text: two, reads: 1}, want: "one"},
			{at: 10 * time.Minute, source: source{text: two, reads: 2}, want: "two"},
		},
		"read again at most every 30 seconds": {
			{at: 0, source: source{text: one, reads: 1}, want: "one"},
			{at: time.Second, source: source{text: two, reads: 2}, refresh: true, want: "two", read: true},
			{at: 2 * time.Second, source: source{text: one, reads: 2}, refresh: true, want: "two"},
			{at: 30 * time.Second, source: source{text: one, reads: 2}, refresh: true, want: "two"},
			{at: 31 * time.Second, source: source{text: one, reads: 3}, refresh: true, want: "one", read: true},
			{at: 60 * time.Second, source: source{text: two, reads: 3}, refresh: true, want: "one"},
		},
		"rotated just after it was read": {
			{at: 0, source: source{text: one, reads: 1}, want: "one"},
			{at: 10 * time.Minute, source: source{text: one, reads: 2}, want: "one"},
			{at: 10*time.Minute + time.Second, source: source{text: two, reads: 3}, refresh: true, want: "two", read: true},
		},
		"refreshed first": {
			{at: 0, source: source{text: one, reads: 1}, refresh: true, want: "one", read: true},
			{at: time.Second, source: source{text: one, reads: 1}, want: "one"},
		},
		"unreadable at first": {
			{at: 0, source: source{err: away, reads: 1}, wantErr: away},
			{at: 999 * time.Millisecond, source: source{text: one, reads: 1}, wantErr: away},
			{at: 999 * time.Millisecond, source: source{text: one, reads: 1}, refresh: true, wantErr: away},
			{at: time.Second, source: source{text: one, reads: 2}, want: "one"},
		},
		"unreadable later: believed on": {
			{at: 0, source: source{text: one, reads: 1}, want: "one"},
			{at: 30 * time.Second, source: source{err: away, reads: 2}, refresh: true, want: "one", read: true},
			{at: 20 * time.Minute, source: source{err: away, reads: 3}, want: "one"},
			{at: 30 * time.Minute, source: source{text: two, reads: 4}, want: "two"},
		},
		"bad for a while": {
			{at: 0, source: source{text: one, reads: 1}, want: "one"},
			{at: time.Minute, source: source{text: "oops", reads: 2}, refresh: true, wantErr: settings.ErrNotTerraSecret, read: true},
			{at: time.Minute + time.Second, source: source{text: "{}", reads: 3}, wantErr: settings.ErrNoSigningSecret},
			{at: time.Minute + 2*time.Second, source: source{text: two, reads: 4}, want: "two"},
			{at: time.Minute + 3*time.Second, source: source{text: one, reads: 4}, want: "two"},
		},
		"unreadable after it was bad": {
			{at: 0, source: source{text: "oops", reads: 1}, wantErr: settings.ErrNotTerraSecret},
			{at: time.Second, source: source{err: away, reads: 2}, wantErr: away},
			{at: 2 * time.Second, source: source{text: one, reads: 3}, want: "one"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
			now, src := start, &source{}
			s := settings.TerraSecret{Read: func(ctx context.Context) (string, error) { return src.read(ctx) }, Now: func() time.Time { return now }}
			for _, step := range steps {
				now = start.Add(step.at)
				reads := src.reads
				src = &source{text: step.source.text, err: step.source.err, reads: reads}
				var got settings.Terra
				var err error
				var read bool
				if step.refresh {
					got, read, err = s.Refresh(t.Context())
				} else {
					got, err = s.Get(t.Context())
				}
				want := []string{step.want}
				if step.wantErr != nil {
					want = nil
				}
				if !errors.Is(err, step.wantErr) || !slices.Equal(got.SigningSecrets, want) || read != step.read || src.reads != step.source.reads {
					t.Errorf("at %v: got %q, %v, read %v, %d reads; want %q, %v, %v, %d", step.at, got.SigningSecrets, err, read, src.reads, want, step.wantErr, step.read, step.source.reads)
				}
			}
		})
	}
}

func TestReadingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settings.TerraSecret{Read: (&source{hang: true}).read, Now: time.Now}
		start := time.Now()
		_, err := s.Get(t.Context())
		if took := time.Since(start); took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("took %v, error %v", took, err)
		}
	})
}

func TestParseAccountKey(t *testing.T) {
	key := bytes.Repeat([]byte{0, 0xab}, 16)
	text := hex.EncodeToString(key)
	for name, test := range map[string]struct {
		text string
		err  error
	}{
		"64 digits":        {text, nil},
		"upper case":       {strings.ToUpper(text), nil},
		"a newline behind": {text + "\r\n", nil},
		"empty":            {"", settings.ErrNotAccountKey},
		"63 digits":        {text[1:], settings.ErrNotAccountKey},
		"62 digits":        {text[2:], settings.ErrNotAccountKey},
		"66 digits":        {text + "00", settings.ErrNotAccountKey},
		"not digits":       {strings.Repeat("zz", 32), settings.ErrNotAccountKey},
		"base64":           {"AKsAqwCrAKsAqwCrAKsAqwCrAKsAqwCrAKsAqwCrAKs=", settings.ErrNotAccountKey},
		"JSON":             {`{"key":"` + text + `"}`, settings.ErrNotAccountKey},
	} {
		got, err := settings.ParseAccountKey(test.text)
		if !errors.Is(err, test.err) || err == nil && !bytes.Equal(got, key) {
			t.Errorf("%s: got %x, %v, want %v", name, got, err, test.err)
		}
		if err != nil && err.Error() != "the account key is not 64 hexadecimal digits" {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// client is a Secrets Manager with one secret.
type client struct {
	out   *secretsmanager.GetSecretValueOutput
	err   error
	asked string
}

func (c *client) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	c.asked = aws.ToString(in.SecretId)
	return c.out, c.err
}

func TestSecretsManager(t *testing.T) {
	denied := errors.New("access denied")
	for name, test := range map[string]struct {
		client client
		want   string
		err    string
	}{
		"text":   {client{out: &secretsmanager.GetSecretValueOutput{SecretString: aws.String("x")}}, "x", "<nil>"},
		"binary": {client{out: &secretsmanager.GetSecretValueOutput{SecretBinary: []byte("hunter2")}}, "", "the secret holds no text"},
		"denied": {client{err: denied}, "", "access denied"},
	} {
		got, err := settings.SecretsManager(&test.client, "arn:secret")(t.Context())
		if got != test.want || fmt.Sprint(err) != test.err || test.client.asked != "arn:secret" {
			t.Errorf("%s: got %q, %v, asked for %q", name, got, err, test.client.asked)
		}
	}
}
