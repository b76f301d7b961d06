package proof

// The known wrong designs. Most are what one would build first, and each has lost or invented announcements in somebody's hands.
var designs = []design{
	{
		"write, then publish: the mark is put before the announcement",
		[]change{{"internal/ownership/keeper.go", `		if err := k.publish(ctx, due[0].Announcement, done); err != nil {
			return err
		}
		mark := due[0].Mark
		mark.At = k.Now()
		if row, err = k.Ledger.Mark(ctx, account, mark, row.Marks[mark.Name]); err != nil { // refused: another worker was first, and the row is judged anew
			return fmt.Errorf("marking an announcement of account %s: %w", account, err)
		}
`, `		said, mark := due[0].Announcement, due[0].Mark
		mark.At = k.Now()
		if row, err = k.Ledger.Mark(ctx, account, mark, row.Marks[mark.Name]); err != nil {
			return fmt.Errorf("marking an announcement of account %s: %w", account, err)
		}
		if err := k.publish(ctx, said, done); err != nil {
			return err
		}
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ownership", "TestHistories"}, {"webhook", "TestAnyCallFails"}},
	},
	{
		"the work mark is cleared before the announcement",
		[]change{{"internal/ownership/keeper.go", `		// What does r owe?
`, `		if _, _, err := k.Ledger.Finish(ctx, r, nil); err != nil {
			return heirs, err
		}
`}},
		[]caught{{"ownership", "TestInterleavings"}},
	},
	{
		"compare-and-swap of one owner: a claim is announced only if it is the newest itself",
		[]change{{"internal/ownership/keeper.go", `	for due := row.Due(); len(due) > 0; due = row.Due() {
`, `	for due := row.Due(); len(due) > 0 && due[0].Announcement.Current.UserID == c.UserID; due = row.Due() {
`}},
		[]caught{{"ownership", "TestInterleavings"}},
	},
	{
		"arrival order: who comes later owns it",
		[]change{{"internal/ownership/keeper.go", `func (k *Keeper) Record(ctx context.Context, f Facts) (Connection, bool, error) {
`, `func (k *Keeper) Record(ctx context.Context, f Facts) (Connection, bool, error) {
	f.ConnectedAt, f.Certainty = k.Now(), Signed
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ownership", "TestHistories"}},
	},
	{
		"an older image of the row decides (in memory)",
		[]change{{"internal/ledger/ledgertest/memory.go", `			m.accounts[account] = copyAccount(row)
		}
		row = copyAccount(row)
`, `			m.accounts[account] = copyAccount(row)
		}
		row = copyAccount(stored)
		row.Key = account
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ledger/ledgertest", "TestMemoryConforms"}},
	},
	{
		"an older image of the row decides (DynamoDB)",
		[]change{{"internal/ledger/dynamodb.go", `	call.ReturnValues = types.ReturnValueAllNew
`, `	call.ReturnValues = types.ReturnValueAllOld
`}},
		[]caught{{"ledger", "TestDynamoDBConforms"}},
	},
	{
		"an older image of the row decides (bbolt)",
		[]change{{"internal/local/embedded/embedded.go", `			row, err = put(tx, accounts, account, row)
`, `			before, _, _ := get[ownership.Account](tx, accounts, account)
			_, err = put(tx, accounts, account, row)
			row = before
`}},
		[]caught{{"local/embedded", "TestEmbeddedConforms"}},
	},
	{
		"an account without an id is a key, too",
		[]change{{"internal/ownership/key.go", `	if provider == "" || providerUserID == "" {
`, `	if provider == "" {
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"webhook", "TestEvents"}},
	},
	{
		"a connection without a reference_id owns its account",
		[]change{
			{"internal/ownership/keeper.go", `		if r.Reference() != "" { // else it owns nothing and displaces nobody
`, `		if true {
`},
			{"internal/ownership/ownership.go", `	return Claim{
		UserID:      c.UserID,
		Tenures:     slices.Clone(c.Tenures),
`, `	if len(c.Tenures) == 0 {
		c.Tenures = []string{""}
	}
	return Claim{
		UserID:      c.UserID,
		Tenures:     slices.Clone(c.Tenures),
`},
		},
		[]caught{{"ownership", "TestInterleavings"}},
	},
	{
		"another reference_id is believed from an event, which may be late",
		[]change{{"internal/ownership/join.go", `		n.Suspects = union(n.Suspects, f.Reference)
`, `		n.Tenures = append(slices.Clone(n.Tenures), f.Reference)
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ownership", "TestJoin"}},
	},
	{
		"the body is read before its signature is checked",
		[]change{{"internal/webhook/webhook.go", `	signedAt, err := h.verify(ctx, line.now, r)
	if err != nil {
		return err
	}
	line.delivery, line.heartbeat = r.delivery, string(r.body) == telemetry.HeartbeatBody // by bytes that are signed
	e, err := terra.ParseEvent(r.body)
	if err != nil {
		return err
	}
`, `	e, err := terra.ParseEvent(r.body)
	if err != nil {
		return err
	}
	signedAt, err := h.verify(ctx, line.now, r)
	if err != nil {
		return err
	}
	line.delivery, line.heartbeat = r.delivery, string(r.body) == telemetry.HeartbeatBody // by bytes that are signed
`}},
		[]caught{{"webhook", "TestForgeriesHaveNoEffect"}},
	},
	{
		"a guess displaces Terra's own time",
		[]change{{"internal/ownership/join.go", `f.Certainty == Observed && n.Certainty == Unknown {
`, `f.Certainty == Observed {
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ownership", "TestJoin"}},
	},
	{
		"a guess is used while Terra's API only fails",
		[]change{{"internal/ownership/keeper.go", `	case !answered(apiErr):
		return waitFor(apiErr)
`, `	case !answered(apiErr) && len(r.Accounts) == 0:
		return waitFor(apiErr)
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ownership", "TestHistories"}},
	},
	{
		"a connection that has ended claims nothing",
		[]change{{"internal/ownership/keeper.go", `		if r.Reference() != "" { // else it owns nothing and displaces nobody
`, `		if r.Reference() != "" && !r.Closed() {
`}},
		[]caught{{"ownership", "TestInterleavings"}},
	},
	{
		"only an open connection can own the account",
		[]change{{"internal/ownership/due.go", `	return slices.MaxFunc(hs, func(a, b holder) int { return a.key.compare(b.key) })
`, `	return slices.MaxFunc(hs, func(a, b holder) int {
		if a.open() != b.open() {
			if a.open() {
				return 1
			}
			return -1
		}
		return a.key.compare(b.key)
	})
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ownership", "TestDue"}},
	},
	{
		"a claim is dropped while its order is a guess",
		[]change{{"internal/ownership/trim.go", `		case (p.claim.Closed || a.told(hs, p)) && (surelyBefore(p.claim, owner.claim) || len(a.Claims) > crowded):
`, `		case p.claim.Closed || a.told(hs, p):
`}},
		[]caught{{"ownership", "TestSpentKeeps"}},
	},
	{
		"a connection settles in its first account only",
		[]change{{"internal/ownership/keeper.go", `			for _, account := range r.Accounts {
				if err := k.claim(`, `			for _, account := range r.Accounts[:min(1, len(r.Accounts))] {
				if err := k.claim(`}},
		[]caught{{"ownership", "TestInterleavings"}},
	},
	{
		"200 is answered though nothing was stored",
		[]change{{"internal/webhook/webhook.go", `		r, news, err := keeper.Record(ctx, f)
		if err != nil {
			return err
		}
`, `		r, news, err := keeper.Record(ctx, f)
		if err != nil {
			continue
		}
`}},
		[]caught{{"webhook", "TestAnyCallFails"}},
	},
	{
		"the work mark is set only when settling begins",
		[]change{{"internal/ownership/keeper.go", `	r, inserted, err := k.Ledger.Insert(ctx, k.changed(Connection{}, join(Connection{UserID: f.UserID}, f)))
`, `	first := k.changed(Connection{}, join(Connection{UserID: f.UserID}, f))
	first.ToDo = false
	r, inserted, err := k.Ledger.Insert(ctx, first)
	r.ToDo = r.ToDo || inserted
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"webhook", "TestDeadline"}},
	},
	{
		"what replaced a connection does not inherit its account",
		[]change{{"internal/ownership/keeper.go", `	if len(r.Accounts) == 0 || r.Phone() {
`, `	if true {
`}},
		[]caught{{"ownership", "TestInterleavings"}},
	},
	{
		"what replaced a connection holds what it inherits, and is not asked for an id of its own",
		[]change{{"internal/ownership/ownership.go", `	return len(c.Accounts) == 0 || len(c.Replaces) > 0 && !c.Phone() && !c.Named
`, `	return len(c.Accounts) == 0
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ownership", "TestHistories"}, {"ownership", "TestAccountUnderANewID"}},
	},
	{
		"two devices of one owner are taken for one account",
		[]change{{"internal/ownership/keeper.go", `	if len(r.Accounts) == 0 || r.Phone() {
`, `	if len(r.Accounts) == 0 {
`}},
		[]caught{{"ownership", "TestInterleavings"}},
	},
	{
		"at the same time, but announced as sure",
		[]change{{"internal/ownership/due.go", `	return p.Certainty.Sure() && s.Certainty.Sure() && p.ConnectedAt.Before(s.ConnectedAt)
`, `	return p.Certainty.Sure() && s.Certainty.Sure() && !s.ConnectedAt.Before(p.ConnectedAt)
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ownership", "TestDue"}},
	},
	{
		"the last write of a connection's row wins",
		[]change{{"internal/ledger/ledgertest/memory.go", `		if !found || row.Version != c.Version-1 {
`, `		if !found {
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ledger/ledgertest", "TestMemoryConforms"}},
	},
	{
		"a work mark is cleared whatever has come meanwhile",
		[]change{{"internal/ledger/ledgertest/memory.go", `		if !found || row.Version != c.Version {
`, `		if !found {
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ledger/ledgertest", "TestMemoryConforms"}},
	},
	{
		"a slow worker's mark takes the place of a later one (in memory)",
		[]change{{"internal/ledger/ledgertest/memory.go", `found && row.Marks[mark.Name] == was {
`, `found {
`}},
		[]caught{{"ownership", "TestInterleavings"}, {"ownership", "TestSlowMark"}, {"ledger/ledgertest", "TestMemoryConforms"}},
	},
	{
		"a slow worker's mark takes the place of a later one (DynamoDB)",
		[]change{{"internal/ledger/dynamodb.go", `"attribute_exists(#claim) AND #mark = :was"
`, `"attribute_exists(#claim) AND (attribute_exists(#mark) OR #mark = :was)"
`}},
		[]caught{{"ledger", "TestDynamoDBConforms"}},
	},
	{
		"a late claim replaces a newer one of the same connection",
		[]change{{"internal/ledger/dynamodb.go", `	claimNewer = "attribute_not_exists(#claim) OR #claim.v < :v"
`, `	claimNewer = "attribute_not_exists(#claim) OR attribute_exists(#claim) OR #claim.v < :v"
`}},
		[]caught{{"ledger", "TestDynamoDBConforms"}},
	},
	{
		"an announcement's id depends on when it is sent",
		[]change{{"internal/announce/event.go", `	hash := sha256.Sum256(append([]byte(a.Type+"\n"), e.Data...))
`, `	hash := sha256.Sum256(append([]byte(string(a.Type)+now.String()+"\n"), e.Data...))
`}},
		[]caught{{"announce", "TestSameDataSameID"}},
	},
	{
		"a signature of any age is good",
		[]change{{"internal/terra/signature.go", `	case signedAt.Before(now.Add(-w.Past)):
`, `	case false:
`}},
		[]caught{{"terra", "TestVerify"}},
	},
	{
		"a signature of another scheme is good, too",
		[]change{{"internal/terra/signature.go", `			v1, ok := strings.CutPrefix(strings.Trim(part, " "), "v1=")
`, `			_, v1, ok := strings.Cut(strings.Trim(part, " "), "=")
`}},
		[]caught{{"terra", "TestVerify"}},
	},
	{
		"a secret is read once and kept",
		[]change{{"internal/webhook/webhook.go", `	if !errors.Is(err, terra.ErrMismatch) {
`, `	if true {
`}},
		[]caught{{"webhook", "TestSecrets"}},
	},
	{
		"an answer that was overtaken raises its old reference again and again",
		[]change{{"internal/ownership/keeper.go", `				learnt = nil
`, ``}},
		[]caught{{"ownership", "TestAnswerOvertakenByAnotherReference"}},
	},
	{
		"a log line names the user",
		[]change{{"internal/webhook/webhook.go", `	add("delivery", traceID(l.delivery))
`, `	add("delivery", l.event.User.UserID)
`}},
		[]caught{{"webhook", "TestLogHoldsNoPersonalData"}, {"endtoend", "TestFunctions"}},
	},
	{
		"there is a metric for each user",
		[]change{
			{"internal/webhook/webhook.go", `	count(telemetry.Accepted, status == 200 && !l.heartbeat)
`, `	count(telemetry.Metric("Accepted "+l.event.User.ReferenceID), status == 200 && l.event.User.Present)
`},
			{"internal/telemetry/metrics.go", `		return "Percent"
	}
	return ""
`, `		return "Percent"
	}
	return "Count"
`},
		},
		[]caught{{"endtoend", "TestFunctions"}},
	},
	{
		"an error answer says whose event it was",
		[]change{{"internal/webhook/webhook.go", `	answer, status, reason, metric := refusal(err)
`, `	answer, status, reason, metric := refusal(err)
	answer = []byte(strings.Replace(string(answer), "The event", "The event of "+line.event.User.UserID, 1))
`}},
		[]caught{{"endtoend", "TestFunctions"}},
	},
	{
		"accounts are named by a hash without a key",
		[]change{{"internal/ownership/key.go", `	h := hmac.New(sha256.New, k.key)
`, `	h := hmac.New(sha256.New, nil)
`}},
		[]caught{{"endtoend", "TestFunctions"}},
	},
}
