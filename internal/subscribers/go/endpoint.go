package main

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// Endpoint takes what SNS POSTs: https://docs.aws.amazon.com/sns/latest/dg/sns-http-https-endpoint-as-subscriber.html
//
// It answers 2xx to what is done, 403 to what is not the topic's, 422 to what no repeat makes better, and 503 to what is to come again. SNS repeats only the last,
// and moves the others to the subscription's dead-letter queue.
type Endpoint struct {
	Topic   string // its ARN; no other is listened to
	SNS     string // https://sns.<region>.amazonaws.com
	HTTP    *http.Client
	Handler *Handler

	certificates sync.Map // *x509.Certificate by URL; few, for only URLs of SNS's form are fetched
}

// snsOf is where SNS is in the topic's region.
func snsOf(topic string) string {
	part := strings.Split(topic, ":") // arn, partition, sns, region, account, name
	suffix := ""
	if part[1] == "aws-cn" {
		suffix = ".cn"
	}
	return "https://sns." + part[3] + ".amazonaws.com" + suffix
}

type envelope struct {
	Type, MessageId, Token, TopicArn, Subject, Message, SubscribeURL, Timestamp, SignatureVersion, Signature, SigningCertURL string
}

var errForged = errors.New("not signed by the topic")

func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m envelope
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20)) // SNS's own limit is 256 KiB
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil || m.Type == "" {
		http.Error(w, "not a message of SNS's", http.StatusBadRequest)
		return
	}
	switch err = e.verify(r.Context(), m); {
	case err != nil:
	case m.Type == "Notification":
		w.WriteHeader(status(e.Handler.Handle(r.Context(), []byte(m.Message)))) // which writes a line of its own
		return
	case m.Type == "SubscriptionConfirmation":
		err = e.confirm(r.Context(), m.Token)
	default:
		err = ErrUnusable
	}
	switch {
	case err == nil:
		slog.Info("message", "outcome", "confirmed")
	case errors.Is(err, errForged):
		slog.Error("message", "outcome", "forged")
	default:
		slog.Error("message", "outcome", "failed", "error", err)
	}
	w.WriteHeader(status(err))
}

func status(err error) int {
	switch {
	case err == nil:
		return http.StatusNoContent
	case errors.Is(err, errForged):
		return http.StatusForbidden
	case errors.Is(err, ErrUnusable):
		return http.StatusUnprocessableEntity
	}
	return http.StatusServiceUnavailable
}

// verify checks SNS's signature, version 2. Whoever can name the certificate can sign: so it is fetched only from SNS, by https, and under a name of the form
// that SNS gives it. And SNS signs for everybody's topics: so the topic is checked too.
// https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
func (e *Endpoint) verify(ctx context.Context, m envelope) error {
	if m.TopicArn != e.Topic || m.SignatureVersion != "2" {
		return errForged
	}
	certificate, err := e.certificate(ctx, m.SigningCertURL)
	if err != nil {
		return err
	}
	var signed strings.Builder
	for _, field := range [][2]string{
		{"Message", m.Message}, {"MessageId", m.MessageId}, {"Subject", m.Subject}, {"SubscribeURL", m.SubscribeURL},
		{"Timestamp", m.Timestamp}, {"Token", m.Token}, {"TopicArn", m.TopicArn}, {"Type", m.Type},
	} {
		if field[1] != "" {
			signed.WriteString(field[0] + "\n" + field[1] + "\n")
		}
	}
	signature, err := base64.StdEncoding.DecodeString(m.Signature)
	if err != nil || certificate.CheckSignature(x509.SHA256WithRSA, []byte(signed.String()), signature) != nil {
		return errForged
	}
	return nil
}

var certificateName = regexp.MustCompile(`^/SimpleNotificationService-[0-9a-f]{32}\.pem$`)

func (e *Endpoint) certificate(ctx context.Context, address string) (*x509.Certificate, error) {
	name, ofSNS := strings.CutPrefix(address, e.SNS)
	if !ofSNS || !strings.HasPrefix(address, "https://") || !certificateName.MatchString(name) {
		return nil, errForged
	}
	if known, ok := e.certificates.Load(address); ok {
		return known.(*x509.Certificate), nil
	}
	text, err := e.get(ctx, address)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("SNS served no certificate")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err == nil {
		e.certificates.Store(address, certificate)
	}
	return certificate, err
}

// confirm confirms the subscription to the expected topic, and no other. It does not visit the SubscribeURL but what it should be.
func (e *Endpoint) confirm(ctx context.Context, token string) error {
	_, err := e.get(ctx, e.SNS+"/?"+url.Values{"Action": {"ConfirmSubscription"}, "TopicArn": {e.Topic}, "Token": {token}}.Encode())
	return err
}

func (e *Endpoint) get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := e.HTTP.Do(request)
	if err != nil {
		return nil, errors.Unwrap(err) // without the URL, which may hold the token
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("SNS answered %d", response.StatusCode)
	}
	return io.ReadAll(io.LimitReader(response.Body, 64<<10))
}
