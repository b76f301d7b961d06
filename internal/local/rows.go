package local

import (
	"encoding/json"
	"iter"
	"net/http"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/sweep"
)

// rows answers with rows of the ledger as they are, one JSON object a line: all of them or, with ?key=, the one of that key, if there is one. It is for the
// tool, which judges them by the rule's own functions.
func rows[Row any](all func(*http.Request) iter.Seq2[Row, error], one func(r *http.Request, key string) (Row, bool, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		encoder := json.NewEncoder(w)
		if key := r.URL.Query().Get("key"); key != "" {
			row, found, err := one(r, key)
			switch {
			case err != nil:
				gatewayError(w, http.StatusInternalServerError)
			case found:
				_ = encoder.Encode(row)
			}
			return
		}
		for row, err := range all(r) {
			if err != nil || encoder.Encode(row) != nil {
				panic(http.ErrAbortHandler) // a list that breaks off must not look whole
			}
		}
	}
}

func (p *program) rowsOfAccounts() http.HandlerFunc {
	return rows(func(r *http.Request) iter.Seq2[ownership.Account, error] { return p.ledger.Accounts(r.Context()) },
		func(r *http.Request, key string) (ownership.Account, bool, error) {
			return p.ledger.Account(r.Context(), key)
		})
}

func (p *program) rowsOfConnections() http.HandlerFunc {
	return rows(func(r *http.Request) iter.Seq2[ownership.Connection, error] { return p.ledger.Connections(r.Context()) },
		func(r *http.Request, key string) (ownership.Connection, bool, error) {
			return p.ledger.Connection(r.Context(), key)
		})
}

// callSweep calls the sweep function as Lambda does: with its input as JSON, and answers with its output.
func (p *program) callSweep(w http.ResponseWriter, r *http.Request) {
	var in sweep.Input
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in); err != nil {
		gatewayError(w, http.StatusBadRequest)
		return
	}
	p.listed(func(r *http.Request) (any, error) { return p.sweep.Handle(r.Context(), in) })(w, r)
}
