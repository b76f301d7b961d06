package simulator

import (
	"bytes"
	"encoding/json"
	"time"
)

// Dialect is the shape in which Terra writes webhooks and answers. Its sources disagree, so both are played. Where a value is missing the
// legacy dialect writes null and the newer one leaves the field out.
//
// Every body is written with the fields of Terra's published examples, in their order: https://docs.tryterra.co/reference/health-and-fitness-api/event-types
// for the legacy dialect, the webhooks of https://github.com/tryterra/openapi for the newer one.
type Dialect int

// The dialects.
const (
	Legacy Dialect = iota // api.tryterra.co/v2
	Newer                 // access.tryterra.co/api/v2
)

// User is one connection as Terra tells of it. Only UserID must be given.
type User struct {
	UserID            string
	Provider          string
	ReferenceID       string
	CreatedAt         time.Time // when the connection was made
	LastWebhookUpdate time.Time // when data was last sent
	Scopes            string    // comma-separated
	Session           string    // the widget session in which the connection was made; a part of the auth event, not of the user
}

// Types returns every event type that Terra documents. "auth_cancelled" is the newer name of a failed authentication, in the legacy dialect
// it stands for an "auth" event with the status "error".
func Types() []string {
	return []string{
		"auth", "auth_cancelled", "athlete", "user_reauth", "deauth", "access_revoked", "connection_error", "permission_change",
		"activity", "body", "daily", "sleep", "nutrition", "menstruation", "planned_workout", "hormone", "health_observation", "route",
		"large_request_processing", "large_request_sending", "processing", "rate_limit_hit", "google_no_datasource",
		"s3_payload", "lab_report.completed", "lab_report.failed", "healthcheck",
	}
}

// Example returns a full body of an event type of [Types], nil for any other. It tells of one and the same invented user each time.
func (d Dialect) Example(eventType string) []byte {
	return d.Body(eventType, User{
		UserID:      "4735eac4-31a2-47ef-8b11-51e98d84c680",
		Provider:    "GARMIN",
		ReferenceID: "tony_stark",
		CreatedAt:   time.Date(2024, 10, 7, 3, 45, 0, 0, time.UTC),
		Scopes:      "ACTIVITY_EXPORT,HEALTH_EXPORT",
		Session:     "a9a0c7a4-c05e-4550-a973-f87a31a7c558",
	})
}

// Body returns a body of an event type of [Types] about u, nil for any other type. What an event tells besides its user is invented: the old
// user of a user_reauth is another connection under the same reference, the account in an athlete event is "a1b2c3d4e5".
func (d Dialect) Body(eventType string, u User) []byte {
	switch eventType {
	case "auth":
		return d.Auth(u)
	case "auth_cancelled":
		return d.AuthError(u.ReferenceID, "access_denied")
	case "athlete":
		return d.Athlete(u, "a1b2c3d4e5")
	case "user_reauth":
		old := u
		old.UserID = "40f7b0e1-89e2-43ac-a5b8-1e29c8d47cad"
		return d.Reauth(u, old)
	case "deauth":
		return d.Deauth(u)
	case "access_revoked":
		return d.AccessRevoked(u)
	case "connection_error":
		return object("type", eventType, "status", "warning", "message", "Connection degraded: the user may need to reauthenticate", "user", d.user(u, true))
	case "permission_change":
		return object("type", eventType, "status", "warning", "message", "User permissions have been modified", "version", version,
			"scopes_added", "BODY_EXPORT", "scopes_removed", "", "user", d.user(u, true))
	case "large_request_processing":
		return object("type", eventType, "status", "processing", "reference", exampleReference,
			"message", "Large request is being processed; payloads will be delivered when ready", "user", d.user(u, true))
	case "large_request_sending":
		return object("type", eventType, "reference", exampleReference, "message", "Large request payloads are being sent",
			"expected_payloads", 43, "user", d.user(u, true))
	case "processing", "rate_limit_hit":
		return object("type", eventType, "status", eventType, "message", "The data will be sent once it is there", "retry_after_seconds", 60,
			"user", d.user(u, true), "version", version)
	case "google_no_datasource":
		return object("type", eventType, "status", "warning", "message", "The user has no data source linked to the account", "user", d.user(u, true), "version", version)
	case "s3_payload":
		return object("type", eventType, "status", "success", "url", "https://payloads.example/40f7b0e1/activity.json?X-Amz-Signature=0", "expires_in", 300)
	case "lab_report.completed":
		return object("type", eventType, "event_id", "evt_4a2b8c1d", "occurred_at", "2026-07-01T09:12:33Z", "data",
			object("session_id", "297405620317847552", "reference_id", orNull(u.ReferenceID), "results_count", 0, "results", []int{}, "panels", []int{}))
	case "lab_report.failed":
		return object("type", eventType, "event_id", "evt_7c1f0a92", "occurred_at", "2026-07-01T09:15:02Z", "data",
			object("session_id", "297405620317847552", "reference_id", orNull(u.ReferenceID), "error",
				object("code", "file_unreadable", "message", "The uploaded file could not be read.", "retriable", false)))
	case "healthcheck":
		return object("type", eventType, "status", "success", "message", "Terra is checking this destination", "version", version)
	}
	if records := records(eventType); records != nil {
		return object("type", eventType, "version", version, "user", d.user(u, true), "data", records)
	}
	return nil
}

