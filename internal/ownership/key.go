package ownership

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// AccountKeys turns a provider's account id into the key of an account row. It is a keyed hash: a plain hash of a short provider id is
// reversed by trying them all.
type AccountKeys struct {
	key []byte
	id  string
}

// ErrWrongAccountKey means that the ledger's accounts were keyed with another account key than the one in use. With the wrong key every account looks new, and
// every change of its owner would be missed in silence: nothing may be recorded until the key is the right one again.
var ErrWrongAccountKey = errors.New("the ledger's accounts were keyed with another account key")

// NewAccountKeys takes the stack-wide key: exactly 32 random bytes.
func NewAccountKeys(key []byte) (AccountKeys, error) {
	if len(key) != 32 {
		return AccountKeys{}, errors.New("the account key must be 32 bytes")
	}
	k := AccountKeys{key: key}
	k.id = "k" + k.Fingerprint()[:3]
	return k, nil
}

// Fingerprint identifies the key itself (32 hex digits, tells nothing about the key). It is kept beside the accounts, so that a wrong key is noticed.
func (k AccountKeys) Fingerprint() string { return k.hash("handover/account-key/v1") }

// Account is the key of the row of the wearable account that provider knows as providerUserID:
//
//	PROVIDER/<key id>.<first 128 bits of HMAC-SHA-256(key, "handover/account/v1" 0x00 PROVIDER 0x00 provider_user_id), hex>
//
// It is "" if either is empty: an unknown account is never a key that two connections share.
func (k AccountKeys) Account(provider, providerUserID string) string {
	if provider == "" || providerUserID == "" {
		return ""
	}
	provider = strings.ToUpper(provider)
	return provider + "/" + k.id + "." + k.hash("handover/account/v1\x00"+provider+"\x00"+providerUserID)
}

func (k AccountKeys) hash(message string) string {
	h := hmac.New(sha256.New, k.key)
	h.Write([]byte(message))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
