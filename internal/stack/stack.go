// Package stack puts the parts of a deployed stack together out of its settings: what the functions have in common.
package stack

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/handover-dev/handover/internal/announce"
	"github.com/handover-dev/handover/internal/awsconfig"
	"github.com/handover-dev/handover/internal/ledger"
	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/revoke"
	"github.com/handover-dev/handover/internal/settings"
	"github.com/handover-dev/handover/internal/sweep"
	"github.com/handover-dev/handover/internal/terra"
	"github.com/handover-dev/handover/internal/version"
	"github.com/handover-dev/handover/internal/webhook"
)

// Stack is one deployed stack.
type Stack struct {
	settings settings.Settings
	ledger   *ledger.DynamoDB
	secret   *settings.TerraSecret
	terra    *terra.Client
	keeper   Keeper
	log      *slog.Logger
}

// aheadFor bounds what is read ahead. It is as long as one attempt of a call: whatever takes longer is left to the first event, whose own limits it then has.
// Lambda ends a start after 10 s, with which a ledger that hangs would keep every instance from answering anything.
const aheadFor = time.Second

// New connects to AWS with the credentials and endpoints of the environment, and reads the secrets ahead of the first event. A secret that cannot be read
// now is no error: it is read again when it is needed.
func New(ctx context.Context, s settings.Settings, log *slog.Logger) *Stack {
	log.LogAttrs(ctx, slog.LevelInfo, "start", slog.String("version", version.Number()))
	config := awsconfig.OnLambda()
	secrets := secretsmanager.NewFromConfig(config)
	stack := &Stack{
		settings: s,
		ledger:   ledger.NewDynamoDB(dynamodb.NewFromConfig(config), s.AccountsTable, s.ConnectionsTable),
		secret:   &settings.TerraSecret{Read: settings.SecretsManager(secrets, s.TerraSecret), Now: time.Now},
		log:      log,
	}
	stack.terra = &terra.Client{BaseURL: s.TerraAPI, Credentials: stack.credentials, HTTP: terra.NewHTTPClient()}
	stack.keeper = Keeper{
		Key:    settings.SecretsManager(secrets, s.AccountKeySecret),
		Stored: stack.ledger.KeyFingerprint,
		Check:  stack.ledger.CheckKey,
		Parts: ownership.Keeper{
			Ledger:    stack.ledger,
			Announcer: announce.NewSNS(sns.NewFromConfig(config), s.TransfersTopic, s.Source),
			Directory: stack.terra,
			Retention: s.Retention,
			Now:       time.Now,
			Backoff:   ownership.Backoff{Base: 30 * time.Second, Max: time.Hour, Unnamed: 24 * time.Hour},
			Grace:     15 * time.Second,
		},
	}
	ctx, cancel := context.WithTimeout(ctx, aheadFor)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = stack.secret.Get(ctx) })
	wg.Go(func() { _, _ = stack.keeper.Get(ctx) })
	wg.Wait()
	return stack
}

func (s *Stack) credentials(ctx context.Context) (devID, apiKey string, err error) {
	secret, err := s.secret.Get(ctx)
	return secret.DevID, secret.APIKey, err
}

// What an instance remembers of connections: 20,000 take about 4 MB, and five minutes bound how long a row that another instance changed is believed.
const (
	seenConnections = 20_000
	seenFor         = 5 * time.Minute
)

// Webhook is the handler of the webhook function.
func (s *Stack) Webhook() (*webhook.Handler, error) {
	h := &webhook.Handler{
		Secrets: s.secret,
		Window:  terra.Window{Past: s.settings.ReplayWindow, Future: settings.FutureWindow},
		Keeper:  s.keeper.Get,
		Peeker:  s.ledger,
		Log:     s.log,
		Now:     time.Now,
	}
	if s.settings.WatchDataEvents {
		var err error
		if h.Seen, err = webhook.NewSeen(seenConnections, seenFor); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Sweep is the handler of the sweep function.
func (s *Stack) Sweep() *sweep.Sweep {
	sweeping := &sweep.Sweep{
		Keeper: s.keeper.Get, Queue: s.ledger, Log: s.log, Now: time.Now, EveryRun: true,
		Register: s.ledger, Terra: s.terra, WalkEvery: 24 * time.Hour, RoundEvery: time.Hour, NotRevokedAfter: s.settings.NotRevokedAfter,
	}
	if s.settings.WebhookURL != "" {
		sweeping.Heartbeat = sweep.NewHeartbeat(s.settings.WebhookURL, func(ctx context.Context) (string, error) {
			secret, err := s.secret.Get(ctx)
			if err != nil {
				return "", err
			}
			return secret.SigningSecrets[0], nil
		})
	}
	return sweeping
}

// Revoke is the handler of the revoke function.
func (s *Stack) Revoke(r settings.Revoke) *revoke.Revoker {
	revoker := &revoke.Revoker{
		Policy:    revoke.Policy(r.Policy),
		Ledger:    s.ledger,
		Directory: s.terra,
		Terra:     s.terra,
		End: func(ctx context.Context, userID string) error {
			keeper, err := s.keeper.Get(ctx)
			if err != nil {
				return err
			}
			return keeper.End(ctx, userID)
		},
		Log: s.log,
		Now: time.Now,
	}
	if r.DryRun {
		revoker.Terra = revoke.DryRun{}
	}
	return revoker
}
