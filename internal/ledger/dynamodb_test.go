package ledger_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/realparts"
)

const account = "GARMIN/k7c1.1f2e"

func TestDynamoDBConforms(t *testing.T) {
	client := dynamodb.NewFromConfig(realparts.AWSConfig(realparts.DynamoDB(t)))
	var ledgers atomic.Int64
	ledgertest.Run(t, func(t *testing.T, now func() time.Time) ledgertest.Ledger {
		n := ledgers.Add(1)
		accounts, connections := fmt.Sprint("accounts-", n), fmt.Sprint("connections-", n)
		if err := ledger.CreateTables(t.Context(), client, accounts, connections); err != nil {
			t.Fatal(err)
		}
		l := ledger.NewDynamoDB(client, accounts, connections)
		l.Now = now
		return l
	})
}

func TestCreateTablesLeavesThoseThatExist(t *testing.T) {
	l, client, _ := open(t)
	if _, _, err := l.Insert(t.Context(), ownership.Connection{UserID: "user", Version: 1}); err != nil {
		t.Fatal(err)
	}
	if err := ledger.CreateTables(t.Context(), client, "accounts", "connections"); err != nil {
		t.Fatal(err)
	}
	if _, found, err := l.Connection(t.Context(), "user"); !found || err != nil {
		t.Errorf("Connection = %v, %v", found, err)
	}
}

