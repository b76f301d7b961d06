// Package embedded keeps the rows of [ownership] in one file, for the local program: the same ledger as in AWS, with nothing to install.
// A write has reached the disk when its method returns; a process that is killed at any moment loses nothing that it was told is stored.
package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ownership"
)

// The file's buckets. Rows are JSON.
const (
	connections = "connections" // by user_id
	accounts    = "accounts"    // by account
	todo        = "todo"        // the rows with a work mark, by dueKey; no values
	keys        = "keys"        // what tells the account key, under fingerprintName
	notes       = "notes"       // by name
)

const fingerprintName = "fingerprint"

// Ledger implements [ownership.Ledger], [ownership.Queue] and [ownership.Register], and the listings of the console. It is safe for concurrent use.
type Ledger struct {
	// Now is the clock that rows expire by; [Open] sets it to [time.Now]. Nothing deletes an expired row, but another one may take its place.
	Now func() time.Time

	db *bbolt.DB
}

// Open opens the ledger in the file at path, or makes an empty one. One process at a time can have it open: Open waits a second for another one
// to end.
func Open(path string) (*Ledger, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("opening the ledger %s: it is in use: is another handover running on this -data folder?", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the ledger %s: %w", path, err)
	}
	// Writes that come together share one wait for the disk. A lone one waits this long for company.
	db.MaxBatchDelay = time.Millisecond
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{connections, accounts, todo, keys, notes} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the ledger %s: %w", path, err), db.Close())
	}
	return &Ledger{Now: time.Now, db: db}, nil
}

// Close ends the use of the file, after the calls that are under way.
func (l *Ledger) Close() error { return l.db.Close() }

// Insert implements [ownership.Ledger].
func (l *Ledger) Insert(ctx context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	return l.write(ctx, "inserting", c.UserID, func(row *ownership.Connection, found bool) bool {
		if found && !ledger.Expired(*row, l.Now()) {
			return false
		}
		*row = c
		return true
	})
}

// Update implements [ownership.Ledger].
func (l *Ledger) Update(ctx context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	return l.write(ctx, "updating", c.UserID, func(row *ownership.Connection, found bool) bool {
		if !found || row.Version != c.Version-1 {
			return false
		}
		c.Said, c.Listed, c.Attempts, c.Waiting = row.Said, row.Listed, 0, ""
		*row = c
		return true
	})
}

// Finish implements [ownership.Ledger].
func (l *Ledger) Finish(ctx context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	return l.write(ctx, "finishing", c.UserID, func(row *ownership.Connection, found bool) bool {
		if !found || row.Version != c.Version {
			return false
		}
		row.ToDo, row.Since, row.Attempts, row.Waiting = false, time.Time{}, 0, ""
		row.Said = append(row.Said, said...)
		return true
	})
}

// Postpone implements [ownership.Ledger].
func (l *Ledger) Postpone(ctx context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	return l.write(ctx, "postponing", c.UserID, func(row *ownership.Connection, found bool) bool {
		if !found || row.Version != c.Version || !row.ToDo {
			return false
		}
		row.NextAttempt, row.Since, row.Attempts, row.Waiting = c.NextAttempt, c.Since, c.Attempts, c.Waiting
		row.Said = append(row.Said, said...)
		return true
	})
}

// write is the shape of all writes to a connection's row: change changes the row and reports true, or refuses to. It keeps the row's
// entry in the bucket todo.
func (l *Ledger) write(ctx context.Context, doing, userID string, change func(row *ownership.Connection, found bool) bool) (ownership.Connection, bool, error) {
	var row ownership.Connection
	var written bool
	err := l.batch(ctx, func(tx *bbolt.Tx) error {
		var found bool
		var err error
		row, found, err = get[ownership.Connection](tx, connections, userID)
		if err != nil {
			return err
		}
		old := row
		row.UserID = userID
		if written = change(&row, found); !written {
			return nil
		}
		row = canonical(row)
		due := tx.Bucket([]byte(todo))
		if old.ToDo {
			if err := due.Delete(dueKey(old)); err != nil {
				return err
			}
		}
		if row.ToDo {
			if err := due.Put(dueKey(row), nil); err != nil {
				return err
			}
		}
		row, err = put(tx, connections, userID, row)
		return err
	})
	if err != nil {
		return ownership.Connection{}, false, fmt.Errorf("%s connection: %w", doing, err)
	}
	return row, written, nil
}

