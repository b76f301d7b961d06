package ownership

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Keeper applies the rule to the rows of a Ledger. Webhook, sweep and tools use the same Keeper code, at the same time and in any order, and reach
// the same end state.
type Keeper struct {
	Ledger    Ledger
	Announcer Announcer
	Directory Directory
	Keys      AccountKeys

	Now     func() time.Time // the clock
	Backoff Backoff          // when a row that could not be settled is tried again

	// Retention is how long the row of a connection is kept after it has ended; 0 is for ever.
	Retention time.Duration

	// Grace is how long the sweep leaves a fresh row to the webhook that recorded it. Being too early or too late does no harm.
	Grace time.Duration
}

// Backoff is the delay between attempts at one connection: Base, doubled for each attempt up to Max, and of that a random part between half and all.
type Backoff struct {
	Base    time.Duration
	Max     time.Duration // while something fails
	Unnamed time.Duration // while Terra answers, but names no account
}

func (b Backoff) delay(attempts int, limit time.Duration) time.Duration {
	d := min(limit, b.Base<<min(attempts, 20)) // a million times Base is more than any limit, and no overflow
	return d/2 + rand.N(d/2+1)                 // #nosec G404 -- it only spreads retries
}

// Result says what one call of Settle did, for logs and counts.
type Result struct {
	Transfers   int    // announcements of a transfer that were published
	Revocations int    // announcements of a revocation that were published
	Guesses     int    // transfers among them whose order is only observed
	Waiting     string // why the connection is not settled, in words without personal data; "" if it is
	Crowded     bool   // an account's row is too large: see [Crowded]
	Nameless    bool   // a connection has no reference_id: it owns nothing, and displaces nobody
	Asked       int    // calls to Terra's API
	Accounts    []string
}

// Record joins f into the row of its connection and marks the row to do, if f says anything new. When it returns without error, what f says is stored. It
// returns the row as it stands, and whether there was anything new.
func (k *Keeper) Record(ctx context.Context, f Facts) (Connection, bool, error) {
	r, inserted, err := k.Ledger.Insert(ctx, k.changed(Connection{}, join(Connection{UserID: f.UserID}, f)))
	if err != nil {
		return Connection{}, false, fmt.Errorf("recording a connection: %w", err)
	}
	for !inserted {
		if !Adds(r, f) {
			return r, false, nil
		}
		var updated bool
		if r, updated, err = k.Ledger.Update(ctx, k.changed(r, join(r, f))); err != nil {
			return Connection{}, false, fmt.Errorf("recording news of a connection: %w", err)
		}
		if updated {
			break
		}
		if r.Version == 0 { // the row has vanished meanwhile (expired or forgotten)
			return k.Record(ctx, f)
		}
	}
	return r, true, nil
}

// rounds bounds the steps of one Settle. Each step stores something new or hands over to another worker's newer row; more than a few means that
// others keep changing the row, and then they also settle it.
const rounds = 20

// Settle does what the rows of the given connections still owe: it asks Terra's API what is unknown, puts claims into accounts, announces, and clears
// the work mark. It may be called at any time, by any number of workers, and may stop anywhere: what is left keeps its work mark. An error means that
// the ledger or the announcer failed; a connection that must wait is no error, but has its Result.Waiting.
//
// Of a user_reauth, give the old connection first: the new one inherits its accounts, and is not put off where Terra names none for it.
func (k *Keeper) Settle(ctx context.Context, rows ...Connection) (Result, error) {
	var (
		done Result
		errs []error
	)
	for len(rows) > 0 {
		heirs, err := k.settle(ctx, rows[0], &done)
		if err != nil {
			errs = append(errs, err)
		}
		rows = rows[1:]
		for _, heir := range heirs { // an heir's row is newer than the one given
			rows = slices.DeleteFunc(rows, func(r Connection) bool { return r.UserID == heir.UserID })
			rows = append(rows, heir)
		}
	}
	return done, errors.Join(errs...)
}

