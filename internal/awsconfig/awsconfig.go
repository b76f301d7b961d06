// Package awsconfig is the configuration of every AWS client of Handover: the SDK's own, with time limits that fit into the 8 seconds in
// which Terra wants its answer.
package awsconfig

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
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

// OnLambda is what Lambda's environment says: region, credentials, and AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_<SERVICE>, with the limits. The SDK's own loader looks
// in many more places, none of which a function has; what it brings along for them would be a sixth of the binary and of the time that a function takes to start.
func OnLambda() aws.Config {
	c := aws.Config{
		Region:        cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")), // Lambda sets both; who starts a function by hand often has one
		Credentials:   credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")),
		ConfigSources: []any{endpoints{}},
	}
	if url := os.Getenv("AWS_ENDPOINT_URL"); url != "" {
		c.BaseEndpoint = &url
	}
	Limit(&c)
	return c
}

// endpoints tells the SDK's clients the AWS_ENDPOINT_URL_<SERVICE> of the environment, by an interface of theirs.
type endpoints struct{}

func (endpoints) GetServiceBaseEndpoint(_ context.Context, service string) (url string, found bool, err error) {
	url = os.Getenv("AWS_ENDPOINT_URL_" + strings.ToUpper(strings.ReplaceAll(service, " ", "_")))
	return url, url != "", nil
}

// Limit adds the limits to c.
func Limit(c *aws.Config) {
	c.HTTPClient = awshttp.NewBuildableClient().
		WithTimeout(attemptTimeout).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout })
	c.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			o.Backoff = retry.BackoffDelayerFunc(backoff)
			o.Retryables = append(o.Retryables, retry.IsErrorRetryableFunc(tornOff))
			// The SDK's own limit stops all retries of a process once a service has failed often enough. An instance has one webhook at a time, and what it
			// gives up comes back from Terra, which ends a destination that fails for long.
			o.RateLimiter = ratelimit.None
		})
	}
}

// tornOff reports whether a reply ended too early, which the SDK takes for an answer that is wrong for good. Whether the call was carried out is not known then;
// every call of Handover's may be repeated.
func tornOff(err error) aws.Ternary {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// backoff is the wait after the nth failed attempt: any time up to a limit that doubles, so that callers who failed together do not come
// back together ("full jitter"). The SDK counts from 1, or from 0 where AWS_NEW_RETRIES_2026 is set.
func backoff(n int, _ error) (time.Duration, error) {
	return rand.N(firstBackoff << min(max(n-1, 0), doublings)), nil // #nosec G404 -- it only spreads retries
}
