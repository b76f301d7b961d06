package local

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/local/console"
	"github.com/handover-dev/handover/internal/settings"
)

// Config is what the local program is told: by a flag, or by HANDOVER_ and the flag's name in upper case with underscores.
type Config struct {
	Listen           string
	Data             string   // the folder of the embedded ledger, the announcements and the account key
	SigningSecrets   []string // Terra's; default Secret
	TerraAPI         string   // base URL of Terra's REST API; "" is the built-in simulated Terra
	TerraDevID       string
	TerraAPIKey      string
	Subscribers      []string // URLs to which each announcement is delivered
	SweepEvery       time.Duration
	WalkEvery        time.Duration
	NotRevokedAfter  time.Duration
	Retention        time.Duration
	NoSimulator      bool   // no simulated Terra, and so no story
	DynamoDBEndpoint string // "": the embedded ledger
	SNSEndpoint      string // "": the local topic alone
	AsJSON           bool   // for programs: one line that says where it is, and no story
}

const examples = `
  $ handover serve
  Handover runs. Ctrl-C ends it.

    the page                 http://127.0.0.1:8080/
    Terra's webhooks go to   http://127.0.0.1:8080/webhook
    signed with              handover-local-secret
  …
  $ handover serve -signing-secret "$TERRA_SECRET" -terra-api https://api.tryterra.co/v2 -terra-dev-id "$DEV_ID" -terra-api-key "$API_KEY"
  $ handover serve -subscriber http://127.0.0.1:9000/

It runs Handover on this machine: the handlers of the deployed functions on a ledger in a folder, a topic that posts to -subscriber, and a page to watch it all.
Without -terra-api it plays Terra too. For webhooks of the real Terra, a tunnel of yours must end at the address of -listen.

`

// Secret signs the webhooks of the local program, and the events in events/, if no other is given. Everybody can read it here: it protects nothing.
const Secret = "handover-local-secret"

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// lenient is a flag whose value is read when all flags are, so that each fault can be named, and not the first one alone.
type lenient struct {
	text   string
	isBool bool
}

func (l *lenient) String() string     { return l.text }
func (l *lenient) Set(s string) error { l.text = s; return nil }
func (l *lenient) IsBoolFlag() bool   { return l.isBool }

