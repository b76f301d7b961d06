package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

const transfersHelp = `
  $ handover transfers
  ANNOUNCED_AT          PROVIDER  REASON              ORDER   PREVIOUS                              CURRENT                               PREVIOUS IS
  2026-11-22 10:00:06Z  GARMIN    connected_by_other  signed  40f7b0e1-89e2-43ac-a5b8-1e29c8d47cad  9c8b7a65-0f1e-4d2c-8b3a-495867564738  open
  $ handover transfers -state open -since 24h -stack handover-production
  $ handover transfers -json

It lists the changes of owner that were announced, as the ledger remembers them, the latest first: previous and current are connections. One that was announced
without its account being known has no time. "open" says that the connection which lost the account has not ended; "owed" that it is still to be announced.
`

// transferRow is one change of owner, without the names of the app's users.
type transferRow struct {
	At       *time.Time          `json:"announced_at"`
	Account  *string             `json:"account"`
	Provider string              `json:"provider"`
	Reason   ownership.Reason    `json:"reason"`
	Order    ownership.Certainty `json:"order"`
	Previous string              `json:"previous"` // user_id
	Current  string              `json:"current"`  // user_id
	State    string              `json:"state"`    // of previous: open, ended, or owed
}

func (t tool) transfers(ctx context.Context, args []string) error {
	var since time.Duration
	f := t.flags("transfers", transfersHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	state := f.String("state", "", "only those whose previous connection is in this `state`: open, ended or owed")
	f.span(&since, "since", 0, "only those announced in this last `time`, such as 24h")
	if _, err := f.parse(args); err != nil {
		return err
	}
	if !slices.Contains([]string{"", "open", "ended", "owed"}, *state) {
		return usage("transfers", "-state is %q: it should be open, ended or owed", *state)
	}
	p, err := where.open(ctx)
	if err != nil {
		return err
	}
	list, all := []transferRow{}, 0
	add := func(r transferRow) {
		all++
		if (*state == "" || *state == r.State) && (since == 0 || r.At != nil && time.Since(*r.At) <= since) {
			list = append(list, r)
		}
	}
	if _, err := collect(t, "accounts", p.Accounts(ctx), func(a ownership.Account) bool {
		for _, h := range a.Holdings() {
			if h.Announcement.Type == "" {
				continue
			}
			r := transferOf(h.Announcement, h.Open, h.Transfer == ownership.Owed)
			r.At = orNull(h.Mark.At)
			add(r)
		}
		return false
	}); err != nil {
		return err
	}
	if _, err := collect(t, "connections", p.Connections(ctx), func(c ownership.Connection) bool {
		for _, own := range c.Own() {
			if len(c.Accounts) == 0 || !own.Said { // of one whose account is known, the account tells the rest
				add(transferOf(own.Announcement, !c.Closed(), !own.Said))
			}
		}
		return false
	}); err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b transferRow) int {
		switch {
		case a.At == nil || b.At == nil:
			return cmp.Or(map[bool]int{true: 1}[a.At == nil]-map[bool]int{true: 1}[b.At == nil], cmp.Compare(a.Previous, b.Previous))
		}
		return cmp.Or(b.At.Compare(*a.At), cmp.Compare(a.Previous, b.Previous))
	})
	if f.asJSON {
		return t.json(list)
	}
	switch {
	case all == 0:
		fmt.Fprintln(t.stdout, "No account has passed from one of your users to another.")
		return nil
	case len(list) == 0:
		t.say("Of %s, none fits.\n", count(all, "transfer"))
		return nil
	}
	table := [][]string{{"ANNOUNCED_AT", "PROVIDER", "REASON", "ORDER", "PREVIOUS", "CURRENT", "PREVIOUS IS"}}
	for _, r := range list {
		table = append(table, []string{instant(r.At), r.Provider, string(r.Reason), string(r.Order), r.Previous, r.Current, r.State})
	}
	return t.table(table)
}

func transferOf(a ownership.Announcement, open, owed bool) transferRow {
	r := transferRow{
		Provider: a.Provider, Reason: a.Reason, Order: a.Order, Previous: a.Previous.UserID, Current: a.Current.UserID, State: "ended",
	}
	if a.Account != "" {
		r.Account = &a.Account
	}
	switch {
	case owed:
		r.State = "owed"
	case open:
		r.State = "open"
	}
	return r
}