// settle is Settle for one row. It returns the rows to which r has just left accounts.
func (k *Keeper) settle(ctx context.Context, r Connection, done *Result) (heirs []Connection, err error) {
	var (
		asked  bool    // Terra's API is asked once
		learnt []Facts // what it answered
		apiErr error   // nil or ErrGone: it answered
	)
	for range rounds {
		// What is not known about r? Another worker may have changed or even settled it while Terra's API answered: the answer still counts.
		n := join(r, learnt...)
		if r.Version == 0 || !r.ToDo && sameFacts(n, r) { // version 0: the row has vanished
			return heirs, nil
		}
		switch {
		case len(r.Suspects) > 0 && sameFacts(n, r):
			if n, err = k.judge(ctx, r, done); err != nil {
				return heirs, k.postpone(ctx, r, nil, waitFor(err), done)
			}
		case !asked && wantsAnswer(r):
			asked = true
			learnt, apiErr = k.ask(ctx, r, done)
			n = join(r, learnt...)
		}
		if n, err = k.nameSuccessors(ctx, n); err != nil {
			return heirs, err
		}
		if !sameFacts(n, r) {
			var stored bool
			if r, stored, err = k.Ledger.Update(ctx, k.changed(r, n)); err != nil {
				return heirs, fmt.Errorf("recording what was found out: %w", err)
			}
			if stored { // once: a reference that it named, and that is judged since, is no suspect again
				learnt = nil
			}
			continue
		}

		// What does r owe?
		said, err := k.announceOwn(ctx, r, done)
		if err != nil {
			return heirs, errors.Join(err, k.postpone(ctx, r, said, wait{reason: "an announcement failed"}, done))
		}
		more, err := k.bequeath(ctx, r)
		heirs = append(heirs, more...)
		if err != nil {
			return heirs, err
		}
		if w := patience(r, apiErr); w.reason != "" {
			return heirs, k.postpone(ctx, r, said, w, done)
		}
		if r.Reference() != "" { // else it owns nothing and displaces nobody
			for _, account := range r.Accounts {
				if err := k.claim(ctx, account, r.claim(), done); err != nil {
					return heirs, errors.Join(err, k.postpone(ctx, r, said, wait{reason: "a claim or what it owed failed"}, done))
				}
			}
			if r.unnamed() && len(r.Accounts) > 0 && !answered(apiErr) { // what it inherits does not wait for what else it may hold
				return heirs, k.postpone(ctx, r, said, waitFor(apiErr), done)
			}
			if slices.ContainsFunc(r.ReplacedBy, nameless) {
				return heirs, k.postpone(ctx, r, said, wait{reason: NoReference}, done)
			}
		}
		done.Nameless = done.Nameless || r.Reference() == ""
		done.Accounts = append(done.Accounts, r.Accounts...)
		var finished bool
		if r, finished, err = k.Ledger.Finish(ctx, r, said); err != nil {
			return heirs, fmt.Errorf("clearing the work mark: %w", err)
		}
		if finished {
			return heirs, nil
		}
	}
	return heirs, nil
}

// wantsAnswer reports whether Terra's API may know something about r that matters. Of a connection that has ended without ever having a reference_id nothing does.
func wantsAnswer(r Connection) bool {
	return (r.unnamed() || !r.Certainty.Sure()) && !(r.Closed() && r.Reference() == "")
}

// judge asks Terra's API which reference_id is the present one, and returns r with its suspects judged. An event is never believed about this, for it
// may be late. A user that Terra does not know keeps the references it has.
func (k *Keeper) judge(ctx context.Context, r Connection, done *Result) (Connection, error) {
	done.Asked++
	p, err := k.Directory.UserInfo(ctx, r.UserID)
	if err != nil && !errors.Is(err, ErrGone) {
		return r, err
	}
	return join(revise(r, p.ReferenceID), k.facts(r, p)), nil
}

// ask asks Terra's API for the account, if it is not known, and for the time, if that is not sure: one call where /athlete knows both. It returns what was
// learnt, and nil or ErrGone if there was an answer to every question.
func (k *Keeper) ask(ctx context.Context, r Connection, done *Result) (learnt []Facts, err error) {
	if r.unnamed() {
		done.Asked++
		p, err := k.Directory.Athlete(ctx, r.UserID)
		if err != nil {
			return nil, err
		}
		learnt = append(learnt, k.facts(r, p))
	}
	if join(r, learnt...).Certainty.Sure() {
		return learnt, nil
	}
	done.Asked++
	p, err := k.Directory.UserInfo(ctx, r.UserID)
	if err != nil {
		return learnt, err
	}
	return append(learnt, k.facts(r, p)), nil
}

// facts is what an answer of Terra's API says about r.
func (k *Keeper) facts(r Connection, p Profile) Facts {
	f := Facts{UserID: r.UserID, Provider: p.Provider, Reference: p.ReferenceID}
	if !p.CreatedAt.IsZero() {
		f.ConnectedAt, f.Certainty = p.CreatedAt, Terra
	}
	if account := k.Keys.Account(cmp.Or(p.Provider, r.Provider), p.ProviderUserID); account != "" {
		f.Accounts, f.Named = []string{account}, true
	}
	return f
}

// nameSuccessors looks up the reference_ids of connections that replaced r, where the user_reauth did not say them.
func (k *Keeper) nameSuccessors(ctx context.Context, r Connection) (Connection, error) {
	for _, s := range r.ReplacedBy {
		if nameless(s) && r.Reference() != "" {
			successor, _, err := k.Ledger.Connection(ctx, s.UserID)
			if err != nil {
				return r, fmt.Errorf("reading the connection that replaced another: %w", err)
			}
			r = join(r, Facts{UserID: r.UserID, ReplacedBy: []Successor{{UserID: s.UserID, Reference: successor.Reference()}}})
		}
	}
	return r, nil
}

func nameless(s Successor) bool { return s.Reference == "" }

// announceOwn publishes the transfers that r proves by itself, whatever is known of its account, and that it has not said yet. It returns the names of
// what was said.
func (k *Keeper) announceOwn(ctx context.Context, r Connection, done *Result) (said []string, err error) {
	for _, own := range r.Own() {
		if own.Said {
			continue
		}
		if err := k.publish(ctx, own.Announcement, done); err != nil {
			return said, err
		}
		said = append(said, own.name)
	}
	return said, nil
}

