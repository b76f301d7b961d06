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
}

// Defaults, for what need not be set. The replay window is Terra's retry horizon of 24 hours and a margin.
const (
	DefaultTerraAPI     = "https://api.tryterra.co/v2"
	DefaultReplayWindow = 26 * time.Hour
	DefaultSource       = "handover"
)

// FutureWindow is how far ahead of this machine's clock a signature may be.
const FutureWindow = 5 * time.Minute

// FromEnvironment reads the settings through getenv (os.Getenv). Its error names every variable at fault, and what each should be.
func FromEnvironment(getenv func(string) string) (Settings, error) {
	var faults []error
	fault := func(name, should, is string) {
		if is == "" {
			faults = append(faults, fmt.Errorf("%s is not set: it should be %s", name, should))
		} else {
			faults = append(faults, fmt.Errorf("%s is %q: it should be %s", name, is, should))
		}
	}
	required := func(name, should string) string {
		value := getenv(name)
		if value == "" {
			fault(name, should, value)
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
	}
	if value := getenv("TERRA_API_URL"); value != "" {
		s.TerraAPI = strings.TrimRight(value, "/")
		if u, err := url.Parse(value); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			fault("TERRA_API_URL", "a URL such as "+DefaultTerraAPI, value)
		}
	}
	if value := getenv("REPLAY_WINDOW"); value != "" {
		window, err := time.ParseDuration(value)
		if err != nil || window <= 0 {
			fault("REPLAY_WINDOW", "a positive Go duration such as 26h", value)
		}
		s.ReplayWindow = window
	}
	if value := getenv("WATCH_DATA_EVENTS"); value != "" {
		watch, err := strconv.ParseBool(value)
		if err != nil {
			fault("WATCH_DATA_EVENTS", "true or false", value)
		}
		s.WatchDataEvents = watch
	}
	if value := getenv("SOURCE"); value != "" {
		s.Source = value
	}
	return s, errors.Join(faults...)
}
