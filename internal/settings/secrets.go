package settings

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Terra is the secret that an operator fills with Terra's credentials:
//
//	{"signing_secrets":["…"],"dev_id":"…","api_key":"…"}
//
// Several signing secrets are live at the same time while one is being rotated.
type Terra struct {
	SigningSecrets []string `json:"signing_secrets"`
	DevID          string   `json:"dev_id"`
	APIKey         string   `json:"api_key"`
}

// The errors of a secret that is there but cannot be used.
var (
	ErrNoSigningSecret = errors.New(`Terra's secret has no signing secret: it should be {"signing_secrets":["…"],"dev_id":"…","api_key":"…"}`)
	ErrNotTerraSecret  = errors.New(`Terra's secret is not JSON of the form {"signing_secrets":["…"],"dev_id":"…","api_key":"…"}`)
	ErrNotAccountKey   = errors.New("the account key is not 64 hexadecimal digits")
)

func parseTerra(text string) (Terra, error) {
	var t Terra
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return Terra{}, ErrNotTerraSecret // the cause could quote the secret
	}
	live := t.SigningSecrets[:0]
	for _, secret := range t.SigningSecrets {
		if secret != "" {
			live = append(live, secret)
		}
	}
	if t.SigningSecrets = live; len(live) == 0 {
		return t, ErrNoSigningSecret
	}
	return t, nil
}

// ParseAccountKey reads the account key: 64 hexadecimal digits.
func ParseAccountKey(text string) ([]byte, error) {
	key, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != 32 {
		return nil, ErrNotAccountKey
	}
	return key, nil
}

// How often the secret is read. A secret that was good is believed for maxAge, so that one that was taken out stops working; it is read again at once, but
// for this not more often than every refreshAfter, when a signature is of no secret known; one that could not be read or used is tried again after retryAfter.
const (
	maxAge       = 10 * time.Minute
	refreshAfter = 30 * time.Second
	retryAfter   = time.Second
	readFor      = 3 * time.Second // the most that a webhook waits for it
)

// TerraSecret is Terra's secret, cached. It is safe for use by many goroutines.
type TerraSecret struct {
	Read func(ctx context.Context) (string, error) // reads the secret's text
	Now  func() time.Time

	mu          sync.Mutex
	secret      Terra
	err         error
	readAt      time.Time
	refreshedAt time.Time // when it was last read because of a signature
}

// Get returns the secret. If it cannot be read, one that was read before is returned as long as there is one.
func (s *TerraSecret) Get(ctx context.Context) (Terra, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := s.Now().Sub(s.readAt)
	if s.readAt.IsZero() || age >= maxAge || s.err != nil && age >= retryAfter {
		s.read(ctx)
	}
	return s.secret, s.err
}

// Refresh reads the secret again, if the last Refresh that did is long enough ago, and reports whether it was. That Get has just read it does not count: the
// secret may have been rotated since, and an instance that has just started must not refuse what the others accept.
func (s *TerraSecret) Refresh(ctx context.Context) (Terra, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.Now().Sub(s.refreshedAt) < refreshAfter { // one that cannot be used is Get's to try again
		return s.secret, false, s.err
	}
	s.refreshedAt = s.Now()
	s.read(ctx)
	return s.secret, true, s.err
}

func (s *TerraSecret) read(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readFor)
	defer cancel()
	s.readAt = s.Now()
	text, err := s.Read(ctx)
	if err != nil {
		if len(s.secret.SigningSecrets) == 0 {
			s.err = fmt.Errorf("reading Terra's secret: %w", err)
		}
		return
	}
	s.secret, s.err = parseTerra(text)
}

// reader is what is used of Secrets Manager's client.
type reader interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// SecretsManager returns a function that reads the text of one secret.
func SecretsManager(client reader, arn string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
		if err != nil {
			return "", err
		}
		if out.SecretString == nil {
			return "", errors.New("the secret holds no text")
		}
		return *out.SecretString, nil
	}
}
