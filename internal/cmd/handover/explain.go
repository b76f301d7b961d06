package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/handover-dev/handover/internal/explain"
	"github.com/handover-dev/handover/internal/ownership"
)

const explainHelp = `
  $ handover explain GARMIN/k7c1.1f2e3d4c5b6a79880f1e2d3c4b5a6978
  Account GARMIN/k7c1.1f2e3d4c5b6a79880f1e2d3c4b5a6978
  Owner   bob (connection 9c8b7a65-…)
  Whoever connected last owns the account. bob (connection 9c8b7a65-…) connected at 2026-11-22 10:00:05Z, says a signed webhook, later than alice (…).

  1. alice (connection 40f7b0e1-…), open
     Place     alice (connection 40f7b0e1-…) is the first holder that is known, connected at 2026-11-22 10:00:00Z, says a signed webhook.
     Transfer  Announced at 2026-11-22 10:00:06Z: the account has passed from alice (…) to bob (…). Both connected the same wearable account; the order is sure, by signed webhooks.
     End       The connection has not ended.
  …
  $ handover explain 40f7b0e1-89e2-43ac-a5b8-1e29c8d47cad -stack handover-production

Usage: handover explain ACCOUNT|USER_ID [flags]

ACCOUNT is an account's key, as announcements have it; USER_ID is a connection's at Terra: then the connection is explained, and each account that it holds.
It names reference_ids.
`

func (t tool) explain(ctx context.Context, args []string) error {
	f := t.flags("explain", explainHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	waiting := f.Bool("waiting", false, "look through all connections for those that hold the account but have no place in it")
	given, err := f.parse(args, "ACCOUNT|USER_ID")
	if err != nil {
		return err
	}
	p, err := where.open(ctx)
	if err != nil {
		return err
	}
	var answer struct {
		Connection *explain.Connection `json:"connection,omitempty"`
		Accounts   []explain.Account   `json:"accounts"`
	}
	keys := []string{given[0]}
	if !strings.Contains(given[0], "/") {
		c, found, err := p.Connection(ctx, given[0])
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("no connection %s is known here. An account's key has a slash, such as GARMIN/k7c1.1f2e…; handover connections lists what is known", given[0])
		}
		e := explain.OfConnection(c)
		answer.Connection, keys = &e, c.Accounts
	}
	answer.Accounts = []explain.Account{}
	for _, key := range keys {
		a, err := t.explainAccount(ctx, p, key, *waiting)
		if err != nil {
			return err
		}
		answer.Accounts = append(answer.Accounts, a)
	}
	if answer.Connection == nil && answer.Accounts[0].Owner == nil && len(answer.Accounts[0].Waiting) == 0 {
		return fmt.Errorf("nothing is known of account %s here. handover transfers lists accounts that have passed, handover explain USER_ID those of a connection", given[0])
	}
	if f.asJSON {
		return t.json(answer)
	}
	if answer.Connection != nil {
		fmt.Fprint(t.stdout, answer.Connection.Text())
	}
	for i, a := range answer.Accounts {
		if i > 0 || answer.Connection != nil {
			fmt.Fprintln(t.stdout)
		}
		fmt.Fprint(t.stdout, a.Text())
	}
	return nil
}

func (t tool) explainAccount(ctx context.Context, p place, key string, waiting bool) (explain.Account, error) {
	row, _, err := p.Account(ctx, key)
	if err != nil {
		return explain.Account{}, err
	}
	row.Key = key
	var connections []ownership.Connection
	if waiting {
		connections, err = collect(t, "connections", p.Connections(ctx), func(c ownership.Connection) bool { return slices.Contains(c.Accounts, key) })
	}
	return explain.Of(row, connections), err
}

const ownerHelp = `
  $ handover owner GARMIN/k7c1.1f2e3d4c5b6a79880f1e2d3c4b5a6978
  bob owns GARMIN/k7c1.1f2e3d4c5b6a79880f1e2d3c4b5a6978 by connection 9c8b7a65-… since 2026-11-22 10:00:05Z
  $ handover owner 9c8b7a65-0f1e-4d2c-8b3a-495867564738 -json
  [{"account":"GARMIN/k7c1.1f2e…","provider":"GARMIN","owner":{"user_id":"9c8b7a65-…","reference_id":"bob","connected_at":"2026-11-22T10:00:05Z","tenure":1}}]

Usage: handover owner ACCOUNT|USER_ID [flags]

ACCOUNT is an account's key, as announcements have it; USER_ID is a connection's at Terra: then it is the owner of each account that it holds or held.
`

// owned is one row of the answer.
type owned struct {
	Account  string         `json:"account"`
	Provider string         `json:"provider"`
	Owner    *explain.Owner `json:"owner"`
}

func (t tool) owner(ctx context.Context, args []string) error {
	f := t.flags("owner", ownerHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	given, err := f.parse(args, "ACCOUNT|USER_ID")
	if err != nil {
		return err
	}
	p, err := where.open(ctx)
	if err != nil {
		return err
	}
	keys := []string{given[0]}
	if !strings.Contains(given[0], "/") {
		c, _, err := p.Connection(ctx, given[0])
		if err != nil {
			return err
		}
		keys = c.Accounts
	}
	var list []owned
	for _, key := range keys {
		row, found, err := p.Account(ctx, key)
		if err != nil {
			return err
		}
		if e := explain.Of(row, nil); found && e.Owner != nil {
			list = append(list, owned{e.Account, e.Provider, e.Owner})
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("no owner is known of %s. handover explain says more about a connection", given[0])
	}
	if f.asJSON {
		return t.json(list)
	}
	for _, o := range list {
		since := ""
		if o.Owner.ConnectedAt != nil {
			since = " since " + instant(o.Owner.ConnectedAt)
		}
		t.say("%s owns %s by connection %s%s\n", o.Owner.ReferenceID, o.Account, o.Owner.UserID, since)
	}
	return nil
}