// Each method is one call, whatever it meets; a first claim needs no read.
func TestCalls(t *testing.T) {
	l, _, wire := open(t)
	c := ownership.Connection{UserID: "user", Version: 1, ToDo: true}
	claim := ownership.Claim{UserID: "user", Tenures: []string{"tony"}, Version: 1}
	fingerprint := func(want string) error {
		got, err := l.KeyFingerprint(t.Context())
		if got != want {
			t.Errorf("KeyFingerprint = %q, want %q", got, want)
		}
		return err
	}
	for _, step := range []struct {
		name string
		call func() error
		want []string
	}{
		{"first claim", func() error { _, err := l.Claim(t.Context(), account, claim); return err }, []string{"UpdateItem"}},
		{"refused claim", func() error { _, err := l.Claim(t.Context(), account, claim); return err }, []string{"UpdateItem"}},
		{"mark", func() error {
			_, err := l.Mark(t.Context(), account, ownership.Mark{User: "user"}, ownership.Mark{})
			return err
		}, []string{"UpdateItem"}},
		{"drop", func() error { return l.Drop(t.Context(), account, claim, nil) }, []string{"UpdateItem"}},
		{"insert", func() error { _, _, err := l.Insert(t.Context(), c); return err }, []string{"PutItem"}},
		{"refused insert", func() error { _, _, err := l.Insert(t.Context(), c); return err }, []string{"PutItem"}},
		{"refused update", func() error { _, _, err := l.Update(t.Context(), c); return err }, []string{"UpdateItem"}},
		{"postpone", func() error { _, _, err := l.Postpone(t.Context(), c, nil); return err }, []string{"UpdateItem"}},
		{"finish", func() error { _, _, err := l.Finish(t.Context(), c, nil); return err }, []string{"UpdateItem"}},
		{"peek", func() error { _, _, err := l.Peek(t.Context(), "user"); return err }, []string{"GetItem"}},
		{"stamp", func() error { _, _, err := l.Stamp(t.Context(), "user", 1); return err }, []string{"UpdateItem"}},
		{"stamp of nothing", func() error { _, _, err := l.Stamp(t.Context(), "nobody", 1); return err }, []string{"UpdateItem"}},
		{"page", func() error { _, _, err := l.ConnectionsFrom(t.Context(), "", 10); return err }, []string{"Scan"}},
		{"account", func() error { _, _, err := l.Account(t.Context(), account); return err }, []string{"GetItem"}},
		{"keep", func() error { return l.Keep(t.Context(), "walk", "somewhere") }, []string{"PutItem"}},
		{"note", func() error { _, err := l.Note(t.Context(), "walk"); return err }, []string{"GetItem"}},
		{"erase", func() error { return l.Erase(t.Context(), "user") }, []string{"DeleteItem"}},
		{"a claim again", func() error { _, err := l.Claim(t.Context(), account, claim); return err }, []string{"UpdateItem"}},
		{"erase no claim", func() error { return l.EraseClaim(t.Context(), account, "nobody", nil) }, []string{"UpdateItem"}},
		{"erase the last claim", func() error { return l.EraseClaim(t.Context(), account, "user", []string{"1", "2"}) }, []string{"UpdateItem", "DeleteItem"}},
		{"erase from no row", func() error { return l.EraseClaim(t.Context(), account, "user", []string{"1", "2"}) }, []string{"UpdateItem"}},
		{"no key's fingerprint", func() error { return fingerprint("") }, []string{"GetItem"}},
		{"first key", func() error { return l.CheckKey(t.Context(), "key") }, []string{"GetItem", "PutItem"}},
		{"its fingerprint", func() error { return fingerprint("key") }, []string{"GetItem"}},
		{"same key", func() error { return l.CheckKey(t.Context(), "key") }, []string{"GetItem"}},
	} {
		wire.take()
		if err := step.call(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if calls := wire.take(); !slices.Equal(calls, step.want) {
			t.Errorf("%s: %q, want %q", step.name, calls, step.want)
		}
	}
}

// A write whose reply is lost is sent again by the SDK. What comes back is the row with the write in it.
func TestLostReplies(t *testing.T) {
	l, _, wire := open(t)
	wire.loseFirstReplies()

	c := ownership.Connection{UserID: "user", Tenures: []string{"tony"}, Version: 1, ToDo: true, NextAttempt: time.UnixMilli(5).UTC()}
	stored, applied, err := l.Insert(t.Context(), c)
	want(t, "Insert", stored, applied, err, c, false) // refused by itself

	c.Version, c.Provider = 2, "GARMIN"
	stored, applied, err = l.Update(t.Context(), c)
	want(t, "Update", stored, applied, err, c, false)

	c.Attempts, c.Waiting, c.Said = 1, "terra does not answer", []string{"something"}
	stored, applied, err = l.Postpone(t.Context(), c, c.Said)
	want(t, "Postpone", stored, applied, err, c, true)

	c.ToDo, c.NextAttempt, c.Attempts, c.Waiting, c.Said = false, time.Time{}, 0, "", []string{"more", "something"}
	stored, applied, err = l.Finish(t.Context(), c, []string{"more"})
	want(t, "Finish", stored, applied, err, c, true)

	claim := ownership.Claim{UserID: "user", Tenures: []string{"tony"}, Version: 1}
	row, err := l.Claim(t.Context(), account, claim)
	if err != nil || !reflect.DeepEqual(row.Claims["user"], claim) {
		t.Errorf("Claim = %+v, %v", row, err)
	}
	row, err = l.Mark(t.Context(), account, ownership.Mark{Name: "mark", User: "user"}, ownership.Mark{})
	if err != nil || len(row.Marks) != 1 {
		t.Errorf("Mark = %+v, %v", row, err)
	}
	if err := l.Drop(t.Context(), account, claim, []string{"mark"}); err != nil {
		t.Errorf("Drop: %v", err)
	}
	if err := l.CheckKey(t.Context(), "fingerprint"); err != nil {
		t.Errorf("CheckKey: %v", err)
	}

	stored, applied, err = l.Stamp(t.Context(), "user", 7)
	c.Listed = 7
	want(t, "Stamp", stored, applied, err, c, true)
	if err := l.Keep(t.Context(), "walk", "somewhere"); err != nil {
		t.Errorf("Keep: %v", err)
	}
	if err := l.Erase(t.Context(), "user"); err != nil {
		t.Errorf("Erase: %v", err)
	}
	if _, err := l.Claim(t.Context(), account, claim); err != nil {
		t.Errorf("Claim: %v", err)
	}
	if err := l.EraseClaim(t.Context(), account, "user", nil); err != nil {
		t.Errorf("EraseClaim: %v", err)
	}
	if _, found, err := l.Account(t.Context(), account); found || err != nil {
		t.Errorf("Account = %v, %v, want none", found, err)
	}
	if calls := wire.take(); len(calls) != 2*16 {
		t.Errorf("%d calls, want each of 16 twice: %q", len(calls), calls)
	}
}

// A row is deleted only while it is empty: a claim may come after the erasing of the last one, or after a deletion whose reply was lost.
func TestEraseClaimMeetsAClaim(t *testing.T) {
	for _, meet := range []struct {
		call    string // before this call …
		attempt int    // … of this number …
		lose    bool   // … and the reply to the first one was lost
		erases  bool   // a third claim comes too, and is erased, which leaves a sign on the row
	}{
		{call: "DeleteItem", attempt: 1},
		{call: "DeleteItem", attempt: 1, erases: true},
		{call: "DeleteItem", attempt: 2, lose: true, erases: true},
		{call: "DeleteItem", attempt: 2, lose: true},
		{call: "UpdateItem", attempt: 1},
		{call: "UpdateItem", attempt: 2, lose: true},
	} {
		t.Run(fmt.Sprintf("%+v", meet), func(t *testing.T) {
			l, client, wire := open(t)
			mine := ownership.Claim{UserID: "mine", Tenures: []string{"tony"}, Version: 1}
			other := ownership.Claim{UserID: "other", Tenures: []string{"pepper"}, Version: 1}
			if _, err := l.Claim(t.Context(), account, mine); err != nil {
				t.Fatal(err)
			}
			competitor := ledger.NewDynamoDB(client, "accounts", "connections")
			came := false
			wire.lose = meet.lose
			wire.before = func(call string, attempt int) {
				if came || call != meet.call || attempt != meet.attempt {
					return
				}
				came = true
				if row, err := competitor.Claim(t.Context(), account, other); err != nil || !reflect.DeepEqual(row.Claims["other"], other) {
					t.Errorf("Claim = %+v, %v", row, err)
				}
				if !meet.erases {
					return
				}
				third := ownership.Claim{UserID: "third", Tenures: []string{"happy"}, Version: 1}
				if _, err := competitor.Claim(t.Context(), account, third); err != nil {
					t.Error(err)
				}
				if err := competitor.EraseClaim(t.Context(), account, "third", nil); err != nil {
					t.Error(err)
				}
			}
			if err := l.EraseClaim(t.Context(), account, "mine", nil); err != nil {
				t.Error(err)
			}
			row, found, err := l.Account(t.Context(), account)
			if want := map[string]ownership.Claim{"other": other}; err != nil || !found || !reflect.DeepEqual(row.Claims, want) {
				t.Errorf("Account = %+v, %v, %v, want %+v", row, found, err, want)
			}
			if !came {
				t.Error("no claim came")
			}
		})
	}
}

// An erasing that broke off before the empty row was deleted is finished by the next one.
func TestEraseClaimAgain(t *testing.T) {
	l, client, _ := open(t)
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("accounts"), Item: map[string]types.AttributeValue{
		"account": &types.AttributeValueMemberS{Value: account}, "emptied": &types.AttributeValueMemberS{Value: "another sign"},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := l.EraseClaim(t.Context(), account, "user", nil); err != nil {
		t.Fatal(err)
	}
	if row, found, err := l.Account(t.Context(), account); found || err != nil {
		t.Errorf("Account = %+v, %v, %v, want none", row, found, err)
	}
}

// An error says what was being done, and nothing of the person it was done for.
func TestErrors(t *testing.T) {
	config := realparts.AWSConfig("http://" + realparts.FreeAddress(t))
	config.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	l := ledger.NewDynamoDB(dynamodb.NewFromConfig(config), "accounts", "connections")

	c := ownership.Connection{UserID: "secret", Tenures: []string{"secret"}, Version: 1}
	claim := ownership.Claim{UserID: "secret", Tenures: []string{"secret"}, Version: 1}
	errs := map[string]error{}
	_, _, errs["inserting connection: putting item: "] = l.Insert(t.Context(), c)
	_, _, errs["updating connection: updating item: "] = l.Update(t.Context(), c)
	_, _, errs["finishing connection: updating item: "] = l.Finish(t.Context(), c, []string{"secret"})
	_, _, errs["postponing connection: updating item: "] = l.Postpone(t.Context(), c, []string{"secret"})
	_, _, errs["reading connection: getting item: "] = l.Connection(t.Context(), "secret")
	_, errs["claiming account "+account+": updating item: "] = l.Claim(t.Context(), account, claim)
	_, errs["marking account "+account+": updating item: "] = l.Mark(t.Context(), account, ownership.Mark{Name: "secret", User: "secret"}, ownership.Mark{})
	errs["dropping a claim of account "+account+": updating item: "] = l.Drop(t.Context(), account, claim, []string{"secret"})
	_, errs["listing what is to do: querying: "] = l.ToDo(t.Context(), time.Now(), 10)
	errs["checking the account key: getting item: "] = l.CheckKey(t.Context(), "secret")
	_, errs["reading the account key's fingerprint: getting item: "] = l.KeyFingerprint(t.Context())
	_, _, errs["reading account "+account+": getting item: "] = l.Account(t.Context(), account)
	_, _, errs["stamping connection: updating item: "] = l.Stamp(t.Context(), "secret", 1)
	_, errs["reading note walk: getting item: "] = l.Note(t.Context(), "walk")
	errs["keeping note walk: putting item: "] = l.Keep(t.Context(), "walk", "secret")
	errs["erasing connection: deleting item: "] = l.Erase(t.Context(), "secret")
	errs["erasing a claim of account "+account+": updating item: "] = l.EraseClaim(t.Context(), account, "secret", []string{"secret"})
	for _, err := range l.Accounts(t.Context()) {
		errs["scanning table accounts: "] = err
	}
	for _, err := range l.Connections(t.Context()) {
		errs["scanning table connections: "] = err
	}
	for path, err := range errs {
		if err == nil || !strings.HasPrefix(err.Error(), path) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q, want it to begin with %q", err, path)
		}
	}
}

// A row that cannot be read is an error: read as less than it says, it could invent a change of owner.
func TestMalformedRows(t *testing.T) {
	l, client, _ := open(t)
	type item = map[string]types.AttributeValue
	text := &types.AttributeValueMemberS{Value: "secret"}
	claim := ownership.Claim{UserID: "user", Tenures: []string{"tony"}, Version: 1}
	for _, row := range []item{
		{"version": text}, {"tenures": text}, {"connected_at": text}, {"said": text}, {"listed": text}, {"expires_at": text}, {"replaced_by": text}, {"provider": &types.AttributeValueMemberBOOL{}},
		{"accounts": &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberBOOL{}}}},
		{"replaced_by": &types.AttributeValueMemberL{Value: []types.AttributeValue{text}}},
	} {
		row["user_id"] = &types.AttributeValueMemberS{Value: "user"}
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("connections"), Item: row}); err != nil {
			t.Fatal(err)
		}
		_, _, err := l.Connection(t.Context(), "user")
		wantMalformed(t, row, err)
		_, _, err = l.Insert(t.Context(), ownership.Connection{UserID: "user", Version: 1})
		wantMalformed(t, row, err)
		for _, err := range l.Connections(t.Context()) {
			wantMalformed(t, row, err)
		}
	}
	for _, row := range []item{
		{"c:secret": text}, {"m:secret": text},
		{"c:secret": &types.AttributeValueMemberM{Value: item{"v": text}}},
		{"m:secret": &types.AttributeValueMemberM{Value: item{"tenure": text}}},
		{"c:secret": &types.AttributeValueMemberM{Value: item{"closed": text}}},
		{"m:secret": &types.AttributeValueMemberM{Value: item{"at": text}}},
		{"m:secret": &types.AttributeValueMemberM{Value: item{"nudged": text}}},
	} {
		row["account"] = &types.AttributeValueMemberS{Value: account}
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("accounts"), Item: row}); err != nil {
			t.Fatal(err)
		}
		_, err := l.Claim(t.Context(), account, claim)
		wantMalformed(t, row, err)
		_, _, err = l.Account(t.Context(), account)
		wantMalformed(t, row, err)
		for _, err := range l.Accounts(t.Context()) {
			wantMalformed(t, row, err)
		}
	}
}

