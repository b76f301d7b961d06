package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ownership"
)

// Accounts lists all account rows in the order of their keys, each as it stands when its page is come to. An error ends the list.
func (l *Ledger) Accounts(ctx context.Context) iter.Seq2[ownership.Account, error] {
	return ledger.Rows(ctx, l.AccountsFrom)
}

// Connections lists all connection rows in the order of user_ids, each as it stands when its page is come to. An error ends the list.
func (l *Ledger) Connections(ctx context.Context) iter.Seq2[ownership.Connection, error] {
	return ledger.Rows(ctx, l.ConnectionsFrom)
}

// AccountsFrom implements [ownership.Register], in the order of keys.
func (l *Ledger) AccountsFrom(ctx context.Context, cursor string, limit int) ([]ownership.Account, string, error) {
	return page(ctx, l, accounts, cursor, limit, func(ownership.Account) bool { return true })
}

// ConnectionsFrom implements [ownership.Register], in the order of user_ids.
func (l *Ledger) ConnectionsFrom(ctx context.Context, cursor string, limit int) ([]ownership.Connection, string, error) {
	now := l.Now()
	return page(ctx, l, connections, cursor, limit, func(c ownership.Connection) bool { return !ledger.Expired(c, now) })
}

// page reads at most limit rows of a bucket, and returns those that are there.
func page[Row any](ctx context.Context, l *Ledger, bucket, cursor string, limit int, there func(Row) bool) (rows []Row, next string, err error) {
	after, err := ledger.AfterKey(cursor)
	if err != nil {
		return nil, "", err
	}
	err = l.view(ctx, func(tx *bbolt.Tx) error {
		place := tx.Bucket([]byte(bucket)).Cursor()
		key, data := place.Seek([]byte(after))
		if string(key) == after {
			key, data = place.Next()
		}
		for range limit {
			if key == nil {
				return nil
			}
			var row Row
			if err := json.Unmarshal(data, &row); err != nil {
				return err
			}
			if there(row) {
				rows = append(rows, row)
			}
			after = string(key)
			key, data = place.Next()
		}
		if key != nil {
			next = ledger.Cursor(after)
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing %s: %w", bucket, err)
	}
	return rows, next, nil
}

// Account implements [ownership.Register].
func (l *Ledger) Account(ctx context.Context, key string) (ownership.Account, bool, error) {
	var row ownership.Account
	var found bool
	err := l.view(ctx, func(tx *bbolt.Tx) (err error) {
		row, found, err = get[ownership.Account](tx, accounts, key)
		return err
	})
	if err != nil {
		return ownership.Account{}, false, fmt.Errorf("reading account %s: %w", key, err)
	}
	if !found {
		row = noAccount(key)
	}
	return row, found, nil
}

// Stamp implements [ownership.Register].
func (l *Ledger) Stamp(ctx context.Context, userID string, walk int64) (ownership.Connection, bool, error) {
	row, stamped, err := l.write(ctx, "stamping", userID, func(row *ownership.Connection, found bool) bool {
		if !found || ledger.Expired(*row, l.Now()) {
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

// Note implements [ownership.Register].
func (l *Ledger) Note(ctx context.Context, name string) (text string, err error) {
	err = l.view(ctx, func(tx *bbolt.Tx) (err error) {
		text, _, err = get[string](tx, notes, name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading note %s: %w", name, err)
	}
	return text, nil
}

// Keep implements [ownership.Register].
func (l *Ledger) Keep(ctx context.Context, name, text string) error {
	err := l.batch(ctx, func(tx *bbolt.Tx) error {
		_, err := put(tx, notes, name, text)
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping note %s: %w", name, err)
	}
	return nil
}

// Erase implements [ownership.Register].
func (l *Ledger) Erase(ctx context.Context, userID string) error {
	err := l.batch(ctx, func(tx *bbolt.Tx) error {
		row, _, err := get[ownership.Connection](tx, connections, userID)
		if err != nil {
			return err
		}
		if row.ToDo {
			if err := tx.Bucket([]byte(todo)).Delete(dueKey(row)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(connections)).Delete([]byte(userID))
	})
	if err != nil {
		return fmt.Errorf("erasing connection: %w", err)
	}
	return nil
}

// EraseClaim implements [ownership.Register].
func (l *Ledger) EraseClaim(ctx context.Context, account, userID string, marks []string) error {
	err := l.batch(ctx, func(tx *bbolt.Tx) error {
		row, _, err := get[ownership.Account](tx, accounts, account)
		if err != nil {
			return err
		}
		delete(row.Claims, userID)
		for _, name := range marks {
			delete(row.Marks, name)
		}
		if len(row.Claims) == 0 {
			return tx.Bucket([]byte(accounts)).Delete([]byte(account))
		}
		_, err = put(tx, accounts, account, row)
		return err
	})
	if err != nil {
		return fmt.Errorf("erasing a claim of account %s: %w", account, err)
	}
	return nil
}
