package embedded_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/handover-dev/handover/internal/ledger/ledgertest"
	"github.com/handover-dev/handover/internal/local/embedded"
	"github.com/handover-dev/handover/internal/ownership"
)

func TestEmbeddedConforms(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T, now func() time.Time) ledgertest.Ledger {
		l := open(t, filepath.Join(t.TempDir(), "new folder", "ledger.db"))
		l.Now = now
		return l
	})
}

func TestOpenRefusesAFileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	open(t, path)
	start := time.Now()
	_, err := embedded.Open(path)
	if err == nil || !strings.Contains(err.Error(), "is another handover running on this -data folder?") {
		t.Errorf("Open = %v, want it to say who may have it", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Open took %s", took)
	}
}

func TestOpenRefusesAnotherKindOfFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a ledger\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(path); err == nil {
		t.Error("Open took a file that is no ledger")
	}
	if _, err := embedded.Open(filepath.Join(path, "ledger.db")); !errors.As(err, new(*fs.PathError)) {
		t.Errorf("Open = %v, want the fault of the path", err)
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, path)
	c := ownership.Connection{UserID: "user", Tenures: []string{"tony"}, Version: 1, ToDo: true, NextAttempt: time.UnixMilli(1)}
	if _, _, err := l.Insert(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := l.CheckKey(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	if userIDs, err := l.ToDo(t.Context(), time.Now(), 10); err != nil || !slices.Equal(userIDs, []string{"user"}) {
		t.Errorf("ToDo = %q, %v", userIDs, err)
	}
	if err := l.CheckKey(t.Context(), "second"); !errors.Is(err, ownership.ErrWrongAccountKey) {
		t.Errorf("CheckKey = %v, want %v", err, ownership.ErrWrongAccountKey)
	}
}

// A row that cannot be read is an error, and stays: read as less than it says, it could invent a change of owner.
func TestMalformedRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	file, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(file.Update(func(tx *bbolt.Tx) error {
		var errs []error
		for _, row := range []struct{ bucket, key, text string }{
			{"connections", "user", `"secret"`}, {"accounts", "user", `"secret"`}, {"keys", "fingerprint", `["secret"]`}, {"notes", "user", `["secret"]`},
		} {
			errs = append(errs, tx.Bucket([]byte(row.bucket)).Put([]byte(row.key), []byte(row.text)))
		}
		return errors.Join(errs...)
	}), file.Close())
	if err != nil {
		t.Fatal(err)
	}

	l := open(t, path)
	c := ownership.Connection{UserID: "user", Tenures: []string{"secret"}, Version: 1}
	claim := ownership.Claim{UserID: "user", Tenures: []string{"secret"}, Version: 1}
	errs := map[string]error{}
	for range 2 { // whatever was tried before, it is still there
		_, _, errs["inserting connection: "] = l.Insert(t.Context(), c)
		_, _, errs["finishing connection: "] = l.Finish(t.Context(), c, nil)
		_, _, errs["stamping connection: "] = l.Stamp(t.Context(), "user", 1)
		_, _, errs["reading connection: "] = l.Connection(t.Context(), "user")
		_, _, errs["listing connections: "] = l.ConnectionsFrom(t.Context(), "", 10)
		errs["erasing connection: "] = l.Erase(t.Context(), "user")
		_, errs["claiming account user: "] = l.Claim(t.Context(), "user", claim)
		_, errs["marking account user: "] = l.Mark(t.Context(), "user", ownership.Mark{User: "user"}, ownership.Mark{})
		errs["dropping a claim of account user: "] = l.Drop(t.Context(), "user", claim, nil)
		_, _, errs["reading account user: "] = l.Account(t.Context(), "user")
		_, _, errs["listing accounts: "] = l.AccountsFrom(t.Context(), "", 10)
		errs["erasing a claim of account user: "] = l.EraseClaim(t.Context(), "user", "user", nil)
		errs["checking the account key: "] = l.CheckKey(t.Context(), "secret")
		_, errs["reading note user: "] = l.Note(t.Context(), "user")
		for path, err := range errs {
			if err == nil || !strings.HasPrefix(err.Error(), path) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want it to begin with %q", err, path)
			}
		}
	}
}

// The test starts itself as another process, which writes and tells what has been stored, and kills it in the midst of that.
func TestKilled(t *testing.T) {
	if path := os.Getenv("EMBEDDED_TEST_WRITE"); path != "" {
		writeForEver(t, path)
	}
	for range 3 {
		path := filepath.Join(t.TempDir(), "ledger.db")
		child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), "EMBEDDED_TEST_WRITE="+path)
		output, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(output)
		var stored []string
		for len(stored) < 200 && lines.Scan() {
			stored = append(stored, lines.Text())
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			stored = append(stored, lines.Text()) // told before it was killed
		}
		_ = child.Wait() // it says "killed"
		if len(stored) < 200 {
			t.Fatalf("the writer ended by itself: %q", stored)
		}

		l := open(t, path)
		for _, userID := range stored {
			c, found, err := l.Connection(t.Context(), userID)
			if err != nil || !found || !c.ToDo {
				t.Fatalf("after a kill: Connection = %+v, %v, %v", c, found, err)
			}
		}
		todo, err := l.ToDo(t.Context(), time.Now(), 1<<20)
		if err != nil || len(todo) < len(stored) {
			t.Errorf("after a kill: %d rows are to do, %v, want at least %d", len(todo), err, len(stored))
		}
	}
}

func writeForEver(t *testing.T, path string) {
	l := open(t, path)
	var wait sync.WaitGroup
	var mu sync.Mutex
	for i := range 8 {
		wait.Go(func() {
			for n := 0; ; n++ {
				userID := fmt.Sprintf("user-%d-%d", i, n)
				if _, _, err := l.Insert(t.Context(), ownership.Connection{UserID: userID, Version: 1, ToDo: true}); err != nil {
					panic(err)
				}
				mu.Lock()
				_, err := io.WriteString(os.Stdout, userID+"\n")
				mu.Unlock()
				if err != nil { // the other end is gone
					os.Exit(1)
				}
			}
		})
	}
	wait.Wait()
}

func open(t *testing.T, path string) *embedded.Ledger {
	t.Helper()
	l, err := embedded.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
