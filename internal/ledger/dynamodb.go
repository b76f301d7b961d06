// Package ledger keeps the rows of [ownership] in two DynamoDB tables. [CreateTables] shows their keys and their index.
//
// Every write is one conditional call that hands back the row as it then stands, whether it was applied or refused. So a reply that is lost
// does no harm: the SDK sends the call again, and what comes back is the row with the first write in it.
package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/handover-dev/handover/internal/ownership"
)

// DynamoDB implements [ownership.Ledger], [ownership.Queue] and [ownership.Register], and the listings of an operator's tool. It is safe for
// concurrent use.
//
// Rows come back in one form, whatever was put in: times in UTC, NextAttempt and Since to the millisecond and zero without a work mark, ExpiresAt to the second,
// Said sorted.
type DynamoDB struct {
	// Now is the clock that rows expire by; [NewDynamoDB] sets it to [time.Now]. DynamoDB deletes an expired row some days late.
	Now func() time.Time

	client      client
	accounts    string
	connections string
}

// client is what the ledger uses of [dynamodb.Client].
type client interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	Scan(context.Context, *dynamodb.ScanInput, ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
}

// NewDynamoDB returns the ledger that is kept in the two named tables.
func NewDynamoDB(client client, accountsTable, connectionsTable string) *DynamoDB {
	return &DynamoDB{Now: time.Now, client: client, accounts: accountsTable, connections: connectionsTable}
}

// The expressions on a connection's row. Their values are called like the attributes they are for.
const (
	// Insert: no row has this key yet, or it has expired. Then it is replaced whole.
	connectionAbsent = "attribute_not_exists(user_id) OR expires_at <= :now"
	// Stamp: the opposite. A row without a time of its end is compared with nothing.
	connectionThere = "attribute_exists(user_id) AND (attribute_not_exists(expires_at) OR expires_at > :now)"
	stamp           = "SET listed = :walk"

	// Update: the row is still the one that these facts were joined to. A vanished row has no version, and the condition is false.
	oldVersion = "version = :old"
	// All facts are replaced. Said is not among them: what has been announced meanwhile stays.
	setFacts = "SET provider = :provider, tenures = :tenures, suspects = :suspects, connected_at = :connected_at, certainty = :certainty, " +
		"accounts = :accounts, named = :named, replaces = :replaces, replaced_by = :replaced_by, closed_at = :closed_at, version = :version"
	// The attribute todo puts the row into the index. It is set or removed, and so are since when there is something to do, and the time of the row's end.
	setToDo    = ", todo = :todo, next_attempt = :next_attempt"
	setSince   = ", since = :since"
	setExpires = ", expires_at = :expires_at"
	// New facts are a new reason to settle, so what was put off before counts no more.
	removeDelay   = " REMOVE attempts, waiting"
	removeToDo    = ", todo, next_attempt"
	removeSince   = ", since"
	removeExpires = ", expires_at"

	// Finish: no fact has come that the settling has not seen.
	sameVersion = "version = :version"
	finish      = "REMOVE todo, next_attempt, since, attempts, waiting"

	// Postpone: and nobody else has settled the row meanwhile, for this would bring it back into the index.
	sameVersionToDo = "version = :version AND attribute_exists(todo)"
	postpone        = "SET todo = :todo, next_attempt = :next_attempt, attempts = :attempts, waiting = :waiting"
	postponeUnnamed = postpone + " REMOVE since"

	// Said is a DynamoDB set, because ADD to a set needs no knowledge of what is in it. There is no empty set, so it is added only if something is said.
	andSay = " ADD said :said"
	// ToDo: the rows of one shard of the index that are due.
	dueInShard = "todo = :shard AND next_attempt <= :due"
	// Backlog: all rows of one shard.
	inShard = "todo = :shard"
)

// The expressions on an account's row. User ids and mark names come from outside: they get into a call only as the meaning of a
// placeholder.
const (
	// Claim: the first one of this connection, or newer facts than the ones stored. The row is made if there is none.
	// And it takes away the sign that the row is empty.
	setClaim   = "SET #claim = :claim REMOVE emptied"
	claimNewer = "attribute_not_exists(#claim) OR #claim.v < :v"

	// Mark: the claim that it is about has not been dropped, so a mark never outlives its claim. And the mark of this name is still the one that was judged, so
	// a slow worker's never takes the place of a later one.
	setMark     = "SET #mark = :mark"
	markFirst   = "attribute_exists(#claim) AND attribute_not_exists(#mark)"
	markInstead = "attribute_exists(#claim) AND #mark = :was"

	// Drop: the claim is still the one that was judged.
	dropClaim = "REMOVE #claim, #mark1, #mark2"
	claimSame = "#claim.v = :v"

	// EraseClaim: whatever the claim is, but no row is made. No condition can ask whether any claim is left. So the row is signed by this call, and
	// deleted only while it bears its sign: a claim that has come since has taken the sign away, and no other call ever sets the same one.
	eraseMarks   = "REMOVE #mark1, #mark2"
	eraseClaim   = "REMOVE #claim, #mark1, #mark2 SET emptied = :sign"
	accountThere = "attribute_exists(account)"
	accountEmpty = "emptied = :sign"

	// CheckKey: no fingerprint has been stored.
	accountAbsent = "attribute_not_exists(account)"
)

