package endtoend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
)

// TestLives lets wearable accounts live whole lives through HTTP, under each generation of Terra, with everything going wrong that the simulator knows, while
// the program walks over Terra's list, reminds of what is not revoked, and is killed again and again. At the end nothing is missed, nothing is invented, and each
// superseded connection is announced as ended or listed as open. HANDOVER_EXHAUSTIVE=1 does it with 1,000 accounts.
func TestLives(t *testing.T) {
	accounts := 300
	if exhaustive() {
		accounts = 1000
	}
	seed, path := storySeed(t), buildProgram(t)
	generations := []string{"replaced silently", "replaced with a deauth", "replaced with a reauth", "both kept"}
	t.Logf("%d accounts in %d generations", accounts, len(generations))
	for i, name := range generations {
		s := story{
			name: name, seed: seed, number: uint64(100 + i), path: path,
			arguments: []string{"-walk-every", "7s", "-not-revoked-after", "3s"}, // a walk begins anew what is in doubt: not before the sweep has come to it,
			habits: simulator.Habits{
				Generation: simulator.Generation(i), Dialect: simulator.Dialect(i % 2), CreatedAtInWebhooks: i%2 == 1, CreatedAtInAnswers: i == 0, AccountInAnswers: true,
				AthleteAfterAuth: i != 1, AccountInWebhooks: i == 0, SilentPhones: i%2 == 0,
			},
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.live(t, accounts/len(generations))
		})
	}
}

// live plays a story of many accounts.
func (s *story) live(t *testing.T, accounts int) {
	s.t, s.random = t, rand.New(rand.NewPCG(s.seed, s.number))
	seen := map[string]bool{}
	for len(s.wearables) < accounts {
		s.write()
	}
	s.wearables = slices.DeleteFunc(s.wearables[:accounts], func(w *watch) bool {
		twice := seen[w.id]
		seen[w.id] = true
		return twice
	})
	s.setUp("-data", memoryDir(t), "-signing-secret", signingSecret)

	began := time.Now()
	s.program.start()
	s.actAll()
	acted := time.Since(began)
	s.finish()
	s.confirm()
	settled := time.Since(began)
	o := s.observe()
	o.check()
	open := o.checkSuperseded()
	s.checkPersonal()
	stats, calls := s.terra.Stats(), s.terra.Calls()
	ended, unsettled := 0, 0
	for _, e := range o.byID {
		if e.Type == revoked {
			ended++
		}
	}
	for _, c := range o.connections {
		if c.State == "unsettled" {
			unsettled++
		}
	}
	t.Logf("%s: %d accounts, %d connections, %d webhooks, %d attempts, %d cuts, %d forgeries refused, %d kills, %d lists; %d announcements, %d of them of an end, %d repeats, %d guesses corrected; "+
		"%d superseded are open and listed, %d unsettled, %d whose account nobody could know; story %.1f s, settled %.1f s, all %.1f s",
		s.name, len(s.wearables), len(o.connections), stats.Webhooks, stats.Attempts, s.trouble.cuts.Load(), stats.Forged-stats.ForgedAccepted, len(s.program.lives)-1,
		calls["GET /subscriptions"], len(o.byID), ended, len(o.events)-len(o.byID), o.corrected, open, unsettled, o.unknowable, acted.Seconds(), settled.Seconds(), time.Since(began).Seconds())
}

