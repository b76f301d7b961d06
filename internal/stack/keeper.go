package stack

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/handover-dev/handover/internal/ownership"
	"github.com/handover-dev/handover/internal/settings"
)

// Keeper completes an ownership.Keeper with the account key. With a wrong key every account would be new, and every change be missed in silence: so the key
// is compared with the one that the accounts were made with, and without the right one there is no Keeper. It is safe for use by many goroutines.
type Keeper struct {
	Parts ownership.Keeper                                    // all but Keys
	Key   func(ctx context.Context) (string, error)           // reads the account key's text
	Check func(ctx context.Context, fingerprint string) error // compares the key's fingerprint with the ledger's, and begins the ledger with it

	// Stored, if it is not nil, reads the fingerprint that Check compares with, "" if there is none, while Key reads the key: each opens a connection of
	// its own, and an instance starts sooner.
	Stored func(ctx context.Context) (string, error)

	mu    sync.Mutex
	whole *ownership.Keeper
	err   error
	tried time.Time
}

// retryAfter bounds how often a key that failed is tried again.
const retryAfter = time.Second

// Get returns the Keeper, or why there is none.
func (k *Keeper) Get(ctx context.Context) (*ownership.Keeper, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.whole != nil {
		return k.whole, nil
	}
	if now := k.Parts.Now(); k.err == nil || now.Sub(k.tried) >= retryAfter {
		k.tried = now
		k.err = k.complete(ctx)
	}
	return k.whole, k.err
}

func (k *Keeper) complete(ctx context.Context) error {
	var stored string
	var wg sync.WaitGroup
	if k.Stored != nil {
		wg.Go(func() { stored, _ = k.Stored(ctx) })
	}
	text, err := k.Key(ctx)
	wg.Wait()
	if err != nil {
		return fmt.Errorf("reading the account key: %w", err)
	}
	key, err := settings.ParseAccountKey(text)
	if err != nil {
		return err
	}
	keys, err := ownership.NewAccountKeys(key)
	if err != nil {
		return err
	}
	if stored != keys.Fingerprint() { // another one, none, or none that could be read: Check says
		if err := k.Check(ctx, keys.Fingerprint()); err != nil {
			return fmt.Errorf("comparing the account key with the ledger's: %w", err)
		}
	}
	whole := k.Parts
	whole.Keys = keys
	k.whole = &whole
	return nil
}
