package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"go.opentelemetry.io/otel/propagation"

	forgemesh "forgemesh.dev/go"
)

const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
)

// repeated makes a call that may be repeated: while the orchestrator is away, is stopping or is without its store, for as
// long as the patience lasts. A pause that the mesh asks for is kept.
func repeated[Answer any](ctx context.Context, patience time.Duration, call func(context.Context) (Answer, error)) (Answer, error) {
	return repeatedWithin(ctx, patience, callDeadline, call)
}

func repeatedWithin[Answer any](
	ctx context.Context, patience, within time.Duration, call func(context.Context) (Answer, error),
) (Answer, error) {
	var until time.Time
	for failures := 0; ; failures++ {
		bounded, cancel := context.WithTimeout(ctx, within)
		answer, err := call(bounded)
		cancel()
		if err == nil {
			return answer, nil
		}
		err = forgemesh.FaultOf(err)
		if until.IsZero() {
			until = time.Now().Add(patience)
		}
		pause := pauseAfter(failures, err)
		if ctx.Err() != nil {
			return answer, because(ctx, err)
		}
		if !passes(err) || time.Now().Add(pause).After(until) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, because(ctx, err)
		case <-time.After(pause):
		}
	}
}

// because is why a caller that has stopped waiting got no answer: its own deadline or cancellation, and what was last heard.
func because(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}

// passes says whether waiting may help.
func passes(err error) bool {
	var fault *forgemesh.Fault
	if !errors.As(err, &fault) {
		return false
	}
	switch fault.Code {
	case codes.Unavailable:
		return true
	case codes.DeadlineExceeded: // of one try, without a reason of the mesh's: nobody has answered
		return fault.Reason == ""
	case codes.ResourceExhausted:
		return fault.RetryAfter > 0
	default:
		return false
	}
}

// pauseAfter is full of jitter, and never shorter than what the mesh asks for.
func pauseAfter(failures int, err error) time.Duration {
	pause := min(longestPause, firstPause<<min(failures, 10))
	pause = pause/2 + rand.N(pause/2)
	var fault *forgemesh.Fault
	if errors.As(err, &fault) {
		pause = max(pause, fault.RetryAfter)
	}
	return pause
}

// withTraceparent sends the W3C context of the current span along, unless an interceptor has done so.
func withTraceparent(ctx context.Context) context.Context {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	for key, value := range carrier {
		if given, ok := metadata.FromOutgoingContext(ctx); ok && len(given.Get(key)) > 0 {
			continue
		}
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	}
	return ctx
}
