package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/handover-dev/handover/internal/trial"
)

const trySubscriberHelp = `
  $ handover try-subscriber http://127.0.0.1:9000/
  SNS and Terra's API are played at 127.0.0.1:8080. Tell the subscriber, and start it:
    SNS_CA=.handover/trial/topic.pem
    SNS_URL=https://127.0.0.1:8080/sns
    TERRA_API_KEY=handover-local-key
    …
  ok     transfer            answered 204, and the connection that lost the account was ended
  FAULT  duplicate           the same announcement three times ended the connection 3 times
                             → Remember the ids of what is done, and drop what comes again.
  …
  handover: 1 fault

Usage: handover try-subscriber URL [flags]

It drives your own endpoint through what it will meet: repeats, disorder, old messages, guesses, an outage of Terra's, forgeries, and the confirmation of its
subscription. It plays SNS, with a certificate of its own that stays the same in -data, and Terra's API, so that it sees whose connections the endpoint ends.
Everybody in it is invented: use a database that may be thrown away. It waits until the endpoint listens. Exit code 1 says that there is a fault.
`

func (t tool) trySubscriber(ctx context.Context, args []string) error {
	var tried trial.Trial
	var wait time.Duration
	f := t.flags("try-subscriber", trySubscriberHelp)
	f.BoolVar(&f.asJSON, "json", false, "each finding as a line of JSON")
	listen := f.String("listen", "127.0.0.1:8080", "`address` at which SNS and Terra's API are played")
	f.StringVar(&tried.Data, "data", filepath.Join(".handover", "trial"), "`folder` of the key that signs, and of its certificate")
	f.span(&tried.Patience, "patience", 5*time.Second, "`duration` that the endpoint may take to do what a message asks for, after its answer")
	f.span(&wait, "wait", 2*time.Minute, "`duration` to wait until the endpoint listens")
	given, err := f.parse(args, "URL")
	if err != nil {
		return err
	}
	u, err := f.webURL("URL", given[0], "http://127.0.0.1:9000/")
	if err != nil {
		return err
	}
	if host, _, err := net.SplitHostPort(*listen); err != nil || host == "" || net.ParseIP(host).IsUnspecified() {
		return usage("try-subscriber", "-listen is %q: it should be the host:port at which the endpoint reaches it, such as 127.0.0.1:8080", *listen)
	}
	tried.Log = func(doing string) { fmt.Fprintln(t.stderr, doing) }
	if err := os.MkdirAll(tried.Data, 0o700); err != nil {
		return err
	}
	server, err := tried.Listen(*listen)
	if err != nil {
		return err
	}
	defer server.Close()
	told := server.Settings()
	if err := os.WriteFile(told["SNS_CA"], server.Certificate(), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(t.stderr, "SNS and Terra's API are played at %s. Tell the subscriber, and start it:\n", server.Address())
	for _, name := range slices.Sorted(maps.Keys(told)) {
		fmt.Fprintf(t.stderr, "  %s=%s\n", name, told[name])
	}
	if err := untilListening(ctx, u, wait); err != nil {
		return err
	}

	findings, err := server.Run(ctx, given[0])
	faults := 0
	for _, finding := range findings {
		if finding.Fault {
			faults++
		}
		if f.asJSON {
			if err := t.json(finding); err != nil {
				return err
			}
			continue
		}
		t.say("%-6s %-19s %s\n", map[bool]string{false: "ok", true: "FAULT"}[finding.Fault], finding.Step, finding.What)
		if finding.Do != "" {
			t.say("%-26s → %s\n", "", finding.Do)
		}
	}
	switch {
	case err != nil:
		return err
	case faults > 0:
		return fmt.Errorf("%s", count(faults, "fault"))
	case !f.asJSON:
		fmt.Fprintln(t.stdout, "The subscriber does everything right.")
	}
	return nil
}

// untilListening waits until something listens where u points.
func untilListening(ctx context.Context, u *url.URL, wait time.Duration) error {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var dialer net.Dialer
	for {
		connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
		if err == nil {
			return connection.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens at %s after %s: %w\nStart the subscriber while this waits", u, wait, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
