package ledger

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/handover-dev/handover/internal/ownership"
)

// Expired reports whether c's row counts as absent at now. Every ledger goes by it.
func Expired(c ownership.Connection, now time.Time) bool {
	return !c.ExpiresAt.IsZero() && c.ExpiresAt.Unix() <= now.Unix()
}

// expiry is c's ExpiresAt as it is stored: DynamoDB deletes by whole seconds.
func expiry(c ownership.Connection) time.Time { return c.ExpiresAt.UTC().Truncate(time.Second) }

// Cursor is the text that stands for a place in a list of rows: after the row of that key. It is safe wherever a text is.
func Cursor(lastKey string) string { return base64.RawURLEncoding.EncodeToString([]byte(lastKey)) }

// AfterKey is the key that a cursor was made of: the rows after it come next.
func AfterKey(cursor string) (lastKey string, err error) {
	key, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", fmt.Errorf("not a cursor of a ledger: %w", err)
	}
	return string(key), nil
}

// Rows lists the rows of all pages that from returns, which is a ledger's ConnectionsFrom or AccountsFrom. An error ends the list.
func Rows[Row any](ctx context.Context, from func(ctx context.Context, cursor string, limit int) ([]Row, string, error)) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for cursor, first := "", true; first || cursor != ""; first = false {
			rows, next, err := from(ctx, cursor, 1000) // of DynamoDB's, a page ends at 1 MB anyway
			if err != nil {
				var none Row
				yield(none, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			cursor = next
		}
	}
}

// Accounts lists all account rows in any order, each as it stands when its page is come to. An error ends the list.
func (d *DynamoDB) Accounts(ctx context.Context) iter.Seq2[ownership.Account, error] {
	return Rows(ctx, d.AccountsFrom)
}

// Connections lists all connection rows in any order, each as it stands when its page is come to. An error ends the list.
func (d *DynamoDB) Connections(ctx context.Context) iter.Seq2[ownership.Connection, error] {
	return Rows(ctx, d.ConnectionsFrom)
}

// AccountsFrom implements [ownership.Register].
func (d *DynamoDB) AccountsFrom(ctx context.Context, cursor string, limit int) ([]ownership.Account, string, error) {
	page, next, err := d.page(ctx, d.accounts, "account", cursor, limit)
	if err != nil {
		return nil, "", err
	}
	var rows []ownership.Account
	for _, row := range page {
		r := reader{item: row}
		key := r.text("account")
		if r.err != nil {
			return nil, "", fmt.Errorf("reading account: %w", r.err)
		}
		if key == keyItem || strings.HasPrefix(key, noteItem) {
			continue
		}
		a, err := accountRow(key, row)
		if err != nil {
			return nil, "", err
		}
		rows = append(rows, a)
	}
	return rows, next, nil
}

// ConnectionsFrom implements [ownership.Register].
func (d *DynamoDB) ConnectionsFrom(ctx context.Context, cursor string, limit int) ([]ownership.Connection, string, error) {
	now := d.Now()
	page, next, err := d.page(ctx, d.connections, "user_id", cursor, limit)
	if err != nil {
		return nil, "", err
	}
	var rows []ownership.Connection
	for _, row := range page {
		r := reader{item: row}
		userID := r.text("user_id")
		if r.err != nil {
			return nil, "", fmt.Errorf("reading connection: %w", r.err)
		}
		c, err := connection(userID, row)
		if err != nil {
			return nil, "", err
		}
		if !Expired(c, now) {
			rows = append(rows, c)
		}
	}
	return rows, next, nil
}

// page reads items of a table, at most limit, with strong consistency: a walk must find the row that was stamped a moment ago, and a person's
// request the row that was written.
func (d *DynamoDB) page(ctx context.Context, table, key, cursor string, limit int) (rows []item, next string, err error) {
	after, err := AfterKey(cursor)
	if err != nil {
		return nil, "", err
	}
	scan := &dynamodb.ScanInput{TableName: &table, Limit: aws.Int32(int32(limit)), ConsistentRead: aws.Bool(true)}
	if after != "" {
		scan.ExclusiveStartKey = item{key: text(after)}
	}
	scanned, err := d.client.Scan(ctx, scan)
	if err != nil {
		return nil, "", fmt.Errorf("scanning table %s: %w", table, err)
	}
	last := reader{item: scanned.LastEvaluatedKey}
	next = Cursor(last.text(key))
	if last.err != nil {
		return nil, "", fmt.Errorf("scanning table %s: %w", table, last.err)
	}
	return scanned.Items, next, nil
}

