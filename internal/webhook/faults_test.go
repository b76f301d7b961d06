package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/terra"
)

// story is a delivery with what came before it, for the tests of faults.
type story struct {
	given    []string
	profiles map[string]ownership.Profile
	body     string
	stored   int      // how many calls of the ledger it takes until what the event says is stored
	rows     []string // as it ends well
	said     []string
}

func stories() map[string]story {
	watch := ownership.Profile{ProviderUserID: "watch"}
	return map[string]story{
		"the account changes hands": {
			given:    []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			profiles: map[string]ownership.Profile{"u2": watch},
			body:     auth(user("u2", "ben", "05:00:00")),
			stored:   1,
			rows:     []string{"u1 GARMIN anna signed@03:45:00 holds watch", "u2 GARMIN ben signed@05:00:00 holds watch"},
			said:     []string{"transferred connected_by_other signed u1/anna → u2/ben"},
		},
		"news of a connection that is there": {
			given:  []string{athlete(user("u1", "anna", "03:45:00"), "watch"), athlete(user("u2", "ben", "05:00:00"), "watch")},
			body:   deauth(user("u1", "anna", "")),
			stored: 2,
			rows:   []string{"u1 GARMIN anna signed@03:45:00 holds watch closed 12:00:00", "u2 GARMIN ben signed@05:00:00 holds watch"},
			said:   []string{"revoked u1/anna", "transferred connected_by_other signed u1/anna → u2/ben"},
		},
		"a user_reauth": {
			given:  []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			body:   reauth(user("u2", "ben", "05:00:00"), user("u1", "anna", "")),
			stored: 3,
			rows: []string{
				"u1 GARMIN anna signed@03:45:00 holds watch replaced by u2 ben closed 12:00:00",
				"u2 GARMIN ben signed@05:00:00 holds watch replaces u1",
			},
			said: []string{"revoked u1/anna", "transferred reauth signed u1/anna → u2/ben", "transferred reauth signed u1/anna → u2/ben (no account)"},
		},
		"data with another reference_id": {
			given:    []string{athlete(user("u1", "anna", "03:45:00"), "watch")},
			profiles: map[string]ownership.Profile{"u1": {ReferenceID: "ben"}},
			body:     data(user("u1", "ben", "")),
			stored:   3,
			rows:     []string{"u1 GARMIN anna>ben signed@03:45:00 holds watch"},
			said:     []string{"transferred reassigned signed u1/anna → u1/ben#2"},
		},
	}
}