// Auth tells that a connection was made.
func (d Dialect) Auth(u User) []byte {
	const message = "User has successfully authenticated"
	if d == Newer {
		return object("type", "auth", "status", "success", "message", message, "widget_session_id", d.optional(u.Session), "user", d.user(u, true))
	}
	return object("type", "auth", "status", "success", "widget_session_id", d.optional(u.Session), "user", d.user(u, true),
		"reference_id", d.optional(u.ReferenceID), "message", message, "version", version)
}

// AuthError tells that the user with this reference tried to connect and failed: an auth event with the status "error" in the legacy
// dialect, auth_cancelled in the newer one.
func (d Dialect) AuthError(reference, reason string) []byte {
	if d == Newer {
		return object("type", "auth_cancelled", "status", "error", "flow_id", "b2f9c611-52c8-4a63-9082-7e50e2f5a1cd", "reason", reason, "reference_id", d.optional(reference))
	}
	return object("type", "auth", "status", "error", "message", "User failed to authenticate", "reason", reason, "reference_id", d.optional(reference), "version", version)
}

// Reauth tells that the connection current has replaced the connection old of the same wearable account.
func (d Dialect) Reauth(current, old User) []byte {
	return object("type", "user_reauth", "status", "warning", "message", "User has reauthenticated and old ID has been deleted", "version", version,
		"new_user", d.user(current, true), "old_user", d.user(old, false))
}

// Deauth tells that a connection has ended. The legacy dialect does not say whose it was.
func (d Dialect) Deauth(u User) []byte {
	const message = "User has deauthenticated"
	if d == Newer {
		return object("type", "deauth", "status", "success", "message", message, "user", d.user(u, false))
	}
	return object("user", object("last_webhook_update", d.stamp(u.LastWebhookUpdate), "provider", d.optional(u.Provider), "user_id", u.UserID, "scopes", d.optional(u.Scopes)),
		"type", "deauth", "status", "success", "message", message, "version", version)
}

// AccessRevoked tells that the user has ended a connection at the provider.
func (d Dialect) AccessRevoked(u User) []byte {
	return object("type", "access_revoked", "status", "warning", "message", "User revoked access", "user", d.user(u, false))
}

// Athlete tells of the profile of a connection's wearable account, whose id at the provider is providerUserID, "" if Terra does not say.
func (d Dialect) Athlete(u User, providerUserID string) []byte {
	return object("type", "athlete", "version", version, "user", d.user(u, true), "athlete", d.athlete(providerUserID))
}