// canonical is the form in which rows come back: times in UTC, those of the work mark to the millisecond and none without it, ExpiresAt to the second, Said sorted and
// without repeats.
func canonical(c ownership.Connection) ownership.Connection {
	c.ConnectedAt, c.ClosedAt = c.ConnectedAt.UTC(), c.ClosedAt.UTC()
	c.ExpiresAt = c.ExpiresAt.UTC().Truncate(time.Second)
	c.Said = slices.Compact(slices.Sorted(slices.Values(c.Said)))
	if c.ToDo {
		c.NextAttempt, c.Since = c.NextAttempt.UTC().Truncate(time.Millisecond), c.Since.UTC().Truncate(time.Millisecond)
	} else {
		c.NextAttempt, c.Since = time.Time{}, time.Time{}
	}
	return c
}

// dueKey is the key in the bucket todo of a row with a work mark: first the milliseconds of its next attempt, so that keys sort by time.
func dueKey(c ownership.Connection) []byte {
	return append(dueBefore(c.NextAttempt), c.UserID...)
}

// dueBefore is the key before those of rows whose next attempt is at t.
func dueBefore(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli())^1<<63) // the sign bit turned, so that negative numbers sort first
}

// Connection implements [ownership.Ledger].
func (l *Ledger) Connection(ctx context.Context, userID string) (ownership.Connection, bool, error) {
	var row ownership.Connection
	var found bool
	err := l.view(ctx, func(tx *bbolt.Tx) (err error) {
		row, found, err = get[ownership.Connection](tx, connections, userID)
		return err
	})
	if err != nil {
		return ownership.Connection{}, false, fmt.Errorf("reading connection: %w", err)
	}
	if !found || ledger.Expired(row, l.Now()) {
		return ownership.Connection{UserID: userID}, false, nil
	}
	return row, true, nil
}

// Peek is Connection: there is nothing cheaper to read.
func (l *Ledger) Peek(ctx context.Context, userID string) (ownership.Connection, bool, error) {
	return l.Connection(ctx, userID)
}

// Claim implements [ownership.Ledger].
func (l *Ledger) Claim(ctx context.Context, account string, claim ownership.Claim) (ownership.Account, error) {
	claim.ConnectedAt = claim.ConnectedAt.UTC()
	return l.writeAccount(ctx, "claiming", account, func(row ownership.Account) bool {
		old, found := row.Claims[claim.UserID]
		if found && old.Version >= claim.Version {
			return false
		}
		row.Claims[claim.UserID] = claim
		return true
	})
}

// Mark implements [ownership.Ledger].
func (l *Ledger) Mark(ctx context.Context, account string, mark, was ownership.Mark) (ownership.Account, error) {
	mark.ConnectedAt, mark.At = mark.ConnectedAt.UTC(), mark.At.UTC()
	return l.writeAccount(ctx, "marking", account, func(row ownership.Account) bool {
		if _, found := row.Claims[mark.User]; !found || row.Marks[mark.Name] != was {
			return false
		}
		row.Marks[mark.Name] = mark
		return true
	})
}

// Drop implements [ownership.Ledger].
func (l *Ledger) Drop(ctx context.Context, account string, claim ownership.Claim, marks []string) error {
	_, err := l.writeAccount(ctx, "dropping a claim of", account, func(row ownership.Account) bool {
		if old, found := row.Claims[claim.UserID]; !found || old.Version != claim.Version {
			return false
		}
		delete(row.Claims, claim.UserID)
		for _, name := range marks {
			delete(row.Marks, name)
		}
		return true
	})
	return err
}

