// Package terra speaks Terra's side of the wire (https://docs.tryterra.co): [Verify] says whether a webhook is Terra's, [ParseEvent] what it tells
// of connections, and a [Client] asks Terra's API about one of them. It judges nothing: what follows from an event is decided by package ownership.
//
// No error of this package contains a body, a secret, a key, a user_id or a reference_id.
package terra

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What Verify refuses a webhook for.
var (
	ErrNoSignature = errors.New("no signature")
	ErrMalformed   = errors.New("malformed signature header")
	ErrMismatch    = errors.New("signature of no live secret")
	ErrTooOld      = errors.New("signed too long ago")
	ErrTooNew      = errors.New("signed in the future")
)

// Window says how far the time of signing may lie from now; both bounds are still good.
type Window struct{ Past, Future time.Duration }

// Sign makes the X-Terra-Signature header of body as Terra makes it: "t=<unix seconds>,v1=<64 lower-case hex digits>".
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	v1 := mac(secret, t, body)
	return "t=" + t + ",v1=" + string(v1[:])
}

// Verify reports when body was signed, if header is Terra's signature of it under one of secrets, made inside the window around now. An
// empty secret never counts.
//
// The format is that of Terra's documentation, "Webhooks > Signature": parts divided by commas, one "t" in unix seconds, one or more "v1";
// parts of any other name are other schemes and prove nothing.
//
// The errors are, in the order of checking: ErrNoSignature for an empty header, ErrMalformed for one without exactly one t of digits and at
// least one v1, ErrMismatch, and then ErrTooOld or ErrTooNew, which therefore tell of a genuine signature; its time is returned with them.
func Verify(header string, body []byte, secrets []string, now time.Time, w Window) (signedAt time.Time, err error) {
	if header == "" {
		return time.Time{}, ErrNoSignature
	}
	t, seconds, err := parse(header)
	if err != nil {
		return time.Time{}, err
	}
	if !signed(header, t, body, secrets) {
		return time.Time{}, ErrMismatch
	}
	signedAt = time.Unix(seconds, 0).UTC()
	switch {
	case seconds > now.Add(w.Future).Unix(): // not After: time.Unix wraps around for the greatest seconds
		return signedAt, ErrTooNew
	case signedAt.Before(now.Add(-w.Past)):
		return signedAt, ErrTooOld
	}
	return signedAt, nil
}

// parse returns the header's t, as it was signed and as a number.
func parse(header string) (t string, seconds int64, err error) {
	ts, proved := 0, false
	for part := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(strings.Trim(part, " "), "="); name {
		case "t":
			t = value
			ts++
		case "v1":
			proved = true
		}
	}
	if ts != 1 || !proved || len(t) > 19 || strings.Trim(t, "0123456789") != "" {
		return "", 0, ErrMalformed
	}
	if seconds, err = strconv.ParseInt(t, 10, 64); err != nil {
		return "", 0, ErrMalformed
	}
	return t, seconds, nil
}

// signed reports whether some v1 of the header is the signature under some secret. It compares hex text, not bytes: an upper-case digit is
// not what Terra sends.
func signed(header, t string, body []byte, secrets []string) bool {
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		want := mac(secret, t, body)
		for part := range strings.SplitSeq(header, ",") {
			v1, ok := strings.CutPrefix(strings.Trim(part, " "), "v1=")
			if ok && subtle.ConstantTimeCompare([]byte(v1), want[:]) == 1 {
				return true
			}
		}
	}
	return false
}

// mac is hex(HMAC-SHA-256(secret, t "." body)), the value of v1.
func mac(secret, t string, body []byte) (v1 [2 * sha256.Size]byte) {
	m := lastMAC.Swap(nil)
	if m == nil || m.secret != secret {
		m = &keyed{secret: secret, Hash: hmac.New(sha256.New, []byte(secret))}
	}
	defer lastMAC.Store(m)
	m.Reset()
	m.Write(append(append(m.scratch[:0], t...), '.'))
	m.Write(body)
	hex.Encode(v1[:], m.Sum(m.scratch[:0]))
	return v1
}

// keyed is the HMAC of one secret, with room for a message's head or a sum.
type keyed struct {
	hash.Hash
	secret  string
	scratch [sha256.Size]byte
}

// lastMAC is a package variable because making an HMAC takes half of the memory that a webhook is allowed, and hashes the secret twice. Nothing can be observed
// through it: whoever takes it resets it, and makes another if it is of another secret or in use. A pool would lose it whenever a great event has the garbage
// collected.
var lastMAC atomic.Pointer[keyed]
