// Command subscriber ends the connection that has lost a wearable account, told by Handover's announcements. It takes them from an SQS queue, with raw message
// delivery or without, or from SNS itself over HTTP(S), or from both. It is an example to be copied: it uses nothing of Handover's.
//
// Its settings are in the environment; ../README.md lists them.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil))) // no user_id, no reference_id in any line: they are personal data
	if err := run(ctx, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, getenv func(string) string) error {
	topic, queue, listen := getenv("TOPIC_ARN"), getenv("QUEUE_URL"), getenv("LISTEN")
	terra := Terra{
		URL:   cmp.Or(getenv("TERRA_API_URL"), "https://api.tryterra.co/v2"),
		DevID: getenv("TERRA_DEV_ID"),
		Key:   getenv("TERRA_API_KEY"),
		HTTP:  client(nil),
	}
	if len(strings.Split(topic, ":")) != 6 || terra.DevID == "" || terra.Key == "" || queue == "" && listen == "" {
		return errors.New("TOPIC_ARN, TERRA_DEV_ID, TERRA_API_KEY and one of QUEUE_URL and LISTEN must be set")
	}
	roots, err := trusted(getenv("SNS_CA"))
	if err != nil {
		return err
	}
	store, err := OpenJournal(cmp.Or(getenv("STATE_FILE"), "subscriber.jsonl"))
	if err != nil {
		return err
	}
	defer store.Close()
	handler := &Handler{Store: store, Terra: terra}

	ctx, stop := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if queue != "" {
			stop(consume(ctx, queue, topic, handler))
		}
	}()
	if listen != "" {
		endpoint := &Endpoint{Topic: topic, SNS: cmp.Or(getenv("SNS_URL"), snsOf(topic)), HTTP: client(roots), Handler: handler}
		server := &http.Server{Addr: listen, Handler: endpoint, ReadTimeout: 10 * time.Second}
		go func() { stop(server.ListenAndServe()) }()
		defer server.Shutdown(context.WithoutCancel(ctx))
	}
	<-ctx.Done()
	if queue != "" {
		<-ended
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// consume handles the messages of a queue until ctx ends. What was not handled stays in the queue: SQS gives it again after its visibility timeout and, by the
// queue's redrive policy, moves it to a dead-letter queue in the end.
func consume(ctx context.Context, queue, topic string, handler *Handler) error {
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := sqs.NewFromConfig(settings)
	for ctx.Err() == nil {
		got, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queue, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
		if err != nil {
			if ctx.Err() == nil {
				slog.Error("receiving", "error", err)
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		for _, m := range got.Messages {
			if handle(context.WithoutCancel(ctx), handler, m, topic) != nil {
				continue
			}
			if _, err := client.DeleteMessage(context.WithoutCancel(ctx), &sqs.DeleteMessageInput{QueueUrl: &queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
				slog.Error("deleting a message: it comes again", "error", err)
			}
		}
	}
	return nil
}

// handle handles one message. Without raw message delivery SNS's envelope is around the event. It is not verified: the queue's policy lets nobody but the topic
// send. That it is the right topic is checked all the same.
func handle(ctx context.Context, handler *Handler, m types.Message, topic string) error {
	var envelope struct{ Type, TopicArn, Message string }
	if json.Unmarshal([]byte(*m.Body), &envelope) != nil || envelope.Type != "Notification" {
		return handler.Handle(ctx, []byte(*m.Body))
	}
	if envelope.TopicArn != topic {
		slog.Error("message", "outcome", "wrong_topic")
		return ErrUnusable
	}
	return handler.Handle(ctx, []byte(envelope.Message))
}

// client is an HTTP client that follows no redirect: it would carry the key away.
func client(roots *x509.CertPool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &http.Client{
		Transport:     transport,
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// trusted are the certificate authorities of the system, and those in file, if one is given.
func trusted(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err == nil && !roots.AppendCertsFromPEM(text) {
		err = fmt.Errorf("%s holds no certificate", file)
	}
	return roots, err
}
