package local_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/local"
)

func defaults() local.Config {
	return local.Config{Listen: "127.0.0.1:8080", Data: ".handover", SigningSecrets: []string{local.Secret}, SweepEvery: 2 * time.Second, WalkEvery: 24 * time.Hour, NotRevokedAfter: 24 * time.Hour, Retention: 9600 * time.Hour}
}

func parse(args []string, environment map[string]string) (local.Config, error) {
	return local.ParseConfig(args, func(name string) string { return environment[name] }, &bytes.Buffer{})
}

func TestParseConfig(t *testing.T) {
	for name, test := range map[string]struct {
		args        []string
		environment map[string]string
		change      func(*local.Config)
	}{
		"defaults": {},
		"flags": {
			args: []string{
				"-listen", "localhost:0", "-data=/tmp/x", "-signing-secret", "one", "--signing-secret=two,three", "-terra-api", "https://api.tryterra.co/v2/",
				"-terra-dev-id", "d", "-terra-api-key", "k", "-subscriber", "http://a/", "-subscriber", "https://b/?x,y", "-sweep-every", "500ms", "-no-simulator",
				"-dynamodb-endpoint", "http://127.0.0.1:1", "-sns-endpoint", "http://127.0.0.1:2",
				"-walk-every", "1h", "-not-revoked-after", "2h", "-retention", "3h", "-json",
			},
			change: func(c *local.Config) {
				*c = local.Config{
					Listen: "localhost:0", Data: "/tmp/x", SigningSecrets: []string{"one", "two,three"}, TerraAPI: "https://api.tryterra.co/v2",
					TerraDevID: "d", TerraAPIKey: "k", Subscribers: []string{"http://a/", "https://b/?x,y"}, SweepEvery: 500 * time.Millisecond, NoSimulator: true,
					WalkEvery: time.Hour, NotRevokedAfter: 2 * time.Hour, Retention: 3 * time.Hour,
					DynamoDBEndpoint: "http://127.0.0.1:1", SNSEndpoint: "http://127.0.0.1:2", AsJSON: true,
				}
			},
		},
		"environment": {
			environment: map[string]string{
				"HANDOVER_LISTEN": "localhost:0", "HANDOVER_DATA": "/tmp/x", "HANDOVER_SIGNING_SECRET": "one,two", "HANDOVER_TERRA_API": "http://t",
				"HANDOVER_TERRA_DEV_ID": "d", "HANDOVER_TERRA_API_KEY": "k", "HANDOVER_SUBSCRIBER": "http://a/,http://b/", "HANDOVER_SWEEP_EVERY": "1m",
				"HANDOVER_NO_SIMULATOR": "true", "HANDOVER_DYNAMODB_ENDPOINT": "http://127.0.0.1:1", "HANDOVER_SNS_ENDPOINT": "http://127.0.0.1:2",
				"HANDOVER_WALK_EVERY": "1h", "HANDOVER_NOT_REVOKED_AFTER": "2h", "HANDOVER_RETENTION": "3h", "HANDOVER_JSON": "true",
			},
			change: func(c *local.Config) {
				*c = local.Config{
					Listen: "localhost:0", Data: "/tmp/x", SigningSecrets: []string{"one", "two"}, TerraAPI: "http://t", TerraDevID: "d", TerraAPIKey: "k",
					Subscribers: []string{"http://a/", "http://b/"}, SweepEvery: time.Minute, NoSimulator: true,
					WalkEvery: time.Hour, NotRevokedAfter: 2 * time.Hour, Retention: 3 * time.Hour,
					DynamoDBEndpoint: "http://127.0.0.1:1", SNSEndpoint: "http://127.0.0.1:2", AsJSON: true,
				}
			},
		},
		"a flag wins over the environment": {
			args:        []string{"-listen", "[::1]:1", "-signing-secret", "flag", "-no-simulator=false"},
			environment: map[string]string{"HANDOVER_LISTEN": "nonsense", "HANDOVER_SIGNING_SECRET": "environment", "HANDOVER_NO_SIMULATOR": "true"},
			change:      func(c *local.Config) { c.Listen, c.SigningSecrets = "[::1]:1", []string{"flag"} },
		},
		"empty variables count for nothing": {environment: map[string]string{"HANDOVER_LISTEN": "", "HANDOVER_SWEEP_EVERY": "", "HANDOVER_SUBSCRIBER": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			want := defaults()
			if test.change != nil {
				test.change(&want)
			}
			got, err := parse(test.args, test.environment)
			got.SigningSecrets, got.Subscribers = slices.Clip(got.SigningSecrets), slices.Clip(got.Subscribers)
			if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

// Every fault is named at once, with what should stand there.
func TestConfigFaults(t *testing.T) {
	for name, test := range map[string]struct {
		args        []string
		environment map[string]string
		want        string
	}{
		"flags": {
			args: []string{
				"-listen", "8080", "-data", "", "-signing-secret", "", "-terra-api", "api.tryterra.co", "-subscriber", "", "-subscriber", "ftp://a/",
				"-sweep-every", "0s", "-walk-every", "daily", "-no-simulator=perhaps", "-dynamodb-endpoint", "127.0.0.1:1", "-sns-endpoint", "http://",
			},
			want: `-listen is "8080": it should be host:port, such as 127.0.0.1:8080
-data is "": it should be a folder
-signing-secret is "": it should be Terra's signing secret, not empty
-terra-api is "api.tryterra.co": it should be an http or https URL
-dynamodb-endpoint is "127.0.0.1:1": it should be an http or https URL
-sns-endpoint is "http://": it should be an http or https URL
-subscriber is "": it should be an http or https URL
-subscriber is "ftp://a/": it should be an http or https URL
-sweep-every is "0s": it should be a positive duration such as 2s
-walk-every is "daily": it should be a positive duration such as 2s
-no-simulator is "perhaps": it should be true or false`,
		},
		"environment": {
			environment: map[string]string{
				"HANDOVER_SWEEP_EVERY": "-2s", "HANDOVER_NO_SIMULATOR": "perhaps", "HANDOVER_SUBSCRIBER": "http://a/,b", "HANDOVER_LISTEN": "nowhere",
				"HANDOVER_SIGNING_SECRET": "one,,two",
			},
			want: `HANDOVER_LISTEN is "nowhere": it should be host:port, such as 127.0.0.1:8080
HANDOVER_SIGNING_SECRET is "": it should be Terra's signing secret, not empty
HANDOVER_SUBSCRIBER is "b": it should be an http or https URL
HANDOVER_SWEEP_EVERY is "-2s": it should be a positive duration such as 2s
HANDOVER_NO_SIMULATOR is "perhaps": it should be true or false`,
		},
		"an address that others reach": {
			args: []string{"-listen", ":8080"},
			want: `-listen is ":8080": it should be an address that only this machine reaches, such as 127.0.0.1:8080, for the page shows personal data; a tunnel for Terra ends there too`,
		},
		"an address that others reach, by number": {
			args: []string{"-listen", "0.0.0.0:8080"},
			want: `-listen is "0.0.0.0:8080": it should be an address that only this machine reaches, such as 127.0.0.1:8080, for the page shows personal data; a tunnel for Terra ends there too`,
		},
		"an argument too many": {args: []string{"-no-simulator", "now"}, want: `serve takes no argument "now"`},
		"no such flag":         {args: []string{"-lisen", ":1"}, want: "flag provided but not defined: -lisen"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(test.args, test.environment); fmt.Sprint(err) != test.want {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestConfigHelp(t *testing.T) {
	var usage bytes.Buffer
	config, err := local.ParseConfig([]string{"-listen", "nonsense", "-h"}, func(string) string { return "" }, &usage)
	if !errors.Is(err, flag.ErrHelp) || !reflect.DeepEqual(config, local.Config{}) {
		t.Errorf("got %+v, %v", config, err)
	}
	for _, name := range []string{ // DESIGN's "The local program"
		"listen", "data", "signing-secret", "terra-api", "terra-dev-id", "terra-api-key", "subscriber", "sweep-every", "no-simulator", "dynamodb-endpoint", "sns-endpoint",
	} {
		if !strings.Contains(usage.String(), "\n  -"+name+" ") && !strings.Contains(usage.String(), "\n  -"+name+"\n") {
			t.Errorf("-%s is not in the usage text:\n%s", name, usage.String())
		}
	}
}
