package plugin

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"google.golang.org/grpc/codes"

	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
)

// sentSoon is after how long a span that has ended is sent, with what ends together with it.
const sentSoon = 20 * time.Millisecond

// spans make one span for each call: the parent of whatever spans the author adds through OpenTelemetry.
type spans struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	plugin   *Plugin
	identity *identity
}

// newSpans sends to the mesh's own collector (host:port, empty for none) and to the one of OTEL_EXPORTER_OTLP_ENDPOINT.
func newSpans(ctx context.Context, plugin *Plugin, identity *identity, traces string) (*spans, error) {
	made := &spans{plugin: plugin, identity: identity, tracer: noop.NewTracerProvider().Tracer("")}
	var options []sdktrace.TracerProviderOption
	for _, endpoint := range endpoints(traces, os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")) {
		exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(endpoint))
		if err != nil {
			return nil, err
		}
		options = append(options, sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(sentSoon)))
	}
	if len(options) == 0 {
		return made, nil
	}
	about := resource.NewSchemaless(
		attribute.String("service.name", plugin.manifest.GetPluginId()),
		attribute.String("service.version", plugin.manifest.GetVersion()),
		attribute.String("service.instance.id", identity.instanceID),
	)
	options = append(options, sdktrace.WithResource(about), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	made.provider = sdktrace.NewTracerProvider(options...)
	made.tracer = made.provider.Tracer("forgemesh.dev/go/plugin")
	otel.SetTracerProvider(made.provider)
	return made, nil
}

// endpoints are host:port of each collector, and none twice.
func endpoints(given ...string) []string {
	var found []string
	for _, address := range given {
		if parsed, err := url.Parse(address); err == nil && parsed.Host != "" {
			address = parsed.Host
		}
		if address == "" || len(found) > 0 && found[0] == address {
			continue
		}
		found = append(found, address)
	}
	return found
}

// close sends what waits.
func (s *spans) close(ctx context.Context) {
	if s.provider != nil {
		_ = s.provider.Shutdown(ctx) // who is away when the process ends loses the last spans
	}
}

// callSpan is the span of one call.
type callSpan struct{ span trace.Span }

func (s *spans) begin(invocation *pluginv1.Invocation) callSpan {
	parent := propagation.TraceContext{}.Extract(
		context.Background(), propagation.MapCarrier{"traceparent": invocation.GetTraceparent()},
	)
	name := fmt.Sprintf("execute %s/%s", s.plugin.manifest.GetPluginId(), invocation.GetOperation())
	_, span := s.tracer.Start(parent, name, trace.WithSpanKind(trace.SpanKindServer))
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("forgemesh.plugin.id", s.plugin.manifest.GetPluginId()),
			attribute.String("forgemesh.plugin.version", s.plugin.manifest.GetVersion()),
			attribute.String("forgemesh.operation", invocation.GetOperation()),
			attribute.String("forgemesh.instance.id", s.identity.instanceID),
			attribute.Int64("forgemesh.instance.incarnation", int64(s.identity.incarnation())), //nolint:gosec // counts registrations
			attribute.String("forgemesh.execution.id", invocation.GetExecutionId()),
			attribute.String("forgemesh.step.path", invocation.GetStepPath()),
			attribute.Int("forgemesh.step.attempt", int(invocation.GetAttempt())),
			attribute.String("forgemesh.idempotency.key", invocation.GetIdempotencyKey()),
		)
	}
	return callSpan{span}
}

// enter makes it the current span of a context.
func (s callSpan) enter(ctx context.Context) context.Context {
	if !s.span.SpanContext().IsValid() {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s.span)
}

func (s callSpan) traceparent() string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), s.span), carrier)
	return carrier["traceparent"]
}

// end says how it went. A call that was taken back has no error: nobody wanted its result.
func (s callSpan) end(call *running) {
	if s.span.IsRecording() {
		s.span.SetAttributes(attribute.Float64("forgemesh.queue.wait_ms", float64(call.queued().Microseconds())/1000))
		if failure := call.failure; failure != nil {
			s.span.SetAttributes(attribute.String("error.type", failure.GetReason()))
			if codes.Code(failure.GetCode()) != codes.Canceled { //nolint:gosec // codes are small
				s.span.SetStatus(otelcodes.Error, failure.GetMessage())
			}
		}
	}
	s.span.End()
}
