package client

import (
	"context"
	"time"

	forgemesh "forgemesh.dev/go"
	orchestratorv1 "forgemesh.dev/go/forgemesh/api/orchestrator/v1"
)

// StartOption says more about an execution that is to start.
type StartOption func(*orchestratorv1.StartExecutionRequest) error

func starting(set func(*orchestratorv1.StartExecutionRequest)) StartOption {
	return func(request *orchestratorv1.StartExecutionRequest) error { set(request); return nil }
}

// RequestID names the request: a repetition with the same id gets the same execution and starts nothing.
func RequestID(id string) StartOption {
	return starting(func(r *orchestratorv1.StartExecutionRequest) { r.RequestId = id })
}

// ExecutionID names the execution: 1 to 200 letters, digits, ".", "_" or "-". Without it one is made up.
func ExecutionID(id string) StartOption {
	return starting(func(r *orchestratorv1.StartExecutionRequest) { r.ExecutionId = id })
}

// Version is that of the workflow; without it the highest one is started.
func Version(version string) StartOption {
	return starting(func(r *orchestratorv1.StartExecutionRequest) { r.WorkflowVersion = version })
}

// Priority lets executions with a higher one go first where they compete for an instance, from -1000 to 1000.
func Priority(priority int32) StartOption {
	return starting(func(r *orchestratorv1.StartExecutionRequest) { r.Priority = priority })
}

// Paused starts it so that nothing of it runs until it is resumed.
func Paused() StartOption {
	return starting(func(r *orchestratorv1.StartExecutionRequest) { r.Paused = true })
}

// IDReuse says whether the id of an execution that has ended may be used again.
func IDReuse(policy orchestratorv1.IdReusePolicy) StartOption {
	return starting(func(r *orchestratorv1.StartExecutionRequest) { r.IdReusePolicy = policy })
}

// IDConflict says what to do if an execution of the same id is open.
func IDConflict(policy orchestratorv1.IdConflictPolicy) StartOption {
	return starting(func(r *orchestratorv1.StartExecutionRequest) { r.IdConflictPolicy = policy })
}

// WithSignal gives it a signal with its start; an id tells a repetition of the same signal.
func WithSignal(name string, value any, id string) StartOption {
	return func(request *orchestratorv1.StartExecutionRequest) error {
		payload, err := forgemesh.Encode(value)
		if err != nil {
			return err
		}
		request.Signal = &orchestratorv1.Signal{Name: name, Payload: payload.Message(), SignalId: id}
		return nil
	}
}

// mostWaiting is how long an answer may wait for the end of what it starts.
const mostWaiting = 10 * time.Minute

func wait(length time.Duration) StartOption {
	return starting(func(r *orchestratorv1.StartExecutionRequest) { r.WaitMillis = length.Milliseconds() })
}

// longestWait leaves a caller with a deadline the time to hear that the execution goes on without it.
func longestWait(ctx context.Context) time.Duration {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return mostWaiting
	}
	return max(0, min(mostWaiting, time.Until(deadline)-time.Second))
}
