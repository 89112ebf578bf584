package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	forgemesh "forgemesh.dev/go"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
	"forgemesh.dev/go/plugin"
	"forgemesh.dev/go/plugintest"
)

type number struct {
	Value int64  `json:"value"`
	Large uint64 `json:"large,omitempty"`
}

func echo(_ context.Context, in number) (number, error) { return in, nil }

func TestIntegersPassExactly(t *testing.T) {
	served := plugin.New("test.numbers", "1.0.0")
	plugin.Operation(served, "echo", echo)
	host := plugintest.Run(t, served)

	for _, sent := range []number{{Value: 1<<63 - 1, Large: 1<<64 - 1}, {Value: -1 << 63}, {}} {
		var got number
		if err := host.Call(t.Context(), "echo", sent, &got); err != nil || got != sent {
			t.Errorf("sent %v, got %v, %v", sent, got, err)
		}
	}
}

func TestAnInputThatDoesNotFitIsRefusedWithItsPlace(t *testing.T) {
	served := plugin.New("test.numbers", "1.0.0")
	plugin.Operation(served, "echo", echo)
	host := plugintest.Run(t, served)

	for input, place := range map[string]string{`{"value":"seven"}`: "$.value", `{}`: "$.value", `{"value":1.5}`: "$.value", `[]`: "$", `{`: "$", "": "$.value", `{"value":1} 2`: "behind"} {
		err := host.Call(t.Context(), "echo", forgemesh.Payload{Data: []byte(input)}, nil)
		if !errors.Is(err, forgemesh.Reason("INPUT_INVALID")) || !strings.Contains(err.Error(), place) {
			t.Errorf("%s: got %v", input, err)
		}
	}
}

