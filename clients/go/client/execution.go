package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	forgemesh "forgemesh.dev/go"
	orchestratorv1 "forgemesh.dev/go/forgemesh/api/orchestrator/v1"
)

// Execution is a started execution as its caller holds it. It runs on whether or not anybody holds a handle of it.
type Execution struct {
	client *Client
	seen   *orchestratorv1.Execution
}

// ExecutionFailed says how an execution ended that did not end well.
type ExecutionFailed struct {
	ExecutionID string
	Status      orchestratorv1.ExecutionStatus
	// Failure is why; its reason and metadata are what programs match.
	Failure *forgemesh.Fault
}

// Error says which execution it was and why it ended so.
func (f *ExecutionFailed) Error() string {
	if f.Failure == nil {
		return fmt.Sprintf("execution %s ended as %s", f.ExecutionID, f.Status)
	}
	return fmt.Sprintf("execution %s ended as %s: %v", f.ExecutionID, f.Status, f.Failure)
}

// Unwrap gives the failure.
func (f *ExecutionFailed) Unwrap() error {
	if f.Failure == nil {
		return nil
	}
	return f.Failure
}

// ID is unique in its namespace.
func (e *Execution) ID() string { return e.seen.GetExecutionId() }

// RunID tells it from every other execution that has had, or will have, its id. All that is asked is asked of this run.
func (e *Execution) RunID() string { return e.seen.GetRunId() }

// TraceID is the trace that all its spans belong to, 32 hex digits.
func (e *Execution) TraceID() string { return e.seen.GetTraceId() }

// LastSeen is where it stood when the mesh was last asked.
func (e *Execution) LastSeen() *orchestratorv1.Execution { return e.seen }

// Describe is where it stands now, with its steps.
func (e *Execution) Describe(ctx context.Context) (*orchestratorv1.Execution, error) {
	request := &orchestratorv1.GetExecutionRequest{Namespace: e.namespace(), ExecutionId: e.ID(), RunId: e.RunID()}
	answer, err := repeated(ctx, e.client.patience, func(ctx context.Context) (*orchestratorv1.GetExecutionResponse, error) {
		return e.client.orchestrator.GetExecution(ctx, request)
	})
	if err != nil {
		return nil, err
	}
	e.seen = answer.GetExecution()
	return e.seen, nil
}

