package trial

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/local/topic"
	"github.com/handover-dev/handover/internal/ownership"
)

// step is one step of a trial: its name, what a right subscriber does, and how that is tried.
type step struct {
	name, tries string
	play        func(*stage, context.Context) error
}

func steps() []step {
	return []step{
		{"transfer", "an account has passed: the connection that lost it is ended, and no other", (*stage).plain},
		{"duplicate", "the same message again is answered 2xx, and nothing is done twice", (*stage).duplicate},
		{"disorder", "two messages in the wrong order are both done", (*stage).disorder},
		{"stale", "an old message ends the old connection, and not the person's newer one", (*stage).stale},
		{"observed", "a guessed order ends nothing", (*stage).observed},
		{"reassigned", "one connection under another reference_id is not ended", (*stage).reassigned},
		{"revoked", "the news that a connection has ended is taken, and nothing is done", (*stage).revoked},
		{"new-type", "an event of a type to come is taken or refused for good, and nothing is done", (*stage).newType},
		{"gone", "a connection that Terra does not know any more counts as ended", (*stage).gone},
		{"outage", "while Terra fails, nothing is lost", (*stage).outage},
		{"altered", "a message that was altered is refused", (*stage).altered},
		{"unsigned", "a message without a signature is refused", (*stage).unsigned},
		{"other-topic", "a message that SNS has signed for another topic is refused", (*stage).otherTopic},
		{"other-certificate", "a message that is signed by a certificate from elsewhere is refused", (*stage).otherCertificate},
		{"confirmation", "the subscription to the topic is confirmed", (*stage).confirmation},
		{"other-confirmation", "a subscription to another topic, or by a message that is not signed, is not confirmed", (*stage).otherConfirmation},
	}
}

func id() string { return strings.ToLower(rand.Text()) }

// couple is an account that has passed from one to another.
func (s *stage) couple() (account string, previous, current ownership.Holder) {
	account = id()
	return account, s.person(account, "alice-"+account), s.person(account, "bob-"+account)
}

func good(status int) bool { return status/100 == 2 }

// repeated reports whether SNS sends a message again that was answered so: https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
func repeated(status int) bool { return status >= 500 || status == http.StatusTooManyRequests }

func (s *stage) plain(ctx context.Context) error {
	const step = "transfer"
	account, alice, bob := s.couple()
	status, err := s.deliver(ctx, transfer(account, alice, bob))
	switch {
	case err != nil:
		return err
	case !good(status):
		s.fault(step, "A genuine message must be answered 2xx. Do the subscriber's settings (topic, certificate, SNS's URL) fit this trial?", "a genuine announcement was answered %d", status)
	case !s.within(ctx, func() bool { return s.endedTimes(alice.UserID) > 0 }):
		s.fault(step, "End the connection previous.user_id: DELETE /auth/deauthenticateUser?user_id=…", "the announcement was answered %d, but %s later the connection that lost the account is not ended", status, s.Patience)
	case s.endedTimes(bob.UserID) > 0:
		s.fault(step, "End previous.user_id, never current.user_id: that is the new owner's.", "the new owner's connection was ended")
	default:
		s.ok(step, "answered %d, and the connection that lost the account was ended", status)
	}
	return nil
}

func (s *stage) duplicate(ctx context.Context) error {
	const step = "duplicate"
	account, alice, bob := s.couple()
	a := transfer(account, alice, bob)
	for range 3 {
		status, err := s.deliver(ctx, a)
		if err != nil {
			return err
		}
		if !good(status) {
			s.fault(step, "SNS delivers at least once: answer 2xx to what is done already.", "the same announcement again was answered %d", status)
			return nil
		}
		s.within(ctx, func() bool { return s.endedTimes(alice.UserID) > 0 })
	}
	const do = "Remember the ids of what is done, and drop what comes again."
	s.watch(step, do, "the same announcement three times ended the connection more than once", 1, alice)
	s.settle(ctx)
	switch n := s.endedTimes(alice.UserID); {
	case n > 1:
		s.fault(step, do, "the same announcement three times ended the connection %d times", n)
	case n == 0:
		s.fault(step, "End the connection previous.user_id.", "the connection was not ended")
	default:
		s.ok(step, "the same announcement three times was done once")
	}
	return nil
}

// settle gives a subscriber that works in the background some time to do what it should not. What takes longer is seen at the end of the trial: see watch.
func (s *stage) settle(ctx context.Context) {
	select {
	case <-time.After(min(s.Patience, time.Second)):
	case <-ctx.Done():
	}
}

// watch is what a step looks at once more at the end of the trial: none of these connections may have been ended more than most times.
type watch struct {
	fault   Finding
	most    int
	holders []ownership.Holder
}

