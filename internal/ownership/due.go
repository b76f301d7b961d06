package ownership

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// holder is one tenure of one claim: somebody who has held the account.
type holder struct {
	claim Claim
	key   // its place in time among the row's holders
}

func (h holder) reference() string { return h.claim.Tenures[h.tenure-1] }

// open reports whether the holder is still connected: the last tenure of a claim that is not closed.
func (h holder) open() bool { return h.tenure == len(h.claim.Tenures) && !h.claim.Closed }

func (h holder) public() Holder {
	return Holder{UserID: h.claim.UserID, ReferenceID: h.reference(), ConnectedAt: h.claim.ConnectedAt, Tenure: h.tenure}
}

// Owner is the present owner: the last tenure of the newest claim; false if there is no claim.
func (a Account) Owner() (Holder, bool) {
	if hs := a.holders(); len(hs) > 0 {
		return newest(hs).public(), true
	}
	return Holder{}, false
}

// Due is what the row owes, in the order of user_id and tenure: a pure function of its claims and marks.
//
//   - A transfer p → newest, if p's reference is not the newest's, and p is its reference's latest or is still open, and p is not marked as
//     announced to a holder that is still newer than p.
//   - The revocation of p, if p is closed, some claim of another reference is newer than p, and it is not marked as said.
func (a Account) Due() []Due {
	hs := a.holders()
	if len(hs) == 0 {
		return nil
	}
	now := newest(hs)
	var due []Due
	for _, p := range hs {
		if a.judge(hs, p, now) == Owed {
			due = append(due, Due{Announcement: a.transfer(p, now), Mark: transferMark(p, now)})
		}
		if a.judgeEnd(hs, p) == Owed {
			due = append(due, Due{Announcement: a.revocation(p), Mark: revokedMark(p)})
		}
	}
	return due
}

// Due is one announcement that is owed, and the mark that says it was made.
type Due struct {
	Announcement Announcement
	Mark         Mark
}

// judge says whether the transfer p → now is owed, where now is the newest of hs, and if not, why.
func (a Account) judge(hs []holder, p, now holder) Verdict {
	switch {
	case p.key == now.key:
		return Owner
	case p.reference() == now.reference():
		return SameReference
	case !latest(hs, p) && !p.open():
		return HeldAgain
	case a.told(hs, p):
		return Announced
	}
	return Owed
}

// judgeEnd says whether the revocation of p is owed or was announced; [NotDue] if neither.
func (a Account) judgeEnd(hs []holder, p holder) Verdict {
	switch {
	case !a.ended(hs, p):
		return NotDue
	case a.marked(revokedMark(p)):
		return Announced
	}
	return Owed
}

// holders lists everyone who has held the account, in the order of user_id and tenure.
func (a Account) holders() []holder {
	var hs []holder
	replacers := a.replacers()
	for _, userID := range slices.Sorted(maps.Keys(a.Claims)) {
		k := a.key(userID, replacers, nil)
		for i := range a.Claims[userID].Tenures {
			k.tenure = i + 1
			hs = append(hs, holder{claim: a.Claims[userID], key: k})
		}
	}
	return hs
}

// newest is the holder that is newer than all others; hs is not empty.
func newest(hs []holder) holder {
	return slices.MaxFunc(hs, func(a, b holder) int { return a.key.compare(b.key) })
}

// latest reports whether no holder of p's reference is newer than p.
func latest(hs []holder, p holder) bool {
	return !slices.ContainsFunc(hs, func(h holder) bool { return h.reference() == p.reference() && h.newer(p) })
}

func (h holder) newer(than holder) bool { return h.key.compare(than.key) > 0 }

// ended reports whether p's connection has ended after the account had passed to another reference.
func (a Account) ended(hs []holder, p holder) bool {
	return p.claim.Closed && p.tenure == len(p.claim.Tenures) &&
		slices.ContainsFunc(hs, func(h holder) bool { return h.reference() != p.reference() && h.newer(p) })
}

// told reports whether p is marked as announced to a holder that is still newer than p. Times can become known later, so a mark can lose its
// meaning; then what is owed is judged anew.
func (a Account) told(hs []holder, p holder) bool {
	mark, ok := a.Marks[transferMark(p, holder{}).Name]
	if !ok {
		return false
	}
	for _, h := range hs {
		if h.claim.UserID == mark.Current && h.tenure == mark.Tenure {
			return h.newer(p)
		}
	}
	return key{at: mark.ConnectedAt, userID: mark.Current, own: mark.Current, tenure: mark.Tenure}.compare(p.key) > 0 // its claim was dropped
}

func (a Account) marked(m Mark) bool {
	_, ok := a.Marks[m.Name]
	return ok
}