// actAll lets everything happen, as act does for a few: the moods of Terra's API come round, and the program is killed until all have lived.
func (s *story) actAll() {
	ctx, stop := context.WithCancel(s.t.Context())
	var sending sync.WaitGroup
	sending.Go(func() { _ = s.terra.Run(ctx) })
	defer sending.Wait()
	defer stop()
	s.trouble.on.Store(true)
	defer s.trouble.on.Store(false)

	const atOnce = 20 // steps of a beat, at most
	began, progress := time.Now(), time.Now()
	killAt := time.Second
	var known map[string]connection
	var toldAt time.Time
	for {
		time.Sleep(beat)
		now := time.Since(began)
		left := slices.DeleteFunc(slices.Clone(s.wearables), func(w *watch) bool { return len(w.plan) == 0 })
		faults := moods()[int(now/mood)%len(moods())]
		if len(left) < len(s.wearables)/10 { // the last ones live with the last mood
			faults = moods()[len(moods())-1]
		}
		faults.Duplicate, faults.Lose, faults.Forge, faults.Delay, faults.Disorder = .2, .08, .12, 150*time.Millisecond, 10
		s.terra.SetFaults(faults)
		if now > killAt {
			s.program.kill()
			s.program.start()
			killAt = time.Since(began) + time.Second + time.Duration(s.random.Int64N(int64(2*time.Second)))
		}
		if len(left) == 0 && len(s.program.lives) > kills {
			return
		}
		asked := time.Now()
		if asked.Sub(toldAt) < 200*time.Millisecond {
			continue
		}
		list, err := s.connections("")
		if err != nil {
			continue
		}
		known, toldAt = list, asked
		ready := slices.DeleteFunc(slices.Clone(left), func(w *watch) bool {
			if w.patient {
				return toldAt.Before(w.touched) || !s.understood(w, known)
			}
			// The walk may be the first to tell of a connection. Its first reference can be known only if it has been told before another takes its place.
			reassigns := w.plan[0].edit || w.phone() && s.habits.SilentPhones
			return reassigns && w.userID != "" && w.reference != "" && known[w.userID].ReferenceID != w.reference && !s.closed(w.userID)
		})
		s.random.Shuffle(len(ready), func(i, j int) { ready[i], ready[j] = ready[j], ready[i] })
		for _, w := range ready[:min(atOnce, len(ready))] {
			s.step(w)
			w.touched, progress = time.Now(), time.Now()
		}
		if len(left) > 0 && time.Since(progress) > patience {
			s.t.Fatalf("seed %d: %d accounts wait to be understood, such as %+v: %+v; ended at Terra: %t; it was asked and answered %+v", s.seed, len(left), left[0], known[left[0].userID], s.closed(left[0].userID), s.api.of(left[0].userID))
		}
	}
}

// superseded returns the connections of which a newer one of the same account belongs to somebody else. Those whose account is still somebody else's must be
// announced as superseded; the others may be: their person has come back since, and whether it was seen that they were away depends on when what was told.
func (o *observation) superseded() (must, may map[string]holder) {
	must, may = map[string]holder{}, map[string]holder{}
	for key := range o.owners {
		hs := o.holders(key)
		for i, p := range hs {
			owner := hs[len(hs)-1]
			switch {
			case p.tenure != len(p.Tenures):
			case owner.reference != p.reference && owner.UserID != p.UserID:
				must[p.UserID] = p
			case slices.ContainsFunc(hs[i+1:], func(h holder) bool { return h.reference != p.reference && h.UserID != p.UserID }):
				may[p.UserID] = p
			}
		}
	}
	return must, may
}

// confirm waits until each superseded connection that has ended at Terra is known as ended: where no webhook says so, the walk and the reminder find out.
func (s *story) confirm() {
	eventually(s.t, 40*time.Second, func() string {
		o := s.observe()
		must, _ := o.superseded()
		for userID, p := range must {
			if o.holdings[userID][0].Closed && p.ClosedAt == nil {
				return fmt.Sprintf("seed %d: the superseded connection %s has ended, and is open: %+v", s.seed, userID, p.connection)
			}
		}
		return ""
	})
	s.settle()
}

// checkSuperseded: each superseded connection is announced as ended, or is open and listed as superseded, and nothing else is. It returns how many are listed.
func (o *observation) checkSuperseded() int {
	listed, err := o.story.connections("superseded")
	if err != nil {
		o.t.Fatal(err)
	}
	ended := map[string]bool{}
	for id, e := range o.byID {
		if e.Type == revoked {
			ended[o.changes[id].Connection.UserID] = true
		}
	}
	must, may := o.superseded()
	for userID, p := range must {
		_, open := listed[userID]
		switch truth := o.holdings[userID][0]; {
		case open == truth.Closed:
			o.fault("superseded, and listed as open: %t, ended at Terra: %t: %+v", open, truth.Closed, p.connection)
		case open == ended[userID]:
			o.fault("superseded, and listed as open: %t, announced as ended: %t: %+v", open, ended[userID], p.connection)
		}
	}
	for userID, c := range listed {
		_, superseded := must[userID]
		if _, before := may[userID]; !superseded && !before {
			o.fault("listed as superseded, and is not: %+v", c)
		}
	}
	return len(listed)
}