func (s *stage) watch(step, do, what string, most int, holders ...ownership.Holder) {
	s.watches = append(s.watches, watch{Finding{Step: step, Fault: true, What: what, Do: do}, most, holders})
}

// lookAgain finds what a subscriber that answers first, and works afterwards, has done since a step found nothing wrong.
func (s *stage) lookAgain() {
	for _, w := range s.watches {
		late := slices.ContainsFunc(w.holders, func(h ownership.Holder) bool { return s.endedTimes(h.UserID) > w.most })
		if i := slices.IndexFunc(s.findings, func(f Finding) bool { return f.Step == w.fault.Step && !f.Fault }); late && i >= 0 {
			s.findings[i] = w.fault
		}
	}
}

func (s *stage) disorder(ctx context.Context) error {
	const step = "disorder"
	account, alice, bob := s.couple()
	carol := s.person(account, "carol-"+account)
	for _, a := range []ownership.Announcement{transfer(account, bob, carol), transfer(account, alice, bob)} {
		if _, err := s.deliver(ctx, a); err != nil {
			return err
		}
	}
	both := func() bool { return s.endedTimes(alice.UserID) > 0 && s.endedTimes(bob.UserID) > 0 }
	switch {
	case !s.within(ctx, both) && s.endedTimes(bob.UserID) > 0:
		s.fault(step, "What came late says the truth too: end its previous.user_id all the same. Only your record of who owns the account keeps the newer one.",
			"of two announcements in the wrong order, the older one was dropped: its connection is still open")
	case !both():
		s.fault(step, "End the connection previous.user_id of each.", "of two announcements in the wrong order, not both were done")
	case s.endedTimes(carol.UserID) > 0:
		s.fault(step, "End previous.user_id only.", "the owner's connection was ended")
	default:
		s.ok(step, "both were done, whatever their order")
	}
	return nil
}

func (s *stage) stale(ctx context.Context) error {
	const step = "stale"
	account, alice, bob := s.couple()
	again := s.person(account, alice.ReferenceID) // alice has it back, by a new connection
	if _, err := s.deliver(ctx, transfer(account, bob, again)); err != nil {
		return err
	}
	if _, err := s.deliver(ctx, transfer(account, alice, bob)); err != nil { // what was said when she lost it comes only now
		return err
	}
	s.within(ctx, func() bool { return s.endedTimes(alice.UserID) > 0 })
	const do, what = "End the connection previous.user_id, never all connections of previous.reference_id: the person may be the owner again.",
		"an old announcement ended the present owner's connection, because it is the same person's"
	s.watch(step, do, what, 0, again)
	s.settle(ctx)
	if s.endedTimes(again.UserID) > 0 {
		s.fault(step, do, what)
		return nil
	}
	s.ok(step, "an old announcement did the present owner no harm")
	return nil
}

// untouched sends an announcement after which nobody's connection may be ended.
func (s *stage) untouched(ctx context.Context, step, do, what string, a ownership.Announcement, holders ...ownership.Holder) error {
	s.watch(step, do, what, 0, holders...)
	status, err := s.deliver(ctx, a)
	if err != nil {
		return err
	}
	s.settle(ctx)
	for _, h := range holders {
		if s.endedTimes(h.UserID) > 0 {
			s.fault(step, do, "%s", what)
			return nil
		}
	}
	if !good(status) {
		s.fault(step, "There is nothing to do: answer 2xx, or SNS repeats it and then puts it aside.", "it was answered %d", status)
		return nil
	}
	s.ok(step, "answered %d, and nothing was ended", status)
	return nil
}

func (s *stage) observed(ctx context.Context) error {
	account, alice, bob := s.couple()
	a := transfer(account, alice, bob)
	a.Order = ownership.Observed
	return s.untouched(ctx, "observed", `Leave "order":"observed" to a person, or filter it away: {"order":["signed","terra"]}.`,
		"a connection was ended although the order is only a guess: it may be the owner's", a, alice, bob)
}

func (s *stage) reassigned(ctx context.Context) error {
	alice := s.person(id(), "alice-"+id())
	bob := alice
	bob.ReferenceID, bob.Tenure = "bob-"+id(), 2
	a := transfer("", alice, bob)
	a.Account, a.Reason = "", ownership.Reassigned
	return s.untouched(ctx, "reassigned", "If previous.user_id is current.user_id, end nothing: only the old reference_id's access to its data ends.",
		"the connection was ended, although it goes on under another reference_id", a, alice)
}

func (s *stage) revoked(ctx context.Context) error {
	account, alice, _ := s.couple()
	return s.untouched(ctx, "revoked", "A connection.revoked event asks for nothing: it tells that it is done.", "a connection was ended once more",
		ownership.Announcement{Type: ownership.Revoked, Account: "GARMIN/k000." + account, Provider: "GARMIN", Connection: alice}, alice)
}

