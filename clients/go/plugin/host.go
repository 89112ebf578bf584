package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	forgemesh "forgemesh.dev/go"
	errorsv1 "forgemesh.dev/go/forgemesh/api/errors/v1"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
)

// lastWords is what an operation has to end by itself once its call is taken back or its time is over.
const lastWords = 500 * time.Millisecond

// host takes calls on, runs as many as may run, and answers each of them once.
type host struct {
	plugin   *Plugin
	identity *identity
	spans    *spans
	log      *slog.Logger
	tally    tally

	mutex    sync.Mutex
	admitted admission
	permits  permits
	waiting  []*running
	draining bool
	drained  chan struct{}
}

func newHost(plugin *Plugin, identity *identity, queue int, spans *spans, log *slog.Logger) *host {
	return &host{
		plugin:   plugin,
		identity: identity,
		spans:    spans,
		log:      log,
		admitted: admission{concurrency: int(plugin.manifest.GetMaxConcurrency()), queue: queue},
		drained:  make(chan struct{}),
	}
}

func (h *host) pluginID() string { return h.plugin.manifest.GetPluginId() }

// capacity is how many calls the host takes at a time, its queue included.
func (h *host) capacity() int { return h.admitted.concurrency + h.admitted.queue }

// counts are how many calls run and wait.
func (h *host) counts() (run, wait int) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.admitted.running, h.admitted.waiting
}

// take takes a call on, or says why it is refused; the receiver is told its answer later. What the transport allows bounds
// what the invocation says.
func (h *host) take(ctx context.Context, invocation *pluginv1.Invocation, to receiver, credited bool) (*running, error) {
	operation := h.plugin.operations[invocation.GetOperation()]
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.draining {
		return nil, instanceDraining(h.identity.instanceID)
	}
	if err := h.identity.refuseOthers(invocation.GetIncarnation()); err != nil {
		return nil, err
	}
	if operation == nil {
		return nil, operationNotFound(h.pluginID(), cut(invocation.GetOperation()), strings.Join(h.plugin.names(), ", "))
	}
	now := time.Now()
	permit, of := invocation.GetPermit(), generation{}
	if permit != nil {
		of = generation{invocation.GetIncarnation(), permit.GetGeneration()}
		if of.incarnation == 0 {
			of.incarnation = h.identity.incarnation()
		}
		if why := h.permits.refusal(permit.GetPermitId(), of, now); why != "" {
			return nil, permitRefused(h.identity.instanceID, cut(permit.GetPermitId()), why)
		}
	}
	within := allowed(ctx, invocation, operation, now)
	decided := h.admitted.arrive(credited, within)
	switch decided {
	case full:
		return nil, instanceFull(h.identity.instanceID, h.admitted.running)
	case tooLate:
		return nil, queueTooLong(h.identity.instanceID, h.admitted.expectedWait(), within)
	}
	if permit != nil { // not before: a permit whose call was refused is still good
		h.permits.use(permit.GetPermitId(), of, now)
	}
	call := &running{invocation: invocation, operation: operation, receiver: to, within: within, arrived: now}
	call.span = h.spans.begin(invocation)
	base, cancel := context.WithCancelCause(context.Background())
	call.context, call.cancel = base, cancel
	call.timer = time.AfterFunc(within, func() { h.expire(call) })
	if decided == admitted {
		h.startLocked(call)
	} else {
		h.waiting = append(h.waiting, call)
	}
	return call, nil
}

// allowed is how long a call may take: what its caller says, or the operation, or the mesh; never beyond the transport.
func allowed(ctx context.Context, invocation *pluginv1.Invocation, operation *operation, now time.Time) time.Duration {
	within := defaultTimeout
	switch said := operation.described.GetTimeout(); {
	case invocation.GetRemainingMillis() > 0:
		within = time.Duration(min(invocation.GetRemainingMillis(), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	case said != nil && said.AsDuration() > 0:
		within = said.AsDuration()
	}
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, deadline.Sub(now))
	}
	return within
}

// cancel takes a call back; without effect once it is answered.
func (h *host) cancel(call *running) {
	h.endEarly(call, cancelled(call.invocation.GetStepPath()))
}

func (h *host) expire(call *running) {
	h.mutex.Lock()
	waits := call.started.IsZero()
	expected := h.admitted.expectedWait()
	h.mutex.Unlock()
	if waits {
		h.endEarly(call, queueTooLong(h.identity.instanceID, max(expected, call.within), call.within))
		return
	}
	h.endEarly(call, timedOut(call.invocation.GetStepPath(), call.within))
}

