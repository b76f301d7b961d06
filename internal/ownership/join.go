package ownership

import (
	"reflect"
	"slices"
	"strings"
)

// join adds what was told to what r already holds. Facts only grow: nothing that r says is taken back, and nothing that it has settled on is
// replaced, so late, repeated and reordered events do no harm.
//
//   - Sets (Accounts, Replaces, ReplacedBy) take in what is new.
//   - The time goes from unknown to a guess to Terra's own, once each: a guess never replaces anything, and one sure time never another.
//   - The first reference begins the first tenure. Any other than the last tenure's is only a suspect: Terra's API decides.
//   - A connection that has ended stays ended, at the earliest time told.
func join(r Connection, told ...Facts) Connection {
	for _, f := range told {
		r = joinOne(r, f)
	}
	return r
}

func joinOne(r Connection, f Facts) Connection {
	n := r
	if n.Provider == "" {
		n.Provider = strings.ToUpper(f.Provider)
	}
	if f.Certainty.Sure() && !n.Certainty.Sure() || f.Certainty == Observed && n.Certainty == Unknown {
		n.ConnectedAt, n.Certainty = f.ConnectedAt.UTC(), f.Certainty
	}
	switch {
	case f.Reference == "" || f.Reference == n.Reference():
	case len(n.Tenures) == 0:
		n.Tenures = []string{f.Reference}
	default:
		n.Suspects = union(n.Suspects, f.Reference)
	}
	n.Accounts = union(n.Accounts, f.Accounts...)
	n.Named = n.Named || f.Named
	n.Replaces = union(n.Replaces, f.Replaces...)
	n.ReplacedBy = succeed(n.ReplacedBy, f.ReplacedBy)
	if !f.ClosedAt.IsZero() && (n.ClosedAt.IsZero() || f.ClosedAt.Before(n.ClosedAt)) {
		n.ClosedAt = f.ClosedAt.UTC()
	}
	return n
}

// union returns the sorted set of both; set itself is not changed, and is returned if it has everything.
func union(set []string, more ...string) []string {
	for _, s := range more {
		if i, found := slices.BinarySearch(set, s); !found && s != "" {
			set = slices.Insert(slices.Clone(set), i, s)
		}
	}
	return set
}

// succeed is union for successors: each user_id once, with the first reference told of it.
func succeed(set, more []Successor) []Successor {
	for _, s := range more {
		i, found := slices.BinarySearchFunc(set, s, func(a, b Successor) int { return strings.Compare(a.UserID, b.UserID) })
		switch {
		case !found:
			set = slices.Insert(slices.Clone(set), i, s)
		case set[i].Reference == "" && s.Reference != "":
			set = slices.Clone(set)
			set[i] = s
		}
	}
	return set
}

// sameFacts reports whether two rows hold the same facts, whatever their bookkeeping (version, work mark, attempts, said).
func sameFacts(a, b Connection) bool {
	return reflect.DeepEqual(facts(a), facts(b))
}

// facts is c without its bookkeeping, and with one form for each value: ledgers may hand back empty lists as nil or as empty.
func facts(c Connection) Connection {
	return Connection{
		UserID: c.UserID, Provider: c.Provider,
		Tenures: slices.Concat(c.Tenures), Suspects: slices.Concat(c.Suspects),
		ConnectedAt: c.ConnectedAt.UTC().Round(0), Certainty: c.Certainty,
		Accounts: slices.Concat(c.Accounts), Named: c.Named, Replaces: slices.Concat(c.Replaces), ReplacedBy: slices.Concat(c.ReplacedBy),
		ClosedAt: c.ClosedAt.UTC().Round(0),
	}
}

// revise is r with its suspects judged: Terra's API names reference as the present one. A name that is not the last tenure's begins a new tenure;
// no name changes nothing.
func revise(r Connection, reference string) Connection {
	n := r
	n.Suspects = nil
	if reference != "" && reference != n.Reference() {
		n.Tenures = append(slices.Clone(n.Tenures), reference)
	}
	return n
}

// Adds reports whether f says anything that r does not hold, or names a reference while r's is in doubt. A caller that has read r may leave f
// alone if not.
func Adds(r Connection, f Facts) bool {
	return len(r.Suspects) > 0 && f.Reference != "" || !sameFacts(r, join(r, f))
}

// changed is r's next version: n's facts, marked to do, and not later than r was, or what changes time and again would never be due. Some time after the
// connection has ended its row expires.
func (k *Keeper) changed(r, n Connection) Connection {
	n.Version = r.Version + 1
	next := k.Now().Add(k.Grace)
	if r.ToDo && r.NextAttempt.Before(next) {
		next = r.NextAttempt
	}
	if n.Since.IsZero() {
		n.Since = k.Now()
	}
	n.ToDo, n.NextAttempt, n.Attempts, n.Waiting = true, next, 0, ""
	if n.Closed() && k.Retention > 0 {
		n.ExpiresAt = n.ClosedAt.Add(k.Retention)
	}
	return n
}
