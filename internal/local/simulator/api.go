package simulator

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// API is Terra's REST API, at both of its base URLs: /v2 answers in the [Legacy] dialect, /api/v2 in the [Newer] one. Like Terra it reads the
// headers dev-id and x-api-key. Its paths are:
//
//	GET    /athlete?user_id=&to_webhook=                  the profile; unless to_webhook=false it goes to the webhook
//	GET    /userInfo?user_id=      or ?reference_id=      one connection, or all of one end user
//	GET    /subscriptions          or ?page=&per_page=    all connections, or one page of them, counted from 0
//	DELETE /auth/deauthenticateUser?user_id=              ends a connection; a deauth follows
func (t *Terra) API() http.Handler {
	mux := http.NewServeMux()
	for base, d := range map[string]Dialect{"/v2": Legacy, "/api/v2": Newer} {
		handle := func(method, path string, e endpoint) {
			mux.HandleFunc(method+" "+base+path, func(w http.ResponseWriter, r *http.Request) { t.serve(w, r, method+" "+path, d, e) })
		}
		handle("GET", "/athlete", t.getAthlete)
		handle("GET", "/userInfo", t.getUserInfo)
		handle("GET", "/subscriptions", t.getSubscriptions)
		handle("DELETE", "/auth/deauthenticateUser", t.deauthenticateUser)
	}
	return mux
}

// Calls counts the calls of the REST API by method and path, such as "GET /athlete", whatever was answered.
func (t *Terra) Calls() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.calls)
}

// endpoint answers a call; t.mu is locked.
type endpoint func(d Dialect, query url.Values) (status int, body any)

func (t *Terra) serve(w http.ResponseWriter, r *http.Request, call string, d Dialect, e endpoint) {
	t.mu.Lock()
	t.calls[call]++
	slow := t.faults.Slow
	t.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
		return
	}

	t.mu.Lock()
	status, body := t.answer(w, r, d, e)
	t.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if raw, ok := body.(string); ok {
		w.Write([]byte(raw))
		return
	}
	json.NewEncoder(w).Encode(body)
}

// answer lets the faults have their way before e.
func (t *Terra) answer(w http.ResponseWriter, r *http.Request, d Dialect, e endpoint) (status int, body any) {
	f := t.faults
	switch {
	case r.Header.Get("dev-id") != t.config.DevID || r.Header.Get("x-api-key") != t.config.APIKey:
		return d.problem(http.StatusUnauthorized, "dev-id or x-api-key headers are missing or wrong")
	case t.luck.Float64() < f.Limit:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
		}
		return d.problem(http.StatusTooManyRequests, "too many requests")
	case t.luck.Float64() < f.Fail:
		return d.problem(http.StatusInternalServerError, "something went wrong")
	case t.luck.Float64() < f.Garbage:
		return http.StatusOK, garbage()[t.luck.IntN(len(garbage()))]
	}
	return e(d, r.URL.Query())
}

// garbage is what the API may answer with 200 and must not be believed.
func garbage() []string {
	return []string{
		`<html><body>Bad Gateway</body></html>`,
		`{"user":{"user_id":"4735eac4-31a2`,
		`{"status":"error","message":"internal error"}`,
		`{"status":"success","user":{"user_id":"","provider":"","reference_id":""},"athlete":{"provider_user_id":""},"is_authenticated":true}`,
		`{"status":"success","type":"athlete","user":{"user_id":"00000000-0000-4000-8000-000000000000","provider":"GARMIN","reference_id":"somebody-else",` +
			`"created_at":"2020-01-01T00:00:00.000000+00:00"},"athlete":{"provider_user_id":"somebody-else"},"is_authenticated":true}`,
	}
}

func (t *Terra) getAthlete(d Dialect, query url.Values) (int, any) {
	c, status, problem := t.named(d, query)
	if c == nil {
		return status, problem
	}
	if query.Get("to_webhook") != "false" {
		t.athleteEvent(c)
		return http.StatusOK, object("status", "success", "type", "athlete", "reference", exampleReference)
	}
	account := c.wearable.id
	if !t.config.Habits.AccountInAnswers || t.faults.NullAccounts {
		account = ""
	}
	return http.StatusOK, object("status", "success", "type", "athlete", "user", t.shown(d, c), "athlete", d.athlete(account))
}

func (t *Terra) getUserInfo(d Dialect, query url.Values) (int, any) {
	if !query.Has("reference_id") {
		c, status, problem := t.named(d, query)
		if c == nil {
			return status, problem
		}
		return http.StatusOK, object("user", t.shown(d, c), "status", "success", "is_authenticated", true)
	}
	reference := query.Get("reference_id")
	users := []json.RawMessage{}
	for _, c := range open(t.references[reference]) {
		if c.ReferenceID == reference {
			users = append(users, t.shown(d, c))
		}
	}
	switch {
	case len(users) == 0:
		return d.problem(http.StatusNotFound, "user not found")
	case d == Newer:
		return http.StatusOK, users
	}
	return http.StatusOK, object("status", "success", "users", users)
}

func (t *Terra) getSubscriptions(d Dialect, query url.Values) (int, any) {
	connections := open(t.connections)
	paged := query.Has("page")
	page, last := 0, 0
	if paged {
		var err, sizeErr error
		size := 500
		page, err = strconv.Atoi(query.Get("page"))
		if query.Has("per_page") {
			size, sizeErr = strconv.Atoi(query.Get("per_page"))
		}
		if err != nil || sizeErr != nil || page < 0 || size < 1 {
			return d.problem(http.StatusBadRequest, "invalid page or per_page")
		}
		last = max(0, (len(connections)-1)/size)
		connections = connections[min(page*size, len(connections)):min((page+1)*size, len(connections))]
	}
	users := make([]json.RawMessage, 0, len(connections))
	for _, c := range connections {
		users = append(users, t.shown(d, c))
	}
	if d == Legacy || !paged {
		return http.StatusOK, object("users", users)
	}
	var next any
	if page < last {
		next = page + 1
	}
	return http.StatusOK, object("data", object("next", next, "max_page", last, "results", users))
}

func (t *Terra) deauthenticateUser(d Dialect, query url.Values) (int, any) {
	c, status, problem := t.named(d, query)
	if c == nil {
		return status, problem
	}
	t.end(c)
	return http.StatusOK, object("status", "success")
}

// named is the open connection that user_id names. If there is none, it is nil, and the rest is the answer.
func (t *Terra) named(d Dialect, query url.Values) (c *connection, status int, problem any) {
	if query.Get("user_id") == "" {
		status, problem = d.problem(http.StatusBadRequest, "user_id is missing")
		return nil, status, problem
	}
	if c = t.users[query.Get("user_id")]; c == nil || c.closed {
		status, problem = d.problem(http.StatusNotFound, "user not found")
		return nil, status, problem
	}
	return c, http.StatusOK, nil
}

// shown is a connection in an answer.
func (t *Terra) shown(d Dialect, c *connection) json.RawMessage {
	u := c.User
	if !t.config.Habits.CreatedAtInAnswers {
		u.CreatedAt = time.Time{}
	}
	return d.user(u, true)
}

// problem is an answer that something is wrong: RFC 9457 in the newer dialect.
func (d Dialect) problem(status int, detail string) (int, any) {
	if d == Newer {
		return status, object("type", "about:blank", "title", http.StatusText(status), "detail", detail)
	}
	return status, object("status", "error", "message", detail)
}