// Account implements [ownership.Register].
func (d *DynamoDB) Account(ctx context.Context, key string) (ownership.Account, bool, error) {
	row, err := d.accountItem(ctx, key)
	if err != nil {
		return ownership.Account{}, false, fmt.Errorf("reading account %s: %w", key, err)
	}
	a, err := accountRow(key, row)
	return a, err == nil && row != nil, err
}

// accountItem reads an item of the accounts table; nil if there is none.
func (d *DynamoDB) accountItem(ctx context.Context, key string) (item, error) {
	got, err := d.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      &d.accounts,
		Key:            item{"account": text(key)},
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, fmt.Errorf("getting item: %w", err)
	}
	return got.Item, nil
}

// Stamp implements [ownership.Register].
func (d *DynamoDB) Stamp(ctx context.Context, userID string, walk int64) (ownership.Connection, bool, error) {
	c, stamped, err := d.write(ctx, "stamping", userID, stamp, connectionThere,
		item{":walk": number(walk), ":now": number(d.Now().Unix())})
	if !stamped {
		c = ownership.Connection{UserID: userID} // not the expired row that was handed back
	}
	return c, stamped, err
}

// Note implements [ownership.Register].
func (d *DynamoDB) Note(ctx context.Context, name string) (string, error) {
	row, err := d.accountItem(ctx, noteItem+name)
	r := reader{item: row, err: err}
	kept := r.text("text")
	if r.err != nil {
		return "", fmt.Errorf("reading note %s: %w", name, r.err)
	}
	return kept, nil
}

// Keep implements [ownership.Register].
func (d *DynamoDB) Keep(ctx context.Context, name, words string) error {
	_, err := d.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &d.accounts,
		Item:      item{"account": text(noteItem + name), "text": text(words)},
	})
	if err != nil {
		return fmt.Errorf("keeping note %s: putting item: %w", name, err)
	}
	return nil
}

// Erase implements [ownership.Register].
func (d *DynamoDB) Erase(ctx context.Context, userID string) error {
	_, err := d.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &d.connections, Key: item{"user_id": text(userID)}})
	if err != nil {
		return fmt.Errorf("erasing connection: deleting item: %w", err)
	}
	return nil
}

// EraseClaim implements [ownership.Register]. A connection of one tenure has two marks, which go with the claim in one call; further marks go
// before, two in a call. So whatever breaks off, there is a claim left to begin with again.
func (d *DynamoDB) EraseClaim(ctx context.Context, account, userID string, marks []string) error {
	marks = slices.Compact(slices.Sorted(slices.Values(marks))) // no two placeholders may mean the same
	for len(marks) > 2 {
		if _, err := d.eraseFrom(ctx, account, eraseMarks, markNames(marks[:2]), nil); err != nil {
			return err
		}
		marks = marks[2:]
	}
	names := markNames(marks)
	names["#claim"] = claimName(userID)
	sign := item{":sign": text(rand.Text())}
	row, err := d.eraseFrom(ctx, account, eraseClaim, names, sign)
	if err != nil || row == nil {
		return err
	}
	left, err := accountRow(account, row)
	if err != nil || len(left.Claims) > 0 {
		return err
	}
	_, err = d.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName:                 &d.accounts,
		Key:                       item{"account": text(account)},
		ConditionExpression:       aws.String(accountEmpty),
		ExpressionAttributeValues: sign,
	})
	if _, refused := refusedBy(err); err != nil && !refused {
		return fmt.Errorf("erasing account %s: deleting item: %w", account, err)
	}
	return nil
}

// eraseFrom returns the row as it then stands, nil if there is none.
func (d *DynamoDB) eraseFrom(ctx context.Context, account, expression string, names map[string]string, values item) (item, error) {
	row, there, err := d.updateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 &d.accounts,
		Key:                       item{"account": text(account)},
		UpdateExpression:          &expression,
		ConditionExpression:       aws.String(accountThere),
		ExpressionAttributeNames:  names,
		ExpressionAttributeValues: values,
	})
	if err != nil {
		return nil, fmt.Errorf("erasing a claim of account %s: %w", account, err)
	}
	if !there {
		return nil, nil
	}
	return row, nil
}
