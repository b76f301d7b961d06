package terra

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Events in the shapes of Terra's documentation, Webhooks > Event types; legacy is API version 2022-03-16.
const (
	legacyAuth  = `{"type":"auth","status":"success","widget_session_id":"a9a0c7a4-c05e-4550-a973-f87a31a7c558","user":{"scopes":"ACTIVITY_EXPORT,HEALTH_EXPORT","active":true,"last_webhook_update":null,"created_at":"2024-10-07T03:45:00.000000+00:00","user_id":"4735eac4-31a2-47ef-8b11-51e98d84c680","reference_id":"tony_stark","provider":"GARMIN"},"reference_id":"tony_stark","message":"User has successfully authenticated","version":"2022-03-16"}`
	newerAuth   = `{"type":"auth","status":"success","flow_id":"f1","widget_session_id":null,"user":{"user_id":"4735eac4","provider":"GARMIN","reference_id":"tony_stark"}}`
	reauth      = `{"type":"user_reauth","status":"warning","message":"User has reauthenticated and old ID has been deleted","version":"2022-03-16","new_user":{"user_id":"9c8b7a65","provider":"GARMIN","reference_id":"new-owner","active":true},"old_user":{"user_id":"40f7b0e1","provider":"GARMIN","reference_id":"old-owner","active":false}}`
	athleteHook = `{"type":"athlete","version":"2022-03-16","user":{"user_id":"40f7b0e1","provider":"GARMIN","reference_id":"your-user-123"},"athlete":{"first_name":"Ada","devices":[{"provider_user_id":"not this"}],"provider_user_id":"a1b2c3d4e5"}}`
	deauth      = `{"user":{"last_webhook_update":null,"provider":"FITBIT","user_id":"d81ea08d-ad4d-44bd-8394-ee4b68a3f96f","scopes":null},"type":"deauth","status":"success","message":"User has deauthenticated","version":"2022-03-16"}`
)

