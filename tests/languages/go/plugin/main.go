// Command plugin is the conformance plugin in Go: what it does is said in tests/languages/README.md.
package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"google.golang.org/grpc/codes"

	forgemesh "forgemesh.dev/go"
	"forgemesh.dev/go/plugin"
)

type numbers struct {
	Signed   int64   `json:"signed"`
	Unsigned uint64  `json:"unsigned"`
	Fraction float64 `json:"fraction"`
	Text     string  `json:"text"`
	Flag     bool    `json:"flag"`
}

type failing struct {
	Code      uint32            `json:"code"`
	Reason    string            `json:"reason"`
	Message   string            `json:"message"`
	Retryable bool              `json:"retryable"`
	Metadata  map[string]string `json:"metadata"`
}

type ledger struct {
	Ledger string `json:"ledger"`
}

type sized struct {
	Bytes int `json:"bytes"`
}

type seen struct {
	Namespace      string `json:"namespace"`
	ExecutionID    string `json:"execution_id"`
	StepPath       string `json:"step_path"`
	Attempt        uint32 `json:"attempt"`
	IdempotencyKey string `json:"idempotency_key"`
	Traceparent    string `json:"traceparent"`
	HasDeadline    bool   `json:"has_deadline"`
	Details        any    `json:"details"`
	Greeting       string `json:"greeting"`
}

type config struct {
	Greeting string `json:"greeting,omitempty"`
}

func note(path, word string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(word + "\n"); err != nil {
		return err
	}
	return file.Close()
}

func main() {
	var greeting string
	served := plugin.New("conformance.go", "1.0.0", plugin.MaxConcurrency(4), plugin.Configured(
		func(_ context.Context, given config) error {
			if given.Greeting == "rude" {
				return errors.New("nobody is greeted like that")
			}
			greeting = given.Greeting
			return nil
		}))
	plugin.Operation(served, "echo", func(_ context.Context, in forgemesh.Payload) (forgemesh.Payload, error) { return in, nil }, plugin.Idempotent())
	plugin.Operation(served, "numbers", func(_ context.Context, in numbers) (numbers, error) { return in, nil }, plugin.Idempotent())
	plugin.Operation(served, "fail", func(_ context.Context, in failing) (int, error) {
		options := []plugin.FailOption{plugin.WithCode(codes.Code(in.Code))}
		if in.Retryable {
			options = append(options, plugin.Retryable())
		}
		for key, value := range in.Metadata {
			options = append(options, plugin.With(key, value))
		}
		return 0, plugin.Fail(in.Reason, in.Message, options...)
	})
	plugin.Operation(served, "broken", func(context.Context, struct{}) (int, error) { panic("as it was asked to") })
	plugin.Operation(served, "wait", func(ctx context.Context, in ledger) (int, error) {
		if err := note(in.Ledger, "begun"); err != nil {
			return 0, err
		}
		<-ctx.Done()
		return 0, errors.Join(ctx.Err(), note(in.Ledger, "cancelled"))
	})
	plugin.Operation(served, "slow", func(_ context.Context, in ledger) (string, error) {
		if err := note(in.Ledger, "begun"); err != nil {
			return "", err
		}
		for !exists(in.Ledger + ".go") {
			time.Sleep(5 * time.Millisecond)
		}
		return "done", nil
	})
	plugin.Operation(served, "exit", func(ctx context.Context, _ struct{}) (uint32, error) {
		if attempt := plugin.CallOf(ctx).Attempt; attempt > 1 {
			return attempt, nil
		}
		os.Exit(9)
		return 0, nil
	}, plugin.Idempotent())
	plugin.Operation(served, "context", func(ctx context.Context, _ struct{}) (seen, error) {
		call := plugin.CallOf(ctx)
		_, bounded := ctx.Deadline()
		_, own := otel.Tracer("conformance").Start(ctx, "own")
		own.End()
		return seen{
			Namespace: call.Namespace, ExecutionID: call.ExecutionID, StepPath: call.StepPath, Attempt: call.Attempt,
			IdempotencyKey: call.IdempotencyKey, Traceparent: call.Traceparent, HasDeadline: bounded, Greeting: greeting,
		}, nil
	}, plugin.Idempotent())
	plugin.Operation(served, "resume", func(ctx context.Context, _ struct{}) (any, error) {
		call := plugin.CallOf(ctx)
		if call.Details == nil {
			if err := call.ProgressWith(0.5, "half", map[string]int64{"at": 1<<53 + 1}); err != nil {
				return nil, err
			}
			return nil, plugin.Fail("NOT_YET", "once more", plugin.WithCode(codes.Aborted), plugin.Retryable())
		}
		var details any
		err := call.Details.Decode(&details)
		return details, err
	})
	plugin.Operation(served, "fill", func(_ context.Context, in sized) (string, error) { return strings.Repeat("x", in.Bytes), nil })
	plugin.Main(served)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
