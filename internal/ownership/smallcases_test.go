package ownership_test

import "time"

// story is what may be true and told in a small case, and its bounds: in the ordinary run, and in the proof.
type story struct {
	name            string
	tell            func() ([]*connection, []*event)
	ordinary, proof bounds
}

// bounds is what may happen in a small case, at most.
type bounds struct{ workers, faults, sweeps, repeats int }

// smallCases are the cases of TestInterleavings.
func smallCases(proof bool) (cases []small) {
	for _, s := range stories() {
		b := s.ordinary
		if proof {
			b = s.proof
		}
		c := small{name: s.name, workers: b.workers, faults: b.faults, sweeps: b.sweeps, repeats: b.repeats, truth: truth{athleteTime: true}}
		c.connections, c.events = s.tell()
		cases = append(cases, c)
	}
	return cases
}

// garmin is a connection that Terra's API names with its account, and whose time is in every webhook.
func garmin(user string, minute int, references ...string) *connection {
	return &connection{
		user: user, provider: "GARMIN", wearable: "w1", id: "w1", made: noon.Add(time.Duration(minute) * time.Minute), references: references, created: inWebhooks,
	}
}

// timed is c, told of its time in another way.
func (c *connection) timed(created createdAt) *connection {
	c.created = created
	return c
}

// says is an event that names c's reference of that number, -1 for none. An athlete event names the account, too.
func (c *connection) says(kind string, named int) *event {
	e := &event{kind: kind, of: c.mention(named), signed: c.made.Add(30 * time.Second)}
	e.of.timed = e.of.timed || c.created == inAuth && kind == "auth"
	switch kind {
	case "athlete":
		e.id = c.wearable
		c.told = []string{e.id}
	case "deauth":
		c.closed = true
		e.signed = c.made.Add(30 * time.Minute)
	}
	return e
}

