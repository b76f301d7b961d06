package benchmark

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/terra"
)

const secret = "benchmark-signing-secret"

// sizes are those of bodies, in bytes. The largest one's event, escaping included, is within Lambda's 6 MB.
func sizes() []struct {
	name string
	size int
} {
	return []struct {
		name string
		size int
	}{{"700B", 700}, {"16KB", 16 << 10}, {"1MB", 1 << 20}, {"4.5MB", 4_500_000}}
}

// position is where in its body an event names its user.
type position string

const (
	first position = "first"
	last  position = "last"
)

// dataEvent is the body of a data event of about the size: a day's heart rate. Its shape is Terra's.
func dataEvent(size int, at position) []byte {
	const user = `"user":{"last_webhook_update":"2026-11-22T10:00:00.000000+00:00","user_id":"4735eac4-31a2-47ef-8b11-51e98d84c680","scopes":null,` +
		`"provider":"GARMIN","reference_id":"user-81f2","active":true}`
	head, tail := `{"type":"daily",`+user+`,"data":[{"metadata":{"upload_type":1},"heart_rate_data":{"detailed":{"hr_samples":[`, `]}}}]}`
	if at == last {
		head, tail = `{"data":[{"metadata":{"upload_type":1},"heart_rate_data":{"detailed":{"hr_samples":[`, `]}}}],`+user+`,"type":"daily"}`
	}
	var b strings.Builder
	b.WriteString(head)
	for i := 0; b.Len()+len(tail)+90 < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"timestamp":"2026-11-22T%02d:%02d:%02d.000000+00:00","bpm":%d,"context":0}`, i/3600%24, i/60%60, i%60, 55+i%90)
	}
	b.WriteString(tail)
	return []byte(b.String())
}

// gatewayEvent is API Gateway's event for a webhook that is signed now.
func gatewayEvent(t testing.TB, body []byte, encoded bool) []byte {
	t.Helper()
	text := string(body)
	if encoded {
		text = base64.StdEncoding.EncodeToString(body)
	}
	signature := terra.Sign(secret, time.Now(), body)
	var event bytes.Buffer
	e := json.NewEncoder(&event)
	e.SetEscapeHTML(false)
	err := e.Encode(struct {
		Version         string            `json:"version"`
		RouteKey        string            `json:"routeKey"`
		RawPath         string            `json:"rawPath"`
		RawQueryString  string            `json:"rawQueryString"`
		Headers         map[string]string `json:"headers"`
		RequestContext  json.RawMessage   `json:"requestContext"`
		Body            string            `json:"body"`
		IsBase64Encoded bool              `json:"isBase64Encoded"`
	}{
		"2.0", "POST /webhook", "/webhook", "",
		map[string]string{
			"accept": "*/*", "accept-encoding": "gzip, deflate", "content-length": fmt.Sprint(len(body)), "content-type": "application/json",
			"host": "k3v9x2m1q7.execute-api.eu-central-1.amazonaws.com", "user-agent": "python-requests/2.32.3",
			"terra-signature": signature, "x-terra-signature": signature, "x-terra-trace-id": "7a6f5a3e-0f35-4b8e-9a07-6f1f2d0b9a11",
			"terra-reference": "8f2c1d6a-5b7e-4f70-8d6b-0f7b5f8f0c54", "x-terra-ordering-timestamp": "1795341600000",
			"x-amzn-trace-id": "Root=1-6921a1c0-5f84b3f27d1f0c4f4a9d1f6e", "x-forwarded-for": "18.133.218.210",
			"x-forwarded-port": "443", "x-forwarded-proto": "https",
		},
		json.RawMessage(`{"accountId":"123456789012","apiId":"k3v9x2m1q7","domainName":"k3v9x2m1q7.execute-api.eu-central-1.amazonaws.com",` +
			`"domainPrefix":"k3v9x2m1q7","http":{"method":"POST","path":"/webhook","protocol":"HTTP/1.1","sourceIp":"18.133.218.210",` +
			`"userAgent":"python-requests/2.32.3"},"requestId":"UFxqZj1wliAEJQQ=","routeKey":"POST /webhook","stage":"$default",` +
			`"time":"22/Nov/2026:12:00:00 +0000","timeEpoch":1795348800000}`),
		text, encoded,
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(event.Bytes())
}
