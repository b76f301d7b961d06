package ledger

import "errors"

// ErrWrongAccountKey means that the accounts were keyed with another account key than the one in use. With the wrong key every account
// looks new, and every change of its owner would be missed in silence: nothing may be recorded until the key is the right one again.
var ErrWrongAccountKey = errors.New("the ledger's accounts were keyed with another account key")
