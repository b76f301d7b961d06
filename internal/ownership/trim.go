package ownership

import "slices"

// A row must stay small for ever: it is handed back whole by every write.
const (
	roomy   = 32  // above this many claims, those that certainly owe nothing any more are dropped, oldest first
	crowded = 128 // above this many, also those whose order is only guessed
)

// Crowded is the number of claims above which a row that still lives needs a person.
const Crowded = 200

// spent returns the oldest claim that a row above its size can do without, and the names of its marks. The row owes nothing now (Due is empty). A claim
// is kept if it is the owner's; if its order to the owner is not sure, for it could yet become the owner; if it is open, and that the account has passed on
// was not announced, for that may yet be owed; or if it holds down a claim that it replaced.
//
// A dropped claim that has news later (it ends, say) comes back by the same conditional write, and is judged again: of an open one it is then announced
// once more that the account has passed, to the owner of then.
func (a Account) spent() (Claim, []string, bool) {
	if len(a.Claims) <= roomy {
		return Claim{}, nil, false
	}
	hs := a.holders()
	slices.SortFunc(hs, func(p, q holder) int { return p.key.compare(q.key) })
	owner, replacers := newest(hs), a.replacers()
	for _, p := range hs {
		switch {
		case p.claim.UserID == owner.claim.UserID || len(p.claim.Tenures) > 1:
		case holdsDown(replacers, p.claim.UserID):
		case (p.claim.Closed || a.told(hs, p)) && (surelyBefore(p.claim, owner.claim) || len(a.Claims) > crowded):
			return p.claim, []string{transferMark(p, owner).Name, revokedMark(p).Name}, true
		}
	}
	return Claim{}, nil, false
}

func holdsDown(replacers map[string][]string, userID string) bool {
	for _, by := range replacers {
		if slices.Contains(by, userID) {
			return true
		}
	}
	return false
}
