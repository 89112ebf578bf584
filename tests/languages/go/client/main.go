// Command client is the conformance client in Go: what it does is said in tests/languages/README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/propagation"

	forgemesh "forgemesh.dev/go"
	"forgemesh.dev/go/client"
)

type asked struct {
	Do          string          `json:"do"`
	Source      string          `json:"source"`
	Workflow    string          `json:"workflow"`
	Input       json.RawMessage `json:"input"`
	ExecutionID string          `json:"execution_id"`
	RequestID   string          `json:"request_id"`
	Signal      string          `json:"signal"`
	Traceparent string          `json:"traceparent"`
	Seconds     float64         `json:"seconds"`
}

type told struct {
	Output      json.RawMessage   `json:"output,omitempty"`
	ExecutionID string            `json:"execution_id,omitempty"`
	TraceID     string            `json:"trace_id,omitempty"`
	Sequences   []uint64          `json:"sequences,omitempty"`
	Status      string            `json:"status,omitempty"`
	Code        uint32            `json:"code,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Message     string            `json:"message,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Deadline    bool              `json:"deadline,omitempty"`
}

func do(ctx context.Context, mesh *client.Client, request asked) (told, error) {
	if request.Traceparent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": request.Traceparent})
	}
	if request.Seconds > 0 {
		bounded, cancel := context.WithTimeout(ctx, time.Duration(request.Seconds*float64(time.Second)))
		defer cancel()
		ctx = bounded
	}
	switch request.Do {
	case "register":
		_, err := mesh.Register(ctx, request.Source)
		return told{}, err
	case "run", "start", "watch":
		var options []client.StartOption
		if request.ExecutionID != "" {
			options = append(options, client.ExecutionID(request.ExecutionID))
		}
		if request.RequestID != "" {
			options = append(options, client.RequestID(request.RequestID))
		}
		execution, err := mesh.Start(ctx, request.Workflow, forgemesh.Payload{Data: request.Input}, options...)
		if err != nil {
			return told{}, err
		}
		answer := told{ExecutionID: execution.ID(), TraceID: execution.TraceID()}
		if request.Do == "start" {
			return answer, nil
		}
		if request.Do == "watch" {
			for event, err := range execution.Watch(ctx, 1) {
				if err != nil {
					return answer, err
				}
				answer.Sequences = append(answer.Sequences, event.GetSequence())
			}
		}
		var output forgemesh.Payload
		err = execution.Result(ctx, &output)
		answer.Output = output.Data
		return answer, err
	case "signal", "cancel", "result":
		execution, err := mesh.Execution(ctx, request.ExecutionID)
		if err != nil {
			return told{}, err
		}
		answer := told{ExecutionID: execution.ID()}
		switch request.Do {
		case "signal":
			return answer, execution.Signal(ctx, request.Signal, forgemesh.Payload{Data: request.Input}, request.RequestID)
		case "cancel":
			return answer, execution.Cancel(ctx, "asked to")
		}
		var output forgemesh.Payload
		err = execution.Result(ctx, &output)
		answer.Output = output.Data
		return answer, err
	}
	return told{}, fmt.Errorf("cannot do %q", request.Do)
}

func main() {
	mesh, err := client.Connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer mesh.Close()
	requests, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var request asked
		if requests.Decode(&request) != nil {
			return
		}
		answer, err := do(context.Background(), mesh, request)
		var fault *forgemesh.Fault
		var failed *client.ExecutionFailed
		if errors.As(err, &failed) {
			answer.Status = failed.Status.String()
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			answer.Deadline = true
		case errors.As(err, &fault):
			answer.Code, answer.Reason, answer.Message, answer.Metadata = uint32(fault.Code), fault.Reason, fault.Message, fault.Metadata
		case err != nil:
			answer.Message = err.Error()
		}
		if err := answers.Encode(answer); err != nil {
			return
		}
	}
}