// writeAccount is the shape of all writes to an account's row: change changes the row's maps and reports true, or refuses to.
func (l *Ledger) writeAccount(ctx context.Context, doing, account string, change func(row ownership.Account) bool) (ownership.Account, error) {
	var row ownership.Account
	err := l.batch(ctx, func(tx *bbolt.Tx) error {
		var found bool
		var err error
		row, found, err = get[ownership.Account](tx, accounts, account)
		if err != nil {
			return err
		}
		if !found {
			row = noAccount(account)
		}
		if change(row) {
			row, err = put(tx, accounts, account, row)
		}
		return err
	})
	if err != nil {
		return ownership.Account{}, fmt.Errorf("%s account %s: %w", doing, account, err)
	}
	return row, nil
}

// noAccount is the row of an account that has none.
func noAccount(key string) ownership.Account {
	return ownership.Account{Key: key, Claims: make(map[string]ownership.Claim), Marks: make(map[string]ownership.Mark)}
}

// ToDo implements [ownership.Queue].
func (l *Ledger) ToDo(ctx context.Context, due time.Time, limit int) ([]string, error) {
	var userIDs []string
	err := l.view(ctx, func(tx *bbolt.Tx) error {
		end := dueBefore(due.Add(time.Millisecond))
		cursor := tx.Bucket([]byte(todo)).Cursor()
		for key, _ := cursor.First(); key != nil && len(userIDs) < limit && bytes.Compare(key, end) < 0; key, _ = cursor.Next() {
			userIDs = append(userIDs, string(key[len(end):]))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing what is to do: %w", err)
	}
	return userIDs, nil
}

// Backlog implements [ownership.Queue].
func (l *Ledger) Backlog(ctx context.Context) (rows int, since time.Time, err error) {
	err = l.view(ctx, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(todo)).ForEach(func(key, _ []byte) error {
			row, _, err := get[ownership.Connection](tx, connections, string(key[len(dueBefore(time.Time{})):]))
			if err != nil || row.Since.IsZero() {
				return err
			}
			if rows++; rows == 1 || row.Since.Before(since) {
				since = row.Since
			}
			return nil
		})
	})
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("counting what is to do: %w", err)
	}
	return rows, since, nil
}

// CheckKey remembers, for ever, the first fingerprint of an account key that it is given, and is [ownership.ErrWrongAccountKey] for any other.
func (l *Ledger) CheckKey(ctx context.Context, fingerprint string) error {
	err := l.batch(ctx, func(tx *bbolt.Tx) error {
		stored, found, err := get[string](tx, keys, fingerprintName)
		switch {
		case err != nil:
			return err
		case !found:
			_, err = put(tx, keys, fingerprintName, fingerprint)
			return err
		case stored != fingerprint:
			return ownership.ErrWrongAccountKey
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("checking the account key: %w", err)
	}
	return nil
}

func (l *Ledger) view(ctx context.Context, read func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.db.View(read)
}

// batch runs write in one transaction with what other callers write at the same time. It may run write more than once, so write must set
// its results anew each time.
func (l *Ledger) batch(ctx context.Context, write func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.db.Batch(write)
}

func get[Row any](tx *bbolt.Tx, bucket, key string) (row Row, found bool, err error) {
	data := tx.Bucket([]byte(bucket)).Get([]byte(key))
	if data == nil {
		return row, false, nil
	}
	return row, true, json.Unmarshal(data, &row)
}

// put stores the row and returns it as it reads from now on, sharing nothing with what was given.
func put[Row any](tx *bbolt.Tx, bucket, key string, row Row) (stored Row, err error) {
	data, err := json.Marshal(row)
	if err != nil {
		return stored, err
	}
	if err := tx.Bucket([]byte(bucket)).Put([]byte(key), data); err != nil {
		return stored, err
	}
	return stored, json.Unmarshal(data, &stored)
}
