package announce_test

import (
	"bytes"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/ownership"
)

const account = "GARMIN/k7c1.1f2e3d4c5b6a79880f1e2d3c4b5a6978"

var now = time.Date(2026, 11, 22, 12, 0, 0, 250_000_000, time.UTC)

// A watch that passed from tony_stark to pepper_potts.
func transferred() ownership.Announcement {
	return ownership.Announcement{
		Type:     ownership.Transferred,
		Account:  account,
		Provider: "GARMIN",
		Reason:   ownership.ConnectedByOther,
		Order:    ownership.Signed,
		Previous: ownership.Holder{
			UserID:      "4735eac4-31a2-47ef-8b11-51e98d84c680",
			ReferenceID: "tony_stark",
			ConnectedAt: time.Date(2024, 10, 7, 3, 45, 0, 0, time.UTC),
			Tenure:      1,
		},
		Current: ownership.Holder{
			UserID:      "9c8b7a65-0d1e-4f2a-b3c4-d5e6f7a8b9c0",
			ReferenceID: "pepper_potts",
			ConnectedAt: time.Date(2026, 11, 22, 12, 59, 58, 123_456_000, time.FixedZone("CET", 3600)),
			Tenure:      1,
		},
	}
}

// The same, told by a user_reauth before any account was known, of a connection older than Handover.
func reauthorized() ownership.Announcement {
	a := transferred()
	a.Account, a.Provider, a.Reason, a.Order = "", "", ownership.Reauth, ownership.Terra
	a.Previous.ConnectedAt = time.Time{}
	return a
}

func revoked() ownership.Announcement {
	return ownership.Announcement{Type: ownership.Revoked, Account: account, Provider: "GARMIN", Connection: transferred().Previous}
}

func TestAttributesNameOnlyWhatTheEventHas(t *testing.T) {
	for name, test := range map[string]struct {
		announcement ownership.Announcement
		want         map[string]string
	}{
		"transferred": {transferred(), map[string]string{
			"type": "handover.account.transferred.v1", "provider": "GARMIN", "reason": "connected_by_other", "order": "signed",
		}},
		"provider unknown": {reauthorized(), map[string]string{
			"type": "handover.account.transferred.v1", "reason": "reauth", "order": "terra",
		}},
		"revoked": {revoked(), map[string]string{"type": "handover.connection.revoked.v1", "provider": "GARMIN"}},
	} {
		if got := event(t, test.announcement).Attributes; !maps.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestReferencesStayReadable(t *testing.T) {
	a := revoked()
	a.Connection.ReferenceID = "<tony> & \"pepper\"\n🦾"
	const want = `{"account":"` + account + `","provider":"GARMIN","connection":{` +
		`"user_id":"4735eac4-31a2-47ef-8b11-51e98d84c680","reference_id":"<tony> & \"pepper\"\n🦾","connected_at":"2024-10-07T03:45:00Z","tenure":1}}`

	e := event(t, a)
	if string(e.Data) != want {
		t.Errorf("data: got %s\nwant %s", e.Data, want)
	}
	if message := encode(t, e); !bytes.HasSuffix(message, []byte(`"data":`+want+`}`)) {
		t.Errorf("message: got %s", message)
	}
}

func TestNewRefusesWhatTheSchemasDoNotAllow(t *testing.T) {
	for want, spoil := range map[string]func(*ownership.Announcement){
		`an announcement of unknown type ""`:                                         func(a *ownership.Announcement) { a.Type = "" },
		`an announcement of unknown reason "theft"`:                                  func(a *ownership.Announcement) { a.Reason = "theft" },
		`an announcement of unknown order ""`:                                        func(a *ownership.Announcement) { a.Order = ownership.Unknown },
		`an announcement whose previous lacks user_id, reference_id or tenure`:       func(a *ownership.Announcement) { a.Previous.UserID = "" },
		`an announcement whose current lacks user_id, reference_id or tenure`:        func(a *ownership.Announcement) { a.Current.ReferenceID = "" },
		`an announcement whose connection lacks user_id, reference_id or tenure`:     func(a *ownership.Announcement) { *a = revoked(); a.Connection.Tenure = 0 },
		"an announcement of unknown order \"\"\nan announcement whose current lacks": func(a *ownership.Announcement) { a.Order, a.Current.Tenure = "", 0 },
	} {
		a := transferred()
		spoil(&a)
		if _, err := announce.New(a, "handover", now); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got error %v, want %s", err, want)
		}
	}
}

// The id is what subscribers dedupe by: it depends on the type and all of the data, and on nothing else.
func TestSameDataSameID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := announcements().Draw(t, "a"), announcements().Draw(t, "b")
		if rapid.Bool().Draw(t, "nearly the same") {
			b = a
			holder := rapid.SampledFrom([]*ownership.Holder{&b.Previous, &b.Current, &b.Connection}).Draw(t, "changed")
			if holder.UserID != "" { // else b stays the same
				*holder = holders().Draw(t, "holder")
			}
		}
		source, later := rapid.StringN(1, 9, -1).Draw(t, "source"), now.Add(time.Hour)
		x, err := announce.New(a, "handover", now)
		if err != nil {
			t.Fatal(err)
		}
		y, err := announce.New(b, source, later)
		if err != nil {
			t.Fatal(err)
		}
		if (a == b) != (x.ID == y.ID) {
			t.Fatalf("the announcements are the same: %v, the ids are %s and %s", a == b, x.ID, y.ID)
		}
	})
}

