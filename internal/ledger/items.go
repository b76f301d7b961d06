package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/handover-dev/handover/internal/ownership"
)

// item is a row, a part of a row or a set of values, as DynamoDB's API has it.
type item = map[string]types.AttributeValue

// connectionItem is the whole row of a connection.
func connectionItem(c ownership.Connection) item {
	row := facts(c)
	row["user_id"] = text(c.UserID)
	row["attempts"] = number(int64(c.Attempts))
	row["waiting"] = text(c.Waiting)
	row["listed"] = number(c.Listed)
	if len(c.Said) > 0 {
		row["said"] = set(c.Said)
	}
	return row
}

// facts are the attributes that an Update replaces. The work mark's are among them only while there is one: they are the keys of the index, and
// a row without them is not in it. So is the time of its end: DynamoDB deletes a row some time after it.
func facts(c ownership.Connection) item {
	replacedBy := make([]types.AttributeValue, 0, len(c.ReplacedBy))
	for _, s := range c.ReplacedBy {
		replacedBy = append(replacedBy, &types.AttributeValueMemberM{Value: item{"user_id": text(s.UserID), "reference": text(s.Reference)}})
	}
	row := item{
		"provider":     text(c.Provider),
		"tenures":      list(c.Tenures),
		"suspects":     list(c.Suspects),
		"connected_at": moment(c.ConnectedAt),
		"certainty":    text(string(c.Certainty)),
		"accounts":     list(c.Accounts),
		"named":        &types.AttributeValueMemberBOOL{Value: c.Named},
		"replaces":     list(c.Replaces),
		"replaced_by":  &types.AttributeValueMemberL{Value: replacedBy},
		"closed_at":    moment(c.ClosedAt),
		"version":      number(c.Version),
	}
	if c.ToDo {
		row["todo"] = text(shard(c))
		row["next_attempt"] = milliseconds(c.NextAttempt)
		if !c.Since.IsZero() {
			row["since"] = milliseconds(c.Since)
		}
	}
	if expires := expiry(c); !expires.IsZero() {
		row["expires_at"] = number(expires.Unix())
	}
	return row
}

// connection reads a connection's row. Of a row that is not there, or of which only the key is, it makes a connection without facts.
func connection(userID string, row item) (ownership.Connection, error) {
	r := reader{item: row}
	c := ownership.Connection{
		UserID:      userID,
		Provider:    r.text("provider"),
		Tenures:     r.list("tenures"),
		Suspects:    r.list("suspects"),
		ConnectedAt: r.moment("connected_at"),
		Certainty:   ownership.Certainty(r.text("certainty")),
		Accounts:    r.list("accounts"),
		Named:       r.flag("named"),
		Replaces:    r.list("replaces"),
		ClosedAt:    r.moment("closed_at"),
		Said:        r.set("said"),
		Version:     r.number("version"),
		Listed:      r.number("listed"),
		Attempts:    int(r.number("attempts")),
		Waiting:     r.text("waiting"),
	}
	for _, value := range r.values("replaced_by") {
		s := r.part("replaced_by", value)
		c.ReplacedBy = append(c.ReplacedBy, ownership.Successor{UserID: s.text("user_id"), Reference: s.text("reference")})
		r.err = s.err
	}
	if r.text("todo") != "" {
		c.ToDo, c.NextAttempt = true, time.UnixMilli(r.number("next_attempt")).UTC()
		if _, ok := row["since"]; ok {
			c.Since = time.UnixMilli(r.number("since")).UTC()
		}
	}
	if _, ok := row["expires_at"]; ok {
		c.ExpiresAt = time.Unix(r.number("expires_at"), 0).UTC()
	}
	if r.err != nil {
		return ownership.Connection{}, fmt.Errorf("reading connection: %w", r.err)
	}
	return c, nil
}

// An account's row has one attribute for each claim and one for each mark, told apart by their prefixes.
func claimName(userID string) string { return "c:" + userID }
func markName(name string) string    { return "m:" + name }

func claimValue(c ownership.Claim) types.AttributeValue {
	return &types.AttributeValueMemberM{Value: item{
		"tenures":      list(c.Tenures),
		"connected_at": moment(c.ConnectedAt),
		"certainty":    text(string(c.Certainty)),
		"replaces":     list(c.Replaces),
		"replaced_by":  list(c.ReplacedBy),
		"closed":       &types.AttributeValueMemberBOOL{Value: c.Closed},
		"v":            number(c.Version),
	}}
}

func markValue(m ownership.Mark) types.AttributeValue {
	return &types.AttributeValueMemberM{Value: item{
		"user_id":      text(m.User),
		"current":      text(m.Current),
		"tenure":       number(int64(m.Tenure)),
		"connected_at": moment(m.ConnectedAt),
		"at":           moment(m.At),
		"nudged":       &types.AttributeValueMemberBOOL{Value: m.Nudged},
	}}
}