const (
	// index is the sparse index of the connections table that lists the rows with a work mark: the attribute todo is its partition key, and only
	// rows with a work mark have it.
	index = "todo"
	// shards is the number of partitions of the index, so that a wave of new work does not meet the limit of one partition, which would
	// throttle the table itself. One more holds the rows that wait for nothing but the name of an account: there may be many of them, for long, and
	// the backlog is counted without them.
	shards  = 8
	unnamed = "unnamed"
	// keyItem is the item of the accounts table that holds the account key's fingerprint, and noteItem begins the keys of those that hold a note. No
	// account is called so: all have a "/" and end in a hash. They are not in the other table, whose keys come from outside.
	keyItem  = "#key"
	noteItem = "#note/"
)

// Insert implements [ownership.Ledger].
func (d *DynamoDB) Insert(ctx context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	row := connectionItem(c)
	_, err := d.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:                           &d.connections,
		Item:                                row,
		ConditionExpression:                 aws.String(connectionAbsent),
		ExpressionAttributeValues:           item{":now": number(d.Now().Unix())},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	stored, refused := refusedBy(err)
	switch {
	case refused:
		row = stored
	case err != nil:
		return ownership.Connection{}, false, fmt.Errorf("inserting connection: putting item: %w", err)
	}
	c, err = connection(c.UserID, row)
	return c, err == nil && !refused, err
}

// Update implements [ownership.Ledger].
func (d *DynamoDB) Update(ctx context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	values := item{":old": number(c.Version - 1)}
	for name, value := range facts(c) {
		values[":"+name] = value
	}
	sets, removes := setFacts, removeDelay
	if c.ToDo {
		sets += setToDo
	} else {
		removes += removeToDo
	}
	if _, since := values[":since"]; since {
		sets += setSince
	} else {
		removes += removeSince
	}
	if _, expires := values[":expires_at"]; expires {
		sets += setExpires
	} else {
		removes += removeExpires
	}
	return d.write(ctx, "updating", c.UserID, sets+removes, oldVersion, values)
}

// Finish implements [ownership.Ledger].
func (d *DynamoDB) Finish(ctx context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	values := item{":version": number(c.Version)}
	expression := finish
	if len(said) > 0 {
		expression, values[":said"] = finish+andSay, set(said)
	}
	return d.write(ctx, "finishing", c.UserID, expression, sameVersion, values)
}

// Postpone implements [ownership.Ledger].
func (d *DynamoDB) Postpone(ctx context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	values := item{
		":version":      number(c.Version),
		":todo":         text(shard(c)),
		":next_attempt": milliseconds(c.NextAttempt),
		":attempts":     number(int64(c.Attempts)),
		":waiting":      text(c.Waiting),
	}
	expression := postponeUnnamed
	if !c.Since.IsZero() {
		expression, values[":since"] = postpone+setSince, milliseconds(c.Since)
	}
	if len(said) > 0 {
		expression, values[":said"] = expression+andSay, set(said)
	}
	return d.write(ctx, "postponing", c.UserID, expression, sameVersionToDo, values)
}

// write changes a connection's row if the condition holds. Refused or not, it returns the row as it then stands; of a vanished row that is
// nothing, or on some engines the bare key, and reads as a connection without facts.
func (d *DynamoDB) write(ctx context.Context, doing, userID, expression, condition string, values item) (ownership.Connection, bool, error) {
	row, applied, err := d.updateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 &d.connections,
		Key:                       item{"user_id": text(userID)},
		UpdateExpression:          &expression,
		ConditionExpression:       &condition,
		ExpressionAttributeValues: values,
	})
	if err != nil {
		return ownership.Connection{}, false, fmt.Errorf("%s connection: %w", doing, err)
	}
	c, err := connection(userID, row)
	return c, err == nil && applied, err
}

