package ownership

import (
	"testing"
	"time"
)

// TestBackoffDoubles: each attempt waits twice as long as the one before, up to the limit, and a random part of that, but at least half.
func TestBackoffDoubles(t *testing.T) {
	const base, limit = 30 * time.Second, time.Hour
	b := Backoff{Base: base}
	for attempts, most := range map[int]time.Duration{0: base, 1: 2 * base, 3: 8 * base, 6: 64 * base, 7: limit, 8: limit, 20: limit, 1_000: limit} {
		shortest, longest := limit, time.Duration(0)
		for range 1_000 {
			d := b.delay(attempts, limit)
			shortest, longest = min(shortest, d), max(longest, d)
		}
		// Of a thousand draws some fall into the first and into the last tenth.
		if shortest < most/2 || shortest > most*55/100 || longest > most || longest < most*95/100 {
			t.Errorf("attempt %d: between %v and %v, want between half of %v and all", attempts, shortest, longest, most)
		}
	}
}