func TestEveryEventSatisfiesItsSchema(t *testing.T) {
	schemas := compileSchemas(t)
	rapid.Check(t, func(t *rapid.T) {
		e, err := announce.New(announcements().Draw(t, "announcement"), rapid.StringN(1, 9, -1).Draw(t, "source"), now)
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas[e.Type].Validate(decode(t, encode(t, e))); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSchemasRefuseWhatIsNotAnEvent(t *testing.T) {
	schemas := compileSchemas(t)
	message := string(encode(t, event(t, transferred())))
	for _, change := range [][2]string{
		{`"specversion":"1.0",`, ``},
		{`"specversion":"1.0"`, `"specversion":"0.3"`},
		{`account.transferred.v1"`, `account.transferred.v2"`},
		{`"time":"2026-11-22T12:00:00.25Z"`, `"time":"yesterday"`},
		{`"reason":"connected_by_other"`, `"reason":"theft"`},
		{`"order":"signed"`, `"order":null`},
		{`"connected_at":"2024-10-07T03:45:00Z"`, `"connected_at":"2024-10-07"`},
		{`"connected_at":"2024-10-07T03:45:00Z",`, ``},
		{`"tenure":1`, `"tenure":0`},
		{`"reference_id":"tony_stark"`, `"reference_id":null`},
	} {
		changed := strings.Replace(message, change[0], change[1], 1)
		if changed == message {
			t.Fatalf("the message has no %s: %s", change[0], message)
		}
		if schemas[ownership.Transferred].Validate(decode(t, []byte(changed))) == nil {
			t.Errorf("valid with %q in place of %q", change[1], change[0])
		}
	}
	if schemas[ownership.Revoked].Validate(decode(t, []byte(message))) == nil {
		t.Error("a transfer is a valid revocation")
	}
}

func TestParseReadsBackWhatWasAnnounced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := announcements().Draw(t, "announcement")
		e, err := announce.New(want, "handover", now)
		if err != nil {
			t.Fatal(err)
		}
		id, got, err := announce.Parse(encode(t, e))
		if err != nil || id != e.ID || got != want {
			t.Fatalf("got %s, %+v, %v, want %s, %+v", id, got, err, e.ID, want)
		}
	})
}

func TestParseReadsTheGoldenFiles(t *testing.T) {
	inUTC := transferred()
	inUTC.Current.ConnectedAt = inUTC.Current.ConnectedAt.UTC()
	reauthorizedInUTC := reauthorized()
	reauthorizedInUTC.Current.ConnectedAt = reauthorizedInUTC.Current.ConnectedAt.UTC()
	for file, want := range map[string]ownership.Announcement{
		"testdata/account-transferred.golden.json":        inUTC,
		"testdata/account-transferred-reauth.golden.json": reauthorizedInUTC,
		"testdata/connection-revoked.golden.json":         revoked(),
	} {
		message, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if id, got, err := announce.Parse(message); err != nil || id != event(t, want).ID || got != want {
			t.Errorf("%s: got %s, %+v, %v, want %+v", file, id, got, err, want)
		}
	}
}

