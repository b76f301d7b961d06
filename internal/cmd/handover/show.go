package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/explain"
	"github.com/handover-dev/handover/internal/ownership"
)

const showHelp = `
  $ handover show -reference-id alice
  2 connections, 1 entry in accounts, 1 trace in rows of others.

  Connection 40f7b0e1-89e2-43ac-a5b8-1e29c8d47cad (GARMIN)
     It is alice's.
     It was made at 2026-11-22 10:00:00Z, says a signed webhook.
  …
  Beside these rows:
    Backups of the tables (point-in-time recovery): until 35 days after a row is erased.
  …
  $ handover show -user-id 40f7b0e1-89e2-43ac-a5b8-1e29c8d47cad -json -stack handover-production

It shows everything that is held about one of your users, or about one connection: a data subject's request for access. handover forget erases it.
`

// held is everything that is held about a person.
type held struct {
	Connections []explain.Connection `json:"connections"`
	Entries     []entry              `json:"entries"` // in accounts
	Traces      []trace              `json:"traces"`  // in the rows of others
	Elsewhere   []remains            `json:"elsewhere"`
}

// entry is the part of an account's row that is about the person.
type entry struct {
	Account string `json:"account"`
	Claim   claim  `json:"claim"`
	Marks   []mark `json:"marks"` // announcements made about it
}

// claim and mark are [ownership.Claim] and [ownership.Mark], named as all other JSON is.
type (
	claim struct {
		UserID      string              `json:"user_id"`
		Tenures     []string            `json:"tenures"`
		ConnectedAt time.Time           `json:"connected_at,omitzero"`
		Certainty   ownership.Certainty `json:"certainty"`
		Replaces    []string            `json:"replaces,omitempty"`
		ReplacedBy  []string            `json:"replaced_by,omitempty"`
		Closed      bool                `json:"closed"`
		Version     int64               `json:"version"`
	}
	mark struct {
		Name        string    `json:"name"`
		User        string    `json:"user_id"`
		Current     string    `json:"current,omitempty"` // user_id
		Tenure      int       `json:"tenure,omitempty"`
		ConnectedAt time.Time `json:"connected_at,omitzero"`
		At          time.Time `json:"at"`
		Nudged      bool      `json:"nudged"`
	}
)

// trace is a mention in the row of somebody else.
type trace struct {
	Row  string `json:"row"` // the account or the user_id of the connection whose row it is
	What string `json:"what"`
}

// remains is what the tables are not: where data of a person remains, and until when.
type remains struct {
	Where string `json:"where"`
	Until string `json:"until"`
}

// elsewhere lists where data of a person is beside the tables. The times are the template's.
func elsewhere(stack bool) []remains {
	if !stack {
		return []remains{
			{"The announcements of the local program (topic.db in its -data folder)", "until the folder is deleted"},
			{"Webhooks that its page has captured, whole (in its memory)", "until later ones have taken their place, or it ends"},
			{"Your backend's own data, and Terra's", "their own rules; end the connection at Terra too"},
		}
	}
	return []remains{
		{"Backups of the tables (point-in-time recovery)", "until 35 days after a row is erased"},
		{"Announcements that a subscriber could not take (dead-letter queues)", "until 14 days after they were sent, by the template's own queues"},
		{"Announcements that were delivered", "your backend's own rules"},
		{"Logs (hashes of accounts only, no reference_id, no user_id)", "LogRetentionDays of the stack"},
		{"Terra", "its own rules; end the connection there too"},
	}
}

// personFlags are the flags that say whose data is meant.
func (f *flags) person(p *ownership.Person) {
	f.StringVar(&p.ReferenceID, "reference-id", "", "your user with this `reference_id`")
	f.StringVar(&p.UserID, "user-id", "", "the connection with this `user_id` of Terra's")
}

func onePerson(command string, p ownership.Person) error {
	if (p.ReferenceID == "") == (p.UserID == "") {
		return usage(command, "give one of -reference-id and -user-id")
	}
	return nil
}

