package plugin

import (
	"context"
	"sync/atomic"
	"time"

	forgemesh "forgemesh.dev/go"
	errorsv1 "forgemesh.dev/go/forgemesh/api/errors/v1"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
)

// Call is what an operation may know of the call that it answers.
type Call struct {
	// Namespace and ExecutionID say whose call it is; the execution is empty for a call outside a workflow.
	Namespace, ExecutionID string
	// StepPath is the step that calls, e.g. "analyse/wind/wind".
	StepPath string
	// Attempt counts the tries at this step, from 1.
	Attempt uint32
	// IdempotencyKey is the same for all attempts: what a plugin uses to recognise a repetition.
	IdempotencyKey string
	// Traceparent is the W3C trace context of this call's span, for requests that no OpenTelemetry library makes.
	Traceparent string
	// Details are what an earlier attempt last said with its progress; nil if none did.
	Details *forgemesh.Payload
	report  func(fraction float64, note string, details *forgemesh.Payload)
}

type callKey struct{}

// CallOf is the call that an operation's context belongs to. Outside of one it is a Call with nothing in it, so that an
// operation may be tested as the function that it is.
func CallOf(ctx context.Context) *Call {
	if call, ok := ctx.Value(callKey{}).(*Call); ok {
		return call
	}
	return &Call{Attempt: 1}
}

// Progress says how far the work is, from 0 to 1, with a note for people.
func (c *Call) Progress(fraction float64, note string) {
	if c.report != nil {
		c.report(fraction, note, nil)
	}
}

// ProgressWith says as well what the next attempt is told, should this one fail: at most 64 KiB.
func (c *Call) ProgressWith(fraction float64, note string, details any) error {
	payload, err := forgemesh.Encode(details)
	if err != nil {
		return err
	}
	if size := payload.Size(); size > mostDetails {
		return tooLarge("the details of a progress", size, mostDetails)
	}
	if c.report != nil {
		c.report(fraction, note, &payload)
	}
	return nil
}

const mostDetails = 64 * 1024

// receiver is told what becomes of a call.
type receiver interface {
	begun(*running)
	// answered is told once, when the outcome is known.
	answered(*running)
	// released is told once, when the operation no longer runs: with the answer or after it.
	released(*running)
	progressed(*running, float64, string, *forgemesh.Payload)
}

// running is one call in the host, from its arrival to the end of its operation. It is answered when its outcome is known
// and ended when its operation no longer runs: one that goes on after its time is over is answered without, and still fills
// its place. What is not atomic belongs to the host's lock.
type running struct {
	invocation *pluginv1.Invocation
	operation  *operation
	receiver   receiver
	within     time.Duration
	arrived    time.Time
	started    time.Time
	finished   time.Time
	context    context.Context
	cancel     context.CancelCauseFunc
	timer      *time.Timer
	ending     *errorsv1.Failure
	isAnswered bool
	output     forgemesh.Payload
	failure    *errorsv1.Failure
	span       callSpan
	silent     atomic.Bool
}

func (c *running) queued() time.Duration {
	until := c.started
	if until.IsZero() {
		until = c.finished
	}
	return until.Sub(c.arrived)
}

// result is the answer as it travels.
func (c *running) result() *pluginv1.InvocationResult {
	result := &pluginv1.InvocationResult{
		CallId:       c.invocation.GetCallId(),
		Attempt:      c.invocation.GetAttempt(),
		QueuedMicros: c.queued().Microseconds(),
	}
	if !c.started.IsZero() {
		result.RanMicros = c.finished.Sub(c.started).Microseconds()
	}
	if c.failure != nil {
		result.Outcome = &pluginv1.InvocationResult_Failure{Failure: c.failure}
	} else {
		result.Outcome = &pluginv1.InvocationResult_Output{Output: c.output.Message()}
	}
	return result
}

// about is what the operation sees.
func (c *running) about() *Call {
	invocation := c.invocation
	call := &Call{
		Namespace:      invocation.GetNamespace(),
		ExecutionID:    invocation.GetExecutionId(),
		StepPath:       invocation.GetStepPath(),
		Attempt:        invocation.GetAttempt(),
		IdempotencyKey: invocation.GetIdempotencyKey(),
		Traceparent:    c.span.traceparent(),
	}
	if invocation.GetHeartbeatDetails() != nil {
		details := forgemesh.PayloadOf(invocation.GetHeartbeatDetails())
		call.Details = &details
	}
	return call
}
