package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/handover-dev/handover/internal/deployed"
	"github.com/handover-dev/handover/internal/local"
	"github.com/handover-dev/handover/internal/local/embedded"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/sweep"
	"github.com/handover-dev/handover/internal/terra"
)

const backfillHelp = `
  $ handover backfill -stack handover-production
  1200 connections listed by Terra: 1150 new, 50 known, 12 without reference_id.
  It would announce 3 transfers and 0 ends: connected_by_other (terra) 3.
  Terra names no account for 40 connections.
  Nothing has been written or announced: begin with -yes.
  $ handover backfill -stack handover-production -yes
  1200 connections listed by Terra: 1150 new, 50 known, 12 without reference_id.
  $ handover backfill

It walks over all connections that Terra lists, and records and settles those that Handover does not know: the first walk of an app that is already live begins by
itself, and one follows each day; this begins one now. Without -yes it is played on a copy of the ledger on this machine, by the very code, and shows what would be
announced. Then Terra is asked about each connection that is new: that counts against your data-read budget, now and once more with -yes.
`

// rehearsal is what a backfill has done or would do.
type rehearsal struct {
	Done           bool           `json:"done"` // false: it was only played
	Counts         sweep.Counts   `json:"counts"`
	Transfers      int            `json:"transfers"`
	Revocations    int            `json:"revocations"`
	Unidentifiable int            `json:"unidentifiable"`  // connections for which Terra would name no account
	Kinds          map[string]int `json:"kinds,omitempty"` // transfers by "reason (order)"
}

func (t tool) backfill(ctx context.Context, args []string) error {
	f := t.flags("backfill", backfillHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	yes := f.Bool("yes", false, "begin; without it, only show what would be announced")
	var source terraSource
	f.StringVar(&source.api, "terra-api", "", "base `URL` of Terra's REST API (default: the local program's simulated Terra, or the one that the stack's functions use)")
	f.StringVar(&source.devID, "terra-dev-id", "", "Terra's dev-id, if the local program does not use the simulated Terra")
	f.StringVar(&source.apiKey, "terra-api-key", "", "Terra's x-api-key, if the local program does not use the simulated Terra")
	f.StringVar(&source.data, "data", ".handover", "`folder` of the local program, where its account key is")
	if _, err := f.parse(args); err != nil {
		return err
	}
	p, err := where.open(ctx)
	if err != nil {
		return err
	}
	var r rehearsal
	if *yes {
		r, err = t.walk(ctx, p)
	} else {
		r, err = t.rehearse(ctx, p, source)
	}
	if err != nil {
		return err
	}
	if f.asJSON {
		return t.json(r)
	}
	c := r.Counts
	t.say("%s listed by Terra: %d new, %d known, %d without reference_id.\n", count(c.New+c.Known, "connection"), c.New, c.Known, c.WithoutReference)
	if *yes {
		return nil
	}
	t.say("It would announce %s and %s", count(r.Transfers, "transfer"), count(r.Revocations, "end"))
	sign := ": "
	for _, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
		t.say("%s%s %d", sign, kind, r.Kinds[kind])
		sign = ", "
	}
	if r.Unidentifiable > 0 {
		t.say(".\nTerra names no account for %s", count(r.Unidentifiable, "connection"))
	}
	fmt.Fprint(t.stdout, ".\nNothing has been written or announced: begin with -yes.\n")
	return nil
}

// walk begins a walk, and waits for its end. The sweep, which runs by itself, goes on with it too.
func (t tool) walk(ctx context.Context, p place) (rehearsal, error) {
	in := sweep.Input{Walk: true}
	fmt.Fprintln(t.stderr, "walking: the first news comes within a minute, or later if the sweep is running already")
	for {
		out, err := p.Sweep(ctx, in)
		if err != nil {
			return rehearsal{}, fmt.Errorf("%w\nThe walk goes on by itself: the sweep takes it up where it stopped", err)
		}
		if out.Walk == nil {
			return rehearsal{}, fmt.Errorf("the sweep function says nothing of a walk: is it an older Handover?")
		}
		in.Walk = false
		w := out.Walk
		if !w.FinishedAt.IsZero() {
			return rehearsal{Done: true, Counts: w.Counts}, nil
		}
		fmt.Fprintf(t.stderr, "%d connections listed so far, %d of them new\n", w.Counts.New+w.Counts.Known, w.Counts.New)
		if err := pause(ctx, max(time.Second, time.Until(w.NotBefore))); err != nil {
			return rehearsal{}, err
		}
	}
}

