// Package topic is the local program's SNS topic: it keeps announcements in a file, and delivers them to HTTP subscribers as SNS does.
//
// Publish stores an announcement, and that each subscriber is owed it, in one durable transaction. A subscriber is sent what it is owed until it
// accepts it, and only then is the debt struck out. So a kill at any moment loses nothing that was published; at worst a subscriber gets the same
// message twice. A subscriber that Options name need not confirm its subscription; one that subscribes through the topic's API must, as with SNS.
package topic

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ownership"
)

// ARN is the topic's name in what subscribers receive.
const ARN = "arn:aws:sns:local:000000000000:handover-transfers"

// Options are what a topic is opened with. Only Source is required.
type Options struct {
	Source      string               // the source of each event
	Subscribers []string             // the http or https URLs to which each announcement is delivered
	URL         string               // where the program serves Topic.API, by https and without a slash at the end: it begins the URLs in what is delivered
	OnPublish   func(announce.Event) // called with each event once it is stored; calls may overlap
	Log         *slog.Logger         // told when a delivery fails, and when it succeeds after all; by default nothing is logged
	Now         func() time.Time     // the clock; time.Now by default
}

// Topic is an [ownership.Announcer].
type Topic struct {
	options   Options
	db        *bbolt.DB
	signer    signer
	transport func() http.RoundTripper

	mu          sync.RWMutex // of what follows
	subscribers []*subscriber
	pending     map[string]*subscriber // those that have not confirmed yet, by token

	stopping context.Context // once it ends, no further attempt at a delivery begins
	stop     context.CancelFunc
	attempts context.Context // once it ends, so do the attempts under way
	abort    context.CancelFunc
	running  sync.WaitGroup // the goroutines of the subscribers
}

// The buckets of the file. A message is keyed by its number (8 bytes, big-endian), which grows. In bucketOwed each subscriber has a bucket of its
// own, named by its URL; its keys are the numbers of the messages that the subscriber has not accepted yet.
const (
	bucketMessages = "messages"
	bucketOwed     = "owed"
	bucketSigning  = "signer"
	bucketAsked    = "asked" // the URLs that have subscribed through the API, and confirmed it
)

// Open opens the topic in the file at path, which it makes if need be, and begins to deliver what is owed. A subscriber is owed what is
// published from the first Open that names it, as with SNS. If a later one does not name it, it keeps what it was owed until one names it again.
func Open(path string, o Options) (*Topic, error) { return open(path, o, newTransport) }

// open is Open with a say in how subscribers are reached. Each has a transport of its own.
func open(path string, o Options, transport func() http.RoundTripper) (*Topic, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	t := &Topic{options: o, transport: transport, pending: map[string]*subscriber{}}
	var faults []error
	for _, rawURL := range slices.Compact(slices.Sorted(slices.Values(o.Subscribers))) {
		s, err := newSubscriber(t, rawURL, transport())
		t.subscribers, faults = append(t.subscribers, s), append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if err := t.openFile(path); err != nil {
		return nil, fmt.Errorf("opening topic %s: %w", path, err)
	}

	t.stopping, t.stop = context.WithCancel(context.Background())
	t.attempts, t.abort = context.WithCancel(context.Background())
	for _, s := range t.subscribers {
		t.start(s)
	}
	return t, nil
}

// start begins to deliver to s what it is owed.
func (t *Topic) start(s *subscriber) {
	var stopping context.Context
	stopping, s.stop = context.WithCancel(t.stopping)
	t.running.Go(func() { s.run(stopping, t.attempts) })
}

func (t *Topic) openFile(path string) (err error) {
	// The timeout is for the file's lock: another program may have the topic open.
	if t.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second}); err != nil {
		return err
	}
	err = t.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte(bucketMessages))
		if err != nil {
			return err
		}
		owed, err := tx.CreateBucketIfNotExists([]byte(bucketOwed))
		if err != nil {
			return err
		}
		asked, err := tx.CreateBucketIfNotExists([]byte(bucketAsked))
		if err != nil {
			return err
		}
		if err := t.addAsked(asked); err != nil {
			return err
		}
		for _, s := range t.subscribers {
			if _, err := owed.CreateBucketIfNotExists([]byte(s.url)); err != nil {
				return err
			}
		}
		signing, err := tx.CreateBucketIfNotExists([]byte(bucketSigning))
		if err != nil {
			return err
		}
		t.signer, err = loadSigner(signing, t.options.Now())
		return err
	})
	if err != nil {
		return errors.Join(err, t.db.Close())
	}
	return nil
}

