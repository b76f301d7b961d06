// Package doctor examines a deployed stack end to end: what is there, whether it fits together, and whether it works. It changes nothing: the one thing that
// it sends is the stack's own heartbeat.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/handover-dev/handover/internal/deployed"
	"github.com/handover-dev/handover/internal/settings"
)

// State is the result of one check.
type State string

// The states.
const (
	OK      State = "ok"
	Fault   State = "fault"   // something is wrong
	Unknown State = "unknown" // it could not be examined: something that it needs is wrong, or may not be asked
)

// Finding is the result of one check.
type Finding struct {
	Check string `json:"check"` // its name, such as "webhook url"
	State State  `json:"state"`
	What  string `json:"what"`         // what was found, without personal data
	Do    string `json:"do,omitempty"` // what to do next
}

// Doctor examines one stack.
type Doctor struct {
	Stack    *deployed.Stack
	TerraAPI string        // base URL of Terra's REST API; "" is the one that the functions use
	Quiet    time.Duration // how long a live stack may go without a webhook of Terra's
	HTTP     *http.Client
	Now      func() time.Time
}

// examination is one examination under way: what a check has found out and another needs.
type examination struct {
	*Doctor
	report func(Finding)

	terra    settings.Terra // Terra's secret
	terraErr error
}

// errNotAsked is why a check was not made: what it needs is itself at fault, and was reported.
var errNotAsked = errors.New("not examined, for what it needs is at fault")

// Examine makes all checks, and calls report with each finding as it comes. A check may have several.
func (d *Doctor) Examine(ctx context.Context, report func(Finding)) {
	e := &examination{Doctor: d, report: report}
	for _, check := range []func(context.Context){
		e.outputs, e.tables, e.accountKey, e.terraSecret, e.webhookURL, e.topic, e.alarmsTopic, e.alarms, e.functions, e.lastWebhook, e.lastSweep,
		e.waiting, e.deadLetters, e.terraAPI,
	} {
		check(ctx)
	}
}

func (e *examination) ok(check, format string, values ...any) {
	e.report(Finding{Check: check, State: OK, What: fmt.Sprintf(format, values...)})
}

// fault reports a fault and what to do about it.
func (e *examination) fault(check, do, format string, values ...any) {
	e.report(Finding{Check: check, State: Fault, What: fmt.Sprintf(format, values...), Do: do})
}

func (e *examination) unknown(check, do string, err error) {
	e.report(Finding{Check: check, State: Unknown, What: err.Error(), Do: do})
}

// output is the value of an output of the stack; ok is false if there is none, which has been reported already.
func (e *examination) output(check, name string) (value string, ok bool) {
	if value = e.Stack.Outputs[name]; value == "" {
		e.unknown(check, "", errNotAsked)
	}
	return value, value != ""
}
