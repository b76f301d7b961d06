package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/handover-dev/handover/internal/local/console"
	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/terra"
)

// simulate starts a Terra of our own. Its webhooks go to this program's own URL.
func (p *program) simulate() *simulator.Terra {
	return simulator.New(simulator.Config{
		Secret:     p.config.SigningSecrets[0],
		WebhookURL: p.url + "/webhook",
		DevID:      SimulatedDevID,
		APIKey:     SimulatedAPIKey,
		Seed:       uint64(time.Now().UnixNano()),
		Habits: simulator.Habits{
			Generation: simulator.KeepBoth, CreatedAtInWebhooks: true, CreatedAtInAnswers: true, AccountInWebhooks: true, AccountInAnswers: true,
		},
	})
}

// welcome says where everything is.
func (p *program) welcome() {
	here := struct {
		Page          string `json:"page"`
		Webhook       string `json:"webhook"`
		Announcements string `json:"announcements"`
		Secret        string `json:"signing_secret,omitempty"` // the well-known one; one's own is not shown
	}{Page: p.url + "/", Webhook: p.url + "/webhook", Announcements: p.url + "/api/announcements"}
	next, secret := "go run ./internal/cmd/handover send athlete -to "+here.Webhook+" -set user.reference_id=alice", "the secret that you have given"
	if p.config.SigningSecrets[0] == Secret {
		here.Secret, secret = Secret, Secret
	} else {
		next = "HANDOVER_SIGNING_SECRET=… " + next
	}
	if p.config.AsJSON {
		line, _ := json.Marshal(here)
		fmt.Fprintf(p.out, "%s\n", line)
		p.out = io.Discard // the story is for people
		return
	}
	fmt.Fprintf(p.out, "Handover runs. Ctrl-C ends it.\n\n  the page                 %s\n  Terra's webhooks go to   %s\n  signed with              %s\n  announcements as JSON    %s\n\n"+
		"Send one yourself:\n\n  %s\n\n", here.Page, here.Webhook, secret, here.Announcements, next)
}

// tell plays the first story: two users connect, and one of them connects the other's wearable. Everybody in it is invented.
func (p *program) tell(ctx context.Context) error {
	fmt.Fprintf(p.out, "A story, told by a simulated Terra through the handler that runs on Lambda:\n\n")
	watch := fmt.Sprintf("garmin-%d", time.Now().UnixNano())
	steps := []struct {
		sentence                     string
		provider, account, reference string
		outcome                      string
	}{
		{"alice connects her Garmin watch, and Terra sends `auth`.", "GARMIN", watch, "alice",
			"Handover asks Terra which account that is, and records alice as its owner. Nobody had it before: nothing to announce."},
		{"bob connects his Fitbit, and Terra sends `auth`.", "FITBIT", "fitbit-" + watch, "bob",
			"Another account: nothing to announce."},
		{"bob connects alice's Garmin watch. Terra sends one more `auth`, keeps both connections alive, and tells nobody.", "GARMIN", watch, "bob",
			"The account is known, and its owner was alice. It has passed to bob, and Handover announces it:"},
	}
	before, err := p.topic.List()
	if err != nil {
		return err
	}
	for i, step := range steps {
		fmt.Fprintf(p.out, "%d. %s\n", i+1, step.sentence)
		p.terra.Connect(step.provider, step.account, step.reference)
		if err := p.terra.Deliver(ctx); err != nil {
			return err
		}
		fmt.Fprintf(p.out, "   %s\n\n", step.outcome)
	}
	after, err := p.topic.List()
	if err != nil {
		return err
	}
	for _, announcement := range after[len(before):] {
		fmt.Fprintf(p.out, "%s\n\n", indented(announcement))
	}
	if len(after) == len(before) {
		return fmt.Errorf("nothing was announced: see the log above")
	}
	fmt.Fprintf(p.out, "Your backend would now end alice's connection (previous.user_id). Do it again, in another terminal: carol connects the same watch.\n\n%s\n\nWaiting for your own webhooks.\n\n", p.again(watch))
	return nil
}

// again is a command line that sends one more webhook of the story, signed and ready to paste.
func (p *program) again(watch string) string {
	now := time.Now()
	body := simulator.Legacy.Athlete(simulator.User{
		UserID:      fmt.Sprintf("c0ffee00-0000-4000-8000-%012x", now.UnixNano()&0xffffffffffff),
		Provider:    "GARMIN",
		ReferenceID: "carol",
		CreatedAt:   now,
	}, watch)
	return Curl(p.url+"/webhook", terra.Sign(p.config.SigningSecrets[0], now, body), body)
}

// Curl is a command line that posts a webhook with this signature.
func Curl(url, signature string, body []byte) string {
	return console.Curl(url, map[string]string{"Content-Type": "application/json", "X-Terra-Signature": signature}, body)
}

// indented is JSON for people.
func indented(raw []byte) string {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "   ", "  "); err != nil {
		return string(raw)
	}
	return "   " + b.String()
}