func wantMalformed(t *testing.T, row any, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "malformed item: ") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v: %v, want a malformed item", row, err)
	}
}

func want(t *testing.T, op string, stored ownership.Connection, applied bool, err error, want ownership.Connection, wantApplied bool) {
	t.Helper()
	if err != nil || applied != wantApplied || !reflect.DeepEqual(stored, want) {
		t.Errorf("%s =\n%+v, %v, %v, want\n%+v, %v", op, stored, applied, err, want, wantApplied)
	}
}

// open returns an empty ledger on a real engine, with its client and what goes over its wire.
func open(t *testing.T) (*ledger.DynamoDB, *dynamodb.Client, *wire) {
	t.Helper()
	config := realparts.AWSConfig(realparts.DynamoDB(t))
	wire := new(wire)
	config.HTTPClient = wire
	config.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	}
	client := dynamodb.NewFromConfig(config)
	if err := ledger.CreateTables(t.Context(), client, "accounts", "connections"); err != nil {
		t.Fatal(err)
	}
	wire.take()
	return ledger.NewDynamoDB(client, "accounts", "connections"), client, wire
}

// wire is an HTTP client that notes the API calls, and on demand loses the reply to the first attempt at each.
type wire struct {
	mu    sync.Mutex
	calls []string
	lose  bool

	before func(call string, attempt int) // if set, runs before each call
}

// take returns the names of the calls since it was last called.
func (w *wire) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *wire) loseFirstReplies() { w.lose = true }

func (w *wire) Do(request *http.Request) (*http.Response, error) {
	_, call, _ := strings.Cut(request.Header.Get("X-Amz-Target"), ".")
	w.mu.Lock()
	w.calls = append(w.calls, call)
	w.mu.Unlock()
	if w.before != nil {
		attempt := 0
		fmt.Sscanf(request.Header.Get("Amz-Sdk-Request"), "attempt=%d;", &attempt)
		w.before(call, attempt)
	}
	response, err := http.DefaultClient.Do(request)
	if err == nil && w.lose && strings.Contains(request.Header.Get("Amz-Sdk-Request"), "attempt=1;") {
		response.Body.Close()
		return nil, errors.New("connection reset")
	}
	return response, err
}
