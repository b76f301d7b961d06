package settings_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/settings"
)

func environment() map[string]string {
	return map[string]string{
		"ACCOUNTS_TABLE":         "accounts",
		"CONNECTIONS_TABLE":      "connections",
		"TRANSFERS_TOPIC_ARN":    "arn:aws:sns:eu-central-1:123456789012:transfers",
		"TERRA_SECRET_ARN":       "arn:aws:secretsmanager:eu-central-1:123456789012:secret:terra",
		"ACCOUNT_KEY_SECRET_ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key",
	}
}

func read(environment map[string]string) (settings.Settings, error) {
	return settings.FromEnvironment(func(name string) string { return environment[name] })
}

func TestFromEnvironment(t *testing.T) {
	least := settings.Settings{
		AccountsTable: "accounts", ConnectionsTable: "connections", TransfersTopic: "arn:aws:sns:eu-central-1:123456789012:transfers",
		TerraSecret:      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:terra",
		AccountKeySecret: "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key",
		TerraAPI:         "https://api.tryterra.co/v2", ReplayWindow: 26 * time.Hour, WatchDataEvents: true, Source: "handover",
		Retention: 9600 * time.Hour, NotRevokedAfter: 24 * time.Hour, Stack: "handover",
	}
	for name, test := range map[string]struct {
		set    map[string]string
		change func(*settings.Settings)
	}{
		"what must be set": {},
		"everything": {
			set: map[string]string{"TERRA_API_URL": "http://127.0.0.1:9/api/v2", "REPLAY_WINDOW": "90m", "WATCH_DATA_EVENTS": "false", "SOURCE": "staging", "RETENTION": "1h", "NOT_REVOKED_AFTER": "2h",
				"STACK_NAME": "handover-2", "WEBHOOK_URL": "https://x.example/webhook"},
			change: func(s *settings.Settings) {
				s.Retention, s.NotRevokedAfter = time.Hour, 2*time.Hour
				s.Stack, s.WebhookURL = "handover-2", "https://x.example/webhook"
				s.TerraAPI, s.ReplayWindow, s.WatchDataEvents, s.Source = "http://127.0.0.1:9/api/v2", 90*time.Minute, false, "staging"
			},
		},
		"a slash at the end": {
			set:    map[string]string{"TERRA_API_URL": "https://access.tryterra.co/api/v2/"},
			change: func(s *settings.Settings) { s.TerraAPI = "https://access.tryterra.co/api/v2" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			set, want := environment(), least
			maps.Copy(set, test.set)
			if test.change != nil {
				test.change(&want)
			}
			if got, err := read(set); err != nil || got != want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

// Every variable at fault is named at once, with what it should be.
func TestFaults(t *testing.T) {
	const missing = `ACCOUNTS_TABLE is not set: it should be the name of the DynamoDB table of accounts
CONNECTIONS_TABLE is not set: it should be the name of the DynamoDB table of connections
TRANSFERS_TOPIC_ARN is not set: it should be the ARN of the SNS topic of the announcements
TERRA_SECRET_ARN is not set: it should be the ARN of the secret with Terra's signing secrets and API key
ACCOUNT_KEY_SECRET_ARN is not set: it should be the ARN of the secret with the account key`
	for name, test := range map[string]struct {
		set  map[string]string // nil: nothing at all is set
		want string
	}{
		"nothing is set": {nil, missing},
		"everything is wrong": {
			map[string]string{
				"ACCOUNTS_TABLE": "", "CONNECTIONS_TABLE": "", "TRANSFERS_TOPIC_ARN": "", "TERRA_SECRET_ARN": "", "ACCOUNT_KEY_SECRET_ARN": "",
				"TERRA_API_URL": "api.tryterra.co/v2", "REPLAY_WINDOW": "26", "WATCH_DATA_EVENTS": "maybe",
			},
			missing + `
TERRA_API_URL is "api.tryterra.co/v2": it should be a URL such as https://api.tryterra.co/v2
REPLAY_WINDOW is "26": it should be a positive Go duration such as 26h
WATCH_DATA_EVENTS is "maybe": it should be true or false`,
		},
		"no window":            {map[string]string{"REPLAY_WINDOW": "0s"}, `REPLAY_WINDOW is "0s": it should be a positive Go duration such as 26h`},
		"negative window":      {map[string]string{"REPLAY_WINDOW": "-1h"}, `REPLAY_WINDOW is "-1h": it should be a positive Go duration such as 26h`},
		"window of words":      {map[string]string{"REPLAY_WINDOW": "a day"}, `REPLAY_WINDOW is "a day": it should be a positive Go duration such as 26h`},
		"file URL":             {map[string]string{"TERRA_API_URL": "file:///etc"}, `TERRA_API_URL is "file:///etc": it should be a URL such as https://api.tryterra.co/v2`},
		"no URL of the way in": {map[string]string{"WEBHOOK_URL": "/webhook"}, `WEBHOOK_URL is "/webhook": it should be a URL such as https://abc123.execute-api.eu-central-1.amazonaws.com/webhook`},
		"no name of a stack":   {map[string]string{"STACK_NAME": "my stack"}, `STACK_NAME is "my stack": it should be the name of the stack, of at most 128 letters, digits and hyphens`},
		"a long name of a stack": {map[string]string{"STACK_NAME": strings.Repeat("s", 129)},
			`STACK_NAME is "` + strings.Repeat("s", 129) + `": it should be the name of the stack, of at most 128 letters, digits and hyphens`},
		"URL with a \\n": {map[string]string{"TERRA_API_URL": "https://a\nb"}, `TERRA_API_URL is "https://a\nb": it should be a URL such as https://api.tryterra.co/v2`},
	} {
		t.Run(name, func(t *testing.T) {
			set := map[string]string{}
			if test.set != nil {
				set = environment()
				maps.Copy(set, test.set)
			}
			if _, err := read(set); fmt.Sprint(err) != test.want {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

// Nothing is read that is not documented, and what is documented is read.
func TestVariablesRead(t *testing.T) {
	var names []string
	_, _ = settings.FromEnvironment(func(name string) string { names = append(names, name); return "" })
	slices.Sort(names)
	want := []string{
		"ACCOUNTS_TABLE", "ACCOUNT_KEY_SECRET_ARN", "CONNECTIONS_TABLE", "NOT_REVOKED_AFTER", "REPLAY_WINDOW", "RETENTION", "SOURCE", "STACK_NAME", "TERRA_API_URL", "TERRA_SECRET_ARN",
		"TRANSFERS_TOPIC_ARN", "WATCH_DATA_EVENTS", "WEBHOOK_URL",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}