// updateItem returns the whole item as it stands after the call, and whether the call's condition held.
func (d *DynamoDB) updateItem(ctx context.Context, call *dynamodb.UpdateItemInput) (row item, applied bool, err error) {
	call.ReturnValues = types.ReturnValueAllNew
	call.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	updated, err := d.client.UpdateItem(ctx, call)
	if stored, refused := refusedBy(err); refused {
		return stored, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("updating item: %w", err)
	}
	return updated.Attributes, true, nil
}

// refusedBy reports whether err says that a condition did not hold, and returns the item that it was held against.
func refusedBy(err error) (stored item, refused bool) {
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return failed.Item, true
	}
	return nil, false
}

// Connection implements [ownership.Ledger].
func (d *DynamoDB) Connection(ctx context.Context, userID string) (ownership.Connection, bool, error) {
	return d.read(ctx, userID, true)
}

// Peek is Connection without its consistency: it may miss the latest writes, at half the price.
func (d *DynamoDB) Peek(ctx context.Context, userID string) (ownership.Connection, bool, error) {
	return d.read(ctx, userID, false)
}

func (d *DynamoDB) read(ctx context.Context, userID string, consistent bool) (ownership.Connection, bool, error) {
	got, err := d.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      &d.connections,
		Key:            item{"user_id": text(userID)},
		ConsistentRead: &consistent,
	})
	if err != nil {
		return ownership.Connection{}, false, fmt.Errorf("reading connection: getting item: %w", err)
	}
	c, err := connection(userID, got.Item)
	if Expired(c, d.Now()) {
		return ownership.Connection{UserID: userID}, false, err
	}
	return c, err == nil && got.Item != nil, err
}

// Claim implements [ownership.Ledger].
func (d *DynamoDB) Claim(ctx context.Context, account string, claim ownership.Claim) (ownership.Account, error) {
	row, _, err := d.updateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 &d.accounts,
		Key:                       item{"account": text(account)},
		UpdateExpression:          aws.String(setClaim),
		ConditionExpression:       aws.String(claimNewer),
		ExpressionAttributeNames:  map[string]string{"#claim": claimName(claim.UserID)},
		ExpressionAttributeValues: item{":claim": claimValue(claim), ":v": number(claim.Version)},
	})
	if err != nil {
		return ownership.Account{}, fmt.Errorf("claiming account %s: %w", account, err)
	}
	return accountRow(account, row)
}

// Mark implements [ownership.Ledger].
func (d *DynamoDB) Mark(ctx context.Context, account string, mark, was ownership.Mark) (ownership.Account, error) {
	condition, values := markFirst, item{":mark": markValue(mark)}
	if was != (ownership.Mark{}) {
		condition, values[":was"] = markInstead, markValue(was)
	}
	row, _, err := d.updateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 &d.accounts,
		Key:                       item{"account": text(account)},
		UpdateExpression:          aws.String(setMark),
		ConditionExpression:       &condition,
		ExpressionAttributeNames:  map[string]string{"#claim": claimName(mark.User), "#mark": markName(mark.Name)},
		ExpressionAttributeValues: values,
	})
	if err != nil {
		return ownership.Account{}, fmt.Errorf("marking account %s: %w", account, err)
	}
	return accountRow(account, row)
}

// Drop implements [ownership.Ledger].
func (d *DynamoDB) Drop(ctx context.Context, account string, claim ownership.Claim, marks []string) error {
	names := markNames(marks)
	names["#claim"] = claimName(claim.UserID)
	_, _, err := d.updateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 &d.accounts,
		Key:                       item{"account": text(account)},
		UpdateExpression:          aws.String(dropClaim),
		ConditionExpression:       aws.String(claimSame),
		ExpressionAttributeNames:  names,
		ExpressionAttributeValues: item{":v": number(claim.Version)},
	})
	if err != nil {
		return fmt.Errorf("dropping a claim of account %s: %w", account, err)
	}
	return nil
}

// markNames gives the placeholders #mark1 and #mark2 their meanings. A placeholder must mean something and no two may mean the same: one without a
// mark means an attribute that no row has.
func markNames(marks []string) map[string]string {
	names := map[string]string{"#mark1": "none:1", "#mark2": "none:2"}
	for i, mark := range marks {
		names["#mark"+strconv.Itoa(i+1)] = markName(mark)
	}
	return names
}

