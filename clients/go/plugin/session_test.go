package plugin_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	forgemesh "forgemesh.dev/go"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
	"forgemesh.dev/go/plugin"
	"forgemesh.dev/go/plugintest"
)

// caller is the other end of a session.
type caller struct {
	t       *testing.T
	stream  pluginv1.PluginService_SessionClient
	credits int
	results map[uint64]*pluginv1.InvocationResult
	begun   map[uint64]bool
	told    map[uint64]*pluginv1.Progress
	drained bool
}

func opened(t *testing.T, host *plugintest.Host) *caller {
	t.Helper()
	stream, err := host.Service.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one := &caller{
		t: t, stream: stream, results: map[uint64]*pluginv1.InvocationResult{}, begun: map[uint64]bool{}, told: map[uint64]*pluginv1.Progress{},
	}
	one.send(&pluginv1.SessionRequest{Hello: &pluginv1.ClientHello{ProtocolMin: 1, ProtocolMax: 1, CallerId: "test"}})
	if hello := one.receive().GetHello(); hello.GetProtocol() != 1 || hello.GetInstanceId() != "test" {
		t.Fatalf("got %v", hello)
	}
	return one
}

func (c *caller) send(request *pluginv1.SessionRequest) {
	c.t.Helper()
	if err := c.stream.Send(request); err != nil {
		c.t.Fatal(err)
	}
}

func (c *caller) receive() *pluginv1.SessionResponse {
	c.t.Helper()
	response, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	c.credits += int(response.GetCredits())
	for _, result := range response.GetResults() {
		if c.results[result.GetCallId()] != nil {
			c.t.Errorf("call %d is answered twice", result.GetCallId())
		}
		c.results[result.GetCallId()] = result
	}
	for _, id := range response.GetAccepted() {
		c.begun[id] = true
	}
	for _, said := range response.GetProgress() {
		c.told[said.GetCallId()] = said
	}
	c.drained = c.drained || response.GetDrain() != nil
	return response
}

func (c *caller) until(holds func() bool) {
	c.t.Helper()
	for !holds() {
		c.receive()
	}
}

func TestEveryCallOfASessionIsAnsweredOnceAndGivesItsCreditBack(t *testing.T) {
	served := plugin.New("test.numbers", "1.0.0", plugin.MaxConcurrency(4))
	plugin.Operation(served, "echo", echo)
	one := opened(t, plugintest.Run(t, served))
	granted := one.credits

	const calls = 1000
	for id := uint64(1); id <= calls; {
		batch := &pluginv1.SessionRequest{}
		for ; one.credits > 0 && id <= calls; id++ {
			one.credits--
			batch.Invocations = append(batch.Invocations, &pluginv1.Invocation{
				CallId: id, Operation: "echo", Attempt: 1, Input: forgemesh.Payload{Data: []byte(`{"value":1}`)}.Message(),
			})
		}
		one.send(batch)
		one.until(func() bool { return one.credits > 0 })
	}
	one.until(func() bool { return len(one.results) == calls && one.credits == granted })

	for id, result := range one.results {
		if string(result.GetOutput().GetData()) != `{"value":1}` {
			t.Fatalf("call %d: got %v", id, result)
		}
	}
}

func TestACallWithoutACreditIsRefused(t *testing.T) {
	release := make(chan struct{})
	served := plugin.New("test.crowd", "1.0.0", plugin.MaxConcurrency(1))
	plugin.Operation(served, "hold", func(context.Context, struct{}) (int, error) { <-release; return 0, nil })
	one := opened(t, plugintest.Run(t, served))
	granted := one.credits

	batch := &pluginv1.SessionRequest{}
	for id := 1; id <= granted+1; id++ {
		batch.Invocations = append(batch.Invocations, &pluginv1.Invocation{CallId: uint64(id), Operation: "hold"})
	}
	one.send(batch)
	last := uint64(granted + 1)
	one.until(func() bool { return one.results[last] != nil })
	close(release)
	one.until(func() bool { return len(one.results) == granted+1 })

	if reason := one.results[last].GetFailure().GetReason(); reason != "INSTANCE_FULL" {
		t.Errorf("got %q", reason)
	}
}