func TestParseEvent(t *testing.T) {
	connectedAt := time.Date(2024, 10, 7, 3, 45, 0, 0, time.UTC)
	someone := User{Present: true, UserID: "u", Provider: "GARMIN", ReferenceID: "r"}
	const u = `{"user_id":"u","provider":"GARMIN","reference_id":"r"}`
	long := strings.Repeat("é", 1024) // 2048 bytes

	for name, test := range map[string]struct {
		body string
		want Event
		err  error
	}{
		"auth, legacy": {body: legacyAuth, want: Event{Type: "auth", Status: "success", ReferenceID: "tony_stark", User: User{
			Present: true, UserID: "4735eac4-31a2-47ef-8b11-51e98d84c680", Provider: "GARMIN", ReferenceID: "tony_stark", CreatedAt: connectedAt}}},
		"auth, newer": {body: newerAuth, want: Event{Type: "auth", Status: "success", User: User{
			Present: true, UserID: "4735eac4", Provider: "GARMIN", ReferenceID: "tony_stark"}}},
		"auth, failed": {body: `{"type":"auth","status":"error","reason":"denied","reference_id":"r"}`,
			want: Event{Type: "auth", Status: "error", ReferenceID: "r"}},
		"auth, failed, user null":      {body: `{"type":"auth","status":"error","user":null}`, want: Event{Type: "auth", Status: "error"}},
		"auth, failed, no user_id":     {body: `{"type":"auth","status":"error","user":{}}`, want: Event{Type: "auth", Status: "error"}},
		"auth_cancelled":               {body: `{"type":"auth_cancelled","reason":"user","reference_id":"r"}`, want: Event{Type: "auth_cancelled"}},
		"athlete":                      {body: athleteHook, want: Event{Type: "athlete", User: User{Present: true, UserID: "40f7b0e1", Provider: "GARMIN", ReferenceID: "your-user-123"}, ProviderUserID: "a1b2c3d4e5"}},
		"athlete, account null":        {body: `{"type":"athlete","user":` + u + `,"athlete":{"provider_user_id":null}}`, want: Event{Type: "athlete", User: someone}},
		"athlete, account a number":    {body: `{"type":"athlete","user":` + u + `,"athlete":{"provider_user_id":12345678901234567890}}`, want: Event{Type: "athlete", User: someone, ProviderUserID: "12345678901234567890"}},
		"athlete, account an object":   {body: `{"type":"athlete","user":` + u + `,"athlete":{"provider_user_id":{"a":1}}}`, want: Event{Type: "athlete", User: someone}},
		"athlete, null":                {body: `{"type":"athlete","user":` + u + `,"athlete":null}`, want: Event{Type: "athlete", User: someone}},
		"athlete, an array":            {body: `{"type":"athlete","user":` + u + `,"athlete":[{"provider_user_id":"a"}]}`, want: Event{Type: "athlete", User: someone}},
		"user_reauth":                  {body: reauth, want: Event{Type: "user_reauth", Status: "warning", User: User{Present: true, UserID: "9c8b7a65", Provider: "GARMIN", ReferenceID: "new-owner"}, OldUser: User{Present: true, UserID: "40f7b0e1", Provider: "GARMIN", ReferenceID: "old-owner"}}},
		"user_reauth, old_user null":   {body: `{"old_user":null,"new_user":` + u + `,"type":"user_reauth"}`, want: Event{Type: "user_reauth", User: someone}},
		"user_reauth, no old_user":     {body: `{"new_user":` + u + `,"type":"user_reauth"}`, want: Event{Type: "user_reauth", User: someone}},
		"user_reauth, user too":        {body: `{"user":{"user_id":"x"},"new_user":` + u + `,"type":"user_reauth"}`, want: Event{Type: "user_reauth", User: someone}},
		"auth, old_user too":           {body: `{"old_user":{},"user":` + u + `,"type":"auth"}`, want: Event{Type: "auth", User: someone}},
		"deauth, user before the type": {body: deauth, want: Event{Type: "deauth", Status: "success", User: User{Present: true, UserID: "d81ea08d-ad4d-44bd-8394-ee4b68a3f96f", Provider: "FITBIT"}}},
		"deauth, provider null":        {body: `{"type":"deauth","user":{"user_id":"u","provider":null}}`, want: Event{Type: "deauth", User: User{Present: true, UserID: "u"}}},
		"access_revoked":               {body: `{"type":"access_revoked","status":"warning","user":` + u + `}`, want: Event{Type: "access_revoked", Status: "warning", User: someone}},
		"connection_error":             {body: `{"type":"connection_error","status":"warning","user":` + u + `}`, want: Event{Type: "connection_error", User: someone}},
		"permission_change":            {body: `{"type":"permission_change","user":` + u + `,"added":[]}`, want: Event{Type: "permission_change", User: someone}},
		"s3_payload":                   {body: `{"type":"s3_payload","url":"https://example.com/x","expires_in":1}`, want: Event{Type: "s3_payload"}},
		"lab_report.completed":         {body: `{"type":"lab_report.completed","data":{}}`, want: Event{Type: "lab_report.completed"}},
		"lab_report.failed":            {body: `{"type":"lab_report.failed","data":{}}`, want: Event{Type: "lab_report.failed"}},
		"healthcheck":                  {body: `{"type":"healthcheck","status":"success"}`, want: Event{Type: "healthcheck"}},
		"rate_limit_hit without user":  {body: `{"type":"rate_limit_hit"}`, want: Event{Type: "rate_limit_hit"}},
		"daily, user null":             {body: `{"type":"daily","user":null,"data":[]}`, want: Event{Type: "daily"}},

		// What stands where, and how it is written.
		"data event, user last":            {body: string(dataEvent(1000, false)), want: Event{Type: "daily", User: User{Present: true, UserID: "4735eac4-31a2-47ef-8b11-51e98d84c680", Provider: "GARMIN", ReferenceID: "tony_stark"}}},
		"data event, broken after user":    {body: `{"type":"body","user":` + u + `,"data":[tru`, want: Event{Type: "body", User: someone}},
		"data event, type after its user":  {body: `{"user":` + u + `,"data":[{"user":0}],"type":"sleep" garbage`, want: Event{Type: "sleep", User: someone}},
		"space everywhere":                 {body: " \r\n\t{ \"type\" : \"auth\" ,\n\"user\" : " + u + " } \n", want: Event{Type: "auth", User: someone}},
		"escapes in names and values":      {body: `{"t\u0079pe":"a\u0075th","user":{"user\u005fid":"u","reference_id":"\"\u00e9\ud83d\ude00\\\n"}}`, want: Event{Type: "auth", User: User{Present: true, UserID: "u", ReferenceID: "\"é😀\\\n"}}},
		"names are told apart by case":     {body: `{"Type":"daily","type":"auth","user":` + u + `}`, want: Event{Type: "auth", User: someone}},
		"repeated names: the last counts":  {body: `{"type":"daily","type":"deauth","user":{"user_id":"x","reference_id":"x","created_at":"2024-10-07T03:45:00Z"},"user":{"user_id":"y","user_id":"u"}}`, want: Event{Type: "deauth", User: User{Present: true, UserID: "u"}}},
		"repeated athlete":                 {body: `{"type":"athlete","user":` + u + `,"athlete":{"provider_user_id":"a"},"athlete":{}}`, want: Event{Type: "athlete", User: someone}},
		"repeated names in a data event":   {body: `{"type":"daily","data":[{"a":1,"a":2}],"user":` + u + `}`, want: Event{Type: "daily", User: someone}},
		"broken UTF-8 in a data event":     {body: "{\"data\":\"\xff\xc0\",\"\xff\":0,\"type\":\"daily\",\"user\":" + u + "}", want: Event{Type: "daily", User: someone}},
		"broken UTF-8 in an auth":          {body: "{\"type\":\"auth\",\"user\":{\"user_id\":\"u\",\"reference_id\":\"a\xffb\"},\"message\":\"\xff\"}", want: Event{Type: "auth", User: User{Present: true, UserID: "u", ReferenceID: "a\ufffdb"}}},
		"lone surrogate":                   {body: `{"type":"auth","user":{"user_id":"u","reference_id":"a\ud800b"}}`, want: Event{Type: "auth", User: User{Present: true, UserID: "u", ReferenceID: "a\ufffdb"}}},
		"numeric reference_id":             {body: `{"type":"auth","user":{"user_id":"u","reference_id":12345678901234567890},"reference_id":-1.50e3}`, want: Event{Type: "auth", ReferenceID: "-1.50e3", User: User{Present: true, UserID: "u", ReferenceID: "12345678901234567890"}}},
		"optional members of wrong types":  {body: `{"type":"auth","status":1,"reference_id":{},"user":{"user_id":"u","provider":5,"reference_id":[1],"created_at":{"a":"b"}}}`, want: Event{Type: "auth", User: User{Present: true, UserID: "u"}}},
		"created_at a number":              {body: `{"type":"auth","user":{"user_id":"u","created_at":1728272700}}`, want: Event{Type: "auth", User: User{Present: true, UserID: "u"}}},
		"longest user_id and reference_id": {body: `{"type":"auth","user":{"user_id":"` + long[:128] + `","reference_id":"` + long + `"}}`, want: Event{Type: "auth", User: User{Present: true, UserID: long[:128], ReferenceID: long}}},

		// Unknown types are acknowledged, whatever their user is.
		"no type":                         {body: `{"user":` + u + `}`, want: Event{User: someone}},
		"empty object":                    {body: `{}`, want: Event{}},
		"type a number":                   {body: `{"type":7,"user":` + u + `}`, want: Event{User: someone}},
		"unknown type":                    {body: `{"type":"hologram","user":` + u + `}`, want: Event{Type: "hologram", User: someone}},
		"unknown type, user a string":     {body: `{"type":"hologram","user":"u"}`, want: Event{Type: "hologram"}},
		"unknown type, no user_id":        {body: `{"type":"hologram","user":{"provider":"GARMIN"}}`, want: Event{Type: "hologram"}},
		"unknown type, long reference_id": {body: `{"type":"hologram","user":{"user_id":"u","reference_id":"` + long + `1"}}`, want: Event{Type: "hologram"}},

		// So are those that tell of no connection: nothing depends on their user.
		"s3_payload, user empty":          {body: `{"type":"s3_payload","url":"https://example.com/x","user":{}}`, want: Event{Type: "s3_payload"}},
		"healthcheck, user a string":      {body: `{"type":"healthcheck","user":"u"}`, want: Event{Type: "healthcheck"}},
		"lab_report.failed, user_id null": {body: `{"type":"lab_report.failed","user":{"user_id":null}}`, want: Event{Type: "lab_report.failed"}},
		"auth_cancelled, no user_id":      {body: `{"type":"auth_cancelled","user":{"provider":"GARMIN","reference_id":"r"}}`, want: Event{Type: "auth_cancelled"}},
		"rate_limit_hit, user_id null":    {body: `{"type":"rate_limit_hit","user":{"user_id":null,"provider":"GARMIN"}}`, want: Event{Type: "rate_limit_hit"}},
		"processing, long reference_id":   {body: `{"type":"processing","user":{"user_id":"u","reference_id":"` + long + `1"}}`, want: Event{Type: "processing"}},
		"rate_limit_hit with user":        {body: `{"type":"rate_limit_hit","user":` + u + `}`, want: Event{Type: "rate_limit_hit", User: someone}},
		"permission_change, no user_id":   {body: `{"type":"permission_change","user":{}}`, err: ErrNoUserID},

		"empty body":                    {body: "", err: ErrNotJSON},
		"spaces":                        {body: "  ", err: ErrNotJSON},
		"null":                          {body: "null", err: ErrNotJSON},
		"array":                         {body: "[" + newerAuth + "]", err: ErrNotJSON},
		"string":                        {body: `"auth"`, err: ErrNotJSON},
		"form":                          {body: "type=auth", err: ErrNotJSON},
		"byte order mark":               {body: "\ufeff" + newerAuth, err: ErrNotJSON},
		"garbage behind an auth":        {body: newerAuth + "x", err: ErrNotJSON},
		"two auths":                     {body: newerAuth + newerAuth, err: ErrNotJSON},
		"auth, broken in the end":       {body: `{"type":"auth","user":` + u + `,"x":tru}`, err: ErrNotJSON},
		"auth, a comma too many":        {body: `{"type":"auth","user":` + u + `,}`, err: ErrNotJSON},
		"auth, brackets crossed":        {body: `{"type":"auth","user":` + u + `]`, err: ErrNotJSON},
		"data event, broken before":     {body: `{"type":"daily","data":[tru],"user":` + u + `}`, err: ErrNotJSON},
		"data event, truncated before":  {body: `{"type":"daily","data":[`, err: ErrNotJSON},
		"unknown type, garbage behind":  {body: `{"type":"hologram"}x`, err: ErrNotJSON},
		"unknown type, another behind":  {body: `{"type":"hologram"}{}`, err: ErrNotJSON},
		"auth without user":             {body: `{"type":"auth","status":"success"}`, err: ErrNoUserID},
		"auth, user null":               {body: `{"type":"auth","user":null}`, err: ErrNoUserID},
		"auth, user an array":           {body: `{"type":"auth","user":[` + u + `]}`, err: ErrNoUserID},
		"auth, no user_id":              {body: `{"type":"auth","user":{"provider":"GARMIN"}}`, err: ErrNoUserID},
		"auth, user_id null":            {body: `{"type":"auth","user":{"user_id":null}}`, err: ErrNoUserID},
		"auth, user_id empty":           {body: `{"type":"auth","user":{"user_id":""}}`, err: ErrNoUserID},
		"auth, user_id a number":        {body: `{"type":"auth","user":{"user_id":5}}`, err: ErrNoUserID},
		"auth, user_id too long":        {body: `{"type":"auth","user":{"user_id":"` + long[:128] + `1"}}`, err: ErrNoUserID},
		"athlete without user":          {body: `{"type":"athlete","athlete":{"provider_user_id":"a"}}`, err: ErrNoUserID},
		"deauth without user":           {body: `{"type":"deauth"}`, err: ErrNoUserID},
		"access_revoked without user":   {body: `{"type":"access_revoked"}`, err: ErrNoUserID},
		"user_reauth without new_user":  {body: `{"type":"user_reauth","user":` + u + `,"old_user":` + u + `}`, err: ErrNoUserID},
		"user_reauth, old no user_id":   {body: `{"type":"user_reauth","new_user":` + u + `,"old_user":{}}`, err: ErrNoUserID},
		"daily, no user_id":             {body: `{"type":"daily","user":{}}`, err: ErrNoUserID},
		"daily, user a string":          {body: `{"type":"daily","user":"u"}`, err: ErrNoUserID},
		"reference_id too long":         {body: `{"type":"auth","user":{"user_id":"u","reference_id":"` + long + `1"}}`, err: ErrReferenceTooLong},
		"the longest reference_id":      {body: `{"type":"auth","user":` + u + `,"reference_id":"` + long + `"}`, want: Event{Type: "auth", User: User{Present: true, UserID: "u", Provider: "GARMIN", ReferenceID: "r"}, ReferenceID: long}},
		"legacy reference_id too long":  {body: `{"type":"auth","user":` + u + `,"reference_id":"` + long + `1"}`, err: ErrReferenceTooLong},
		"old reference_id too long":     {body: `{"type":"user_reauth","new_user":` + u + `,"old_user":{"user_id":"o","reference_id":"` + long + `1"}}`, err: ErrReferenceTooLong},
		"data's reference_id too long":  {body: `{"type":"daily","user":{"user_id":"u","reference_id":"` + long + `1"}}`, err: ErrReferenceTooLong},
		"long number as a reference_id": {body: `{"type":"auth","user":{"user_id":"u","reference_id":` + strings.Repeat("1", 2049) + `}}`, err: ErrReferenceTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(test.body)
			got, err := ParseEvent(body)
			clear(body) // the caller's buffer is used again
			if !errors.Is(err, test.err) {
				t.Fatalf("got error %v, want %v", err, test.err)
			}
			if got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestParseEventDataTypes(t *testing.T) {
	for _, name := range []string{"activity", "body", "daily", "sleep", "nutrition", "menstruation", "planned_workout", "hormone", "health_observation",
		"route", "large_request_processing", "large_request_sending", "processing", "rate_limit_hit", "google_no_datasource"} {
		e, err := ParseEvent(fmt.Appendf(nil, `{"status":"success","type":%q,"user":{"user_id":"u","provider":null,"reference_id":null},"data":[{}]}`, name))
		want := Event{Type: name, User: User{Present: true, UserID: "u"}}
		if err != nil || e != want {
			t.Errorf("%s: got %+v, %v", name, e, err)
		}
		if !e.Known() || e.CanChangeOwnership() {
			t.Errorf("%s: known %v, can change ownership %v", name, e.Known(), e.CanChangeOwnership())
		}
	}
}

func TestParseEventTruncated(t *testing.T) {
	for _, body := range []string{legacyAuth, newerAuth, reauth, athleteHook, deauth} {
		for n := range len(body) {
			if _, err := ParseEvent([]byte(body[:n])); !errors.Is(err, ErrNotJSON) {
				t.Fatalf("%s: got %v, want %v", body[:n], err, ErrNotJSON)
			}
		}
	}
}

// An error goes to logs: it must not repeat what a body says, not even a name.
func TestParseEventErrorsQuoteNothing(t *testing.T) {
	for _, body := range []string{
		`{"type":"auth","user":{"user_id":"secret"},"secret":{"secret":secret}}`,
		`{"type":"auth","user":{"reference_id":"secret"}}`,
		`secret`,
	} {
		_, err := ParseEvent([]byte(body))
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", body, err)
		}
	}
}

func TestParseEventDeep(t *testing.T) {
	nest := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	const u = `"user":{"user_id":"u"}`
	deep := Event{Type: "daily", User: User{Present: true, UserID: "u"}}
	for name, test := range map[string]struct {
		body string
		want Event
		err  error
	}{
		"after the user":                 {body: `{"type":"daily",` + u + `,"data":` + nest(100_000) + `}`, want: deep},
		"before the user, readable":      {body: `{"type":"daily","data":` + nest(9_999) + `,` + u + `}`, want: deep},
		"before the user, arrays":        {body: `{"type":"daily","data":` + nest(10_000) + `,` + u + `}`, want: Event{Type: "daily"}},
		"before the user, very deep":     {body: `{"type":"daily","data":` + nest(100_000) + `,` + u + `}`, want: Event{Type: "daily"}},
		"before the user, objects":       {body: `{"type":"daily","data":` + strings.Repeat(`{"a":`, 100_000), want: Event{Type: "daily"}},
		"before the user, nameless":      {body: `{"type":"daily","":` + strings.Repeat(`{"":`, 100_000), want: Event{Type: "daily"}},
		"in the user":                    {body: `{"type":"daily","user":{"user_id":"u","scopes":` + nest(100_000) + `}}`, want: Event{Type: "daily"}},
		"truncated just above the limit": {body: `{"type":"daily","data":` + nest(9_999)[:9_999], err: ErrNotJSON},
		"truncated at the limit":         {body: `{"type":"daily","data":` + strings.Repeat("[", 9_999) + `1,`, err: ErrNotJSON},
		"before the type":                {body: `{"data":` + nest(100_000) + `,"type":"daily",` + u + `}`, err: ErrNotJSON},
		"in an auth":                     {body: `{"type":"auth",` + u + `,"x":` + nest(100_000) + `}`, err: ErrNotJSON},
		"in an auth, readable":           {body: `{"type":"auth",` + u + `,"x":` + nest(9_999) + `}`, want: Event{Type: "auth", User: deep.User}},
		"nothing else":                   {body: nest(100_000), err: ErrNotJSON},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseEvent([]byte(test.body))
			if !errors.Is(err, test.err) || got != test.want {
				t.Errorf("got %+v, %v\nwant %+v, %v", got, err, test.want, test.err)
			}
		})
	}
}

