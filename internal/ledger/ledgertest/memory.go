package ledgertest

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ownership"
)

// Memory is a ledger in memory, for tests of what stands on a ledger. It passes the same [Run] as the real ones: rows are copied in and
// out, and each method is one atomic step but for Accounts and Connections, which count as AccountsFrom and ConnectionsFrom.
type Memory struct {
	// Fault, if set, is asked at each call, by the method's name. A first error fails the call before it is applied, a second one after
	// it has been applied: a lost reply. It runs outside the ledger's lock, so it may itself use the ledger, as a competitor would.
	// Set it while no call is under way.
	Fault func(op string) (before, after error)

	// Now is the clock that rows expire by. Set it while no call is under way.
	Now func() time.Time

	mu          sync.Mutex
	connections map[string]ownership.Connection
	accounts    map[string]ownership.Account
	notes       map[string]string
	fingerprint string
	calls       map[string]int
}

// NewMemory returns an empty ledger.
func NewMemory() *Memory {
	return &Memory{
		Now:         time.Now,
		connections: make(map[string]ownership.Connection),
		accounts:    make(map[string]ownership.Account),
		notes:       make(map[string]string),
		calls:       make(map[string]int),
	}
}

// Calls says how often the method named op has been called, failed calls included.
func (m *Memory) Calls(op string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[op]
}