// endEarly tells the operation, and answers when it has ended or has used up its last words.
func (h *host) endEarly(call *running, fault *forgemesh.Fault) {
	h.mutex.Lock()
	if call.isAnswered || call.ending != nil {
		h.mutex.Unlock()
		return
	}
	failure := message(fault, call.invocation.GetStepPath())
	call.ending = failure
	call.timer.Stop()
	if !call.started.IsZero() {
		call.timer = time.AfterFunc(lastWords, func() { h.answer(call, forgemesh.Payload{}, failure) })
		h.mutex.Unlock()
		cause := context.Canceled
		if fault.Code == codes.DeadlineExceeded {
			cause = context.DeadlineExceeded
		}
		call.cancel(cause)
		return
	}
	h.admitted.abandon()
	for at, other := range h.waiting {
		if other == call {
			h.waiting = append(h.waiting[:at], h.waiting[at+1:]...)
			break
		}
	}
	h.mutex.Unlock()
	h.answer(call, forgemesh.Payload{}, failure)
	h.release(call)
}

func (h *host) startLocked(call *running) {
	call.started = time.Now()
	go h.run(call)
}

func (h *host) run(call *running) {
	call.receiver.begun(call)
	output, err := h.perform(call)
	name, stepPath := call.operation.described.GetName(), call.invocation.GetStepPath()
	var failure *errorsv1.Failure
	switch {
	case err != nil:
		failure = h.failureOf(call, err)
	case output.Size() > mostOutput:
		failure = message(tooLarge("the output of "+name, output.Size(), mostOutput), stepPath)
	}
	h.mutex.Lock()
	if call.ending != nil {
		failure = call.ending
	}
	var next *running
	if h.admitted.leave(time.Since(call.started)) {
		next = h.waiting[0]
		h.waiting = h.waiting[1:]
		h.startLocked(next)
	}
	h.mutex.Unlock()
	h.answer(call, output, failure)
	h.release(call)
}

// perform runs the author's code; a panic in it is an error, with its stack in the log.
func (h *host) perform(call *running) (output forgemesh.Payload, err error) {
	name := call.operation.described.GetName()
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
			h.log.Error("an operation panicked", "operation", name, "panic", panicked, "stack", string(debug.Stack()))
		}
	}()
	about := call.about()
	about.report = func(fraction float64, note string, details *forgemesh.Payload) {
		if !call.silent.Load() {
			call.receiver.progressed(call, fraction, cut(note), details)
		}
	}
	ctx, cancel := context.WithDeadlineCause(call.context, call.arrived.Add(call.within), context.DeadlineExceeded)
	defer cancel()
	ctx = context.WithValue(call.span.enter(ctx), callKey{}, about)
	output, err = call.operation.run(ctx, forgemesh.PayloadOf(call.invocation.GetInput()))
	var fault *forgemesh.Fault
	var unfit *misfit
	if err != nil && !errors.As(err, &fault) && !errors.As(err, &unfit) && ctx.Err() == nil {
		h.log.Error("an operation returned an error", "operation", name, "error", err, "execution_id", about.ExecutionID, "step_path", about.StepPath)
	}
	return output, err
}

// answer makes the outcome known; only the first one counts.
func (h *host) answer(call *running, output forgemesh.Payload, failure *errorsv1.Failure) {
	h.mutex.Lock()
	if call.isAnswered {
		h.mutex.Unlock()
		return
	}
	call.isAnswered = true
	call.timer.Stop()
	call.silent.Store(true)
	call.finished = time.Now()
	call.output, call.failure = output, failure
	h.mutex.Unlock()
	h.tally.add(call.finished, call.finished.Sub(call.arrived), ourFault(failure))
	call.span.end(call)
	call.receiver.answered(call)
}

// release lets go of the call: its operation no longer runs.
func (h *host) release(call *running) {
	h.mutex.Lock()
	over := h.draining && h.admitted.idle()
	h.mutex.Unlock()
	call.cancel(context.Canceled)
	call.receiver.released(call)
	if over {
		h.finishDraining()
	}
}

// drain takes nothing on from now, and returns when everything taken on has ended or the context has.
func (h *host) drain(ctx context.Context) error {
	h.mutex.Lock()
	h.draining = true
	idle := h.admitted.idle()
	h.mutex.Unlock()
	if idle {
		h.finishDraining()
	}
	select {
	case <-h.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *host) finishDraining() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	select {
	case <-h.drained:
	default:
		close(h.drained)
	}
}

// ourFault says whether a failure counts against the instance.
func ourFault(failure *errorsv1.Failure) bool {
	switch codes.Code(failure.GetCode()) { //nolint:gosec // codes are small
	case codes.Unavailable, codes.Internal, codes.Unknown, codes.DataLoss:
		return true
	default:
		return false
	}
}