func TestInstant(t *testing.T) {
	at := time.Date(2024, 10, 7, 3, 45, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"2024-10-07T03:45:00.000000+00:00":    at,
		"2024-10-07T03:45:00Z":                at,
		"2024-10-07T03:45:00":                 at,
		"2024-10-07 03:45:00":                 at,
		"2024-10-07 03:45:00+00:00":           at,
		"2024-10-07T05:45:00+02:00":           at,
		"2024-10-07T05:45:00+0200":            at,
		"2024-10-07T05:45:00+02":              at,
		"2024-10-06T22:15:00-05:30":           at,
		"2024-10-07T03:45:00.25":              at.Add(250 * time.Millisecond),
		"2024-10-07 03:45:00.123456789Z":      at.Add(123456789),
		"2024-10-07T03:45:00.000001+00:00":    at.Add(time.Microsecond),
		"":                                    {},
		"2024-10-07":                          {},
		"2024-13-07T03:45:00Z":                {},
		"1728272700":                          {},
		"yesterday":                           {},
		"0001-12-31T23:59:59Z":                time.Date(1, 12, 31, 23, 59, 59, 0, time.UTC),
		"9999-01-01T00:00:00Z":                time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
		"0000-01-01T00:00:00+23:00":           {},
		"9999-12-31T23:59:59-23:00":           {},
		"2024-10-07T03:45:00Z and then some":  {},
		"2024-10-07T03:45:00Z\x00":            {},
		"２０２４-10-07T03:45:00Z":                {},
		"2024-10-07T03:45:00+00:00[Etc/Zulu]": {},
	} {
		if got := instant(s); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}

// FuzzParseEvent compares with encoding/json on every body that both must read alike: valid JSON, valid UTF-8, no repeated name.
func FuzzParseEvent(f *testing.F) {
	for _, body := range []string{legacyAuth, newerAuth, reauth, athleteHook, deauth, string(dataEvent(300, true)), string(dataEvent(300, false)),
		`{"type":"auth","status":"error"}`, `{"type":"x","user":5}`, `{"user":{"user_id":"u","reference_id":1e3},"type":"access_revoked"} `,
		`{"data":[{"a":"\ud800","a":"` + "\xff" + `"}],"type":"daily","type":"daily","user":{"user_id":"u","user_id":"v","reference_id":"\u0061\/\"r"}}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := ParseEvent(body)
		if err != nil && got != (Event{}) {
			t.Fatalf("an error and an event: %v, %+v", err, got)
		}
		if err == nil && got.CanChangeOwnership() && !json.Valid(body) {
			t.Fatal("invalid JSON changes ownership")
		}
		if json.Valid(body) && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) && errors.Is(err, ErrNotJSON) {
			t.Fatalf("refused, though encoding/json takes it: %v", err) // repeated names, broken UTF-8, half a surrogate
		}
		if !jsontext.Value(body).IsValid() {
			return
		}
		want, wantErr := slowly(body)
		if got != want || !errors.Is(err, wantErr) {
			t.Fatalf("got %+v, %v\nwant %+v, %v", got, err, want, wantErr)
		}
	})
}

// slowly is ParseEvent by way of encoding/json.
func slowly(body []byte) (Event, error) {
	object := func(raw json.RawMessage) (members map[string]json.RawMessage) {
		if json.Unmarshal(raw, &members) != nil {
			return nil
		}
		return members
	}
	text := func(raw json.RawMessage) (s string) {
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	}
	id := func(raw json.RawMessage) string {
		var n json.Number
		if len(raw) > 0 && raw[0] != '"' && json.Unmarshal(raw, &n) == nil {
			return n.String()
		}
		return text(raw)
	}
	user := func(raw json.RawMessage) User {
		if len(raw) == 0 || raw[0] == 'n' {
			return User{}
		}
		u := object(raw)
		return User{Present: true, UserID: text(u["user_id"]), Provider: text(u["provider"]), ReferenceID: id(u["reference_id"]), CreatedAt: instant(text(u["created_at"]))}
	}
	top := object(body)
	if top == nil {
		return Event{}, ErrNotJSON
	}
	e := Event{Type: text(top["type"]), User: user(top["user"])}
	if e.CanChangeOwnership() {
		e.Status, e.ReferenceID, e.ProviderUserID = text(top["status"]), id(top["reference_id"]), id(object(top["athlete"])["provider_user_id"])
	}
	if e.Type == "user_reauth" {
		e.User, e.OldUser = user(top["new_user"]), user(top["old_user"])
	}
	fault := func(u User) error {
		switch {
		case u.Present && (u.UserID == "" || len(u.UserID) > 128):
			return ErrNoUserID
		case u.Present && len(u.ReferenceID) > 2048:
			return ErrReferenceTooLong
		}
		return nil
	}
	operational := []string{
		"auth_cancelled", "large_request_processing", "large_request_sending", "processing", "rate_limit_hit", "google_no_datasource",
		"s3_payload", "lab_report.completed", "lab_report.failed", "healthcheck",
	}
	switch {
	case !e.Known(), e.Type == "auth" && e.Status == "error", slices.Contains(operational, e.Type):
		if fault(e.User) != nil {
			e.User = User{}
		}
	case e.CanChangeOwnership() && !e.User.Present:
		return Event{}, ErrNoUserID
	case e.CanChangeOwnership() && len(e.ReferenceID) > 2048:
		return Event{}, ErrReferenceTooLong
	case fault(e.User) != nil:
		return Event{}, fault(e.User)
	case fault(e.OldUser) != nil:
		return Event{}, fault(e.OldUser)
	}
	return e, nil
}

// dataEvent is a daily event of about size bytes, with its user before or after its data.
func dataEvent(size int, userFirst bool) []byte {
	const sample = `{"timestamp":"2026-11-22T10:00:00.000000+00:00","bpm":61.5,"note":"at rest \u2013 \"still\"","active":false},`
	const user = `"user":{"user_id":"4735eac4-31a2-47ef-8b11-51e98d84c680","provider":"GARMIN","reference_id":"tony_stark","last_webhook_update":null}`
	data := `"data":[` + strings.TrimSuffix(strings.Repeat(sample, max(1, (size-200)/len(sample))), ",") + `]`
	if userFirst {
		return []byte(`{"type":"daily",` + user + `,` + data + `}`)
	}
	return []byte(`{` + data + `,` + user + `,"type":"daily"}`)
}

func BenchmarkParseEvent(b *testing.B) {
	bench := func(name string, body []byte) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseEvent(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	bench("auth", []byte(legacyAuth))
	for _, size := range []int{700, 16 << 10, 1 << 20} {
		bench(fmt.Sprintf("%d/first", size), dataEvent(size, true))
		bench(fmt.Sprintf("%d/last", size), dataEvent(size, false))
	}
}
