package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Store remembers what was done. This is the seam: in your backend it is a table of ids and a table of owners in the database that you have, and Done one
// transaction, with what else you change.
type Store interface {
	Seen(id string) bool
	Owner(account string) (Holder, bool)
	// Done records that the announcement id was handled and, unless account is "", that owner is the account's owner now.
	Done(id, account string, owner Holder) error
}

// Journal is a Store in a file of JSON lines, for one process. A file because the owners must survive a restart, or an old announcement that comes late would
// replace a newer owner. Lines because adding one is all or nothing without a database: a line that a crash has cut off does not count.
type Journal struct {
	file   *os.File
	size   int64 // of the whole lines
	seen   map[string]bool
	owners map[string]Holder
}

type line struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	Owner   Holder `json:"owner"`
}

// OpenJournal reads the file, and makes it if need be.
func OpenJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	j := &Journal{file: file, size: int64(len(whole)), seen: map[string]bool{}, owners: map[string]Holder{}}
	for record := range bytes.Lines(whole) {
		var l line
		if err := json.Unmarshal(record, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		j.remember(l)
	}
	return j, nil
}

func (j *Journal) Seen(id string) bool { return j.seen[id] }

func (j *Journal) Owner(account string) (Holder, bool) {
	owner, ok := j.owners[account]
	return owner, ok
}

func (j *Journal) Done(id, account string, owner Holder) error {
	l := line{id, account, owner}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if err := j.file.Truncate(j.size); err != nil { // what a crash, or a failed write, has left behind the whole lines
		return err
	}
	if _, err := j.file.WriteAt(text, j.size); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.size += int64(len(text))
	j.remember(l)
	return nil
}

func (j *Journal) remember(l line) {
	j.seen[l.ID] = true
	if l.Account != "" {
		j.owners[l.Account] = l.Owner
	}
}

func (j *Journal) Close() error { return j.file.Close() }
