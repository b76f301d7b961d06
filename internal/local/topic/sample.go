package topic

import (
	"fmt"
	"time"

	"github.com/handover-dev/handover/internal/announce"
)

// Sample is a message as the topic POSTs it, for those who try an endpoint: they also send what the topic never would.
type Sample = notification

// Sample makes a message of an event, signed by the topic. change, if it is not nil, changes it before it is signed.
func (t *Topic) Sample(event announce.Event, now time.Time, change func(*Sample)) (Sample, error) {
	n, err := newNotification(event, now)
	if err != nil {
		return n, err
	}
	n.SigningCertURL = t.options.URL + "/" + t.signer.file()
	if change != nil {
		change(&n)
	}
	if err := t.signer.sign(&n); err != nil {
		return n, fmt.Errorf("signing a sample: %w", err)
	}
	return n, nil
}
