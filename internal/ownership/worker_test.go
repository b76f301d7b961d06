package ownership_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
)

// worker is one instance of a function at work. It stops before each call of a port, until the schedule says how that call shall end: a worker is a
// coroutine, so a history is played by one goroutine, and the same drawing always plays the same history.
//
// It is the ports of the Keeper that it runs.
type worker struct {
	*history
	name   string
	run    func(w *worker) // what it does; nil: nothing any more
	over   bool            // its time is up
	undo   func()          // what happens if it ends now, a crash included
	fate   action          // how the call ends that is under way
	failed violation       // what it did wrong
	viewed map[string]int  // by account: the moment at which it last saw the row, see [oracle.moment]

	next func() (struct{}, bool) // lets it go on, to its next call or its end
	wait func(struct{}) bool     // stops it; false when it is not needed any more
}

// crash ends a worker.
type crash struct{}

// The errors of ports.
var (
	errFailed = errors.New("it failed")
	errLost   = errors.New("the reply was lost")
	errOver   = errors.New("the time is up")
	errDown   = errors.New("the API is down")
)

// crew is all workers of all histories: to make one takes longer than what it does.
type crew struct {
	idle []*worker
	stop []func()
}

// hire returns a worker that does nothing yet.
func (c *crew) hire() *worker {
	if last := len(c.idle) - 1; last >= 0 {
		w := c.idle[last]
		c.idle = c.idle[:last]
		return w
	}
	w := &worker{viewed: map[string]int{}}
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		w.wait = yield
		for yield(struct{}{}) {
			w.work()
		}
	})
	w.next, c.stop = next, append(c.stop, stop)
	w.next()
	return w
}

// work does one task, whichever way it ends.
func (w *worker) work() {
	defer func() {
		w.run = nil
		if w.undo != nil {
			w.undo()
		}
		switch r := recover().(type) {
		case nil, crash:
		case violation:
			w.failed = r
		default:
			w.failed = caught(r)
		}
	}()
	w.run(w)
}

func (c *crew) dismiss() {
	for _, stop := range c.stop {
		stop()
	}
}

// start gives a worker a task. It stops before its first call.
func (h *history) start(task string, run func(w *worker)) *worker {
	h.ever++
	w := h.crew.hire()
	w.history, w.name, w.run = h, "worker "+strconv.Itoa(h.ever), run
	w.over, w.undo, w.failed = false, nil, ""
	clear(w.viewed)
	h.tell("%s begins: %s", w.name, task)
	h.workers = append(h.workers, w)
	h.advance(w)
	return w
}

// sendHome ends all workers.
func (h *history) sendHome() {
	for _, w := range h.workers {
		w.undo, w.fate = nil, crashBefore
		w.next()
		h.crew.idle = append(h.crew.idle, w)
	}
	h.workers = nil
}

// resume lets the current worker make the call that it stopped before, with that fate.
func (h *history) resume(current *int, fate action) {
	*current = min(*current, len(h.workers)-1)
	w := h.workers[*current]
	w.fate = fate
	h.now = h.now.Add(step)
	h.advance(w)
}

// advance runs a worker to its next call, or to the end of its task.
func (h *history) advance(w *worker) {
	w.next()
	if w.run == nil {
		h.workers = slices.DeleteFunc(h.workers, func(other *worker) bool { return other == w })
		h.crew.idle = append(h.crew.idle, w)
	}
	if w.failed != "" {
		panic(w.failed)
	}
}

// call is one call of a port: what is done is told by do as it is done.
func (w *worker) call(what, about string, do func()) error {
	if w.over {
		return errOver
	}
	w.wait(struct{}{})
	switch w.fate {
	case failure:
		w.fault("failed", what, about)
		return errFailed
	case timeIsUp:
		w.fault("out of time", what, about)
		w.over = true
		return errOver
	case crashBefore:
		w.fault("crash before", what, about)
		panic(crash{})
	case crashAfter:
		do()
		w.fault("crash after", what, about)
		panic(crash{})
	case lostReply:
		do()
		w.fault("reply lost", what, about)
		return errLost
	}
	do()
	return nil
}

func (w *worker) fault(kind, what, about string) {
	count(&w.tally.faults, kind)
	w.tell("    %s: %s %s: %s", w.name, what, about, kind)
}

// done tells of an applied call.
func (w *worker) done(format string, args ...any) {
	w.tell("    "+w.name+": "+format, args...)
}

// rowAnd is what the ledger's methods return.
type rowAnd struct {
	row ownership.Connection
	ok  bool
	err error
}

func (w *worker) connection(what string, c ownership.Connection, do func() rowAnd) (ownership.Connection, bool, error) {
	var r rowAnd
	if err := w.call(what, c.UserID, func() {
		if r = do(); r.err != nil {
			panic(r.err)
		}
		w.done("%s %s v%d %s", what, c.UserID, r.row.Version, outcome(r.ok))
	}); err != nil {
		return ownership.Connection{}, false, err
	}
	return r.row, r.ok, nil
}