// accountRow reads an account's row. Of a row that is not there it makes an account without claims.
func accountRow(key string, row item) (ownership.Account, error) {
	a := ownership.Account{Key: key, Claims: make(map[string]ownership.Claim), Marks: make(map[string]ownership.Mark)}
	r := reader{item: row}
	for name, value := range row {
		if userID, ok := strings.CutPrefix(name, claimName("")); ok {
			c := r.part("a claim", value)
			a.Claims[userID] = ownership.Claim{
				UserID:      userID,
				Tenures:     c.list("tenures"),
				ConnectedAt: c.moment("connected_at"),
				Certainty:   ownership.Certainty(c.text("certainty")),
				Replaces:    c.list("replaces"),
				ReplacedBy:  c.list("replaced_by"),
				Closed:      c.flag("closed"),
				Version:     c.number("v"),
			}
			r.err = c.err
		}
		if mark, ok := strings.CutPrefix(name, markName("")); ok {
			m := r.part("a mark", value)
			a.Marks[mark] = ownership.Mark{
				Name:        mark,
				User:        m.text("user_id"),
				Current:     m.text("current"),
				Tenure:      int(m.number("tenure")),
				ConnectedAt: m.moment("connected_at"),
				At:          m.moment("at"),
				Nudged:      m.flag("nudged"),
			}
			r.err = m.err
		}
	}
	if r.err != nil {
		return ownership.Account{}, fmt.Errorf("reading account %s: %w", key, r.err)
	}
	return a, nil
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// moment is a time in RFC 3339 with all its digits, "" for none.
func moment(t time.Time) types.AttributeValue {
	if t.IsZero() {
		return text("")
	}
	return text(t.UTC().Format(time.RFC3339Nano))
}

// milliseconds is a time as the index sorts it.
func milliseconds(t time.Time) types.AttributeValue { return number(t.UnixMilli()) }

// list is used for sets too, because a DynamoDB set cannot be empty.
func list(texts []string) types.AttributeValue {
	values := make([]types.AttributeValue, 0, len(texts))
	for _, s := range texts {
		values = append(values, text(s))
	}
	return &types.AttributeValueMemberL{Value: values}
}

// set is a DynamoDB set, which refuses repeats.
func set(texts []string) types.AttributeValue {
	return &types.AttributeValueMemberSS{Value: slices.Compact(slices.Sorted(slices.Values(texts)))}
}

// reader reads attributes and keeps the first thing that is wrong with them. An absent attribute is a zero. A malformed one is an error, for
// a row that is read as less than it says could invent a change of owner; the error names no attribute that is named by a user_id.
type reader struct {
	item item
	err  error
}

func get[Value types.AttributeValue](r *reader, name string) (value Value, ok bool) {
	stored, found := r.item[name]
	if found {
		if value, ok = stored.(Value); !ok {
			r.fail(name)
		}
	}
	return value, ok
}

func (r *reader) fail(name string) {
	if r.err == nil {
		r.err = fmt.Errorf("malformed item: %s", name)
	}
}

func (r *reader) text(name string) string {
	value, ok := get[*types.AttributeValueMemberS](r, name)
	if !ok {
		return ""
	}
	return value.Value
}

func (r *reader) number(name string) int64 {
	value, ok := get[*types.AttributeValueMemberN](r, name)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(value.Value, 10, 64)
	if err != nil {
		r.fail(name)
	}
	return n
}

func (r *reader) moment(name string) time.Time {
	s := r.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		r.fail(name)
	}
	return t.UTC()
}

func (r *reader) flag(name string) bool {
	value, ok := get[*types.AttributeValueMemberBOOL](r, name)
	return ok && value.Value
}

func (r *reader) values(name string) []types.AttributeValue {
	value, ok := get[*types.AttributeValueMemberL](r, name)
	if !ok {
		return nil
	}
	return value.Value
}

func (r *reader) list(name string) []string {
	var texts []string
	for _, value := range r.values(name) {
		s, ok := value.(*types.AttributeValueMemberS)
		if !ok {
			r.fail(name)
			return nil
		}
		texts = append(texts, s.Value)
	}
	return texts
}

func (r *reader) set(name string) []string {
	value, ok := get[*types.AttributeValueMemberSS](r, name)
	if !ok {
		return nil
	}
	return slices.Sorted(slices.Values(value.Value))
}

// part is a reader of the map that value is. It goes on with the error of r.
func (r *reader) part(name string, value types.AttributeValue) *reader {
	m, ok := value.(*types.AttributeValueMemberM)
	if !ok {
		r.fail(name)
		return &reader{err: r.err}
	}
	return &reader{item: m.Value, err: r.err}
}
