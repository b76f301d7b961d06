package ledgertest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/handover-dev/handover/internal/ownership"
)

// What the clients of a test of linearizability do to the row of one account: each puts claims of some versions, and marks, and gets the row back.
type (
	rowCall struct {
		user    int
		version int64 // of a claim; 0: it is a mark
	}
	// rowState is the row: the version of each user's claim, and whether it has a mark.
	rowState struct {
		versions [6]int64
		marked   [6]bool
	}
)

// rowModel says what one call after the other does.
func rowModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return rowState{} },
		Step: func(before, call, got any) (bool, any) {
			row, c := before.(rowState), call.(rowCall)
			row.versions[c.user] = max(row.versions[c.user], c.version)
			row.marked[c.user] = row.marked[c.user] || c.version == 0 && row.versions[c.user] > 0
			return row == got.(rowState), row
		},
		DescribeOperation: func(call, got any) string { return fmt.Sprintf("%+v → %+v", call, got) },
	}
}

// linearizable has many clients at one row at once. There must be an order of their calls, each somewhere between its beginning and its end, in which each
// returned exactly the row that all before it had made.
func linearizable(t *testing.T, l Ledger) {
	rounds := 3
	if os.Getenv("HANDOVER_PROOF") != "" {
		rounds = 40
	}
	const clients, each = 16, 12
	for round := range rounds {
		account := fmt.Sprint("GARMIN/k000.", round)
		var (
			mu      sync.Mutex
			history []porcupine.Operation
			all     sync.WaitGroup
		)
		start := time.Now()
		for client := range clients {
			all.Go(func() {
				for range each {
					c := rowCall{rand.IntN(len(rowState{}.versions)), rand.Int64N(5)}
					user := fmt.Sprint("user-", c.user)
					called := time.Since(start)
					var row ownership.Account
					var err error
					if c.version > 0 {
						row, err = l.Claim(t.Context(), account, ownership.Claim{UserID: user, Tenures: []string{"reference"}, Version: c.version})
					} else {
						row, err = l.Mark(t.Context(), account, ownership.Mark{Name: user + "#1", User: user, Current: "another", Tenure: 1}, ownership.Mark{})
					}
					returned := time.Since(start)
					if err != nil {
						t.Error(err)
						return
					}
					var got rowState
					for i := range got.versions {
						user := fmt.Sprint("user-", i)
						got.versions[i] = row.Claims[user].Version
						_, got.marked[i] = row.Marks[user+"#1"]
					}
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: client, Input: c, Call: int64(called), Output: got, Return: int64(returned)})
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		if result, _ := porcupine.CheckOperationsVerbose(rowModel(), history, time.Minute); result != porcupine.Ok {
			t.Errorf("%d calls of %d clients are in no order: %s", len(history), clients, result)
		}
	}
	t.Logf("%d histories of %d calls by %d clients are linearizable", rounds, clients*each, clients)
}
