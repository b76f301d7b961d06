package topic

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/handover-dev/handover/internal/announce"
)

// notification is what SNS POSTs to an HTTP subscriber: https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html and, with Token and
// SubscribeURL, what asks it to confirm: https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html
//
// It is stored as it was published. SigningCertURL and UnsubscribeURL, which the signature does not cover, are filled in for each delivery.
type notification struct {
	Type              string
	MessageID         string `json:"MessageId"`
	Token             string `json:",omitempty"`
	TopicARN          string `json:"TopicArn"`
	Message           string
	SubscribeURL      string `json:",omitempty"`
	Timestamp         string
	SignatureVersion  string
	Signature         string
	SigningCertURL    string
	UnsubscribeURL    string               `json:",omitempty"`
	MessageAttributes map[string]attribute `json:",omitempty"`
}

type attribute struct{ Type, Value string }

func newNotification(event announce.Event, now time.Time) (notification, error) {
	message, err := event.JSON()
	if err != nil {
		return notification{}, fmt.Errorf("encoding announcement %s: %w", event.ID, err)
	}
	n := newMessage(notificationType, string(message), now)
	n.MessageAttributes = make(map[string]attribute, len(event.Attributes))
	for name, value := range event.Attributes {
		n.MessageAttributes[name] = attribute{Type: "String", Value: value}
	}
	return n, nil
}

func newMessage(messageType, message string, now time.Time) notification {
	return notification{
		Type:             messageType,
		MessageID:        newUUID(),
		TopicARN:         ARN,
		Message:          message,
		Timestamp:        now.UTC().Format("2006-01-02T15:04:05.000Z"),
		SignatureVersion: "2",
	}
}

// newUUID makes a version 4 UUID (RFC 9562).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// signer signs notifications with a key of the topic's own, so that a subscriber can check signatures as it does in production. The certificate also vouches
// for this machine, as an authority of its own: a subscriber that trusts it can fetch it by https, as it fetches SNS's.
type signer struct {
	key         *rsa.PrivateKey
	certificate []byte // DER
}

// file is the name under which the certificate is served, made as SNS's is.
func (s signer) file() string {
	hash := sha256.Sum256(s.certificate)
	return fmt.Sprintf("SimpleNotificationService-%x.pem", hash[:16])
}

// The entries of bucketSigning, both DER.
const (
	entryKey         = "key" // PKCS #8
	entryCertificate = "certificate"
)

// loadSigner returns the signer kept in bucket. The first time there is none: it makes one.
func loadSigner(bucket *bbolt.Bucket, now time.Time) (signer, error) {
	if bucket.Get([]byte(entryKey)) == nil {
		if err := makeSigner(bucket, now); err != nil {
			return signer{}, fmt.Errorf("making the signing key: %w", err)
		}
	}
	key, err := x509.ParsePKCS8PrivateKey(bucket.Get([]byte(entryKey)))
	if err != nil {
		return signer{}, fmt.Errorf("reading the signing key: %w", err)
	}
	return signer{key.(*rsa.PrivateKey), bytes.Clone(bucket.Get([]byte(entryCertificate)))}, nil
}

func makeSigner(bucket *bbolt.Bucket, now time.Time) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "Handover local topic"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(20, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},

		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := bucket.Put([]byte(entryKey), der); err != nil {
		return err
	}
	return bucket.Put([]byte(entryCertificate), certificate)
}

// sign fills in the signature by version 2 of SNS's rules: RSA (PKCS #1 v1.5) with SHA-256 over each signed field's name and value, one a line.
// https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
func (s signer) sign(n *notification) error {
	var signed strings.Builder
	for _, field := range [][2]string{
		{"Message", n.Message},
		{"MessageId", n.MessageID},
		{"SubscribeURL", n.SubscribeURL},
		{"Timestamp", n.Timestamp},
		{"Token", n.Token},
		{"TopicArn", n.TopicARN},
		{"Type", n.Type},
	} {
		if field[1] != "" {
			signed.WriteString(field[0] + "\n" + field[1] + "\n")
		}
	}
	hash := sha256.Sum256([]byte(signed.String()))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, hash[:])
	if err != nil {
		return err
	}
	n.Signature = base64.StdEncoding.EncodeToString(signature)
	return nil
}