func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
		return nil
	}
}

// terraSource is where a rehearsal finds Terra and the account key.
type terraSource struct{ api, devID, apiKey, data string }

// parts are Terra's API and the account keys of a place.
func (s terraSource) parts(ctx context.Context, p place) (*terra.Client, ownership.AccountKeys, error) {
	var (
		keyText string
		err     error
	)
	switch p := p.(type) {
	case *deployed.Stack:
		secrets := secretsmanager.NewFromConfig(p.Config)
		read := func(output string) (string, error) {
			arn, err := p.Output(output)
			if err != nil {
				return "", err
			}
			return settings.SecretsManager(secrets, arn)(ctx)
		}
		if keyText, err = read(deployed.AccountKeySecret); err != nil {
			return nil, ownership.AccountKeys{}, fmt.Errorf("reading the account key: %w", err)
		}
		secret := settings.TerraSecret{Now: time.Now, Read: func(context.Context) (string, error) { return read(deployed.TerraSecret) }}
		known, err := secret.Get(ctx)
		if err != nil {
			return nil, ownership.AccountKeys{}, err
		}
		if s.api == "" {
			if s.api, err = p.TerraAPI(ctx); err != nil {
				return nil, ownership.AccountKeys{}, fmt.Errorf("asking which Terra API the stack uses: %w\nGive it by -terra-api", err)
			}
		}
		s.devID, s.apiKey, s.api = cmp.Or(s.devID, known.DevID), cmp.Or(s.apiKey, known.APIKey), cmp.Or(s.api, settings.DefaultTerraAPI)
	case localProgram:
		text, err := os.ReadFile(filepath.Join(s.data, "account-key"))
		if err != nil {
			return nil, ownership.AccountKeys{}, fmt.Errorf("%w\nSay by -data where the local program has its data", err)
		}
		keyText = string(text)
		if s.api == "" {
			s.api, s.devID, s.apiKey = p.url+"/terra/v2", local.SimulatedDevID, local.SimulatedAPIKey
		}
	}
	key, err := settings.ParseAccountKey(keyText)
	if err != nil {
		return nil, ownership.AccountKeys{}, err
	}
	keys, err := ownership.NewAccountKeys(key)
	return &terra.Client{BaseURL: s.api, HTTP: terra.NewHTTPClient(), Credentials: func(context.Context) (string, string, error) { return s.devID, s.apiKey, nil }}, keys, err
}

// recorder is an announcer that tells nobody. It is safe for use by many goroutines.
type recorder struct {
	mu        sync.Mutex
	announced []ownership.Announcement
}

func (r *recorder) Publish(_ context.Context, a ownership.Announcement) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announced = append(r.announced, a)
	return nil
}