func (s *stage) newType(ctx context.Context) error {
	const step = "new-type"
	account, alice, bob := s.couple()
	n, err := s.sample(s.topic, transfer(account, alice, bob), func(n *topic.Sample) {
		n.Message = strings.Replace(n.Message, string(ownership.Transferred), "handover.account.something.v9", 1)
	})
	if err != nil {
		return err
	}
	const do, what = "Act on the types that you know, and on no other.", "an event of an unknown type ended a connection"
	s.watch(step, do, what, 0, alice, bob)
	status, err := s.post(ctx, n)
	if err != nil {
		return err
	}
	s.settle(ctx)
	switch {
	case s.endedTimes(alice.UserID)+s.endedTimes(bob.UserID) > 0:
		s.fault(step, do, what)
	case repeated(status):
		s.fault(step, "Answer 2xx (or a 4xx, which SNS does not repeat) to a type that you do not know.", "an event of an unknown type was answered %d: SNS repeats it in vain", status)
	default:
		s.ok(step, "answered %d, and nothing was ended", status)
	}
	return nil
}

func (s *stage) gone(ctx context.Context) error {
	const step = "gone"
	account, alice, bob := s.couple()
	if err := s.terra.Delete(alice.UserID); err != nil {
		return err
	}
	status, err := s.deliver(ctx, transfer(account, alice, bob))
	if err != nil {
		return err
	}
	if !good(status) {
		s.fault(step, "A 404 of deauthenticateUser says that the connection has ended: that is success.", "a connection that Terra does not know any more was answered %d: SNS repeats it in vain", status)
		return nil
	}
	s.ok(step, "answered %d", status)
	return nil
}

func (s *stage) outage(ctx context.Context) error {
	const step = "outage"
	account, alice, bob := s.couple()
	n, err := s.sample(s.topic, transfer(account, alice, bob), nil)
	if err != nil {
		return err
	}
	s.terra.SetFaults(simulator.Faults{Fail: 1})
	status, err := s.post(ctx, n)
	s.settle(ctx)
	s.terra.SetFaults(simulator.Faults{})
	if err != nil {
		return err
	}
	if !good(status) && !repeated(status) {
		s.fault(step, "Answer 5xx or 429 while Terra fails: what is answered otherwise goes to the subscription's dead-letter queue at once, or is lost if there is none.",
			"the announcement was answered %d while Terra failed, and SNS does not repeat what is answered so", status)
		return nil
	}
	if !good(status) { // it did not take the message: SNS sends it again
		again, err := s.deliverSample(ctx, n)
		switch {
		case err != nil:
			return err
		case !good(again):
			s.fault(step, "Once Terra is well again, the repeated message must succeed.", "after the outage the announcement was answered %d", again)
			return nil
		case !s.within(ctx, func() bool { return s.endedTimes(alice.UserID) > 0 }):
			s.fault(step, "Remember an id only once its work is done: first end the connection, then remember.",
				"the announcement was answered %d while Terra failed, and %d when it came again, but the connection was never ended", status, again)
			return nil
		}
		s.ok(step, "answered %d while Terra failed, and done when it came again", status)
		return nil
	}
	if !s.within(ctx, func() bool { return s.endedTimes(alice.UserID) > 0 }) {
		s.fault(step, "Answer 5xx while Terra fails, or keep the work and try again by yourself: what is answered 2xx never comes again.",
			"the announcement was answered %d while Terra failed, and %s after the outage the connection is not ended: it is lost", status, s.Patience)
		return nil
	}
	s.ok(step, "answered %d while Terra failed, and done by itself afterwards", status)
	return nil
}

// refused sends what is not the topic's: each must be refused, and nothing done.
func (s *stage) refused(ctx context.Context, step, do, what string, samples []topic.Sample, holders ...ownership.Holder) error {
	ended := what + " ended a connection: anybody can end your users' connections"
	s.watch(step, do, ended, 0, holders...)
	var refusal, answer int
	for _, n := range samples {
		status, err := s.post(ctx, n)
		if err != nil {
			return err
		}
		if good(status) {
			answer = status
		} else {
			refusal = status
		}
	}
	s.settle(ctx)
	for _, h := range holders {
		if s.endedTimes(h.UserID) > 0 {
			s.fault(step, do, "%s", ended)
			return nil
		}
	}
	if answer != 0 {
		s.fault(step, do, "%s was answered %d", what, answer)
		return nil
	}
	s.ok(step, "refused with %d", refusal)
	return nil
}

