package terra_test

import (
	"fmt"
	"time"

	"github.com/handover-dev/handover/internal/terra"
)

// A webhook is read only once its signature is good. The header and the secret are those that Terra's documentation publishes for testing.
func Example() {
	body := []byte(`{'bar':'baz'}`)
	header := "t=12345678,v1=599aa529690b885a43f184327c582375068d70705b7a471af15e10682c6f5313"
	now := time.Unix(12345678, 0).Add(time.Minute)

	signedAt, err := terra.Verify(header, body, []string{"foo"}, now, terra.Window{Past: 26 * time.Hour, Future: 5 * time.Minute})
	fmt.Println(signedAt, err)

	_, err = terra.ParseEvent(body) // Terra's own example is genuine, but it is not JSON
	fmt.Println(err)
	// Output:
	// 1970-05-23 21:21:18 +0000 UTC <nil>
	// not one whole JSON object (after byte 1)
}

func ExampleParseEvent() {
	e, err := terra.ParseEvent([]byte(`{"type":"athlete",
		"user":{"user_id":"40f7b0e1-52a0-4b4e-9d0c-2f4f2bd1b6a7","provider":"GARMIN","reference_id":"your-user-123"},
		"athlete":{"first_name":"Ada","provider_user_id":"a1b2c3d4e5"}}`))
	if err != nil {
		panic(err)
	}
	fmt.Println(e.CanChangeOwnership(), e.User.Provider, e.User.ReferenceID, e.ProviderUserID)
	// Output: true GARMIN your-user-123 a1b2c3d4e5
}