const (
	version          = "2022-03-16"
	exampleReference = "d3f1a9c2-6b1e-4f0a-8f21-9e5b2c7a4d10"
)

func (d Dialect) user(u User, active bool) json.RawMessage {
	if d == Newer {
		return object("user_id", u.UserID, "provider", d.optional(u.Provider), "last_webhook_update", d.stamp(u.LastWebhookUpdate), "scopes", d.optional(u.Scopes),
			"created_at", d.stamp(u.CreatedAt), "reference_id", d.optional(u.ReferenceID), "active", active)
	}
	return object("scopes", d.optional(u.Scopes), "active", active, "last_webhook_update", d.stamp(u.LastWebhookUpdate), "created_at", d.stamp(u.CreatedAt),
		"user_id", u.UserID, "reference_id", d.optional(u.ReferenceID), "provider", d.optional(u.Provider))
}

func (d Dialect) athlete(providerUserID string) json.RawMessage {
	return object("first_name", "Anthony", "last_name", "Stark", "city", "Malibu", "country", "United States", "provider_user_id", d.optional(providerUserID))
}

// records is the data of a data event, nil if there is no data event of this type.
func records(eventType string) json.RawMessage {
	content := map[string]string{
		"activity":           `"distance_data":{"summary":{"distance_meters":8250.4,"steps":7902}},"heart_rate_data":{"summary":{"avg_hr_bpm":148.2,"max_hr_bpm":181}}`,
		"body":               `"measurements_data":{"measurements":[{"weight_kg":72.4,"bodyfat_percentage":17.9}]}`,
		"daily":              `"distance_data":{"steps":11894,"distance_meters":9412.7},"calories_data":{"total_burned_calories":2450.8}`,
		"sleep":              `"sleep_durations_data":{"asleep":{"duration_asleep_state_seconds":25200},"sleep_efficiency":91.5}`,
		"nutrition":          `"summary":{"macros":{"calories":2105,"protein_g":128.4},"water_ml":2300}`,
		"menstruation":       `"menstruation_data":{"day_in_cycle":4,"period_length_days":5}`,
		"planned_workout":    `"steps":[{"name":"Warm up","durations":[{"duration_type":0,"seconds":600}]}]`,
		"hormone":            `"hormone_data":{"cortisol":[]}`,
		"health_observation": `"observation":{"code":"blood_pressure","value":"118/76"}`,
		"route":              `"position_data":{"position_samples":[{"coords_lat_lng_deg":[34.0259,-118.7798]}]}`,
	}[eventType]
	if content == "" {
		return nil
	}
	return json.RawMessage(`[{"metadata":{"start_time":"2026-07-01T07:04:11.000000+01:00","end_time":"2026-07-01T07:52:48.000000+01:00"},` + content + `}]`)
}

// absent is the value of a field that is left out.
type absent struct{}

// optional is a text that may be missing.
func (d Dialect) optional(s string) any {
	if s == "" && d == Newer {
		return absent{}
	}
	return orNull(s)
}

// stamp is a time that may be missing, written as Terra does: with microseconds and an offset.
func (d Dialect) stamp(at time.Time) any {
	if at.IsZero() {
		return d.optional("")
	}
	return at.UTC().Format("2006-01-02T15:04:05.000000-07:00")
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// object writes a JSON object of names and values in the given order.
func object(namesAndValues ...any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	write := func(v any) {
		if err := e.Encode(v); err != nil {
			panic(err) // a value of this package that is not JSON
		}
		b.Truncate(b.Len() - 1) // the encoder's newline
	}
	separator := byte('{')
	for i := 0; i < len(namesAndValues); i += 2 {
		if namesAndValues[i+1] == (absent{}) {
			continue
		}
		b.WriteByte(separator)
		write(namesAndValues[i])
		b.WriteByte(':')
		write(namesAndValues[i+1])
		separator = ','
	}
	b.WriteByte('}')
	return b.Bytes()
}