// Publish returns nil once the announcement is stored for good. Its delivery follows.
func (t *Topic) Publish(_ context.Context, a ownership.Announcement) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var event announce.Event
	if err := t.db.Update(func(tx *bbolt.Tx) error { // one at a time, so that each has a later time than those that are stored before it
		now := t.options.Now()
		var err error
		if event, err = announce.New(a, t.options.Source, now); err != nil {
			return err
		}
		n, err := newNotification(event, now)
		if err != nil {
			return err
		}
		if err := t.signer.sign(&n); err != nil {
			return fmt.Errorf("signing it: %w", err)
		}
		return t.store(tx, n)
	}); err != nil {
		return fmt.Errorf("storing an announcement: %w", err)
	}
	for _, s := range t.subscribers {
		s.wake()
	}
	if t.options.OnPublish != nil {
		t.options.OnPublish(event)
	}
	return nil
}

func (t *Topic) store(tx *bbolt.Tx, n notification) error {
	messages := tx.Bucket([]byte(bucketMessages))
	number, err := messages.NextSequence()
	if err != nil {
		return err
	}
	record, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := messages.Put(key(number), record); err != nil {
		return err
	}
	for _, s := range t.subscribers {
		if err := s.owed(tx).Put(key(number), nil); err != nil {
			return err
		}
	}
	return nil
}

// List returns every announcement ever published, each as its CloudEvents JSON, oldest first.
func (t *Topic) List() ([]json.RawMessage, error) {
	list := []json.RawMessage{}
	err := t.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketMessages)).ForEach(func(_, record []byte) error {
			var n notification
			if err := json.Unmarshal(record, &n); err != nil {
				return err
			}
			list = append(list, json.RawMessage(n.Message))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing announcements: %w", err)
	}
	return list, nil
}

// Published is one announcement as it was published.
type Published struct {
	Number     uint64            // in the order of publishing, from 1
	Message    []byte            // its CloudEvents JSON
	Attributes map[string]string // the message attributes, all of SNS's type String
}

// Newest lists every announcement ever published, the newest first.
func (t *Topic) Newest() iter.Seq2[Published, error] {
	return func(yield func(Published, error) bool) {
		err := t.db.View(func(tx *bbolt.Tx) error {
			cursor := tx.Bucket([]byte(bucketMessages)).Cursor()
			for number, record := cursor.Last(); number != nil; number, record = cursor.Prev() {
				var n notification
				if err := json.Unmarshal(record, &n); err != nil {
					return err
				}
				p := Published{binary.BigEndian.Uint64(number), []byte(n.Message), make(map[string]string, len(n.MessageAttributes))}
				for name, a := range n.MessageAttributes {
					p.Attributes[name] = a.Value
				}
				if !yield(p, nil) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(Published{}, fmt.Errorf("listing announcements: %w", err))
		}
	}
}

// Certificate is the PEM of the certificate whose key signs what is delivered. It stays the same for the life of the file.
func (t *Topic) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: t.signer.certificate})
}

// Close ends the topic in order: the deliveries under way may finish until ctx ends. What is not delivered stays owed.
func (t *Topic) Close(ctx context.Context) error {
	t.stop()
	defer context.AfterFunc(ctx, t.abort)()
	t.running.Wait()
	t.abort()
	for _, s := range t.subscribers {
		s.client.CloseIdleConnections()
	}
	return t.db.Close()
}

func key(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }
