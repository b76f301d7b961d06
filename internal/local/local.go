// Package local runs Handover on one machine: the very handlers that run on Lambda, behind a small API Gateway of its own, on an embedded ledger, with a
// topic that posts to subscribers and a simulated Terra. It needs no account and no other program.
package local

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/local/console"
	"github.com/handover-dev/handover/internal/local/embedded"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/local/topic"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/stack"
	"github.com/handover-dev/handover/internal/sweep"
	"github.com/handover-dev/handover/internal/terra"
	"github.com/handover-dev/handover/internal/webhook"
)

// Ledger is what the local program needs of a ledger: the rule's ports, and what its pages list.
type Ledger interface {
	ownership.Ledger
	ownership.Queue
	ownership.Register
	webhook.Peeker
	// CheckKey compares the fingerprint of the account key with the one that the ledger was begun with.
	CheckKey(ctx context.Context, fingerprint string) error
	// Accounts and Connections list all rows, in no order, a page at a time.
	Accounts(ctx context.Context) iter.Seq2[ownership.Account, error]
	Connections(ctx context.Context) iter.Seq2[ownership.Connection, error]
}

// program is a local program that runs.
type program struct {
	config  Config
	url     string // its own, without a slash at the end
	out     io.Writer
	ledger  Ledger
	fragile *fragile // the same, as the rule uses it
	topic   *topic.Topic
	terra   *simulator.Terra // nil: none
	webhook *webhook.Handler
	sweep   *sweep.Sweep
	console *console.Console
	log     *slog.Logger
}

// How long what has begun may take once the program ends: first the requests, since a webhook that waits for Terra's API takes up to four seconds, and then the
// deliveries to subscribers.
const (
	requestsEnd   = 5 * time.Second
	deliveriesEnd = 2 * time.Second
)

// Run runs the local program until ctx ends: then what has begun is finished or, where somebody keeps it waiting, broken off soon, and Run returns nil. Nothing is
// lost by that: Terra sends again what got no answer, and a delivery stays owed. It writes to out for people, and logs to log.
func Run(ctx context.Context, c Config, out io.Writer, log *slog.Logger) (err error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("making the folder of -data: %w", err)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("%w\nIs another program on that address? Choose one with -listen", err)
	}
	defer listener.Close()
	p := &program{config: c, url: "http://" + listener.Addr().String(), out: out, log: log}

	store, done, err := p.openLedger(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	p.ledger, p.fragile = store, &fragile{Ledger: store}
	if p.topic, err = topic.Open(filepath.Join(c.Data, "topic.db"), topic.Options{
		Source: settings.DefaultSource, Subscribers: c.Subscribers, URL: "https://" + listener.Addr().String() + "/sns", OnPublish: p.announced, Log: log,
	}); err != nil {
		return fmt.Errorf("opening the local topic: %w", err)
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliveriesEnd)
		defer cancel()
		err = errors.Join(err, p.topic.Close(ending))
	}()
	if err := p.assemble(ctx); err != nil {
		return err
	}
	return p.serve(ctx, listener)
}

// assemble puts the parts together as a deployed stack does.
func (p *program) assemble(ctx context.Context) error {
	api := p.config.TerraAPI
	if api == "" {
		api = p.url + "/terra/v2"
		if !p.config.NoSimulator {
			p.terra = p.simulate()
		}
	}
	announcer, err := p.announcer(ctx)
	if err != nil {
		return err
	}
	client := &terra.Client{BaseURL: api, Credentials: p.credentials, HTTP: terra.NewHTTPClient()}
	every := p.config.SweepEvery
	keeper := &stack.Keeper{
		Key:   func(context.Context) (string, error) { return accountKey(filepath.Join(p.config.Data, "account-key")) },
		Check: p.ledger.CheckKey,
		Parts: ownership.Keeper{
			Ledger:    p.fragile,
			Announcer: announcer,
			Directory: client,
			Retention: p.config.Retention,
			Now:       time.Now,
			Backoff:   ownership.Backoff{Base: every, Max: 3 * every, Unnamed: 4 * every},
			Grace:     5 * time.Second,
		},
	}
	if _, err := keeper.Get(ctx); err != nil {
		return err
	}
	seen, err := webhook.NewSeen(10_000, time.Minute)
	if err != nil {
		return err
	}
	p.webhook = &webhook.Handler{
		Secrets: secrets(p.config.SigningSecrets),
		Window:  terra.Window{Past: settings.DefaultReplayWindow, Future: settings.FutureWindow},
		Keeper:  keeper.Get,
		Peeker:  p.ledger,
		Seen:    seen,
		Log:     console.Log(p.log),
		Now:     time.Now,

		Settling: make(chan struct{}, 8),
	}
	p.sweep = &sweep.Sweep{
		Keeper: keeper.Get, Queue: p.ledger, Log: p.log, Now: time.Now,
		Register: p.ledger, Terra: client, WalkEvery: p.config.WalkEvery, RoundEvery: min(time.Hour, p.config.NotRevokedAfter), NotRevokedAfter: p.config.NotRevokedAfter,
	}
	return p.openConsole()
}

