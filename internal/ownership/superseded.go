package ownership

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Superseded lists the holders that have been announced as superseded and are still open, with the announcement as it was made.
func (a Account) Superseded() []Due {
	hs := a.holders()
	var open []Due
	for _, p := range hs {
		if !p.open() || !a.told(hs, p) {
			continue
		}
		mark := a.Marks[transferMark(p, holder{}).Name]
		for _, s := range hs {
			if s.claim.UserID == mark.Current && s.tenure == mark.Tenure {
				open = append(open, Due{Announcement: a.transfer(p, s), Mark: mark})
			}
		}
	}
	return open
}

// Reminder says what [Keeper.Remind] did with the superseded holders of one account.
type Reminder struct {
	Open   int // still open, longer than allowed, or Terra's API could not say
	Nudges int // of these announced once more
	Ended  int // found to have ended
}

// Remind looks at the holders of one account that were announced as superseded more than patience ago and are still open. Terra is asked about each: one that
// has ended without a word is closed, and its revocation announced; one of which Terra does not say so is announced once more, with the same id.
func (k *Keeper) Remind(ctx context.Context, row Account, patience time.Duration) (Reminder, error) {
	var r Reminder
	for _, superseded := range row.Superseded() {
		if k.Now().Sub(superseded.Mark.At) < patience {
			continue
		}
		if k.ended(ctx, superseded.Announcement) {
			r.Ended++
			if err := k.End(ctx, superseded.Mark.User); err != nil {
				return r, err
			}
			continue
		}
		r.Open++
		if superseded.Mark.Nudged {
			continue
		}
		if err := k.Announcer.Publish(ctx, superseded.Announcement); err != nil {
			return r, fmt.Errorf("publishing once more: %w", err)
		}
		r.Nudges++
		nudged := superseded.Mark
		nudged.Nudged = true
		if _, err := k.Ledger.Mark(ctx, row.Key, nudged, superseded.Mark); err != nil {
			return r, fmt.Errorf("marking a nudge of account %s: %w", row.Key, err)
		}
	}
	return r, nil
}

// ended reports whether Terra does not know the superseded connection any more. It must know the one that came after: an API that knows nobody, as one under
// a wrong base URL, says nothing.
func (k *Keeper) ended(ctx context.Context, a Announcement) bool {
	_, previous := k.Directory.UserInfo(ctx, a.Previous.UserID)
	if !errors.Is(previous, ErrGone) {
		return false
	}
	_, current := k.Directory.UserInfo(ctx, a.Current.UserID)
	return current == nil
}

// End records that a connection has ended, as Terra's API or its list shows, and settles what that makes due.
func (k *Keeper) End(ctx context.Context, userID string) error {
	row, _, err := k.Record(ctx, Facts{UserID: userID, ClosedAt: k.Now()})
	if err != nil {
		return err
	}
	_, err = k.Settle(ctx, row)
	return err
}