// do counts the call of op and applies it in one atomic step, with the faults that are asked for.
func (m *Memory) do(ctx context.Context, op string, apply func()) error {
	m.mu.Lock()
	m.calls[op]++
	m.mu.Unlock()

	var before, after error
	if m.Fault != nil {
		before, after = m.Fault(op)
	}
	if before == nil {
		before = ctx.Err()
	}
	if before != nil {
		return before
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	apply()
	return after
}

// write is the shape of all writes to a connection's row: change changes the row and reports true, or refuses to.
func (m *Memory) write(ctx context.Context, op, userID string, change func(row *ownership.Connection, found bool) bool) (ownership.Connection, bool, error) {
	var row ownership.Connection
	var written bool
	err := m.do(ctx, op, func() {
		stored, found := m.connections[userID]
		row = copyConnection(stored)
		row.UserID = userID
		if written = change(&row, found); written {
			m.connections[userID] = copyConnection(row)
			row = copyConnection(row)
		}
	})
	if err != nil {
		return ownership.Connection{}, false, err
	}
	return row, written, nil
}

// Insert implements [ownership.Ledger].
func (m *Memory) Insert(ctx context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	return m.write(ctx, "Insert", c.UserID, func(row *ownership.Connection, found bool) bool {
		if found && !ledger.Expired(*row, m.Now()) {
			return false
		}
		*row = c
		return true
	})
}

// Update implements [ownership.Ledger].
func (m *Memory) Update(ctx context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	return m.write(ctx, "Update", c.UserID, func(row *ownership.Connection, found bool) bool {
		if !found || row.Version != c.Version-1 {
			return false
		}
		c.Said, c.Listed, c.Attempts, c.Waiting = row.Said, row.Listed, 0, ""
		*row = c
		return true
	})
}

// Finish implements [ownership.Ledger].
func (m *Memory) Finish(ctx context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	return m.write(ctx, "Finish", c.UserID, func(row *ownership.Connection, found bool) bool {
		if !found || row.Version != c.Version {
			return false
		}
		row.ToDo, row.Since, row.Attempts, row.Waiting = false, time.Time{}, 0, ""
		row.Said = append(row.Said, said...)
		return true
	})
}

// Postpone implements [ownership.Ledger].
func (m *Memory) Postpone(ctx context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	return m.write(ctx, "Postpone", c.UserID, func(row *ownership.Connection, found bool) bool {
		if !found || row.Version != c.Version || !row.ToDo {
			return false
		}
		row.NextAttempt, row.Since, row.Attempts, row.Waiting = c.NextAttempt, c.Since, c.Attempts, c.Waiting
		row.Said = append(row.Said, said...)
		return true
	})
}

// Connection implements [ownership.Ledger].
func (m *Memory) Connection(ctx context.Context, userID string) (ownership.Connection, bool, error) {
	return m.read(ctx, "Connection", userID)
}

// Peek implements [Ledger].
func (m *Memory) Peek(ctx context.Context, userID string) (ownership.Connection, bool, error) {
	return m.read(ctx, "Peek", userID)
}

func (m *Memory) read(ctx context.Context, op, userID string) (ownership.Connection, bool, error) {
	var row ownership.Connection
	var found bool
	err := m.do(ctx, op, func() {
		row, found = m.connections[userID]
		row, found = copyConnection(row), found && !ledger.Expired(row, m.Now())
	})
	if err != nil || !found {
		return ownership.Connection{UserID: userID}, false, err
	}
	return row, true, nil
}

// Claim implements [ownership.Ledger].
func (m *Memory) Claim(ctx context.Context, account string, claim ownership.Claim) (ownership.Account, error) {
	return m.writeAccount(ctx, "Claim", account, func(row ownership.Account) {
		if old, found := row.Claims[claim.UserID]; !found || old.Version < claim.Version {
			row.Claims[claim.UserID] = claim
		}
	})
}

// Mark implements [ownership.Ledger].
func (m *Memory) Mark(ctx context.Context, account string, mark, was ownership.Mark) (ownership.Account, error) {
	return m.writeAccount(ctx, "Mark", account, func(row ownership.Account) {
		if _, found := row.Claims[mark.User]; found && row.Marks[mark.Name] == was {
			row.Marks[mark.Name] = mark
		}
	})
}

// Drop implements [ownership.Ledger].
func (m *Memory) Drop(ctx context.Context, account string, claim ownership.Claim, marks []string) error {
	_, err := m.writeAccount(ctx, "Drop", account, func(row ownership.Account) {
		if old, found := row.Claims[claim.UserID]; found && old.Version == claim.Version {
			delete(row.Claims, claim.UserID)
			for _, name := range marks {
				delete(row.Marks, name)
			}
		}
	})
	return err
}

// writeAccount is the shape of all writes to an account's row.
func (m *Memory) writeAccount(ctx context.Context, op, account string, change func(row ownership.Account)) (ownership.Account, error) {
	var row ownership.Account
	err := m.do(ctx, op, func() {
		stored, found := m.accounts[account]
		row = copyAccount(stored)
		row.Key = account
		change(row)
		if found || len(row.Claims) > 0 {
			m.accounts[account] = copyAccount(row)
		}
		row = copyAccount(row)
	})
	if err != nil {
		return ownership.Account{}, err
	}
	return row, nil
}

// ToDo implements [ownership.Queue].
func (m *Memory) ToDo(ctx context.Context, due time.Time, limit int) ([]string, error) {
	var userIDs []string
	err := m.do(ctx, "ToDo", func() {
		var rows []ownership.Connection
		for _, row := range m.connections {
			if row.ToDo && !row.NextAttempt.After(due) {
				rows = append(rows, row)
			}
		}
		slices.SortFunc(rows, func(a, b ownership.Connection) int { return a.NextAttempt.Compare(b.NextAttempt) })
		for _, row := range rows[:min(limit, len(rows))] {
			userIDs = append(userIDs, row.UserID)
		}
	})
	if err != nil {
		return nil, err
	}
	return userIDs, nil
}

// Backlog implements [ownership.Queue].
func (m *Memory) Backlog(ctx context.Context) (rows int, since time.Time, err error) {
	err = m.do(ctx, "Backlog", func() {
		for _, row := range m.connections {
			if row.Since.IsZero() {
				continue
			}
			if rows++; rows == 1 || row.Since.Before(since) {
				since = row.Since
			}
		}
	})
	return rows, since, err
}

// Account implements [ownership.Register].
func (m *Memory) Account(ctx context.Context, key string) (ownership.Account, bool, error) {
	var row ownership.Account
	var found bool
	err := m.do(ctx, "Account", func() {
		row, found = m.accounts[key]
		row = copyAccount(row)
	})
	if err != nil {
		return ownership.Account{}, false, err
	}
	row.Key = key
	return row, found, nil
}

// Stamp implements [ownership.Register].
func (m *Memory) Stamp(ctx context.Context, userID string, walk int64) (ownership.Connection, bool, error) {
	row, stamped, err := m.write(ctx, "Stamp", userID, func(row *ownership.Connection, found bool) bool {
		if !found || ledger.Expired(*row, m.Now()) {
			return false
		}
		row.Listed = walk
		return true
	})
	if err == nil && !stamped {
		row = ownership.Connection{UserID: userID}
	}
	return row, stamped, err
}

// Accounts implements [Ledger], in the order of keys.
func (m *Memory) Accounts(ctx context.Context) iter.Seq2[ownership.Account, error] {
	return ledger.Rows(ctx, m.AccountsFrom)
}

// Connections implements [Ledger], in the order of user_ids.
func (m *Memory) Connections(ctx context.Context) iter.Seq2[ownership.Connection, error] {
	return ledger.Rows(ctx, m.ConnectionsFrom)
}

// AccountsFrom implements [ownership.Register], in the order of keys.
func (m *Memory) AccountsFrom(ctx context.Context, cursor string, limit int) ([]ownership.Account, string, error) {
	return page(ctx, m, "AccountsFrom", m.accounts, cursor, limit, func(row ownership.Account) (ownership.Account, bool) {
		return copyAccount(row), true
	})
}

// ConnectionsFrom implements [ownership.Register], in the order of user_ids.
func (m *Memory) ConnectionsFrom(ctx context.Context, cursor string, limit int) ([]ownership.Connection, string, error) {
	return page(ctx, m, "ConnectionsFrom", m.connections, cursor, limit, func(row ownership.Connection) (ownership.Connection, bool) {
		return copyConnection(row), !ledger.Expired(row, m.Now())
	})
}

// page returns copies of the rows, of those that copyRow says are there. As in DynamoDB, those that are not count against the limit.
func page[Row any](ctx context.Context, m *Memory, op string, rows map[string]Row, cursor string, limit int, copyRow func(Row) (Row, bool)) (copies []Row, next string, err error) {
	after, err := ledger.AfterKey(cursor)
	if err != nil {
		return nil, "", err
	}
	err = m.do(ctx, op, func() {
		keys := leastAfter(after, maps.Keys(rows), limit+1)
		if len(keys) > limit {
			keys = keys[:limit]
			next = ledger.Cursor(keys[limit-1])
		}
		for _, key := range keys {
			if row, there := copyRow(rows[key]); there {
				copies = append(copies, row)
			}
		}
	})
	if err != nil {
		return nil, "", err
	}
	return copies, next, nil
}

// leastAfter returns the n least keys that are greater than after, sorted. It does not sort them all: there may be many pages of many rows.
func leastAfter(after string, keys iter.Seq[string], n int) []string {
	var least []string
	for key := range keys {
		if key > after {
			least = append(least, key)
		}
		if len(least) >= 10*n {
			slices.Sort(least)
			least = least[:n]
		}
	}
	slices.Sort(least)
	return least[:min(n, len(least))]
}

// Note implements [ownership.Register].
func (m *Memory) Note(ctx context.Context, name string) (text string, err error) {
	err = m.do(ctx, "Note", func() { text = m.notes[name] })
	if err != nil {
		return "", err
	}
	return text, nil
}

// Keep implements [ownership.Register].
func (m *Memory) Keep(ctx context.Context, name, text string) error {
	return m.do(ctx, "Keep", func() { m.notes[name] = text })
}

// Erase implements [ownership.Register].
func (m *Memory) Erase(ctx context.Context, userID string) error {
	return m.do(ctx, "Erase", func() { delete(m.connections, userID) })
}

// EraseClaim implements [ownership.Register].
func (m *Memory) EraseClaim(ctx context.Context, account, userID string, marks []string) error {
	return m.do(ctx, "EraseClaim", func() {
		row := m.accounts[account]
		delete(row.Claims, userID)
		for _, name := range marks {
			delete(row.Marks, name)
		}
		if len(row.Claims) == 0 {
			delete(m.accounts, account)
		}
	})
}

// CheckKey implements [Ledger].
func (m *Memory) CheckKey(ctx context.Context, fingerprint string) error {
	var wrong bool
	err := m.do(ctx, "CheckKey", func() {
		if m.fingerprint == "" {
			m.fingerprint = fingerprint
		}
		wrong = m.fingerprint != fingerprint
	})
	if err == nil && wrong {
		err = ownership.ErrWrongAccountKey
	}
	return err
}

// copyConnection is a copy that shares nothing with c, in the form in which a ledger hands rows back: times in UTC, those of the work mark
// to the millisecond and none without it, Said sorted and without repeats.
func copyConnection(c ownership.Connection) ownership.Connection {
	c.Tenures, c.Suspects = copyList(c.Tenures), copyList(c.Suspects)
	c.Accounts, c.Replaces, c.ReplacedBy = copyList(c.Accounts), copyList(c.Replaces), copyList(c.ReplacedBy)
	c.ConnectedAt, c.ClosedAt = c.ConnectedAt.UTC(), c.ClosedAt.UTC()
	c.ExpiresAt = c.ExpiresAt.UTC().Truncate(time.Second)
	c.Said = copyList(c.Said)
	slices.Sort(c.Said)
	c.Said = slices.Compact(c.Said)
	if c.ToDo {
		c.NextAttempt, c.Since = c.NextAttempt.UTC().Truncate(time.Millisecond), c.Since.UTC().Truncate(time.Millisecond)
	} else {
		c.NextAttempt, c.Since = time.Time{}, time.Time{}
	}
	return c
}

// copyAccount is a copy that shares nothing with a; its maps are never nil.
func copyAccount(a ownership.Account) ownership.Account {
	claims := make(map[string]ownership.Claim, len(a.Claims))
	for userID, c := range a.Claims {
		c.Tenures, c.Replaces, c.ReplacedBy = copyList(c.Tenures), copyList(c.Replaces), copyList(c.ReplacedBy)
		c.ConnectedAt = c.ConnectedAt.UTC()
		claims[userID] = c
	}
	marks := make(map[string]ownership.Mark, len(a.Marks))
	for name, mark := range a.Marks {
		mark.ConnectedAt, mark.At = mark.ConnectedAt.UTC(), mark.At.UTC()
		marks[name] = mark
	}
	a.Claims, a.Marks = claims, marks
	return a
}

func copyList[T any](list []T) []T { return append([]T(nil), list...) }
