package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/handover-dev/handover/internal/local/console"
)

const storiesHelp = `
  $ handover stories
  ok     same-watch
         Terra is answered    200, 200, 200
         The owner is         bob
         Your backend hears   alice → bob (connected_by_other, the order is sure); alice's old connection has ended
         Left to do           nothing
  …
  10 stories, all as expected.
  $ handover stories forged crash
  $ handover stories -list

Usage: handover stories [NAME…] [flags]

It has the local program play the known stories, and sets what really came beside what was expected. Everybody in them is invented. Exit code 1 says that a story
did not end as expected.
`

func (t tool) stories(ctx context.Context, args []string) error {
	f := t.flags("stories", storiesHelp)
	f.BoolVar(&f.asJSON, "json", false, "each story as a line of JSON")
	where := f.where(t)
	onlyList := f.Bool("list", false, "only list the stories")
	names, err := f.some(args)
	if err != nil {
		return err
	}
	if where.isStack() {
		return usage("stories", "stories are played by the local program, not by a deployed stack")
	}
	p, err := where.openLocal()
	if err != nil {
		return err
	}
	var all []console.Story
	if err := p.call(ctx, http.MethodGet, "/api/stories", nil, &all); err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s console.Story) bool { return s.Name == name }) {
			return usage("stories", "there is no story %q: handover stories -list lists them", name)
		}
	}
	played, other := 0, 0
	for _, s := range all {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		if *onlyList {
			if !f.asJSON {
				t.say("%-20s %s. %s\n", s.Name, s.Title, s.Lead)
			} else if err := t.json(s); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t.stderr, "%s\n", s.Title)
		var play console.Play
		if err := p.call(ctx, http.MethodPost, "/api/stories/"+url.PathEscape(s.Name), nil, &play); err != nil {
			return err
		}
		if played++; !play.Agrees() {
			other++
		}
		if err := t.tell(&play, f.asJSON); err != nil {
			return err
		}
	}
	switch {
	case other > 0:
		return fmt.Errorf("%d of %s did not end as expected", other, counts(played, "story", "stories"))
	case !*onlyList && !f.asJSON:
		t.say("%s, all as expected.\n", counts(played, "story", "stories"))
	}
	return nil
}

// tell sets what really came beside what was expected.
func (t tool) tell(play *console.Play, asJSON bool) error {
	if asJSON {
		return t.json(play)
	}
	t.say("%-6s %s\n", map[bool]string{true: "ok", false: "FAULT"}[play.Agrees()], play.Story.Name)
	if play.Real == nil {
		t.say("       it broke off: %s\n", play.Broke)
		return nil
	}
	for _, row := range play.Rows() {
		t.say("       %-20s %s\n", row.Question, row.Real)
		if !row.Agrees() {
			t.say("       %-20s %s\n", "  but was expected", row.Expected)
		}
	}
	return nil
}