func stories() []story {
	type (
		cs = []*connection
		es = []*event
	)
	return []story{
		{"two references", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "bob")
			return cs{a, b}, es{a.says("auth", 0), b.says("auth", 0)}
		}, bounds{2, 2, 0, 0}, bounds{3, 2, 1, 1}},
		{"two references at the same time", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 1, "bob")
			return cs{a, b}, es{a.says("athlete", 0), b.says("athlete", 0)}
		}, bounds{2, 2, 0, 0}, bounds{3, 2, 1, 1}},
		{"each connection told twice", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "bob")
			return cs{a, b}, es{a.says("auth", 0), a.says("athlete", 0), b.says("auth", 0), b.says("athlete", 0)}
		}, bounds{2, 0, 0, 0}, bounds{3, 1, 0, 0}},
		{"three references", func() (cs, es) {
			a, b, c := garmin("a", 1, "alice"), garmin("b", 2, "bob"), garmin("c", 3, "carol")
			return cs{a, b, c}, es{a.says("athlete", 0), b.says("athlete", 0), c.says("auth", 0)}
		}, bounds{3, 1, 0, 0}, bounds{2, 2, 1, 0}},
		{"there and back", func() (cs, es) {
			a, b, c := garmin("a", 1, "alice"), garmin("b", 2, "bob"), garmin("c", 3, "alice")
			return cs{a, b, c}, es{a.says("athlete", 0), b.says("athlete", 0), c.says("athlete", 0)}
		}, bounds{3, 1, 0, 0}, bounds{2, 2, 1, 0}},
		{"the same reference again, then another", func() (cs, es) {
			a, b, c := garmin("a", 1, "alice"), garmin("b", 2, "alice"), garmin("c", 3, "bob")
			return cs{a, b, c}, es{a.says("athlete", 0), reauth(a, b, false), c.says("athlete", 0)}
		}, bounds{2, 0, 0, 0}, bounds{2, 1, 0, 0}},
		{"a user_reauth from one reference to another", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "bob")
			return cs{a, b}, es{a.says("auth", 0), reauth(a, b, false), b.says("auth", 0)}
		}, bounds{2, 0, 0, 0}, bounds{2, 1, 0, 0}},
		{"a user_reauth that does not name the new reference", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "bob")
			return cs{a, b}, es{reauth(a, b, true), b.says("auth", 0)}
		}, bounds{2, 0, 0, 0}, bounds{2, 1, 0, 0}},
		{"a user_reauth whose old side the API has forgotten", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "bob")
			a.forgotten = true
			return cs{a, b}, es{a.says("auth", 0), reauth(a, b, false)}
		}, bounds{2, 2, 0, 0}, bounds{2, 2, 1, 0}},
		{"two devices of one phone SDK", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "alice")
			a.provider, b.provider, b.wearable, b.id = "APPLE", "APPLE", "w2", "w2"
			c := garmin("c", 3, "bob")
			c.provider = "APPLE"
			return cs{a, b, c}, es{a.says("athlete", 0), reauth(a, b, false), c.says("athlete", 0)}
		}, bounds{2, 0, 0, 0}, bounds{2, 2, 0, 0}},
		{"the superseded one ends", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "bob")
			return cs{a, b}, es{a.says("athlete", 0), a.says("deauth", 0), b.says("athlete", 0)}
		}, bounds{2, 1, 0, 0}, bounds{3, 2, 0, 0}},
		{"the owner ends", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "bob")
			return cs{a, b}, es{a.says("athlete", 0), b.says("auth", 0), b.says("deauth", -1)}
		}, bounds{2, 1, 0, 0}, bounds{3, 2, 0, 0}},
		{"one connection passes to another reference", func() (cs, es) {
			a := garmin("a", 1, "alice", "bob")
			return cs{a}, es{a.says("auth", 0), a.says("activity", 0), a.says("daily", 1)}
		}, bounds{2, 0, 0, 0}, bounds{2, 0, 1, 0}},
		{"one connection passes on, and its account to a third", func() (cs, es) {
			a, b := garmin("a", 1, "alice", "bob"), garmin("b", 2, "carol")
			return cs{a, b}, es{a.says("athlete", 0), a.says("daily", 1), b.says("athlete", 0)}
		}, bounds{2, 0, 0, 0}, bounds{2, 2, 0, 0}},
		{"one connection passes there and back", func() (cs, es) {
			a := garmin("a", 1, "alice", "bob", "alice")
			return cs{a}, es{a.says("athlete", 0), a.says("daily", 1), a.says("activity", 2)}
		}, bounds{2, 0, 0, 0}, bounds{2, 1, 0, 0}},
		{"one connection passes on while nobody names its account", func() (cs, es) {
			a := garmin("a", 1, "alice", "bob")
			a.idLate = true
			return cs{a}, es{a.says("auth", 0), a.says("daily", 1)}
		}, bounds{2, 0, 0, 0}, bounds{2, 1, 1, 0}},
		{"the older one is identified late", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "bob")
			a.idLate = true
			return cs{a, b}, es{a.says("auth", 0), b.says("athlete", 0)}
		}, bounds{2, 1, 0, 0}, bounds{3, 2, 1, 0}},
		{"both are identified late", func() (cs, es) {
			a, b := garmin("a", 1, "alice"), garmin("b", 2, "bob")
			a.idLate, b.idLate = true, true
			return cs{a, b}, es{a.says("auth", 0), b.says("auth", 0)}
		}, bounds{2, 1, 0, 0}, bounds{3, 2, 1, 0}},
		{"a guess, and Terra's time", func() (cs, es) {
			a, b := garmin("a", 2, "alice").timed(inAPI), garmin("b", 1, "bob").timed(inAPILate)
			return cs{a, b}, es{a.says("athlete", 0), b.says("auth", 0), b.says("athlete", 0)}
		}, bounds{2, 0, 0, 0}, bounds{2, 1, 0, 0}},
		{"a guess that Terra's API can correct", func() (cs, es) {
			a, b := garmin("a", 2, "alice"), garmin("b", 1, "bob").timed(inAPI)
			late := b.says("auth", 0)
			late.signed = noon.Add(12 * time.Minute)
			return cs{a, b}, es{a.says("athlete", 0), late, b.says("athlete", 0)}
		}, bounds{2, 1, 0, 0}, bounds{2, 2, 0, 0}},
		{"a guess gives way while its announcement is being marked, and a third takes over", func() (cs, es) {
			a, b, c := garmin("a", 2, "alice"), garmin("b", 1, "bob").timed(inAPILate), garmin("c", 3, "carol")
			late := b.says("auth", 0)
			late.signed = noon.Add(12 * time.Minute)
			return cs{a, b, c}, es{a.says("athlete", 0), late, b.says("athlete", 0), c.says("athlete", 0)}
		}, bounds{2, 0, 0, 0}, bounds{2, 1, 0, 0}},
		{"only guesses", func() (cs, es) {
			a, b := garmin("a", 1, "alice").timed(nowhere), garmin("b", 2, "bob").timed(nowhere)
			return cs{a, b}, es{a.says("auth", 0), b.says("auth", 0), b.says("athlete", 0)}
		}, bounds{2, 0, 0, 0}, bounds{2, 1, 0, 0}},
		{"one was there before Handover", func() (cs, es) {
			a, b := garmin("a", 1, "alice").timed(nowhere), garmin("b", 2, "bob")
			return cs{a, b}, es{a.says("activity", 0), b.says("athlete", 0)}
		}, bounds{2, 1, 0, 0}, bounds{2, 2, 1, 0}},
		{"no reference", func() (cs, es) {
			a, b, c := garmin("a", 1, "alice"), garmin("b", 2), garmin("c", 3, "carol")
			return cs{a, b, c}, es{a.says("athlete", 0), b.says("athlete", -1), c.says("athlete", 0)}
		}, bounds{2, 1, 0, 0}, bounds{3, 1, 0, 0}},
		{"an account that got another id", func() (cs, es) {
			a, b, c := garmin("a", 1, "alice"), garmin("b", 2, "alice"), garmin("c", 3, "bob")
			b.wearable, b.id, c.wearable, c.id = "w2", "w2", "w2", "w2"
			return cs{a, b, c}, es{a.says("athlete", 0), reauth(a, b, false), c.says("athlete", 0)}
		}, bounds{2, 0, 0, 0}, bounds{2, 1, 0, 0}},
		{"four connections of two references", func() (cs, es) {
			a, b, c, d := garmin("a", 1, "alice"), garmin("b", 2, "alice"), garmin("c", 3, "bob"), garmin("d", 4, "alice")
			return cs{a, b, c, d}, es{a.says("athlete", 0), b.says("athlete", 0), c.says("athlete", 0), d.says("athlete", 0)}
		}, bounds{2, 0, 0, 0}, bounds{3, 0, 0, 0}},
	}
}