func TestParseRefusesWhatNewWouldNotMake(t *testing.T) {
	message := string(encode(t, event(t, transferred())))
	for _, change := range [][2]string{
		{message, ``},
		{message, `null`},
		{message, `[]`},
		{message, `{}`},
		{message, message[:len(message)-1]},
		{message, message + "x"},
		{`account.transferred.v1"`, `account.transferred.v2"`},
		{`account.transferred.v1"`, `connection.revoked.v1"`},
		{`"id":"`, `"no id":"`},
		{`"data":`, `"no data":`},
		{`"reason":"connected_by_other"`, `"reason":"theft"`},
		{`"order":"signed"`, `"order":null`},
		{`"connected_at":"2024-10-07T03:45:00Z"`, `"connected_at":"2024-10-07"`},
		{`"tenure":1`, `"tenure":0`},
		{`"reference_id":"tony_stark"`, `"reference_id":null`},
		{`"user_id":"9c8b7a65-0d1e-4f2a-b3c4-d5e6f7a8b9c0"`, `"user_id":7`},
	} {
		changed := strings.Replace(message, change[0], change[1], 1)
		if changed == message {
			t.Fatalf("the message has no %s: %s", change[0], message)
		}
		if id, a, err := announce.Parse([]byte(changed)); err != announce.ErrNotEvent || id != "" || a != (ownership.Announcement{}) {
			t.Errorf("%.80s in place of %.40s: got %s, %+v, %v", change[1], change[0], id, a, err)
		}
	}
}

// announcements generates any announcement that New accepts.
func announcements() *rapid.Generator[ownership.Announcement] {
	return rapid.Custom(func(t *rapid.T) ownership.Announcement {
		a := ownership.Announcement{
			Type:     rapid.SampledFrom([]ownership.Type{ownership.Transferred, ownership.Revoked}).Draw(t, "type"),
			Account:  rapid.SampledFrom([]string{account, ""}).Draw(t, "account"),
			Provider: rapid.SampledFrom([]string{"GARMIN", ""}).Draw(t, "provider"),
		}
		if a.Type == ownership.Revoked {
			a.Connection = holders().Draw(t, "connection")
			return a
		}
		a.Reason = rapid.SampledFrom([]ownership.Reason{ownership.ConnectedByOther, ownership.Reauth, ownership.Reassigned}).Draw(t, "reason")
		a.Order = rapid.SampledFrom([]ownership.Certainty{ownership.Signed, ownership.Terra, ownership.Observed}).Draw(t, "order")
		a.Previous = holders().Draw(t, "previous")
		a.Current = holders().Draw(t, "current")
		return a
	})
}

func holders() *rapid.Generator[ownership.Holder] {
	return rapid.Custom(func(t *rapid.T) ownership.Holder {
		h := ownership.Holder{
			UserID:      rapid.SampledFrom([]string{"4735eac4", "9c8b7a65"}).Draw(t, "user_id"),
			ReferenceID: rapid.StringN(1, 9, -1).Draw(t, "reference_id"),
			Tenure:      rapid.IntRange(1, 3).Draw(t, "tenure"),
		}
		if rapid.Bool().Draw(t, "time known") {
			h.ConnectedAt = time.Unix(0, rapid.Int64().Draw(t, "connected_at")).UTC()
		}
		return h
	})
}

func event(t *testing.T, a ownership.Announcement) announce.Event {
	t.Helper()
	e, err := announce.New(a, "handover", now)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func encode(t rapid.TB, e announce.Event) []byte {
	t.Helper()
	message, err := e.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func decode(t rapid.TB, message []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// compileSchemas returns the schema of each type of event.
func compileSchemas(t *testing.T) map[ownership.Type]*jsonschema.Schema {
	t.Helper()
	schemas := map[ownership.Type]*jsonschema.Schema{}
	for eventType, file := range map[ownership.Type]string{
		ownership.Transferred: "schema/account-transferred.v1.json",
		ownership.Revoked:     "schema/connection-revoked.v1.json",
	} {
		text, err := announce.Schemas.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource(file, decode(t, text)); err != nil {
			t.Fatal(err)
		}
		if schemas[eventType], err = compiler.Compile(file); err != nil {
			t.Fatal(err)
		}
	}
	return schemas
}