func TestACallThatIsTakenBackHearsOfItAndIsAnswered(t *testing.T) {
	served := plugin.New("test.patience", "1.0.0")
	plugin.Operation(served, "wait", func(ctx context.Context, _ struct{}) (int, error) {
		if err := plugin.CallOf(ctx).ProgressWith(0.5, "half", map[string]int{"at": 7}); err != nil {
			return 0, err
		}
		<-ctx.Done()
		return 0, ctx.Err()
	})
	one := opened(t, plugintest.Run(t, served))

	one.send(&pluginv1.SessionRequest{Invocations: []*pluginv1.Invocation{{CallId: 1, Operation: "wait", Attempt: 2}}})
	one.until(func() bool { return one.begun[1] && one.told[1] != nil })
	one.send(&pluginv1.SessionRequest{Cancels: []*pluginv1.Cancel{{CallId: 1}}})
	one.until(func() bool { return one.results[1] != nil })

	if failure := one.results[1].GetFailure(); failure.GetReason() != "CANCELLED" || one.results[1].GetAttempt() != 2 {
		t.Errorf("got %v", one.results[1])
	}
	if said := one.told[1]; said.GetFraction() != 0.5 || string(said.GetDetails().GetData()) != `{"at":7}` {
		t.Errorf("it said %v", said)
	}
}

func TestTheLossOfASessionTakesItsCallsBack(t *testing.T) {
	begun, cancelled := make(chan struct{}), make(chan struct{})
	served := plugin.New("test.patience", "1.0.0")
	plugin.Operation(served, "wait", func(ctx context.Context, _ struct{}) (int, error) {
		close(begun)
		<-ctx.Done()
		close(cancelled)
		return 0, ctx.Err()
	})
	host := plugintest.Run(t, served)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := host.Service.Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	hello := &pluginv1.ClientHello{ProtocolMin: 1, ProtocolMax: 1}
	if err := stream.Send(&pluginv1.SessionRequest{Hello: hello, Invocations: []*pluginv1.Invocation{{CallId: 1, Operation: "wait"}}}); err != nil {
		t.Fatal(err)
	}

	<-begun
	cancel()

	<-cancelled
}

func TestAHostThatDrainsAnswersWhatItHasAndSaysSo(t *testing.T) {
	release := make(chan struct{})
	served := plugin.New("test.crowd", "1.0.0")
	plugin.Operation(served, "hold", func(context.Context, struct{}) (int, error) { <-release; return 0, nil })
	host := plugintest.Run(t, served)
	one := opened(t, host)
	one.send(&pluginv1.SessionRequest{Invocations: []*pluginv1.Invocation{{CallId: 1, Operation: "hold"}}})
	one.until(func() bool { return one.begun[1] })

	stopped := make(chan error, 1)
	go func() { stopped <- host.Stop() }()
	one.until(func() bool { return one.drained })
	one.send(&pluginv1.SessionRequest{Invocations: []*pluginv1.Invocation{{CallId: 2, Operation: "hold"}}})
	one.until(func() bool { return one.results[2] != nil })
	close(release)
	one.until(func() bool { return one.results[1] != nil })

	if reason := one.results[2].GetFailure().GetReason(); reason != "INSTANCE_DRAINING" {
		t.Errorf("a late call got %q", reason)
	}
	if one.results[1].GetFailure() != nil {
		t.Errorf("what ran got %v", one.results[1])
	}
	if _, err := one.stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the session ended with %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestASessionThatBreaksItsFramingEndsWithTheReason(t *testing.T) {
	served := plugin.New("test.numbers", "1.0.0")
	plugin.Operation(served, "echo", echo)
	host := plugintest.Run(t, served)
	hello := &pluginv1.ClientHello{ProtocolMin: 1, ProtocolMax: 1}
	for name, said := range map[string][]*pluginv1.SessionRequest{
		"INVALID_REQUEST no hello":     {{Cancels: []*pluginv1.Cancel{{CallId: 1}}}},
		"INVALID_REQUEST second hello": {{Hello: hello}, {Hello: hello}},
		"INVALID_REQUEST ids shrink":   {{Hello: hello}, {Invocations: []*pluginv1.Invocation{{CallId: 2, Operation: "echo"}, {CallId: 1, Operation: "echo"}}}},
		"PROTOCOL_UNSUPPORTED newer":   {{Hello: &pluginv1.ClientHello{ProtocolMin: 2, ProtocolMax: 9}}},
		"WRONG_INCARNATION other":      {{Hello: &pluginv1.ClientHello{ProtocolMin: 1, ProtocolMax: 1, Incarnation: 9}}},
	} {
		stream, err := host.Service.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, request := range said {
			_ = stream.Send(request) // the host may have ended it already
		}
		for err == nil {
			_, err = stream.Recv()
		}
		expected, _, _ := strings.Cut(name, " ")
		if got := forgemesh.ReasonOf(forgemesh.FaultOf(err)); got != expected {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
