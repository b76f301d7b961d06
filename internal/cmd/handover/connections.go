package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

const connectionsHelp = `
  $ handover connections
  USER_ID                               PROVIDER  STATE       CONNECTED_AT          SURE    ACCOUNTS
  40f7b0e1-89e2-43ac-a5b8-1e29c8d47cad  GARMIN    superseded  2026-11-22 10:00:00Z  signed  1
  9c8b7a65-0f1e-4d2c-8b3a-495867564738  GARMIN    settled     2026-11-22 10:00:05Z  signed  1
  $ handover connections -state unidentifiable -json
  $ handover connections -state superseded -stack handover-production

It lists the connections without the names of your users: handover show and handover explain tell those.
A superseded connection was announced as having lost its account and is still open; an unidentifiable one is open, and Terra has named no account for it.
`

const unsettledHelp = `
  $ handover unsettled
  USER_ID                               PROVIDER  ATTEMPTS  NEXT_ATTEMPT          WHY
  7b1e0f9d-2c3b-4a59-8867-768594a3b2c1  POLAR     3         2026-11-23 10:00:00Z  Terra names no account
  $ handover unsettled -json -stack handover-production

It lists the connections that are not settled yet, those that wait longest first, and why. handover settle tries them now.
`

// connectionRow is one connection, without the names of the app's users.
type connectionRow struct {
	UserID      string              `json:"user_id"`
	Provider    string              `json:"provider"`
	State       string              `json:"state"`
	ConnectedAt *time.Time          `json:"connected_at"`
	Certainty   ownership.Certainty `json:"certainty"`
	ClosedAt    *time.Time          `json:"closed_at"`
	Accounts    []string            `json:"accounts"`
	Attempts    int                 `json:"attempts,omitempty"`
	NextAttempt *time.Time          `json:"next_attempt,omitempty"`
	Why         string              `json:"why,omitempty"` // it is not settled
}

// The states, of which a connection has the first that is true.
const (
	superseded     = "superseded"
	unidentifiable = "unidentifiable"
	unsettled      = "unsettled"
	closed         = "closed"
	settled        = "settled"
)

func rowOf(c ownership.Connection, isSuperseded bool) connectionRow {
	r := connectionRow{
		UserID: c.UserID, Provider: c.Provider, State: settled, ConnectedAt: orNull(c.ConnectedAt), Certainty: c.Certainty,
		ClosedAt: orNull(c.ClosedAt), Accounts: append([]string{}, c.Accounts...),
	}
	if c.ToDo {
		r.Attempts, r.NextAttempt, r.Why = c.Attempts, orNull(c.NextAttempt), cmp.Or(c.Waiting, "the sweep has not come to it yet")
	}
	switch {
	case isSuperseded:
		r.State = superseded
	case c.ToDo && !c.Closed() && len(c.Accounts) == 0 && c.Waiting == ownership.NoAccount:
		r.State = unidentifiable
	case c.ToDo:
		r.State = unsettled
	case c.Closed():
		r.State = closed
	}
	return r
}

func orNull(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

func (t tool) connections(ctx context.Context, args []string) error {
	f := t.flags("connections", connectionsHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	state := f.String("state", "", "only those in this `state`: superseded, unidentifiable, unsettled, closed or settled")
	provider := f.String("provider", "", "only those of this `provider`, such as GARMIN")
	if _, err := f.parse(args); err != nil {
		return err
	}
	if states := []string{"", superseded, unidentifiable, unsettled, closed, settled}; !slices.Contains(states, *state) {
		return usage("connections", "-state is %q: it should be one of%s", *state, strings.Join(states, " "))
	}
	list, err := t.listed(ctx, where, func(r connectionRow) bool {
		return (*state == "" || r.State == *state) && (*provider == "" || strings.EqualFold(r.Provider, *provider))
	})
	if err != nil {
		return err
	}
	if f.asJSON {
		return t.json(list)
	}
	if len(list) == 0 {
		fmt.Fprintln(t.stdout, "There is no such connection.")
		return nil
	}
	table := [][]string{{"USER_ID", "PROVIDER", "STATE", "CONNECTED_AT", "SURE", "ACCOUNTS"}}
	for _, r := range list {
		table = append(table, []string{r.UserID, r.Provider, r.State, instant(r.ConnectedAt), string(r.Certainty), fmt.Sprint(len(r.Accounts))})
	}
	return t.table(table)
}

func (t tool) unsettled(ctx context.Context, args []string) error {
	f := t.flags("unsettled", unsettledHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	if _, err := f.parse(args); err != nil {
		return err
	}
	list, err := t.listed(ctx, where, func(r connectionRow) bool { return r.NextAttempt != nil })
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b connectionRow) int { return cmp.Compare(b.Attempts, a.Attempts) })
	if f.asJSON {
		return t.json(list)
	}
	if len(list) == 0 {
		fmt.Fprintln(t.stdout, "Everything is settled.")
		return nil
	}
	table := [][]string{{"USER_ID", "PROVIDER", "ATTEMPTS", "NEXT_ATTEMPT", "WHY"}}
	for _, r := range list {
		table = append(table, []string{r.UserID, r.Provider, fmt.Sprint(r.Attempts), instant(r.NextAttempt), r.Why})
	}
	return t.table(table)
}

// listed lists the wanted connections in the order of their user_ids.
func (t tool) listed(ctx context.Context, where *where, wanted func(connectionRow) bool) ([]connectionRow, error) {
	p, err := where.open(ctx)
	if err != nil {
		return nil, err
	}
	isSuperseded := map[string]bool{}
	if _, err := collect(t, "accounts", p.Accounts(ctx), func(a ownership.Account) bool {
		for _, due := range a.Superseded() {
			isSuperseded[due.Mark.User] = true
		}
		return false
	}); err != nil {
		return nil, err
	}
	list := []connectionRow{}
	_, err = collect(t, "connections", p.Connections(ctx), func(c ownership.Connection) bool {
		if r := rowOf(c, isSuperseded[c.UserID]); wanted(r) {
			list = append(list, r)
		}
		return false
	})
	slices.SortFunc(list, func(a, b connectionRow) int { return cmp.Compare(a.UserID, b.UserID) })
	return list, err
}