// Watch gives its events from a sequence number on, up to its last one, each exactly once and in order. A broken stream is
// opened again where it broke; the last pair holds the error if that cannot be done any more.
func (e *Execution) Watch(ctx context.Context, from uint64) iter.Seq2[*orchestratorv1.ExecutionEvent, error] {
	return func(yield func(*orchestratorv1.ExecutionEvent, error) bool) {
		next, breaks, since := max(from, 1), 0, time.Now()
		for {
			err := e.watchOnce(ctx, next, func(event *orchestratorv1.ExecutionEvent) bool {
				next, breaks, since = event.GetSequence()+1, 0, time.Now()
				return yield(event, nil)
			})
			if err == nil || errors.Is(err, errStopped) {
				return
			}
			pause := pauseAfter(breaks, err)
			if ctx.Err() != nil {
				yield(nil, because(ctx, err))
				return
			}
			if !passes(err) || time.Since(since)+pause > e.client.patience {
				yield(nil, err)
				return
			}
			breaks++
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

var errStopped = errors.New("nobody watches any more")

// watchOnce returns nil behind the last event.
func (e *Execution) watchOnce(ctx context.Context, from uint64, each func(*orchestratorv1.ExecutionEvent) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := e.client.orchestrator.WatchExecution(ctx, &orchestratorv1.WatchExecutionRequest{
		Namespace: e.namespace(), ExecutionId: e.ID(), RunId: e.RunID(), FromSequence: from,
	})
	if err != nil {
		return forgemesh.FaultOf(err)
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return ended(err)
		}
		for _, event := range response.GetEvents() {
			if event.GetSequence() < from {
				continue
			}
			from = event.GetSequence() + 1
			if !each(event) {
				return errStopped
			}
		}
	}
}

// Result waits for the end and reads the output into what output points to; nil drops it, a *forgemesh.Payload takes it
// unread. An execution that ended badly is an *ExecutionFailed.
func (e *Execution) Result(ctx context.Context, output any) error {
	if !final(e.seen.GetStatus()) || e.seen.GetLeftOut() {
		if err := e.untilTheEnd(ctx); err != nil {
			return err
		}
	}
	if e.seen.GetStatus() != orchestratorv1.ExecutionStatus_EXECUTION_STATUS_SUCCEEDED {
		return &ExecutionFailed{ExecutionID: e.ID(), Status: e.seen.GetStatus(), Failure: forgemesh.FailureOf(e.seen.GetFailure())}
	}
	payload := forgemesh.PayloadOf(e.seen.GetOutput())
	switch output := output.(type) {
	case nil:
		return nil
	case *forgemesh.Payload:
		*output = payload
		return nil
	default:
		return payload.Decode(output)
	}
}

func (e *Execution) untilTheEnd(ctx context.Context) error {
	for {
		state, err := e.Describe(ctx)
		if err != nil || final(state.GetStatus()) {
			return err
		}
		for _, err := range e.Watch(ctx, state.GetSequence()+1) {
			if err != nil {
				return err
			}
		}
	}
}

// Signal sends it a signal, which is kept until a step waits for it. An id tells a repetition of the same signal, and lets
// this wait for an orchestrator that is away.
func (e *Execution) Signal(ctx context.Context, name string, value any, id string) error {
	payload, err := forgemesh.Encode(value)
	if err != nil {
		return err
	}
	waits := e.client.patience
	if id == "" {
		waits = 0
	}
	_, err = repeated(ctx, waits, func(ctx context.Context) (*orchestratorv1.SignalExecutionResponse, error) {
		return e.client.orchestrator.SignalExecution(ctx, &orchestratorv1.SignalExecutionRequest{
			Namespace: e.namespace(), ExecutionId: e.ID(), RunId: e.RunID(),
			Signal: &orchestratorv1.Signal{Name: name, Payload: payload.Message(), SignalId: id},
		})
	})
	return err
}

// Cancel stops it: what runs is taken back, then what it did is undone.
func (e *Execution) Cancel(ctx context.Context, reason string) error {
	_, err := repeated(ctx, e.client.patience, func(ctx context.Context) (*orchestratorv1.CancelExecutionResponse, error) {
		return e.client.orchestrator.CancelExecution(ctx, &orchestratorv1.CancelExecutionRequest{
			Namespace: e.namespace(), ExecutionId: e.ID(), RunId: e.RunID(), By: by(), Reason: reason,
		})
	})
	return err
}

// Terminate ends it at once; nothing is undone.
func (e *Execution) Terminate(ctx context.Context, reason string) error {
	_, err := repeated(ctx, e.client.patience, func(ctx context.Context) (*orchestratorv1.TerminateExecutionResponse, error) {
		return e.client.orchestrator.TerminateExecution(ctx, &orchestratorv1.TerminateExecutionRequest{
			Namespace: e.namespace(), ExecutionId: e.ID(), RunId: e.RunID(), By: by(), Reason: reason,
		})
	})
	return err
}

// Pause starts nothing new in it until it is resumed; what runs ends.
func (e *Execution) Pause(ctx context.Context, reason string) error {
	_, err := repeated(ctx, e.client.patience, func(ctx context.Context) (*orchestratorv1.PauseExecutionResponse, error) {
		return e.client.orchestrator.PauseExecution(ctx, &orchestratorv1.PauseExecutionRequest{
			Namespace: e.namespace(), ExecutionId: e.ID(), RunId: e.RunID(), By: by(), Reason: reason,
		})
	})
	return err
}

// Resume lets it go on.
func (e *Execution) Resume(ctx context.Context) error {
	_, err := repeated(ctx, e.client.patience, func(ctx context.Context) (*orchestratorv1.ResumeExecutionResponse, error) {
		return e.client.orchestrator.ResumeExecution(ctx, &orchestratorv1.ResumeExecutionRequest{
			Namespace: e.namespace(), ExecutionId: e.ID(), RunId: e.RunID(), By: by(),
		})
	})
	return err
}

func (e *Execution) namespace() string { return e.seen.GetNamespace() }
