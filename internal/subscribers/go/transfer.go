package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Event is as much of an announcement as is needed here.
type Event struct {
	ID, Type string
	Data     struct {
		Account           *string
		Order             string
		Previous, Current Holder
	}
}

// Holder is a connection in the hands of one of your users.
type Holder struct {
	UserID      string     `json:"user_id"`
	ReferenceID string     `json:"reference_id"`
	ConnectedAt *time.Time `json:"connected_at"`
	Tenure      int        `json:"tenure"`
}

// Newer reports whether h holds an account after other. A connection without a time was there before all that have one.
func (h Holder) Newer(other Holder) bool {
	at, otherAt := time.Time{}, time.Time{}
	if h.ConnectedAt != nil {
		at = *h.ConnectedAt
	}
	if other.ConnectedAt != nil {
		otherAt = *other.ConnectedAt
	}
	switch {
	case !at.Equal(otherAt):
		return at.After(otherAt)
	case h.UserID != other.UserID:
		return h.UserID > other.UserID
	}
	return h.Tenure > other.Tenure
}

// ErrUnusable is a message that no repeat makes better.
var ErrUnusable = errors.New("not an announcement")

// Handler does what an announcement asks for.
type Handler struct {
	Store Store
	Terra Terra

	mu sync.Mutex // one at a time: what the store says stays true until it is told what was done
}

// Handle handles one announcement. Nil says that it is done and need not come again.
func (h *Handler) Handle(ctx context.Context, message []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var e Event
	if json.Unmarshal(message, &e) != nil || e.ID == "" {
		slog.Error("message", "outcome", "unusable")
		return ErrUnusable
	}
	outcome, err := h.handle(ctx, e)
	slog.Info("message", "outcome", outcome, "id", e.ID)
	return err
}

func (h *Handler) handle(ctx context.Context, e Event) (outcome string, err error) {
	d := e.Data
	switch {
	case h.Store.Seen(e.ID):
		return "duplicate", nil
	case e.Type != "handover.account.transferred.v1":
		return "ignored", nil // such as handover.connection.revoked.v1, which confirms what was done, and types to come
	case d.Order == "" || d.Previous.UserID == "" || d.Current.UserID == "" || d.Previous.Tenure < 1 || d.Current.Tenure < 1:
		return "unusable", ErrUnusable
	case d.Order != "signed" && d.Order != "terra":
		// Which of the two came first is a guess. It changes nothing by itself: show it to a person here.
		return "left_to_a_person", h.Store.Done(e.ID, "", Holder{})
	}

	// The connection is ended, not the person: alice may have connected another watch since.
	outcome = "reassigned" // one connection: only the old reference_id has lost it, so end what it may read
	if d.Previous.UserID != d.Current.UserID {
		if outcome, err = h.Terra.Deauthenticate(ctx, d.Previous.UserID); err != nil {
			return "failed", err
		}
	}

	// Announcements may come in any order: who owns the account now is told by the newest, not by the last.
	account, owner := "", Holder{}
	if d.Account != nil {
		if known, ok := h.Store.Owner(*d.Account); !ok || d.Current.Newer(known) {
			account, owner = *d.Account, d.Current
		}
	}
	return outcome, h.Store.Done(e.ID, account, owner)
}

// Terra is Terra's REST API.
type Terra struct {
	URL, DevID, Key string
	HTTP            *http.Client
}

// Deauthenticate ends a connection: DELETE /auth/deauthenticateUser. One that is gone already is as good as ended, so asking again does no harm.
func (t Terra) Deauthenticate(ctx context.Context, userID string) (outcome string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, t.URL+"/auth/deauthenticateUser?user_id="+url.QueryEscape(userID), nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("dev-id", t.DevID)
	request.Header.Set("x-api-key", t.Key)
	response, err := t.HTTP.Do(request)
	if err != nil {
		return "", errors.Unwrap(err) // without the URL, which names the connection
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	var answer struct{ Status string }
	_ = json.Unmarshal(body, &answer)
	switch {
	case response.StatusCode == http.StatusNotFound:
		return "gone", nil
	case response.StatusCode != http.StatusOK || answer.Status == "error":
		return "", fmt.Errorf("Terra answered %d", response.StatusCode)
	}
	return "revoked", nil
}
