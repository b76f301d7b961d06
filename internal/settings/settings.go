// Package settings reads what a deployed function is told: its environment, and its two secrets.
package settings

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Settings is the environment of the functions. The template sets every variable.
type Settings struct {
	AccountsTable    string // ACCOUNTS_TABLE, name of the DynamoDB table of accounts
	ConnectionsTable string // CONNECTIONS_TABLE, name of the DynamoDB table of connections
	TransfersTopic   string // TRANSFERS_TOPIC_ARN
	TerraSecret      string // TERRA_SECRET_ARN, see [Terra]
	AccountKeySecret string // ACCOUNT_KEY_SECRET_ARN: 64 hexadecimal digits

	TerraAPI        string        // TERRA_API_URL, base of Terra's REST API, without a slash at its end
	ReplayWindow    time.Duration // REPLAY_WINDOW, how old a signature may be
	WatchDataEvents bool          // WATCH_DATA_EVENTS, whether events that only carry data are looked at
	Source          string        // SOURCE, "source" of the announcements
	Retention       time.Duration // RETENTION, how long a connection is kept after it has ended
	NotRevokedAfter time.Duration // NOT_REVOKED_AFTER, how long after its announcement a superseded connection may stay open

	Stack      string // STACK_NAME, the dimension of the metrics
	WebhookURL string // WEBHOOK_URL, where the sweep sends the stack's own heartbeat: the public URL of the way in; "" for none
}

// Defaults, for what need not be set. The replay window is Terra's retry horizon of 24 hours and a margin.
const (
	DefaultTerraAPI     = "https://api.tryterra.co/v2"
	DefaultReplayWindow = 26 * time.Hour
	DefaultSource       = "handover"
	DefaultStack        = "handover"

	DefaultRetention       = 400 * 24 * time.Hour
	DefaultNotRevokedAfter = 24 * time.Hour
)

// FutureWindow is how far ahead of this machine's clock a signature may be.
const FutureWindow = 5 * time.Minute

// stackCharacters are those that CloudFormation takes in the name of a stack.
const stackCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"

// FromEnvironment reads the settings through getenv (os.Getenv). Its error names every variable at fault, and what each should be.
func FromEnvironment(getenv func(string) string) (Settings, error) {
	var wrong faults
	required := func(name, should string) string {
		value := getenv(name)
		if value == "" {
			wrong.add(name, should, value)
		}
		return value
	}
	s := Settings{
		AccountsTable:    required("ACCOUNTS_TABLE", "the name of the DynamoDB table of accounts"),
		ConnectionsTable: required("CONNECTIONS_TABLE", "the name of the DynamoDB table of connections"),
		TransfersTopic:   required("TRANSFERS_TOPIC_ARN", "the ARN of the SNS topic of the announcements"),
		TerraSecret:      required("TERRA_SECRET_ARN", "the ARN of the secret with Terra's signing secrets and API key"),
		AccountKeySecret: required("ACCOUNT_KEY_SECRET_ARN", "the ARN of the secret with the account key"),
		TerraAPI:         DefaultTerraAPI,
		ReplayWindow:     DefaultReplayWindow,
		WatchDataEvents:  true,
		Source:           DefaultSource,
		Retention:        DefaultRetention,
		NotRevokedAfter:  DefaultNotRevokedAfter,
		Stack:            DefaultStack,
	}
	address := func(name, example string, value *string) {
		if text := getenv(name); text != "" {
			if _, err := ParseURL(text); err != nil {
				wrong.add(name, "a URL such as "+example, text)
			}
			*value = strings.TrimRight(text, "/")
		}
	}
	address("TERRA_API_URL", DefaultTerraAPI, &s.TerraAPI)
	address("WEBHOOK_URL", "https://abc123.execute-api.eu-central-1.amazonaws.com/webhook", &s.WebhookURL)
	duration := func(name, example string, value *time.Duration) {
		if text := getenv(name); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil || d <= 0 {
				wrong.add(name, "a positive Go duration such as "+example, text)
			}
			*value = d
		}
	}
	duration("REPLAY_WINDOW", "26h", &s.ReplayWindow)
	duration("RETENTION", "9600h", &s.Retention)
	duration("NOT_REVOKED_AFTER", "24h", &s.NotRevokedAfter)
	if value := getenv("WATCH_DATA_EVENTS"); value != "" {
		watch, err := strconv.ParseBool(value)
		if err != nil {
			wrong.add("WATCH_DATA_EVENTS", "true or false", value)
		}
		s.WatchDataEvents = watch
	}
	if value := getenv("SOURCE"); value != "" {
		s.Source = value
	}
	if value := getenv("STACK_NAME"); value != "" {
		s.Stack = value
		if strings.Trim(value, stackCharacters) != "" || len(value) > 128 {
			wrong.add("STACK_NAME", "the name of the stack, of at most 128 letters, digits and hyphens", value)
		}
	}
	return s, errors.Join(wrong...)
}

// ParseURL parses the URL of something that is called by HTTP: one of http or https, with a host. Any other text is an error.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err == nil && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		err = errors.New("not an http or https URL")
	}
	return u, err
}

// Revoke is what the revoke function is told beside the Settings.
type Revoke struct {
	Policy string // REVOKE_POLICY, "newest-wins" or "first-wins": whose connection is ended
	DryRun bool   // REVOKE_DRY_RUN, whether it is only said what would be ended
}

// RevokeFromEnvironment is FromEnvironment for the revoke function. Its defaults are newest-wins, and no dry run.
func RevokeFromEnvironment(getenv func(string) string) (Settings, Revoke, error) {
	var wrong faults
	r := Revoke{Policy: "newest-wins"}
	switch value := getenv("REVOKE_POLICY"); value {
	case "":
	case "newest-wins", "first-wins":
		r.Policy = value
	default:
		wrong.add("REVOKE_POLICY", "newest-wins or first-wins", value)
	}
	if value := getenv("REVOKE_DRY_RUN"); value != "" {
		dry, err := strconv.ParseBool(value)
		if err != nil {
			wrong.add("REVOKE_DRY_RUN", "true or false", value)
		}
		r.DryRun = dry
	}
	s, err := FromEnvironment(getenv)
	return s, r, errors.Join(append(wrong, err)...)
}

// faults are the variables at fault.
type faults []error

func (f *faults) add(name, should, is string) {
	if is == "" {
		*f = append(*f, fmt.Errorf("%s is not set: it should be %s", name, should))
	} else {
		*f = append(*f, fmt.Errorf("%s is %q: it should be %s", name, is, should))
	}
}