// settleAll does what the sweep does.
func (b *bench) settleAll() {
	b.t.Helper()
	keeper, err := b.Keeper(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for range 5 {
		b.now = b.now.Add(time.Hour)
		due, err := b.ledger.ToDo(b.t.Context(), b.now, 100)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, userID := range due {
			row, _, err := b.ledger.Connection(b.t.Context(), userID)
			if err != nil {
				b.t.Fatal(err)
			}
			if _, err := keeper.Settle(b.t.Context(), row); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// Acknowledged means durable: any one call to the ledger or the topic fails, is lost before or after it was applied. If the answer is not 200, Terra sends
// the event again; the sweep does the rest. The end is always the same, and 500 is answered only for what may not be stored.
func TestAnyCallFails(t *testing.T) {
	for name, story := range stories() {
		run := func(t *testing.T, prepare func(b *bench)) (status int, line map[string]any) {
			b := newBench(t)
			maps.Copy(b.terra.profiles, story.profiles)
			for _, body := range story.given {
				b.deliver(body)
			}
			b.lines()
			prepare(b)
			event := b.signed(story.body)
			got := b.send(event)
			line = b.line()
			b.ledger.Fault, b.topic.err = nil, nil
			if got.Status != 200 {
				check(t, "answer", got, problems()["not_stored"])
				if again := b.send(event); again.Status != 200 {
					t.Errorf("the retry: answered %d", again.Status)
				}
			}
			b.settleAll()
			checkList(t, "rows", b.rows(), story.rows)
			slices.Sort(b.topic.said)
			checkList(t, "announced", slices.Compact(b.topic.said), story.said)
			return got.Status, line
		}
		t.Run(name, func(t *testing.T) {
			var ops []string // what the ledger is called for, in order
			run(t, func(b *bench) {
				b.ledger.Fault = func(op string) (error, error) { ops = append(ops, op); return nil, nil }
			})
			for i := range ops {
				for _, applied := range []bool{false, true} {
					status, line := run(t, func(b *bench) {
						n := 0
						b.ledger.Fault = func(string) (before, after error) {
							if n++; n != i+1 {
								return nil, nil
							}
							if failed := errors.New("connection reset"); applied {
								return nil, failed
							} else {
								return failed, nil
							}
						}
					})
					want := 200
					if i < story.stored {
						want = 500
					}
					if status != want || line["level"] != "ERROR" || !strings.Contains(fmt.Sprint(line["error"]), "connection reset") {
						t.Errorf("call %d of %v fails, applied %v: answered %d, want %d; logged %v", i+1, ops, applied, status, want, line)
					}
				}
			}
		})
		t.Run(name+", the topic fails", func(t *testing.T) {
			status, line := run(t, func(b *bench) { b.topic.err = errors.New("throttled") })
			if status != 200 || line["level"] != "ERROR" || line["waiting"] == nil {
				t.Errorf("answered %d, logged %v", status, line)
			}
		})
		t.Run(name+", the ledger is away", func(t *testing.T) {
			status, line := run(t, func(b *bench) {
				b.ledger.Fault = func(string) (error, error) { return errors.New("away"), nil }
			})
			if status != 500 || line["reason"] != "not_stored" {
				t.Errorf("answered %d, logged %v", status, line)
			}
		})
	}
}

// While Terra's API fails, everything that the event says is stored, and no error is made of it.
func TestTerraAPIFails(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		waiting string
		next    time.Duration // at least, until the next attempt
	}{
		"limited":    {&ownership.Limited{RetryAfter: 10 * time.Minute}, "asking Terra: terra limits the rate of calls (retry after 10m0s)", 10 * time.Minute},
		"no answer":  {errors.New("HTTP status 503"), "asking Terra: HTTP status 503", 500 * time.Millisecond},
		"no account": {nil, "Terra names no account", 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.terra.err = test.err
			b.terra.profiles["u1"] = ownership.Profile{CreatedAt: noon()}
			b.deliver(auth(user("u1", "anna", "")))
			line := b.line()
			if line["level"] != "INFO" || line["outcome"] != "recorded" || line["waiting"] != test.waiting || line["asked"] != 1. {
				t.Errorf("logged %v", line)
			}
			row, _, err := b.ledger.Connection(t.Context(), "u1")
			if err != nil || !row.ToDo || row.NextAttempt.Before(b.now.Add(test.next)) {
				t.Errorf("%v, row %+v", err, row)
			}
		})
	}
}

// Something hangs: Terra is answered in time. All time here is simulated.
func TestDeadline(t *testing.T) {
	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	body := auth(user("u2", "ben", "05:00:00"))
	for name, test := range map[string]struct {
		hang   func(b *bench)
		lambda time.Duration // what is left of the function's own time; 0: it has no deadline
		after  time.Duration // when it answers
		reason string        // of the refusal; "": 200
	}{
		"Terra's API":                             {hang: func(b *bench) { b.terra.hang = true }, lambda: 10 * time.Second, after: 7 * time.Second},
		"Terra's API, without a deadline":         {hang: func(b *bench) { b.terra.hang = true }, after: 7 * time.Second},
		"Terra's API, at the end of the function": {hang: func(b *bench) { b.terra.hang = true }, lambda: 2 * time.Second, after: 1700 * time.Millisecond},
		"the topic":                               {hang: func(b *bench) { b.topic.hang = true }, lambda: 10 * time.Second, after: 7 * time.Second},
		"the secret": {hang: func(b *bench) {
			b.secrets.Read = func(ctx context.Context) (string, error) { return "", hangs(ctx) }
		}, lambda: 10 * time.Second, after: 3 * time.Second, reason: "terra_secret"},
		"the account key": {hang: func(b *bench) {
			b.Keeper = func(ctx context.Context) (*ownership.Keeper, error) { return nil, hangs(ctx) }
		}, lambda: 10 * time.Second, after: 7 * time.Second, reason: "account_key"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.terra.profiles["u2"] = ownership.Profile{ProviderUserID: "watch"}
				b.deliver(athlete(user("u1", "anna", "03:45:00"), "watch"))
				if test.reason == "terra_secret" {
					b = newBench(t)
				}
				b.lines()
				event := b.signed(body)
				test.hang(b)
				ctx := t.Context()
				if test.lambda > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.lambda)
					defer cancel()
				}

				start := time.Now()
				raw, err := b.Invoke(ctx, event)
				if took := time.Since(start); err != nil || took != test.after {
					t.Errorf("answered after %v, want %v; error %v", took, test.after, err)
				}
				line := b.line()
				if test.reason != "" {
					check(t, "reason", line["reason"], any(test.reason))
					return
				}
				check(t, "answer", string(raw), `{"statusCode":200,"headers":{"content-type":"application/json"},"body":"{}"}`)
				check(t, "outcome", line["outcome"], any("recorded"))
				due, err := b.ledger.ToDo(t.Context(), b.now.Add(15*time.Second), 10)
				if err != nil || len(due) != 1 || due[0] != "u2" {
					t.Errorf("to do: %v, %v", due, err)
				}

				b.terra.hang, b.topic.hang = false, false
				b.settleAll()
				checkList(t, "announced", b.topic.said, []string{"transferred connected_by_other signed u1/anna → u2/ben"})
			})
		})
	}
}