func outcome(ok bool) string {
	if ok {
		return "done"
	}
	return "refused"
}

func (w *worker) Insert(_ context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	return w.connection("Insert", c, func() (r rowAnd) {
		if r.row, r.ok, r.err = w.ledger.Insert(context.Background(), c); r.ok {
			w.wrote(r.row)
		}
		return r
	})
}

func (w *worker) Update(_ context.Context, c ownership.Connection) (ownership.Connection, bool, error) {
	return w.connection("Update", c, func() (r rowAnd) {
		if r.row, r.ok, r.err = w.ledger.Update(context.Background(), c); r.ok {
			w.wrote(r.row)
		}
		return r
	})
}

func (w *worker) Finish(_ context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	return w.connection("Finish", c, func() (r rowAnd) {
		if r.row, r.ok, r.err = w.ledger.Finish(context.Background(), c, said); r.ok {
			w.wrote(r.row)
			w.finished(w, r.row)
		}
		return r
	})
}

func (w *worker) Postpone(_ context.Context, c ownership.Connection, said []string) (ownership.Connection, bool, error) {
	return w.connection("Postpone", c, func() (r rowAnd) {
		if r.row, r.ok, r.err = w.ledger.Postpone(context.Background(), c, said); r.ok {
			w.wrote(r.row)
		}
		return r
	})
}

func (w *worker) Connection(_ context.Context, userID string) (ownership.Connection, bool, error) {
	return w.connection("Connection", ownership.Connection{UserID: userID}, func() (r rowAnd) {
		r.row, r.ok, r.err = w.ledger.Connection(context.Background(), userID)
		return r
	})
}

func (w *worker) ToDo(_ context.Context, due time.Time, limit int) (users []string, err error) {
	err = w.call("ToDo", "", func() {
		users, _ = w.ledger.ToDo(context.Background(), due, limit)
		slices.Sort(users) // rows due at the same time come in any order
		w.done("ToDo %v", users)
	})
	return users, err
}

// account is one write to an account's row.
func (w *worker) account(what, account, about string, do func() (ownership.Account, error)) (row ownership.Account, err error) {
	if err := w.call(what, about, func() {
		if row, err = do(); err != nil {
			panic(err)
		}
		w.done("%s %s of %s", what, about, w.accounts[account])
		w.wroteAccount(row)
	}); err != nil {
		return ownership.Account{}, err
	}
	w.viewed[account] = w.moment
	return row, nil
}

func (w *worker) Claim(_ context.Context, account string, c ownership.Claim) (ownership.Account, error) {
	return w.account("Claim", account, c.UserID, func() (ownership.Account, error) {
		return w.ledger.Claim(context.Background(), account, c)
	})
}

func (w *worker) Mark(_ context.Context, account string, m, was ownership.Mark) (ownership.Account, error) {
	return w.account("Mark", account, m.Name, func() (ownership.Account, error) {
		return w.ledger.Mark(context.Background(), account, m, was)
	})
}

func (w *worker) Drop(_ context.Context, account string, c ownership.Claim, marks []string) error {
	return w.call("Drop", c.UserID, func() { w.violated("promise 4: the claim of %s was dropped from a small row", c.UserID) })
}

func (w *worker) Publish(_ context.Context, a ownership.Announcement) error {
	return w.call("Publish", "", func() {
		w.done("Publish %s", announced{a, w.accounts[a.Account]})
		w.hear(a)
	})
}

func (w *worker) Athlete(_ context.Context, userID string) (ownership.Profile, error) {
	return w.ask("Athlete", userID, func(c *connection, p *ownership.Profile) {
		if !c.idLate || w.late {
			p.ProviderUserID = c.id
		}
		if !w.athleteTime {
			p.CreatedAt = time.Time{}
		}
	})
}

func (w *worker) UserInfo(_ context.Context, userID string) (ownership.Profile, error) {
	return w.ask("UserInfo", userID, func(*connection, *ownership.Profile) {})
}

// ask is one question to Terra's API, which answers as it is and as the truth is.
func (w *worker) ask(what, userID string, fill func(*connection, *ownership.Profile)) (p ownership.Profile, err error) {
	if lost := w.call(what, userID, func() {
		c := w.byUser[userID]
		switch {
		case w.api == "down":
			err = errDown
		case w.api == "limited":
			err = &ownership.Limited{RetryAfter: tick / 2}
		case c.gone:
			err = ownership.ErrGone
		default:
			p = ownership.Profile{Provider: c.provider, ReferenceID: c.reference()}
			if c.created == inAPI || c.created == inAPILate && w.late {
				p.CreatedAt = c.made
			}
			fill(c, &p)
		}
		if err != nil {
			w.done("%s %s: %s", what, userID, err)
		} else {
			w.done("%s %s: account %s, %s, %s", what, userID, quoted(p.ProviderUserID), quoted(p.ReferenceID), clock(p.CreatedAt))
		}
	}); lost != nil {
		return ownership.Profile{}, lost
	}
	return p, err
}
