package webhook

import (
	"crypto/sha256"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/handover-dev/handover/internal/ownership"
)

// Seen remembers connections that the ledger knows, so that the stream of data events costs no call to it. It is bounded in entries and, since an entry holds
// hashes only, in bytes; it forgets after a time, for other instances record changes too.
type Seen struct {
	entries *lru.Cache[digest, entry]
	keep    time.Duration
}

// digest is the first half of a SHA-256: neither a user_id nor a reference_id is kept.
type digest [16]byte

type entry struct {
	reference digest
	timed     bool // the connection's time is sure: an event's created_at adds nothing
	until     time.Time
}

// NewSeen remembers at most size connections, each for a time.
func NewSeen(size int, keep time.Duration) (*Seen, error) {
	entries, err := lru.New[digest, entry](size)
	if err != nil {
		return nil, err
	}
	return &Seen{entries, keep}, nil
}

// has reports whether the ledger is known to hold all that f says. An event that names another reference_id is never known.
func (s *Seen) has(f ownership.Facts, now time.Time) bool {
	e, ok := s.entries.Get(sum(f.UserID))
	return ok && now.Before(e.until) && (f.Reference == "" || e.reference == sum(f.Reference)) && (f.Certainty == ownership.Unknown || e.timed)
}

// add remembers r, a row of the ledger.
func (s *Seen) add(r ownership.Connection, now time.Time) {
	s.entries.Add(sum(r.UserID), entry{reference: sum(r.Reference()), timed: r.Certainty.Sure(), until: now.Add(s.keep)})
}

// forget forgets a connection about which there is news: it may come to carry another reference_id.
func (s *Seen) forget(userID string) {
	if s != nil {
		s.entries.Remove(sum(userID))
	}
}

func sum(s string) digest {
	full := sha256.Sum256(append(make([]byte, 0, 128), s...)) // nothing on the heap for an id of usual length
	return digest(full[:16])
}