// personal is what must never be logged, in every place where an event has room for it.
const (
	aReference = "tony.stark@example.com"
	bReference = "pepper\n\"potts\" 🙂"
	anAccount  = "provider-id-7731"
	aName      = "Anthony"
	aUser      = "4735eac4-31a2-47ef-8b11-51e98d84c680"
	bUser      = "9c8b7a65-31a2-47ef-8b11-51e98d84c681"
)

// Each webhook is one line, and no personal data is in it: whatever comes in, whatever fails, and whatever the texts of errors quote.
func TestLogHoldsNoPersonalData(t *testing.T) {
	forbidden := []string{"stark", "pepper", "potts", "🙂", anAccount, aName, "4735eac4", "9c8b7a65", secret, "leaked"}
	a, b := user(aUser, aReference, "03:45:00"), user(bUser, bReference, "")
	named := `{"type":"athlete","user":` + a + `,"athlete":{"first_name":"` + aName + `","provider_user_id":"` + anAccount + `"}}`
	named2 := strings.Replace(named, a, b, 1)
	bodies := []string{
		auth(a), auth(b), auth(a), named, named2, data(a), data(a), data(user(aUser, bReference, "")), reauth(b, a), reauth(a, b), deauth(a),
		`{"type":"auth","status":"error","reason":"` + aName + `","reference_id":"` + aReference + `"}`,
		`{"type":"auth","status":"success","reference_id":"` + aReference + `","user":{"user_id":"` + aUser + `","provider":"` + aName + `"}}`,
		`{"type":"auth","user":{"user_id":"` + aUser + `","provider":"leaked provider"}}`,
		`{"type":"` + aName + `","user":` + a + `}`, `{"type":"daily","user":{"user_id":"","reference_id":"` + aReference + `"}}`,
		`{"type":"auth","reference_id":"` + aReference, aReference, `["` + aReference + `"]`, `{"type":"auth","user":"` + aReference + `"}`, "",
	}
	faults := map[string]func(b *bench, err error){
		"good":               func(*bench, error) {},
		"key":                func(b *bench, _ error) { b.keyErr = errors.New("no key") },
		"topic":              func(b *bench, err error) { b.topic.err = err },
		"Terra's API":        func(b *bench, err error) { b.terra.err = err },
		"Terra's API limits": func(b *bench, _ error) { b.terra.err = &ownership.Limited{} },
	}
	for _, op := range []string{"Insert", "Update", "Finish", "Postpone", "Peek", "Claim", "Mark"} {
		faults[op] = func(b *bench, err error) {
			b.ledger.Fault = func(called string) (before, after error) {
				if called == op {
					return err, nil
				}
				return nil, nil
			}
		}
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.terra.profiles = map[string]ownership.Profile{aUser: {ProviderUserID: anAccount, ReferenceID: bReference}, bUser: {ProviderUserID: anAccount, Provider: "GARMIN"}}
			for i, body := range bodies {
				if i > 0 { // something must be there
					fault(b, quoting(body))
				}
				signature := terra.Sign(secret, b.now, []byte(body))
				for _, headers := range []map[string]string{
					{"x-terra-signature": signature, "x-terra-trace-id": "0c3c1e7f-8a52:chunk:1"},
					{"x-terra-signature": signature, "x-terra-trace-id": aReference},
					{"X-Terra-Signature": signature, "Terra-Reference": "leaked", "User-Agent": "leaked", "X-Terra-Trace-Id": strings.Repeat("leaked", 30)},
					{"x-terra-signature": "t=" + aReference + ",v1=leaked", "x-terra-trace-id": "leaked"},
					{"x-terra-signature": terra.Sign("leaked-secret", b.now, []byte(body))},
					nil,
				} {
					a := b.send(gatewayEvent(headers, body))
					text := b.log.String()
					line := b.line()
					for _, word := range forbidden {
						if strings.Contains(text, word) || strings.Contains(a.Body, word) {
							t.Errorf("%q in the log or the answer to %s:\n%s%s", word, body, text, a.Body)
						}
					}
					if line["ms"] == nil || line["status"] != float64(a.Status) || line["outcome"] == nil {
						t.Errorf("line %s", text)
					}
				}
			}
		})
	}
}

