package ownership

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// Person is whom to forget: an app's user by reference_id, or one connection by user_id. One of them is given.
type Person struct {
	ReferenceID string
	UserID      string
}

// Has reports whether the row of a connection is one of the person's.
func (p Person) Has(c Connection) bool {
	return c.UserID == p.UserID || p.ReferenceID != "" && (slices.Contains(c.Tenures, p.ReferenceID) || slices.Contains(c.Suspects, p.ReferenceID))
}

// Forgotten counts what [Forget] has erased or, in a dry run, would erase.
type Forgotten struct {
	Connections int // rows of connections
	Claims      int // entries in the rows of accounts
	Traces      int // entries in rows of other connections, and in claims and marks of other holders
}

// Eraser is what Forget needs of the ledger.
type Eraser interface {
	Ledger
	Register
}

// Forget erases everything that the ledger holds about a person: the rows of the connections that ever carried the reference_id, their claims, and what other
// rows say about them. The accounts stay, so a change of owner among those who are left is still detected. A connection that is still alive at Terra comes
// back with its next event: end it first. In a dry run nothing is written.
//
// It may be called again, for instance after an error, until it finds nothing.
func (k *Keeper) Forget(ctx context.Context, ledger Eraser, p Person, dryRun bool) (Forgotten, error) {
	var done Forgotten
	if (p.ReferenceID == "") == (p.UserID == "") {
		return done, errors.New("forget one reference_id or one user_id")
	}
	// Whom to forget first: what others say about them is found by their user_ids, which the next call must know even if this one is cut short. So
	// their rows are erased last of all, and from an account's row their claims after what others say.
	var theirs []Connection
	users := map[string]bool{}
	if p.UserID != "" {
		users[p.UserID] = true
	}
	if err := everyConnection(ctx, ledger, func(c Connection) error {
		if p.Has(c) {
			theirs = append(theirs, c)
			users[c.UserID] = true
		}
		return nil
	}); err != nil {
		return done, err
	}
	if err := everyAccount(ctx, ledger, func(a Account) error {
		for userID, c := range a.Claims {
			if p.ReferenceID != "" && slices.Contains(c.Tenures, p.ReferenceID) {
				users[userID] = true // the connection's row may have expired
			}
		}
		return nil
	}); err != nil {
		return done, err
	}
	gone := func(userID string) bool { return users[userID] }

	if err := everyConnection(ctx, ledger, func(c Connection) error {
		n := without(c, gone, p.ReferenceID)
		if gone(c.UserID) || sameFacts(c, n) {
			return nil
		}
		done.Traces++
		if dryRun {
			return nil
		}
		for updated := false; !updated; { // another worker may be at the row
			var err error
			if c, updated, err = ledger.Update(ctx, k.changed(c, without(c, gone, p.ReferenceID))); err != nil || c.Version == 0 {
				return err
			}
		}
		return nil
	}); err != nil {
		return done, fmt.Errorf("erasing what other connections say: %w", err)
	}
	if err := everyAccount(ctx, ledger, func(a Account) error { return forgetIn(ctx, ledger, a, gone, dryRun, &done) }); err != nil {
		return done, fmt.Errorf("erasing claims: %w", err)
	}
	done.Connections = len(theirs)
	if dryRun {
		return done, nil
	}
	for _, c := range theirs {
		if err := ledger.Erase(ctx, c.UserID); err != nil {
			return done, fmt.Errorf("erasing a connection: %w", err)
		}
		delete(users, c.UserID)
		if p.ReferenceID == "" || c.Reference() == p.ReferenceID {
			continue
		}
		// It is somebody else's by now, and goes on as theirs alone.
		c.Tenures, c.Suspects, c.Said = []string{c.Reference()}, nil, nil
		if _, _, err := ledger.Insert(ctx, k.changed(c, c)); err != nil {
			return done, fmt.Errorf("keeping a connection that has passed to another user: %w", err)
		}
	}
	for userID := range users { // expired, so that no list shows them
		if err := ledger.Erase(ctx, userID); err != nil {
			return done, fmt.Errorf("erasing an expired connection: %w", err)
		}
	}
	return done, nil
}

// forgetIn erases what the row of one account says about the connections that are gone.
func forgetIn(ctx context.Context, ledger Eraser, a Account, gone func(string) bool, dryRun bool, done *Forgotten) error {
	for userID, c := range a.Claims {
		n := c
		n.Replaces, n.ReplacedBy = slices.DeleteFunc(slices.Clone(c.Replaces), gone), slices.DeleteFunc(slices.Clone(c.ReplacedBy), gone)
		n.Version++ // as its connection's row has, where that has not expired
		if gone(userID) || len(n.Replaces) == len(c.Replaces) && len(n.ReplacedBy) == len(c.ReplacedBy) {
			continue
		}
		done.Traces++
		if dryRun {
			continue
		}
		if _, err := ledger.Claim(ctx, a.Key, n); err != nil {
			return err
		}
	}
	for _, m := range a.Marks {
		if !gone(m.Current) || gone(m.User) {
			continue
		}
		done.Traces++
		if dryRun {
			continue
		}
		for gone(m.Current) { // another worker may be at the row
			nameless := m
			nameless.Current = "" // its place in time stays: the holder has been told about
			row, err := ledger.Mark(ctx, a.Key, nameless, m)
			if err != nil {
				return err
			}
			m = row.Marks[m.Name]
		}
	}
	for userID := range a.Claims {
		if !gone(userID) {
			continue
		}
		done.Claims++
		if dryRun {
			continue
		}
		var marks []string
		for name, m := range a.Marks {
			if m.User == userID {
				marks = append(marks, name)
			}
		}
		if err := ledger.EraseClaim(ctx, a.Key, userID, marks); err != nil {
			return err
		}
	}
	return nil
}

// without is c without what it says about connections that are gone, and about a reference.
func without(c Connection, gone func(string) bool, reference string) Connection {
	c.Replaces = slices.DeleteFunc(slices.Clone(c.Replaces), gone)
	c.ReplacedBy = slices.DeleteFunc(slices.Clone(c.ReplacedBy), func(s Successor) bool {
		return gone(s.UserID) || reference != "" && s.Reference == reference
	})
	return c
}

func everyConnection(ctx context.Context, register Register, each func(Connection) error) error {
	return every(ctx, register.ConnectionsFrom, each)
}

func everyAccount(ctx context.Context, register Register, each func(Account) error) error {
	return every(ctx, register.AccountsFrom, each)
}

// every calls each with all rows, a page at a time.
func every[Row any](ctx context.Context, from func(context.Context, string, int) ([]Row, string, error), each func(Row) error) error {
	for cursor := ""; ; {
		rows, next, err := from(ctx, cursor, 500)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := each(row); err != nil {
				return err
			}
		}
		if cursor = next; cursor == "" {
			return nil
		}
	}
}

// alias is a name for a connection that does not tell its user_id: what a connection has said is never erased from its row.
func alias(userID string) string {
	sum := sha256.Sum256([]byte(userID))
	return hex.EncodeToString(sum[:8])
}