func transferMark(p, s holder) Mark {
	return Mark{
		Name: p.claim.UserID + "#" + strconv.Itoa(p.tenure), User: p.claim.UserID,
		Current: s.claim.UserID, Tenure: s.tenure, ConnectedAt: s.claim.ConnectedAt,
	}
}

func revokedMark(p holder) Mark {
	return Mark{Name: p.claim.UserID + "#revoked", User: p.claim.UserID}
}

func (a Account) provider() string { return a.Key[:max(0, strings.LastIndexByte(a.Key, '/'))] }

func (a Account) revocation(p holder) Announcement {
	return Announcement{Type: Revoked, Account: a.Key, Provider: a.provider(), Connection: p.public()}
}

func (a Account) transfer(p, s holder) Announcement {
	t := Announcement{
		Type: Transferred, Account: a.Key, Provider: a.provider(),
		Reason: ConnectedByOther, Previous: p.public(), Current: s.public(),
	}
	switch {
	case p.claim.UserID == s.claim.UserID:
		t.Reason, t.Order = Reassigned, lessSure(p.claim.Certainty, s.claim.Certainty)
	case replaces(s.claim, p.claim):
		t.Reason, t.Order = Reauth, lessSure(p.claim.Certainty, s.claim.Certainty)
	case surelyBefore(p.claim, s.claim):
		t.Order = lessSure(p.claim.Certainty, s.claim.Certainty)
	default:
		t.Order = Observed
	}
	return t
}

// lessSure is the order of two holders whose order is certain: Signed if everything known of their times was signed, else Terra. A time that is only
// a guess plays no part: something other than the times (a signed user_reauth, an answer of Terra's API) made the order certain.
func lessSure(p, s Certainty) Certainty {
	if p == Terra || s == Terra {
		return Terra
	}
	return Signed
}

// surelyBefore reports whether both times are sure, and p's is strictly the smaller.
func surelyBefore(p, s Claim) bool {
	return p.Certainty.Sure() && s.Certainty.Sure() && p.ConnectedAt.Before(s.ConnectedAt)
}

// replaces reports whether a user_reauth says that s replaced p.
func replaces(s, p Claim) bool {
	return slices.Contains(s.Replaces, p.UserID) || slices.Contains(p.ReplacedBy, s.UserID)
}

// key is a place in time. Places are in order of connected_at, unknown before all, and of user_id where that is equal; inside one connection, of
// tenure. A replaced connection stands at most just below its replacer: then at and userID are the replacer's, and below counts the steps down to it.
type key struct {
	at     time.Time
	userID string
	below  int
	own    string
	tenure int // 1 is the first
}

// compare is < 0 if k is older than other. It is a total order: no two holders of a row have the same key.
func (k key) compare(other key) int {
	return cmp.Or(
		k.at.Compare(other.at),
		strings.Compare(k.userID, other.userID),
		cmp.Compare(other.below, k.below),
		strings.Compare(k.own, other.own),
		cmp.Compare(k.tenure, other.tenure),
	)
}

// ground names the first part in which k, the greater key, and other differ.
func (k key) ground(other key) Ground {
	switch {
	case !k.at.Equal(other.at) && other.at.IsZero():
		return ByKnownTime
	case !k.at.Equal(other.at):
		return ByTime
	case k.userID != other.userID:
		return ByUserID
	case k.own != other.own:
		return ByReplacement
	}
	return ByTenure
}

// key is the place of a claim, judged with every claim of the row that replaced it. seen holds the claims under judgement: a circle of replacements, which
// only contradictory events could make, is not followed.
func (a Account) key(userID string, replacers map[string][]string, seen []string) key {
	c := a.Claims[userID]
	k := key{at: c.ConnectedAt, userID: userID, own: userID}
	seen = append(seen, userID)
	for _, by := range replacers[userID] {
		if slices.Contains(seen, by) {
			continue
		}
		top := a.key(by, replacers, seen)
		if below := (key{at: top.at, userID: top.userID, below: top.below + 1, own: userID}); below.compare(k) < 0 {
			k = below
		}
	}
	return k
}

// replacers lists, for each claim that was replaced, the claims of this row that replaced it, sorted.
func (a Account) replacers() map[string][]string {
	by := map[string][]string{}
	add := func(old, replacer string) {
		if _, here := a.Claims[replacer]; here && old != replacer {
			by[old] = union(by[old], replacer)
		}
	}
	for userID, c := range a.Claims {
		for _, s := range c.ReplacedBy {
			add(userID, s)
		}
		for _, p := range c.Replaces {
			add(p, userID)
		}
	}
	return by
}
