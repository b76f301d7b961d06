package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/handover-dev/handover/internal/ownership"
)

// Story is something that happens in the life of an app, to be played on the running program.
type Story struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Lead  string `json:"lead"`            // what is going on, in a sentence or two
	Needs string `json:"needs,omitempty"` // "needs …": what is missing here to play it; "" if nothing is

	Expect Outcome `json:"expected"`
	// Play plays it, and then reads the real outcome. Its error is why it broke off.
	Play func(ctx context.Context, p *Play) (Outcome, error) `json:"-"`
}

// Outcome is how a story ends: what was expected to come, or what has really come.
type Outcome struct {
	Answers string `json:"answers"` // to Terra, in the order of sending
	Owner   string `json:"owner"`   // reference_id of the account's owner
	Heard   string `json:"heard"`   // what the backend heard of those in the story
	Left    string `json:"left"`    // what is still to be done
}

// Play is a story that is being played, or was.
type Play struct {
	Story Story    `json:"story"`
	Steps []Step   `json:"steps"`
	Real  *Outcome `json:"real"`            // nil while it is played, and if it broke off
	Why   []string `json:"why"`             // why the story's accounts are whose they are
	Broke string   `json:"broke,omitempty"` // why it broke off

	console *Console
	from    uint64 // the number of the entry in the ring before the first of this play's
}

// Step is one thing that somebody does.
type Step struct {
	Who     string `json:"who"` // Terra, Handover, Your backend, or somebody else
	Text    string `json:"text"`
	Kind    string `json:"kind,omitempty"` // the type of the webhook that is sent
	Webhook uint64 `json:"webhook,omitempty"`
	Heard   string `json:"heard,omitempty"` // id of an announcement
}

// The three who act in a story.
const (
	Terra    = "Terra"
	Handover = "Handover"
	Backend  = "Your backend"
)

// lane is a CSS class.
func lane(who string) string {
	return map[string]string{Terra: "terra", Handover: "handover", Backend: "backend"}[who] // of somebody else: ""
}

// Row is a question about the outcome, and both answers.
type Row struct{ Question, Expected, Real string }

// Agrees reports whether what was expected has come.
func (r Row) Agrees() bool { return r.Expected == r.Real }

// Rows set the expected outcome beside the real one.
func (p *Play) Rows() []Row {
	e, real := p.Story.Expect, *p.Real
	return []Row{{"Terra is answered", e.Answers, real.Answers}, {"The owner is", e.Owner, real.Owner}, {"Your backend hears", e.Heard, real.Heard}, {"Left to do", e.Left, real.Left}}
}

// Agrees reports whether all of what was expected has come.
func (p *Play) Agrees() bool { return p.Real != nil && *p.Real == p.Story.Expect }

// Step adds a step, and shows it.
func (p *Play) Step(s Step) {
	p.console.mu.Lock()
	p.Steps = append(p.Steps, s)
	p.console.mu.Unlock()
	p.console.ring.touch("story")
}

// Because adds why something is as it is at the story's end.
func (p *Play) Because(why string) {
	p.console.mu.Lock()
	defer p.console.mu.Unlock()
	p.Why = append(p.Why, why)
}

// Heard lists the announcements since the story began, oldest first.
func (p *Play) Heard() (all []Heard) {
	entries, _, _ := p.console.ring.since(p.from)
	for _, e := range entries {
		if e.heard != nil {
			all = append(all, *e.heard)
		}
	}
	return all
}

// Who is who was concerned, by reference_id.
func (h Heard) Who() string {
	switch h.Type {
	case ownership.Transferred:
		return h.Previous.ReferenceID + " → " + h.Current.ReferenceID
	case ownership.Revoked:
		return h.Connection.ReferenceID + "'s old connection has ended"
	}
	return "an announcement of another version"
}

// String is the announcement in few words.
func (h Heard) String() string {
	if h.Type != ownership.Transferred {
		return h.Who()
	}
	order := "the order is sure"
	if !h.Order.Sure() {
		order = "the order is a guess"
	}
	return fmt.Sprintf("%s (%s, %s)", h.Who(), h.Reason, order)
}

// tell plays a story to its end and answers with the play: 404 for an unknown one, 409 for one that cannot be played here or now.
func (c *Console) tell(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(c.options.Stories, func(s Story) bool { return s.Name == r.PathValue("name") })
	if i < 0 {
		http.Error(w, "There is no such story.", http.StatusNotFound)
		return
	}
	story := c.options.Stories[i]
	if story.Needs != "" {
		http.Error(w, "This story "+story.Needs, http.StatusConflict)
		return
	}
	if !c.playing.TryLock() {
		http.Error(w, "Another story is being played: wait for its end.", http.StatusConflict)
		return
	}
	defer c.playing.Unlock()
	_, from := c.ring.snapshot()
	play := &Play{Story: story, Steps: []Step{}, console: c, from: from}
	c.mu.Lock()
	c.play = play
	c.mu.Unlock()
	ctx := context.WithoutCancel(r.Context()) // whoever goes away leaves no half of a story behind
	real, err := story.Play(ctx, play)
	c.mu.Lock()
	if err != nil {
		play.Broke = err.Error()
	} else {
		play.Real = &real
	}
	c.mu.Unlock()
	c.ring.touch("story")
	c.json(w, http.StatusOK, c.played())
}

// played is a copy of the play of now, nil if there was none.
func (c *Console) played() *Play {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.play == nil {
		return nil
	}
	p := *c.play
	p.Steps, p.Why = slices.Clone(p.Steps), slices.Clone(p.Why)
	return &p
}