func (s *stage) altered(ctx context.Context) error {
	account, alice, bob := s.couple()
	_, victim, _ := s.couple()
	n, err := s.sample(s.topic, transfer(account, alice, bob), nil)
	if err != nil {
		return err
	}
	n.Message = strings.Replace(n.Message, alice.UserID, victim.UserID, 1)
	return s.refused(ctx, "altered", "Check SNS's signature before you read the message.", "a message that was altered after its signing", []topic.Sample{n}, alice, victim)
}

func (s *stage) unsigned(ctx context.Context) error {
	account, alice, bob := s.couple()
	n, err := s.sample(s.topic, transfer(account, alice, bob), nil)
	if err != nil {
		return err
	}
	n.Signature, n.SigningCertURL = "", ""
	var samples []topic.Sample
	for _, version := range []string{"2", "1", ""} { // whoever checks only the one that they know lets the others in
		n.SignatureVersion = version
		samples = append(samples, n)
	}
	return s.refused(ctx, "unsigned", "Refuse what has no signature of version 2.", "a message without a signature", samples, alice)
}

const elsewhereARN = "arn:aws:sns:local:999999999999:somebody-elses"

func (s *stage) otherTopic(ctx context.Context) error {
	account, alice, bob := s.couple()
	n, err := s.sample(s.topic, transfer(account, alice, bob), func(n *topic.Sample) { n.TopicARN = elsewhereARN })
	if err != nil {
		return err
	}
	return s.refused(ctx, "other-topic", "SNS signs for everybody: compare TopicArn with your own topic's.", "a message of somebody else's topic", []topic.Sample{n}, alice)
}

func (s *stage) otherCertificate(ctx context.Context) error {
	account, alice, bob := s.couple()
	n, err := s.sample(s.forger, transfer(account, alice, bob), nil)
	if err != nil {
		return err
	}
	return s.refused(ctx, "other-certificate", "Fetch the certificate only by https from SNS's own host, under a path of the form /SimpleNotificationService-….pem, before you use it.",
		"a message signed by a certificate from elsewhere", []topic.Sample{n}, alice)
}

// question is one whether a subscription is wanted: for a topic, to be confirmed at a URL.
type question struct {
	arn, url string
	unsigned bool
}

// ask sends the questions, and reports whether one was confirmed. One that is not signed counts if its own address was visited: to ask SNS itself does no harm,
// which knows whose token it is.
func (s *stage) ask(ctx context.Context, questions ...question) (confirmed bool, err error) {
	_, a, b := s.couple()
	var yes []confirmation
	for _, q := range questions {
		token := id() + id()
		n, err := s.sample(s.topic, transfer("", a, b), func(n *topic.Sample) {
			n.Type, n.Token, n.TopicARN, n.MessageAttributes = "SubscriptionConfirmation", token, q.arn, nil
			n.Message = "You have chosen to subscribe to the topic " + q.arn + ".\nTo confirm the subscription, visit the SubscribeURL included in this message."
			n.SubscribeURL = confirmURL(q.url, q.arn, token)
		})
		if err != nil {
			return false, err
		}
		yes = append(yes, confirmation{"/forger", token})
		if q.unsigned {
			n.Signature, n.SigningCertURL = "", ""
		} else {
			yes = append(yes, confirmation{"/sns", token})
		}
		if _, err := s.post(ctx, n); err != nil {
			return false, err
		}
	}
	return s.within(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(yes, func(c confirmation) bool { return s.confirmed[c] > 0 })
	}), nil
}

func confirmURL(base, arn, token string) string {
	return fmt.Sprintf("%s/?%s", base, url.Values{"Action": {"ConfirmSubscription"}, "TopicArn": {arn}, "Token": {token}}.Encode())
}

func (s *stage) confirmation(ctx context.Context) error {
	confirmed, err := s.ask(ctx, question{arn: topic.ARN, url: "https://" + s.base + "/sns"})
	switch {
	case err != nil:
		return err
	case !confirmed:
		s.fault("confirmation", "On a SubscriptionConfirmation for your own topic, call ConfirmSubscription with its Token; or confirm by hand when you subscribe, and leave this aside.",
			"the subscription was not confirmed within %s: nothing would ever be delivered", s.Patience)
	default:
		s.ok("confirmation", "confirmed")
	}
	return nil
}

func (s *stage) otherConfirmation(ctx context.Context) error {
	elsewhere := "https://" + s.base + "/forger"
	confirmed, err := s.ask(ctx, question{arn: elsewhereARN, url: elsewhere}, question{arn: topic.ARN, url: elsewhere, unsigned: true})
	switch {
	case err != nil:
		return err
	case confirmed:
		s.fault("other-confirmation", "Check SNS's signature of this message too, confirm only for the TopicArn that you expect, and at SNS's own address.",
			"a subscription to somebody else's topic was confirmed, or one that nobody has signed")
	default:
		s.ok("other-confirmation", "not confirmed")
	}
	return nil
}