func (t tool) show(ctx context.Context, args []string) error {
	var person ownership.Person
	f := t.flags("show", showHelp)
	f.BoolVar(&f.asJSON, "json", false, "as JSON")
	where := f.where(t)
	f.person(&person)
	if _, err := f.parse(args); err != nil {
		return err
	}
	if err := onePerson("show", person); err != nil {
		return err
	}
	p, err := where.open(ctx)
	if err != nil {
		return err
	}
	h, err := t.held(ctx, p, person)
	if err != nil {
		return err
	}
	h.Elsewhere = elsewhere(where.isStack())
	if f.asJSON {
		return t.json(h)
	}
	t.say("%s, %s, %s.\n", count(len(h.Connections), "connection"), counts(len(h.Entries), "entry in accounts", "entries in accounts"),
		counts(len(h.Traces), "trace in rows of others", "traces in rows of others"))
	for _, c := range h.Connections {
		fmt.Fprint(t.stdout, "\n", c.Text())
	}
	for _, e := range h.Entries {
		t.say("\nIn account %s\n   connection %s of %s\n", e.Account, e.Claim.UserID, strings.Join(e.Claim.Tenures, ", then "))
		for _, m := range e.Marks {
			at := m.At
			t.say("   announced at %s (%s)\n", instant(&at), m.Name)
		}
	}
	for _, trace := range h.Traces {
		t.say("\nIn the row of %s\n   %s\n", trace.Row, trace.What)
	}
	t.tellElsewhere(h.Elsewhere)
	return nil
}

func (t tool) tellElsewhere(list []remains) {
	t.say("\nBeside these rows:\n")
	for _, r := range list {
		t.say("  %s: %s.\n", r.Where, r.Until)
	}
}

func counts(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// held looks through all rows.
func (t tool) held(ctx context.Context, p place, person ownership.Person) (held, error) {
	h := held{Connections: []explain.Connection{}, Entries: []entry{}, Traces: []trace{}}
	theirs := map[string]bool{}
	all, err := collect(t, "connections", p.Connections(ctx), func(c ownership.Connection) bool {
		if person.Has(c) {
			theirs[c.UserID] = true
			h.Connections = append(h.Connections, explain.OfConnection(c))
			return false
		}
		return len(c.Replaces)+len(c.ReplacedBy) > 0
	})
	if err != nil {
		return h, err
	}
	if person.UserID != "" {
		theirs[person.UserID] = true
	}
	for _, c := range all {
		for _, s := range c.ReplacedBy {
			if theirs[s.UserID] || person.ReferenceID != "" && s.Reference == person.ReferenceID {
				h.Traces = append(h.Traces, trace{c.UserID, "a user_reauth: it was replaced by connection " + s.UserID})
			}
		}
		for _, replaced := range c.Replaces {
			if theirs[replaced] {
				h.Traces = append(h.Traces, trace{c.UserID, "a user_reauth: it replaced connection " + replaced})
			}
		}
	}
	_, err = collect(t, "accounts", p.Accounts(ctx), func(a ownership.Account) bool {
		for userID, held := range a.Claims {
			if theirs[userID] || person.ReferenceID != "" && slices.Contains(held.Tenures, person.ReferenceID) {
				e := entry{Account: a.Key, Claim: claim(held), Marks: []mark{}}
				for _, m := range a.Marks {
					if m.User == userID {
						e.Marks = append(e.Marks, mark(m))
					}
				}
				h.Entries = append(h.Entries, e)
			}
		}
		for _, m := range a.Marks {
			if theirs[m.Current] && !theirs[m.User] {
				h.Traces = append(h.Traces, trace{a.Key, "it was announced at " + m.At.UTC().Format(time.RFC3339) + " as having passed to connection " + m.Current})
			}
		}
		return false
	})
	slices.SortFunc(h.Connections, func(a, b explain.Connection) int { return strings.Compare(a.UserID, b.UserID) })
	slices.SortFunc(h.Entries, func(a, b entry) int { return strings.Compare(a.Account+a.Claim.UserID, b.Account+b.Claim.UserID) })
	return h, err
}