// ParseConfig reads the arguments after "serve", and the environment for flags that are not among them. Its error names every fault and what should stand there;
// it is flag.ErrHelp if help was asked for, which then has been written to usage.
func ParseConfig(args []string, getenv func(string) string, usage io.Writer) (Config, error) {
	var c Config
	var secrets, subscribers list
	f := flag.NewFlagSet("handover serve", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	later := func(name, value, text string) *lenient {
		l := &lenient{text: value, isBool: value == "false"}
		f.Var(l, name, text)
		return l
	}
	f.StringVar(&c.Listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	f.StringVar(&c.Data, "data", ".handover", "`folder` of the embedded ledger")
	f.Var(&secrets, "signing-secret", "Terra's signing `secret`; may be given several times (default \""+Secret+"\")")
	f.StringVar(&c.TerraAPI, "terra-api", "", "base `URL` of Terra's REST API (default: the built-in simulated Terra)")
	f.StringVar(&c.TerraDevID, "terra-dev-id", "", "Terra's dev-id")
	f.StringVar(&c.TerraAPIKey, "terra-api-key", "", "Terra's x-api-key")
	f.Var(&subscribers, "subscriber", "`URL` to which each announcement is posted as SNS does; may be given several times")
	durations := []struct {
		name  string
		text  *lenient
		value *time.Duration
	}{
		{"sweep-every", later("sweep-every", "2s", "`duration` between two attempts at what is unsettled"), &c.SweepEvery},
		{"walk-every", later("walk-every", "24h", "`duration` between two walks over all connections that Terra lists"), &c.WalkEvery},
		{"not-revoked-after", later("not-revoked-after", settings.DefaultNotRevokedAfter.String(), "`duration` that a superseded connection may stay open after its announcement"), &c.NotRevokedAfter},
		{"retention", later("retention", settings.DefaultRetention.String(), "`duration` that a connection is kept after it has ended"), &c.Retention},
	}
	noSimulator := later("no-simulator", "false", "play no story, and start no simulated Terra: without -terra-api nobody is known there")
	asJSON := later("json", "false", "for programs: one line of JSON that says where it is, and the log as a deployed function writes it")
	f.StringVar(&c.DynamoDBEndpoint, "dynamodb-endpoint", "", "`URL` of a DynamoDB to use instead of the embedded ledger")
	f.StringVar(&c.SNSEndpoint, "sns-endpoint", "", "`URL` of an SNS to publish to as well")

	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(usage, strings.TrimPrefix(examples, "\n"))
		fmt.Fprintf(usage, "Usage: handover serve [flags]\n\nEach flag can also be set as HANDOVER_<FLAG>, such as HANDOVER_TERRA_API (values that may repeat, with commas between).\n\n")
		f.SetOutput(usage)
		f.PrintDefaults()
		return Config{}, flag.ErrHelp
	} else if err != nil {
		return Config{}, err
	}
	if f.NArg() > 0 {
		return Config{}, fmt.Errorf("serve takes no argument %q", f.Arg(0))
	}

	source := map[string]string{} // where a flag's value comes from
	f.Visit(func(g *flag.Flag) { source[g.Name] = "-" + g.Name })
	f.VisitAll(func(g *flag.Flag) {
		name := "HANDOVER_" + strings.ToUpper(strings.ReplaceAll(g.Name, "-", "_"))
		value := getenv(name)
		if value == "" || source[g.Name] != "" {
			return
		}
		source[g.Name] = name
		values := []string{value}
		if _, repeats := g.Value.(*list); repeats {
			values = strings.Split(value, ",")
		}
		for _, v := range values {
			_ = f.Set(g.Name, v) // none of the flags refuses a text
		}
	})
	c.SigningSecrets, c.Subscribers = secrets, subscribers

	var faults []error
	fault := func(name, value, should string) {
		faults = append(faults, fmt.Errorf("%s is %q: it should be %s", source[name], value, should))
	}
	c.check(fault)
	for _, d := range durations {
		var err error
		if *d.value, err = time.ParseDuration(d.text.text); err != nil || *d.value <= 0 {
			fault(d.name, d.text.text, "a positive duration such as 2s")
		}
	}
	var err error
	if c.NoSimulator, err = strconv.ParseBool(noSimulator.text); err != nil {
		fault("no-simulator", noSimulator.text, "true or false")
	}
	if c.AsJSON, err = strconv.ParseBool(asJSON.text); err != nil {
		fault("json", asJSON.text, "true or false")
	}
	return c, errors.Join(faults...)
}

// check names the faults of what is text, and completes it.
func (c *Config) check(fault func(name, value, should string)) {
	if host, _, err := net.SplitHostPort(c.Listen); err != nil {
		fault("listen", c.Listen, "host:port, such as 127.0.0.1:8080")
	} else if !console.IsLoopback(host) {
		fault("listen", c.Listen, "an address that only this machine reaches, such as 127.0.0.1:8080, for the page shows personal data; a tunnel for Terra ends there too")
	}
	if c.Data == "" {
		fault("data", c.Data, "a folder")
	}
	for _, secret := range c.SigningSecrets {
		if secret == "" {
			fault("signing-secret", "", "Terra's signing secret, not empty")
		}
	}
	if len(c.SigningSecrets) == 0 {
		c.SigningSecrets = []string{Secret}
	}
	urls := map[string][]string{"terra-api": {c.TerraAPI}, "dynamodb-endpoint": {c.DynamoDBEndpoint}, "sns-endpoint": {c.SNSEndpoint}, "subscriber": c.Subscribers}
	for _, name := range []string{"terra-api", "dynamodb-endpoint", "sns-endpoint", "subscriber"} {
		for _, value := range urls[name] {
			if _, err := settings.ParseURL(value); err != nil && (value != "" || name == "subscriber") {
				fault(name, value, "an http or https URL")
			}
		}
	}
	c.TerraAPI = strings.TrimRight(c.TerraAPI, "/")
}