// bequeath gives r's accounts to the connections that replaced it, and returns those for which that was news. The two sides of a user_reauth of a phone's
// SDK are two devices: nothing is inherited.
func (k *Keeper) bequeath(ctx context.Context, r Connection) (heirs []Connection, err error) {
	if len(r.Accounts) == 0 || r.Phone() {
		return nil, nil
	}
	for _, s := range r.ReplacedBy {
		heir, news, err := k.Record(ctx, Facts{UserID: s.UserID, Provider: r.Provider, Accounts: r.Accounts, Replaces: []string{r.UserID}})
		if err != nil {
			return heirs, fmt.Errorf("leaving an account to the connection that replaced another: %w", err)
		}
		if news {
			heirs = append(heirs, heir)
		}
	}
	return heirs, nil
}

// claim puts a claim into the row of an account, and announces what the row then owes, whether the claim was new or not.
func (k *Keeper) claim(ctx context.Context, account string, c Claim, done *Result) error {
	row, err := k.Ledger.Claim(ctx, account, c)
	if err != nil {
		return fmt.Errorf("claiming account %s: %w", account, err)
	}
	for due := row.Due(); len(due) > 0; due = row.Due() {
		if err := k.publish(ctx, due[0].Announcement, done); err != nil {
			return err
		}
		mark := due[0].Mark
		mark.At = k.Now()
		if row, err = k.Ledger.Mark(ctx, account, mark, row.Marks[mark.Name]); err != nil { // refused: another worker was first, and the row is judged anew
			return fmt.Errorf("marking an announcement of account %s: %w", account, err)
		}
	}
	for range dropsPerClaim {
		spent, marks, ok := row.spent()
		if !ok {
			break
		}
		if err := k.Ledger.Drop(ctx, account, spent, marks); err != nil {
			return fmt.Errorf("dropping a claim of account %s that owes nothing: %w", account, err)
		}
		delete(row.Claims, spent.UserID)
	}
	done.Crowded = done.Crowded || len(row.Claims) > Crowded
	return nil
}

// dropsPerClaim is how many spent claims one claim clears away: more than one, so that a row above its size shrinks.
const dropsPerClaim = 2

func (k *Keeper) publish(ctx context.Context, a Announcement, done *Result) error {
	if err := k.Announcer.Publish(ctx, a); err != nil {
		return fmt.Errorf("publishing %s: %w", a.Type, err)
	}
	switch {
	case a.Type == Revoked:
		done.Revocations++
	default:
		done.Transfers++
		if a.Order == Observed {
			done.Guesses++
		}
	}
	return nil
}

// wait says why a row cannot be settled now, and for how long at least it should be left.
type wait struct {
	reason  string        // without personal data; "" is no wait
	least   time.Duration // how long at least
	unnamed bool          // nothing fails, but Terra names no account
}

func waitFor(apiErr error) wait {
	w := wait{reason: "asking Terra: " + apiErr.Error()}
	if limited := (*Limited)(nil); errors.As(apiErr, &limited) {
		w.least = limited.RetryAfter
	}
	return w
}

// What a connection waits for though nothing fails, as its row's Waiting says it.
const (
	NoAccount   = "Terra names no account" // it is unidentifiable
	NoReference = "the connection that replaced it has no reference_id yet"
)

// patience says whether r must wait before it is put into accounts. A guessed time is used only once Terra's API has answered that it knows no better:
// while it fails, the claim waits. An account that Terra does not name may be named later; for a connection that has ended nobody will.
func patience(r Connection, apiErr error) wait {
	switch {
	case r.Reference() == "" || len(r.Accounts) > 0 && r.Certainty.Sure():
		return wait{}
	case !answered(apiErr):
		return waitFor(apiErr)
	case len(r.Accounts) == 0 && !r.Closed():
		return wait{reason: NoAccount, unnamed: true}
	}
	return wait{}
}

// answered reports whether Terra's API has said all that it knows.
func answered(apiErr error) bool { return apiErr == nil || errors.Is(apiErr, ErrGone) }

// postponeTime is what is spent on putting a row off after the time for settling it is over.
const postponeTime = 250 * time.Millisecond

// postpone leaves r to a later attempt. It does so even when ctx is over, for that is often why.
func (k *Keeper) postpone(ctx context.Context, r Connection, said []string, w wait, done *Result) error {
	done.Waiting = w.reason
	limit := k.Backoff.Max
	switch {
	case w.unnamed:
		limit, r.Since = k.Backoff.Unnamed, time.Time{}
	case r.Since.IsZero():
		r.Since = k.Now()
	}
	r.NextAttempt = k.Now().Add(max(k.Backoff.delay(r.Attempts, limit), w.least))
	r.Attempts++
	r.Waiting = w.reason
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), postponeTime)
		defer cancel()
	}
	if _, _, err := k.Ledger.Postpone(ctx, r, said); err != nil {
		return fmt.Errorf("putting a connection off: %w", err)
	}
	return nil
}
