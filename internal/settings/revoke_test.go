package settings_test

import (
	"maps"
	"testing"

	"github.com/handover-dev/handover/internal/revoke"
	"github.com/handover-dev/handover/internal/settings"
)

// required is the environment that every function needs.
var required = map[string]string{
	"ACCOUNTS_TABLE": "accounts", "CONNECTIONS_TABLE": "connections", "TRANSFERS_TOPIC_ARN": "topic", "TERRA_SECRET_ARN": "terra", "ACCOUNT_KEY_SECRET_ARN": "key",
}

func revokeSettings(more map[string]string) (settings.Settings, settings.Revoke, error) {
	environment := maps.Clone(required)
	maps.Copy(environment, more)
	return settings.RevokeFromEnvironment(func(name string) string { return environment[name] })
}

func TestRevokeSettings(t *testing.T) {
	const newest, first = string(revoke.NewestWins), string(revoke.FirstWins)
	for _, test := range []struct {
		policy, dryRun string
		want           settings.Revoke
	}{
		{"", "", settings.Revoke{Policy: newest}},
		{newest, "false", settings.Revoke{Policy: newest}},
		{first, "true", settings.Revoke{Policy: first, DryRun: true}},
	} {
		s, got, err := revokeSettings(map[string]string{"REVOKE_POLICY": test.policy, "REVOKE_DRY_RUN": test.dryRun})
		if err != nil || got != test.want || s.AccountsTable != "accounts" {
			t.Errorf("%q, %q: got %+v, %+v, %v", test.policy, test.dryRun, s, got, err)
		}
	}
}

func TestRevokeSettingsNameEveryFault(t *testing.T) {
	_, _, err := revokeSettings(map[string]string{"REVOKE_POLICY": "last-wins", "REVOKE_DRY_RUN": "yes", "ACCOUNTS_TABLE": ""})
	const want = `REVOKE_POLICY is "last-wins": it should be newest-wins or first-wins
REVOKE_DRY_RUN is "yes": it should be true or false
ACCOUNTS_TABLE is not set: it should be the name of the DynamoDB table of accounts`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// Only the revoke function reads what is for it.
func TestOtherFunctionsReadNoRevokeSettings(t *testing.T) {
	_, err := settings.FromEnvironment(func(name string) string {
		if name == "REVOKE_POLICY" || name == "REVOKE_DRY_RUN" {
			t.Errorf("%s was read", name)
		}
		return required[name]
	})
	if err != nil {
		t.Error(err)
	}
}
