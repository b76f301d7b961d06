// Package awsconfig is the configuration of every AWS client of Handover: the SDK's own, with time limits that fit into the 8 seconds in
// which Terra wants its answer.
package awsconfig

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
)

// The limits of one call. By its defaults, the SDK waits up to 3 s over two throttles, up to 30 s for a connection, and for ever for a reply.
// With these, two throttles cost at most 150 ms, a reply that is lost costs a second, and a service that stays silent is given up after
// 6 attempts and 7.15 s at the latest; the caller's context ends it sooner if need be.
const (
	attempts       = 6
	attemptTimeout = time.Second
	dialTimeout    = 500 * time.Millisecond
	firstBackoff   = 50 * time.Millisecond // the limit of the first wait
	doublings      = 3                     // of that limit: to 400 ms
)

// Load reads the environment as the SDK does (region, credentials, AWS_ENDPOINT_URL_…) and adds the limits.
func Load(ctx context.Context) (aws.Config, error) {
	c, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(awshttp.NewBuildableClient().
			WithTimeout(attemptTimeout).
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout })),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = attempts
				o.Backoff = retry.BackoffDelayerFunc(backoff)
			})
		}))
	if err != nil {
		return aws.Config{}, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	return c, nil
}

// backoff is the wait after the nth failed attempt: any time up to a limit that doubles, so that callers who failed together do not come
// back together ("full jitter"). The SDK counts from 1, or from 0 where AWS_NEW_RETRIES_2026 is set.
func backoff(n int, _ error) (time.Duration, error) {
	return rand.N(firstBackoff << min(max(n-1, 0), doublings)), nil
}
