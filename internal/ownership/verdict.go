package ownership

import "slices"

// Verdict is what the rule says of an announcement about one holder of an account: that it is due, or why not.
type Verdict string

// The verdicts. The first three say that no transfer is to be announced, [NotDue] that no revocation is.
const (
	Owner         Verdict = "owner"          // the present owner
	SameReference Verdict = "same_reference" // it carries the present owner's reference_id: the same end user
	HeldAgain     Verdict = "held_again"     // it has ended, and its reference_id held the account once more later: that holding counts
	Announced     Verdict = "announced"      // it was announced
	Owed          Verdict = "owed"           // it is to be announced
	NotDue        Verdict = "not_due"        // the connection is open, or ended before the account passed to anybody else
)

// Ground is why one holder stands after another in the order of an account.
type Ground string

// The grounds, in the order in which they are looked at.
const (
	First         Ground = "first"       // it stands after nobody
	ByKnownTime   Ground = "known_time"  // its time is known, the other's is not
	ByTime        Ground = "time"        // its time is the later one
	ByUserID      Ground = "user_id"     // the times are the same: the greater user_id stands later
	ByReplacement Ground = "replacement" // it replaced the other, which so stands just below it whatever its time
	ByTenure      Ground = "tenure"      // it is a later reference_id of the same connection
)

// Holding is one holder of an account, and what the rule says of it.
type Holding struct {
	Holder
	Certainty Certainty // how sure ConnectedAt is
	Open      bool      // still connected under this reference_id
	After     Ground    // why it stands after the holding before it

	// Transfer is the verdict on its transfer to the present owner or, once announced, to whom it was announced. Announcement is what was announced or
	// is owed; of an announced one to a holder whose claim has been dropped, Current has no reference_id.
	Transfer     Verdict
	Announcement Announcement
	Mark         Mark // of the announced transfer

	End     Verdict // on the announcement that its connection has ended
	EndMark Mark    // of the announced end
}

// Holdings lists everyone who has held the account, oldest first; the last one is the present owner's. It is what Due goes by.
func (a Account) Holdings() []Holding {
	hs := a.holders()
	if len(hs) == 0 {
		return nil
	}
	now, list := newest(hs), make([]Holding, 0, len(hs))
	ordered := slices.SortedFunc(slices.Values(hs), func(p, q holder) int { return p.key.compare(q.key) })
	for i, p := range ordered {
		h := Holding{Holder: p.public(), Certainty: p.claim.Certainty, Open: p.open(), After: First, Transfer: a.judge(hs, p, now), End: a.judgeEnd(hs, p)}
		if i > 0 {
			h.After = p.key.ground(ordered[i-1].key)
		}
		switch h.Transfer {
		case Owed:
			h.Announcement = a.transfer(p, now)
		case Announced:
			h.Mark = a.Marks[transferMark(p, holder{}).Name]
			h.Announcement = a.announced(hs, p, h.Mark)
		}
		h.EndMark = a.Marks[revokedMark(p).Name]
		list = append(list, h)
	}
	return list
}

// announced is the transfer that a mark tells of.
func (a Account) announced(hs []holder, p holder, m Mark) Announcement {
	for _, s := range hs {
		if s.claim.UserID == m.Current && s.tenure == m.Tenure {
			return a.transfer(p, s)
		}
	}
	return Announcement{
		Type: Transferred, Account: a.Key, Provider: a.provider(), Previous: p.public(),
		Current: Holder{UserID: m.Current, Tenure: m.Tenure, ConnectedAt: m.ConnectedAt},
	}
}