func (p *program) openConsole() (err error) {
	o := console.Options{
		URL: p.url, Secret: p.config.SigningSecrets[0], Gateway: NewGateway(p.webhook), Event: Event, Ledger: p.ledger, Topic: p.topic, Stories: p.stories(),
		Fault: func(err error) {
			p.log.LogAttrs(context.Background(), slog.LevelError, "console", slog.String("error", err.Error()))
		},
	}
	if o.Secret != Secret {
		o.SecretVariable = "HANDOVER_SIGNING_SECRET"
	}
	p.console, err = console.New(o)
	return err
}

// openLedger opens the ledger that the configuration asks for. done closes it.
func (p *program) openLedger(ctx context.Context) (store Ledger, done func() error, err error) {
	if p.config.DynamoDBEndpoint != "" {
		store, err = openDynamoDB(ctx, p.config.DynamoDBEndpoint)
		return store, func() error { return nil }, err
	}
	file, err := embedded.Open(filepath.Join(p.config.Data, "ledger.db"))
	if err != nil {
		return nil, nil, err
	}
	return file, file.Close, nil
}

// announcer is the local topic, after SNS if there is one.
func (p *program) announcer(ctx context.Context) (ownership.Announcer, error) {
	if p.config.SNSEndpoint == "" {
		return p.topic, nil
	}
	remote, err := openSNS(ctx, p.config.SNSEndpoint)
	if err != nil {
		return nil, err
	}
	return both{remote, p.topic}, nil
}

// both publishes to two announcers, the first one first.
type both struct{ first, second ownership.Announcer }

func (b both) Publish(ctx context.Context, a ownership.Announcement) error {
	if err := b.first.Publish(ctx, a); err != nil {
		return err
	}
	return b.second.Publish(ctx, a)
}

// secrets are Terra's signing secrets, given at start.
type secrets []string

func (s secrets) Get(context.Context) (settings.Terra, error) {
	return settings.Terra{SigningSecrets: s}, nil
}

func (s secrets) Refresh(context.Context) (settings.Terra, bool, error) {
	return settings.Terra{SigningSecrets: s}, false, nil
}

// The credentials of the simulated Terra.
const (
	SimulatedDevID  = "handover-local"
	SimulatedAPIKey = "handover-local-key"
)

func (p *program) credentials(context.Context) (devID, apiKey string, err error) {
	if p.terra != nil {
		return SimulatedDevID, SimulatedAPIKey, nil
	}
	return p.config.TerraDevID, p.config.TerraAPIKey, nil
}

// accountKey reads the account key from a file of the data folder, and makes it at the first start. The ledger is worth nothing without it.
func accountKey(path string) (string, error) {
	text, err := os.ReadFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		return string(text), err
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	file, err := os.CreateTemp(filepath.Dir(path), "account-key-*")
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(hex.EncodeToString(key[:]) + "\n")
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Link(file.Name(), path) // never over another program's
	}
	if err = errors.Join(err, os.Remove(file.Name())); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	text, err = os.ReadFile(path)
	return string(text), err
}

// serve answers requests, sweeps, and plays the story, until ctx ends.
func (p *program) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: p.routes(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	server.RegisterOnShutdown(p.console.Close)
	served := make(chan error, 1)
	go func() { served <- server.Serve(p.topic.Listener(listener)) }()

	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.sweepForever(running)
	}()
	p.welcome()
	if p.terra != nil {
		go func() { _ = p.terra.Run(running) }() // what somebody's calls of its API cause; it ends with running
		if err := p.tell(running); err != nil && running.Err() == nil {
			fmt.Fprintf(p.out, "The story broke off: %v\n", err)
		}
	}

	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestsEnd)
		defer cancel()
		if err = server.Shutdown(ending); errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
	}
	stop()
	<-done
	return err
}

// sweepTime is the time of one run of the sweep, as the template has it.
const sweepTime = 55 * time.Second

func (p *program) sweepForever(ctx context.Context) {
	ticker := time.NewTicker(p.config.SweepEvery)
	defer ticker.Stop()
	for {
		running, cancel := context.WithTimeout(ctx, sweepTime)
		report, err := p.sweep.Run(running)
		if err != nil && ctx.Err() == nil {
			p.log.LogAttrs(ctx, slog.LevelError, "sweep", slog.String("error", err.Error()))
		}
		if report != (sweep.Report{}) {
			p.console.Changed()
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// announced shows an announcement on the page, and prints it without the people in it. Its subject would name one, where the account is not known.
func (p *program) announced(e announce.Event) {
	p.console.Heard(e)
	var data struct{ Account string }
	_ = json.Unmarshal(e.Data, &data) // our own
	p.log.LogAttrs(context.Background(), slog.LevelInfo, "announced", slog.String("type", string(e.Type)), slog.String("id", e.ID),
		slog.String("account", cmp.Or(data.Account, "unknown")), slog.String("reason", cmp.Or(e.Attributes["reason"], "ended")), slog.String("order", cmp.Or(e.Attributes["order"], "-")))
}
