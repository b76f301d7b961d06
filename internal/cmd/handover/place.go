package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/handover-dev/handover/internal/deployed"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/sweep"
)

// place is where a Handover runs, and what the commands ask of it: the local program, by its JSON API, or a deployed stack.
type place interface {
	// Accounts and Connections list all rows, in no order. An error ends the list.
	Accounts(ctx context.Context) iter.Seq2[ownership.Account, error]
	Connections(ctx context.Context) iter.Seq2[ownership.Connection, error]
	// Account and Connection read one row; false if there is none.
	Account(ctx context.Context, key string) (ownership.Account, bool, error)
	Connection(ctx context.Context, userID string) (ownership.Connection, bool, error)
	// Sweep calls the sweep function.
	Sweep(ctx context.Context, in sweep.Input) (sweep.Output, error)
}

// where are the flags that say which place is meant.
type where struct {
	flags      *flags
	url, stack string
	outputs    list
}

// where adds the flags that say which place is meant.
func (f *flags) where(t tool) *where {
	w := &where{flags: f}
	f.StringVar(&w.url, "url", t.localURL(), "`URL` of the local program (or $HANDOVER_URL)")
	f.StringVar(&w.stack, "stack", t.getenv("HANDOVER_STACK"), "`name` of a deployed stack (or $HANDOVER_STACK), with the credentials and the region of the environment; the local program is then not asked")
	f.Var(&w.outputs, "output", "`name=value` of an output of the stack, instead of asking CloudFormation for it; may be given several times (or $HANDOVER_OUTPUTS, with commas between)")
	if outputs := t.getenv("HANDOVER_OUTPUTS"); outputs != "" {
		w.outputs = strings.Split(outputs, ",")
	}
	return w
}

// localURL is where the local program is, if nothing else is said.
func (t tool) localURL() string { return cmp.Or(t.getenv("HANDOVER_URL"), "http://127.0.0.1:8080") }

// isStack reports whether a deployed stack is meant.
func (w *where) isStack() bool { return w.stack != "" || len(w.outputs) > 0 }

// open opens the place that is meant.
func (w *where) open(ctx context.Context) (place, error) {
	if w.isStack() {
		return w.openStack(ctx)
	}
	return w.openLocal()
}

func (w *where) openLocal() (localProgram, error) {
	_, err := w.flags.webURL("-url", w.url, "http://127.0.0.1:8080")
	return localProgram{url: strings.TrimRight(w.url, "/")}, err
}

func (w *where) openStack(ctx context.Context) (*deployed.Stack, error) {
	known := map[string]string{}
	for _, output := range w.outputs {
		name, value, ok := strings.Cut(output, "=")
		if !ok {
			return nil, fmt.Errorf("-output is %q: it should be name=value, such as %s=handover-accounts%w", output, deployed.AccountsTable, silent{errUsage})
		}
		known[name] = value
	}
	return deployed.Open(ctx, w.stack, known)
}

// localProgram is the local program that answers at url.
type localProgram struct{ url string }

func (p localProgram) Accounts(ctx context.Context) iter.Seq2[ownership.Account, error] {
	return rows[ownership.Account](ctx, p, "/api/rows/accounts")
}

func (p localProgram) Connections(ctx context.Context) iter.Seq2[ownership.Connection, error] {
	return rows[ownership.Connection](ctx, p, "/api/rows/connections")
}

func (p localProgram) Account(ctx context.Context, key string) (ownership.Account, bool, error) {
	return one(rows[ownership.Account](ctx, p, "/api/rows/accounts?key="+url.QueryEscape(key)))
}

func (p localProgram) Connection(ctx context.Context, userID string) (ownership.Connection, bool, error) {
	return one(rows[ownership.Connection](ctx, p, "/api/rows/connections?key="+url.QueryEscape(userID)))
}

func one[Row any](rows iter.Seq2[Row, error]) (row Row, found bool, err error) {
	for row, err := range rows {
		return row, err == nil, err
	}
	return row, false, nil
}

func (p localProgram) Sweep(ctx context.Context, in sweep.Input) (out sweep.Output, err error) {
	payload, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	return out, p.call(ctx, http.MethodPost, "/api/sweep", payload, &out)
}

// call makes one request, and reads the JSON of its answer into answer.
func (p localProgram) call(ctx context.Context, method, path string, body []byte, answer any) error {
	content, err := p.open(ctx, method, path, body, "application/json")
	if err != nil {
		return err
	}
	defer content.Close()
	if err := json.NewDecoder(content).Decode(answer); err != nil {
		return fmt.Errorf("reading the answer of %s%s: %w", p.url, path, err)
	}
	return nil
}

// newHTTPClient makes a client that follows no redirect. To Terra a 3xx is a failure, so it must not pass for what is behind it.
func newHTTPClient() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// open makes one request, and opens its answer, which must be of that media type: an empty one of something else would pass for an empty ledger.
func (p localProgram) open(ctx context.Context, method, path string, body []byte, mediaType string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := newHTTPClient().Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w\nThe local program does not run at %s. Start it with handover serve, say where it is with -url, or name a deployed stack with -stack", err, p.url)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return nil, fmt.Errorf("%s%s answered %s: %s", p.url, path, response.Status, bytes.TrimSpace(text))
	}
	if got := response.Header.Get("Content-Type"); got != mediaType {
		response.Body.Close()
		return nil, fmt.Errorf("%s%s answered with Content-Type %q, and the local program with %q\nSomething else runs at %s. Say where the local program is with -url", p.url, path, got, mediaType, p.url)
	}
	return response.Body, nil
}

// rows reads one row a line.
func rows[Row any](ctx context.Context, p localProgram, path string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		var row, none Row
		content, err := p.open(ctx, http.MethodGet, path, nil, "application/x-ndjson")
		if err != nil {
			yield(none, err)
			return
		}
		defer content.Close()
		decoder := json.NewDecoder(bufio.NewReader(content))
		for {
			row = none
			err := decoder.Decode(&row)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(none, fmt.Errorf("reading %s%s: %w", p.url, path, err))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// collect collects rows, and says on stderr how many it has read, every 10,000 rows.
func collect[Row any](t tool, what string, rows iter.Seq2[Row, error], wanted func(Row) bool) ([]Row, error) {
	var list []Row
	read := 0
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if read++; read%10_000 == 0 {
			fmt.Fprintf(t.stderr, "%d %s read\n", read, what)
		}
		if wanted == nil || wanted(row) {
			list = append(list, row)
		}
	}
	return list, nil
}
