package local

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/local/console"
	"github.com/handover-dev/handover/internal/ownership"
)

// routes are the paths of the local program.
func (p *program) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/webhook", p.console.Webhook())
	for _, pattern := range []string{"GET /{$}", "/console/", "GET /api/stories", "POST /api/stories/{name}"} {
		mux.Handle(pattern, p.console.Pages())
	}
	mux.HandleFunc("GET /api/announcements", p.listed(func(*http.Request) (any, error) { return p.topic.List() }))
	mux.HandleFunc("GET /api/accounts", p.listed(p.accounts))
	mux.HandleFunc("GET /api/connections", func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains([]string{"", "settled", "unsettled", "superseded"}, r.URL.Query().Get("state")) {
			gatewayError(w, http.StatusBadRequest)
			return
		}
		p.listed(p.connections)(w, r)
	})
	mux.HandleFunc("GET /api/rows/accounts", p.rowsOfAccounts())
	mux.HandleFunc("GET /api/rows/connections", p.rowsOfConnections())
	mux.HandleFunc("POST /api/sweep", p.callSweep)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /certificate.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(p.topic.Certificate())
	})
	mux.Handle("/sns", p.topic.API("/sns"))
	mux.Handle("/sns/", p.topic.API("/sns"))
	switch {
	case p.terra != nil:
		mux.Handle("/terra/", http.StripPrefix("/terra", p.terra.API()))
	case p.config.TerraAPI == "": // nobody is known there, and so nobody is listed
		mux.HandleFunc("GET /terra/v2/subscriptions", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"users":[]}`)) })
	}
	return console.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			w = problem{w}
		}
		mux.ServeHTTP(w, r)
	}))
}

// problem has what http.ServeMux answers where it knows no handler, a 404 or a 405 with its Allow, look as all other errors do.
type problem struct{ http.ResponseWriter }

func (p problem) WriteHeader(status int)      { gatewayError(p.ResponseWriter, status) }
func (p problem) Write(b []byte) (int, error) { return len(b), nil }

// listed answers with a list as JSON.
func (p *program) listed(list func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found, err := list(r)
		if err != nil {
			p.log.LogAttrs(r.Context(), slog.LevelError, "listing", slog.String("error", err.Error()))
			gatewayError(w, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(found)
	}
}

// account is one row of GET /api/accounts.
type account struct {
	Account  string `json:"account"`
	Provider string `json:"provider"`
	Owner    owner  `json:"owner"`
}

type owner struct {
	UserID      string     `json:"user_id"`
	ReferenceID string     `json:"reference_id"`
	ConnectedAt *time.Time `json:"connected_at"`
}

func (p *program) accounts(r *http.Request) (any, error) {
	list := []account{}
	for row, err := range p.ledger.Accounts(r.Context()) {
		if err != nil {
			return nil, err
		}
		if o, ok := row.Owner(); ok {
			provider, _, _ := strings.Cut(row.Key, "/")
			list = append(list, account{row.Key, provider, owner{o.UserID, o.ReferenceID, orNull(o.ConnectedAt)}})
		}
	}
	slices.SortFunc(list, func(a, b account) int { return strings.Compare(a.Account, b.Account) })
	return list, nil
}

// connection is one row of GET /api/connections.
type connection struct {
	UserID      string              `json:"user_id"`
	ReferenceID string              `json:"reference_id"`
	Tenures     []string            `json:"tenures"`
	Provider    string              `json:"provider"`
	ConnectedAt *time.Time          `json:"connected_at"`
	Certainty   ownership.Certainty `json:"certainty"`
	Accounts    []string            `json:"accounts"`
	ClosedAt    *time.Time          `json:"closed_at"`
	State       string              `json:"state"`      // "settled" or "unsettled"
	Superseded  bool                `json:"superseded"` // announced as superseded, and still open
	Waiting     string              `json:"waiting,omitempty"`
	NextAttempt *time.Time          `json:"next_attempt,omitempty"`
	Attempts    int                 `json:"attempts,omitempty"`
}

// connections lists all connections, or with ?state=unsettled, settled or superseded those. Superseded are those that were announced as superseded and are
// still open.
func (p *program) connections(r *http.Request) (any, error) {
	state := r.URL.Query().Get("state")
	list := []connection{}
	superseded := map[string]bool{}
	for row, err := range p.ledger.Accounts(r.Context()) {
		if err != nil {
			return nil, err
		}
		for _, due := range row.Superseded() {
			superseded[due.Mark.User] = true
		}
	}
	for row, err := range p.ledger.Connections(r.Context()) {
		if err != nil {
			return nil, err
		}
		c := connection{
			UserID: row.UserID, ReferenceID: row.Reference(), Tenures: append([]string{}, row.Tenures...), Provider: row.Provider,
			ConnectedAt: orNull(row.ConnectedAt), Certainty: row.Certainty, Accounts: append([]string{}, row.Accounts...), ClosedAt: orNull(row.ClosedAt), State: "settled",
			Superseded: superseded[row.UserID],
		}
		if row.ToDo {
			c.State, c.Waiting, c.NextAttempt, c.Attempts = "unsettled", row.Waiting, orNull(row.NextAttempt), row.Attempts
		}
		if state == "" || state == c.State || state == "superseded" && c.Superseded {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b connection) int { return strings.Compare(a.UserID, b.UserID) })
	return list, nil
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