func TestAnythingButJSONPassesUnread(t *testing.T) {
	served := plugin.New("test.images", "1.0.0")
	plugin.Operation(served, "copy", func(_ context.Context, in forgemesh.Payload) (forgemesh.Payload, error) { return in, nil })
	host := plugintest.Run(t, served)
	sent := &pluginv1.Invocation{Operation: "copy", Attempt: 3, Input: forgemesh.Payload{
		MediaType: "image/png", Data: []byte{0, 255, 1}, Metadata: map[string]string{"width": "1"},
	}.Message()}

	answer, err := host.Service.Invoke(t.Context(), &pluginv1.InvokeRequest{Invocation: sent})

	result := answer.GetResult()
	if err != nil || string(result.GetOutput().GetData()) != "\x00\xff\x01" || result.GetOutput().GetMetadata()["width"] != "1" || result.GetAttempt() != 3 {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestErrorsAndPanicsOfAnOperationAreItsFailures(t *testing.T) {
	served := plugin.New("test.failures", "1.0.0")
	plugin.Operation(served, "error", func(context.Context, struct{}) (int, error) { return 0, errors.New("it broke") })
	plugin.Operation(served, "panic", func(context.Context, struct{}) (int, error) { panic("it exploded") })
	plugin.Operation(served, "declared", func(context.Context, struct{}) (int, error) {
		return 0, fmt.Errorf("while counting: %w", plugin.Fail("SOLD_OUT", "none is left", plugin.With("left", "0"), plugin.RetryAfter(time.Second)))
	})
	plugin.Operation(served, "unwritable", func(context.Context, struct{}) (any, error) { return make(chan int), nil })
	plugin.Operation(served, "huge", func(context.Context, struct{}) (string, error) { return strings.Repeat("x", 5<<20), nil })
	host := plugintest.Run(t, served)

	for operation, expected := range map[string]forgemesh.Fault{
		"error":      {Code: codes.Unknown, Reason: "PLUGIN_EXCEPTION", Retryable: true},
		"panic":      {Code: codes.Unknown, Reason: "PLUGIN_EXCEPTION", Retryable: true},
		"declared":   {Code: codes.FailedPrecondition, Reason: "SOLD_OUT", Retryable: true, RetryAfter: time.Second},
		"unwritable": {Code: codes.Internal, Reason: "OUTPUT_INVALID"},
		"huge":       {Code: codes.ResourceExhausted, Reason: "PAYLOAD_TOO_LARGE"},
		"nothing":    {Code: codes.Unimplemented, Reason: "OPERATION_NOT_FOUND"},
	} {
		var fault *forgemesh.Fault
		err := host.Call(t.Context(), operation, nil, nil)
		if !errors.As(err, &fault) || fault.Code != expected.Code || fault.Reason != expected.Reason || fault.Retryable != expected.Retryable || fault.RetryAfter != expected.RetryAfter {
			t.Errorf("%s: got %+v", operation, err)
		}
	}
}

func TestADeadlineAndACancellationReachTheOperation(t *testing.T) {
	causes := make(chan error, 2)
	served := plugin.New("test.patience", "1.0.0")
	plugin.Operation(served, "wait", func(ctx context.Context, _ struct{}) (int, error) {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return 0, ctx.Err()
	})
	host := plugintest.Run(t, served)

	answer, err := host.Service.Invoke(t.Context(), &pluginv1.InvokeRequest{Invocation: &pluginv1.Invocation{Operation: "wait", RemainingMillis: 20}})
	if err != nil || answer.GetResult().GetFailure().GetReason() != "START_TO_CLOSE_TIMEOUT" {
		t.Errorf("got %v, %v", answer, err)
	}
	if cause := <-causes; !errors.Is(cause, context.DeadlineExceeded) {
		t.Errorf("the operation saw %v", cause)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		time.AfterFunc(20*time.Millisecond, cancel)
	}()
	if _, err := host.Service.Invoke(ctx, &pluginv1.InvokeRequest{Invocation: &pluginv1.Invocation{Operation: "wait"}}); err == nil {
		t.Error("a call that was taken back was answered")
	}
	if cause := <-causes; !errors.Is(cause, context.Canceled) {
		t.Errorf("the operation saw %v", cause)
	}
}

func TestNoMoreRunAtATimeThanMayAndTheRestIsRefusedBehindTheQueue(t *testing.T) {
	var running, most atomic.Int32
	release := make(chan struct{})
	served := plugin.New("test.crowd", "1.0.0", plugin.MaxConcurrency(2))
	plugin.Operation(served, "hold", func(context.Context, struct{}) (int, error) {
		now := running.Add(1)
		for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
		}
		<-release
		running.Add(-1)
		return 0, nil
	})
	host := plugintest.Run(t, served)
	const calls = 80
	outcomes := make(chan error, calls)
	for range calls {
		go func() { outcomes <- host.Call(t.Context(), "hold", nil, nil) }()
	}

	refused := 0
	for range calls - 2 - 64 {
		if err := <-outcomes; errors.Is(err, forgemesh.Reason("INSTANCE_FULL")) {
			refused++
		} else {
			t.Errorf("got %v", err)
		}
	}
	close(release)
	for range 2 + 64 {
		if err := <-outcomes; err != nil {
			t.Errorf("got %v", err)
		}
	}

	if refused != calls-2-64 || most.Load() != 2 {
		t.Errorf("%d refused, %d ran at a time", refused, most.Load())
	}
}

func TestACallForAnotherProcessIsRefused(t *testing.T) {
	served := plugin.New("test.numbers", "1.0.0")
	plugin.Operation(served, "echo", echo)
	host := plugintest.Run(t, served)

	_, err := host.Service.Invoke(t.Context(), &pluginv1.InvokeRequest{Invocation: &pluginv1.Invocation{Operation: "echo", Incarnation: 7}})

	if err := forgemesh.FaultOf(err); !errors.Is(err, forgemesh.Reason("WRONG_INCARNATION")) {
		t.Errorf("got %v", err)
	}
}

func TestAPermitIsGoodForOneCall(t *testing.T) {
	served := plugin.New("test.numbers", "1.0.0")
	plugin.Operation(served, "echo", echo)
	host := plugintest.Run(t, served)
	call := func(id string, generation uint64) error {
		_, err := host.Service.Invoke(t.Context(), &pluginv1.InvokeRequest{Invocation: &pluginv1.Invocation{
			Operation: "echo", Permit: &pluginv1.Permit{PermitId: id, Generation: generation},
		}})
		return forgemesh.FaultOf(err)
	}

	if err := call("first", 2); err != nil {
		t.Fatal(err)
	}
	for id, generation := range map[string]uint64{"first": 2, "older": 1, "": 2, strings.Repeat("x", 257): 2} {
		if err := call(id, generation); !errors.Is(err, forgemesh.Reason("PERMIT_REFUSED")) {
			t.Errorf("%.10q of generation %d: got %v", id, generation, err)
		}
	}
	if err := call("second", 2); err != nil {
		t.Error(err)
	}
}

func TestMistakesInAPluginAreToldTogether(t *testing.T) {
	broken := plugin.New("Not A Name", "one", plugin.Provides("nothing"), plugin.MaxConcurrency(0))
	plugin.Operation(broken, "1st", echo)

	_, err := broken.Manifest()

	for _, said := range []string{"Not A Name", `"one"`, "Provides", "MaxConcurrency", "1st"} {
		if err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%q is missing in %v", said, err)
		}
	}
}