// quoting is an error whose text quotes what was sent, raw and quoted.
func quoting(body string) error {
	text := "ValidationException:\n item {"
	for _, id := range []string{aReference, bReference, anAccount, aUser, bUser} {
		if quoted := string(encode(id)); strings.Contains(body, quoted) {
			text += id + " " + quoted + " " + fmt.Sprintf("%q", id)
		}
	}
	return errors.New(text + "}")
}

// The line's form, once whole.
func TestLogLine(t *testing.T) {
	b := newBench(t)
	b.terra.profiles["u2"] = ownership.Profile{ProviderUserID: "watch"}
	b.deliver(athlete(user("u1", "anna", ""), "watch"))
	b.lines()
	body := auth(user("u2", "ben", ""))
	b.send(gatewayEvent(map[string]string{"x-terra-signature": terra.Sign(secret, b.now, []byte(body)), "x-terra-trace-id": "5f0c:chunk:1"}, body))
	check(t, "line", b.line(), map[string]any{
		"level": "INFO", "msg": "webhook", "outcome": "recorded", "status": 200, "type": "auth", "provider": "GARMIN",
		"account": b.keys.Account("GARMIN", "watch"), "delivery": "5f0c:chunk:1", "transfers": 1, "guesses": 1, "asked": 2, "ms": 0,
	})
}

// In a rush, a webhook for which there is no room to settle is stored and acknowledged, and the sweep does the rest: the end is the same.
func TestNoRoomToSettle(t *testing.T) {
	for name, story := range stories() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				maps.Copy(b.terra.profiles, story.profiles)
				for _, body := range story.given {
					b.deliver(body)
				}
				asked, said := len(b.terra.asked), len(b.topic.said)
				b.Settling = make(chan struct{}, 1)
				b.Settling <- struct{}{}
				b.deliver(story.body)
				if len(b.terra.asked) > asked || len(b.topic.said) > said {
					t.Errorf("settled at once: asked %q, announced %q", b.terra.asked, b.topic.said)
				}
				<-b.Settling
				b.deliver(story.body) // the same again settles what it finds to do
				if len(b.Settling) > 0 {
					t.Error("keeps its place")
				}
				b.settleAll()
				checkList(t, "rows", b.rows(), story.rows)
				slices.Sort(b.topic.said)
				checkList(t, "announced", slices.Compact(b.topic.said), story.said)
			})
		})
	}
}

// A webhook for which there is room within a second settles at once.
func TestWaitsForRoomToSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.Settling = make(chan struct{}, 1)
		b.Settling <- struct{}{}
		go func() {
			time.Sleep(time.Second - 1)
			<-b.Settling
		}()
		b.deliver(`{"type":"athlete","user":{"user_id":"u1","provider":"GARMIN","reference_id":"anna","created_at":"2026-11-01T10:00:00Z"},"athlete":{"provider_user_id":"watch"}}`)
		if row, _, err := b.ledger.Connection(t.Context(), "u1"); err != nil || row.ToDo || len(row.Accounts) != 1 {
			t.Errorf("%+v, %v is left to the sweep", row, err)
		}
	})
}
