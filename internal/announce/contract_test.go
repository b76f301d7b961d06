package announce_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"go.yaml.in/yaml/v3"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/realparts"
)

// AsyncAPI's own parser takes the document and, with a second validator of schemas, its examples.
func TestAsyncAPIParserTakesTheDocument(t *testing.T) {
	check := realparts.AsyncAPI(t)
	if output, err := exec.Command(check[0], append(check[1:], "schema/asyncapi.yaml")...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	document, err := os.ReadFile("schema/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a binding that is none":  {"rawMessageDelivery: true", "rawMessageDelivery: maybe"},
		"an example that is none": {`order: "signed"`, `order: "certain"`},
	} {
		folder := t.TempDir()
		if err := os.CopyFS(folder, os.DirFS("schema")); err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(document), change[0], change[1], 1)
		if changed == string(document) {
			t.Fatalf("%s: the document has no %s", name, change[0])
		}
		if err := os.WriteFile(folder+"/asyncapi.yaml", []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if exec.Command(check[0], append(check[1:], folder+"/asyncapi.yaml")...).Run() == nil {
			t.Errorf("%s: nothing is wrong with it", name)
		}
	}
}

// The document's examples are the golden events, with the attributes that the publisher gives them.
func TestAsyncAPIExamplesAreTheGoldenEvents(t *testing.T) {
	text, err := os.ReadFile("schema/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct {
			Messages map[string]struct {
				Name     string
				Examples []struct {
					Headers map[string]string
					Payload map[string]any
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var got []string
	schemas := compileSchemas(t)
	for _, m := range document.Components.Messages {
		for _, e := range m.Examples {
			payload, err := json.Marshal(e.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if err := schemas[ownership.Type(m.Name)].Validate(decode(t, payload)); err != nil {
				t.Error(err)
			}
			id, announcement, err := announce.Parse(payload)
			if err != nil {
				t.Errorf("%s: %v", payload, err)
				continue
			}
			published := event(t, announcement)
			if published.ID != id || !maps.Equal(published.Attributes, e.Headers) {
				t.Errorf("the example has id %s and attributes %v, the event %s and %v", id, e.Headers, published.ID, published.Attributes)
			}
			got = append(got, string(encode(t, published)))
		}
	}
	var want []string
	for _, a := range []ownership.Announcement{transferred(), reauthorized(), revoked()} {
		want = append(want, string(encode(t, event(t, a))))
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("the examples are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What the document names of the stack is in its template.
func TestAsyncAPINamesTheStacksParts(t *testing.T) {
	document, err := os.ReadFile("schema/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parts := regexp.MustCompile("(?:the parameter|The output) `?([A-Za-z]+)").FindAllStringSubmatch(string(document), -1)
	if len(parts) < 2 {
		t.Errorf("it names %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(string(template), "\n  "+part[1]+":\n") {
			t.Errorf("the template has no %s", part[1])
		}
	}
}

func TestFilterPoliciesLetThroughWhatTheySay(t *testing.T) {
	text, err := os.ReadFile("schema/filter-policies.json")
	if err != nil {
		t.Fatal(err)
	}
	var recipes []struct {
		Name, Why string
		Policy    json.RawMessage
	}
	if err := json.Unmarshal(text, &recipes); err != nil {
		t.Fatal(err)
	}
	guess, phone, nameless := transferred(), transferred(), revoked()
	guess.Order = ownership.Observed
	phone.Provider, phone.Reason, phone.Account = "APPLE", ownership.Reassigned, ""
	nameless.Provider = ""
	announcements := map[string]ownership.Announcement{
		"sure": transferred(), "guess": guess, "reauth without provider": reauthorized(), "phone reassigned": phone, "ended": revoked(), "ended without provider": nameless,
	}
	want := map[string][]string{
		"automatic revocation":               {"phone reassigned", "reauth without provider", "sure"},
		"a person's list":                    {"guess"},
		"transfers":                          {"guess", "phone reassigned", "reauth without provider", "sure"},
		"confirmations":                      {"ended", "ended without provider"},
		"two persons, one account":           {"guess", "sure"},
		"one provider":                       {"ended", "guess", "sure"},
		"real accounts":                      {"ended", "guess", "sure"},
		"automatic revocation, one provider": {"sure"},
	}
	if len(recipes) != len(want) {
		t.Errorf("there are %d recipes, and %d are tested", len(recipes), len(want))
	}
	config := realparts.AWSConfig(realparts.Moto(t))
	for i, recipe := range recipes {
		topicARN, receive := subscribedQueue(t, config, "recipe-"+string(rune('a'+i)), string(recipe.Policy))
		publisher := announce.NewSNS(sns.NewFromConfig(config), topicARN, "handover")
		names := map[string]string{} // by id
		for name, a := range announcements {
			names[event(t, a).ID] = name
			if err := publisher.Publish(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, body := range receive() {
			id, _, err := announce.Parse([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, names[id])
		}
		if slices.Sort(got); !slices.Equal(got, want[recipe.Name]) {
			t.Errorf("%s lets through %q, want %q", recipe.Name, got, want[recipe.Name])
		}
	}
}
