// Package plugintest runs a plugin in a test: with real ports and a real caller, and without a mesh.
package plugintest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	forgemesh "forgemesh.dev/go"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
	"forgemesh.dev/go/plugin"
)

// Host is a plugin that is served for a test.
type Host struct {
	// Service is the plugin as the mesh calls it.
	Service pluginv1.PluginServiceClient
	// Health is what it says of itself.
	Health healthv1.HealthClient
	stop   context.CancelFunc
	ended  chan error
}

// Run serves the plugin until the test ends, or Stop.
func Run(t testing.TB, served *plugin.Plugin) *Host {
	t.Helper()
	address := freeAddress(t)
	ctx, stop := context.WithCancel(context.Background())
	host := &Host{stop: stop, ended: make(chan error, 1)}
	settings := plugin.Settings{Listen: address, InstanceID: "test", Grace: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}
	go func() { host.ended <- plugin.Serve(ctx, served, settings) }()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	host.Service, host.Health = pluginv1.NewPluginServiceClient(connection), healthv1.NewHealthClient(connection)
	t.Cleanup(func() {
		if err := host.Stop(); err != nil {
			t.Errorf("the plugin ended with %v", err)
		}
		_ = connection.Close()
	})
	host.waitUntilReady(t)
	return host
}

// Stop ends the plugin as its supervisor does, and returns why it could not serve.
func (h *Host) Stop() error {
	h.stop()
	err, open := <-h.ended
	if open {
		close(h.ended)
	}
	return err
}

// Call makes one call with the input as JSON, and reads the output into what output points to. A failure of the operation
// is a *forgemesh.Fault.
func (h *Host) Call(ctx context.Context, operation string, input, output any) error {
	payload, err := forgemesh.Encode(input)
	if err != nil {
		return err
	}
	answer, err := h.Service.Invoke(ctx, &pluginv1.InvokeRequest{Invocation: &pluginv1.Invocation{
		Operation: operation, Input: payload.Message(), Attempt: 1, StepPath: "step", IdempotencyKey: "test/step",
	}})
	if err != nil {
		return forgemesh.FaultOf(err)
	}
	if failure := answer.GetResult().GetFailure(); failure != nil {
		return forgemesh.FailureOf(failure)
	}
	if output == nil {
		return nil
	}
	return forgemesh.PayloadOf(answer.GetResult().GetOutput()).Decode(output)
}

func (h *Host) waitUntilReady(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	watch, err := h.Health.Watch(ctx, &healthv1.HealthCheckRequest{Service: "readiness"}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	for {
		said, err := watch.Recv()
		if errors.Is(err, io.EOF) || err != nil {
			select {
			case ended := <-h.ended:
				t.Fatalf("the plugin does not serve: %v", ended)
			default:
				t.Fatalf("the plugin does not serve: %v", err)
			}
		}
		if said.GetStatus() == healthv1.HealthCheckResponse_SERVING {
			return
		}
	}
}

// freeAddress is one that nobody listens on at this moment.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
}