// rehearse plays a walk on a copy of the ledger.
func (t tool) rehearse(ctx context.Context, p place, source terraSource) (r rehearsal, err error) {
	client, keys, err := source.parts(ctx, p)
	if err != nil {
		return r, err
	}
	folder, err := os.MkdirTemp("", "handover-backfill-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(folder)
	file, err := embedded.Open(filepath.Join(folder, "ledger.db"))
	if err != nil {
		return r, err
	}
	defer file.Close()
	fmt.Fprintln(t.stderr, "copying the ledger")
	if err := copyLedger(ctx, t, p, file); err != nil {
		return r, err
	}
	said := &recorder{}
	keeper := &ownership.Keeper{
		Ledger: file, Announcer: said, Directory: client, Keys: keys, Now: time.Now, Retention: settings.DefaultRetention,
		Backoff: ownership.Backoff{Base: time.Minute, Max: 10 * time.Second, Unnamed: 24 * time.Hour},
	}
	const never = 100 * 365 * 24 * time.Hour
	played := &sweep.Sweep{
		Keeper: func(context.Context) (*ownership.Keeper, error) { return keeper, nil }, Queue: file, Register: file, Terra: client,
		Log: slog.New(slog.DiscardHandler), Now: time.Now, WalkEvery: never, RoundEvery: never, NotRevokedAfter: never,
	}
	for settled, fruitless := 0, 0; ; {
		report, err := runFor(ctx, played, spell)
		if err != nil {
			return r, err
		}
		w, err := played.LastWalk(ctx)
		if err != nil {
			return r, err
		}
		var waiting int
		var why string
		if !w.FinishedAt.IsZero() {
			if waiting, why, r.Unidentifiable, err = unanswered(file.Connections(ctx)); err != nil {
				return r, err
			}
			if waiting == 0 {
				r.Counts = w.Counts
				break
			}
		}
		settled += report.Settled
		fmt.Fprintf(t.stderr, "%s listed so far, %d settled\n", count(w.Counts.New+w.Counts.Known, "connection"), settled)
		if report.Settled > 0 {
			fruitless = 0
			continue
		}
		if fruitless++; fruitless > 20 {
			return r, fmt.Errorf("Terra's API at %s does not answer, or refuses the credentials (%s): handover doctor says more", client.BaseURL, cmp.Or(why, "it lists nothing"))
		}
		if err := pause(ctx, max(time.Second, time.Until(w.NotBefore))); err != nil {
			return r, err
		}
	}
	r.Kinds = map[string]int{}
	for _, a := range said.announced {
		if a.Type == ownership.Revoked {
			r.Revocations++
			continue
		}
		r.Transfers++
		r.Kinds[fmt.Sprintf("%s (%s)", a.Reason, a.Order)]++
	}
	return r, nil
}

// spell is for how long a rehearsal plays without a word. A run begins nothing in its last eleven seconds.
const spell = 16 * time.Second

func runFor(ctx context.Context, played *sweep.Sweep, length time.Duration) (sweep.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	return played.Run(ctx)
}

// unanswered counts the connections that Terra has not been asked about, or has not answered for, and says why one of them waits. Of others it has answered that
// it names no account: those are unidentifiable, and nothing is gained by waiting.
func unanswered(rows iter.Seq2[ownership.Connection, error]) (waiting int, why string, unidentifiable int, err error) {
	for c, err := range rows {
		switch {
		case err != nil:
			return 0, "", 0, err
		case !c.ToDo || c.Waiting == ownership.NoReference:
		case c.Waiting == ownership.NoAccount:
			unidentifiable++
		default:
			waiting, why = waiting+1, c.Waiting
		}
	}
	return waiting, why, unidentifiable, nil
}

// copyLedger copies all rows. What waits there is tried at once.
func copyLedger(ctx context.Context, t tool, from place, to ownership.Ledger) error {
	var failed error
	keep := func(err error) { failed = cmp.Or(failed, err) }
	_, err := collect(t, "connections", from.Connections(ctx), func(c ownership.Connection) bool {
		if c.ToDo {
			c.NextAttempt = time.Now()
		}
		_, _, err := to.Insert(ctx, c)
		keep(err)
		return false
	})
	keep(err)
	_, err = collect(t, "accounts", from.Accounts(ctx), func(a ownership.Account) bool {
		for _, claim := range a.Claims {
			_, err := to.Claim(ctx, a.Key, claim)
			keep(err)
		}
		for _, mark := range a.Marks {
			_, err := to.Mark(ctx, a.Key, mark, ownership.Mark{})
			keep(err)
		}
		return false
	})
	keep(err)
	return failed
}