// ToDo implements [ownership.Queue]. It asks all shards of the index at once, each for as many rows as are wanted in all.
func (d *DynamoDB) ToDo(ctx context.Context, due time.Time, limit int) ([]string, error) {
	found, err := inEach(shards+1, func(shard string) ([]item, error) {
		page, err := d.client.Query(ctx, &dynamodb.QueryInput{
			TableName:                 &d.connections,
			IndexName:                 aws.String(index),
			KeyConditionExpression:    aws.String(dueInShard),
			ExpressionAttributeValues: item{":shard": text(shard), ":due": milliseconds(due)},
			Limit:                     aws.Int32(int32(limit)),
		})
		if err != nil {
			return nil, err
		}
		return page.Items, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing what is to do: querying: %w", err)
	}

	type entry struct {
		userID string
		next   int64
	}
	var entries []entry
	for _, key := range slices.Concat(found...) {
		r := reader{item: key}
		entries = append(entries, entry{r.text("user_id"), r.number("next_attempt")})
		if r.err != nil {
			return nil, fmt.Errorf("listing what is to do: %w", r.err)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.next, b.next) })
	userIDs := make([]string, min(limit, len(entries)))
	for i := range userIDs {
		userIDs[i] = entries[i].userID
	}
	return userIDs, nil
}

// Backlog implements [ownership.Queue]. It reads all of the index but what waits for the name of an account: in quiet times next to nothing.
func (d *DynamoDB) Backlog(ctx context.Context) (rows int, since time.Time, err error) {
	found, err := inEach(shards, func(shard string) (items []item, err error) {
		pages := dynamodb.NewQueryPaginator(d.client, &dynamodb.QueryInput{
			TableName:                 &d.connections,
			IndexName:                 aws.String(index),
			KeyConditionExpression:    aws.String(inShard),
			ExpressionAttributeValues: item{":shard": text(shard)},
			ProjectionExpression:      aws.String("since"),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			items = append(items, page.Items...)
		}
		return items, nil
	})
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("counting what is to do: querying: %w", err)
	}
	for _, row := range slices.Concat(found...) {
		r := reader{item: row}
		if began := time.UnixMilli(r.number("since")).UTC(); rows == 0 || began.Before(since) {
			since = began
		}
		if rows++; r.err != nil {
			return 0, time.Time{}, fmt.Errorf("counting what is to do: %w", r.err)
		}
	}
	return rows, since, nil
}

// inEach queries the first n shards of the index at the same time.
func inEach(n int, query func(shard string) ([]item, error)) ([][]item, error) {
	var wait sync.WaitGroup
	found, errs := make([][]item, n), make([]error, n)
	for i := range n {
		wait.Go(func() {
			name := unnamed // the last one
			if i < shards {
				name = strconv.Itoa(i)
			}
			found[i], errs[i] = query(name)
		})
	}
	wait.Wait()
	return found, errors.Join(errs...)
}

// shard is the partition of the index that a connection belongs to while it has a work mark.
func shard(c ownership.Connection) string {
	if c.Since.IsZero() {
		return unnamed
	}
	h := fnv.New32a()
	h.Write([]byte(c.UserID))
	return strconv.Itoa(int(h.Sum32() % shards))
}

// KeyFingerprint reads the fingerprint that [DynamoDB.CheckKey] compares with, "" if there is none yet.
func (d *DynamoDB) KeyFingerprint(ctx context.Context) (string, error) {
	row, err := d.accountItem(ctx, keyItem)
	r := reader{item: row, err: err}
	fingerprint := r.text("fingerprint")
	if r.err != nil {
		return "", fmt.Errorf("reading the account key's fingerprint: %w", r.err)
	}
	return fingerprint, nil
}

// CheckKey remembers, beside the accounts and for ever, the first fingerprint of an account key that it is given, and is [ownership.ErrWrongAccountKey]
// for any other.
func (d *DynamoDB) CheckKey(ctx context.Context, fingerprint string) error {
	row, err := d.accountItem(ctx, keyItem)
	if err != nil {
		return fmt.Errorf("checking the account key: %w", err)
	}
	if row == nil {
		row = item{"account": text(keyItem), "fingerprint": text(fingerprint)}
		_, err := d.client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName:                           &d.accounts,
			Item:                                row,
			ConditionExpression:                 aws.String(accountAbsent),
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
		if stored, refused := refusedBy(err); refused { // somebody was first, or a lost reply was ours
			row = stored
		} else if err != nil {
			return fmt.Errorf("checking the account key: putting item: %w", err)
		}
	}
	r := reader{item: row}
	switch stored := r.text("fingerprint"); {
	case r.err != nil:
		return fmt.Errorf("checking the account key: %w", r.err)
	case stored != fingerprint:
		return ownership.ErrWrongAccountKey
	}
	return nil
}
