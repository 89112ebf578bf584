package dev.forgemesh.plugin;

import dev.forgemesh.api.plugin.v1.Invocation;
import io.grpc.Status;
import io.opentelemetry.api.GlobalOpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.api.trace.TracerProvider;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.Scope;
import io.opentelemetry.context.propagation.ContextPropagators;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.SdkTracerProviderBuilder;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.samplers.Sampler;
import java.time.Duration;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/**
 * Makes one span for each call: the parent of whatever spans the author adds through OpenTelemetry.
 */
final class Spans {
  /** After how long a span that has ended is sent, with what ends together with it. */
  private static final Duration SENT_SOON = Duration.ofMillis(20);

  private static final String TRACEPARENT = "traceparent";
  private static final TextMapGetter<String> PARENT =
      new TextMapGetter<>() {
        @Override
        public String get(String traceparent, String key) {
          return TRACEPARENT.equals(key) ? traceparent : null;
        }
      };

  private final Description plugin;
  private final Identity identity;
  private final SdkTracerProvider provider;
  private final Tracer tracer;

  /**
   * Sends to the mesh's own collector (host:port, empty for none) and to the one of
   * OTEL_EXPORTER_OTLP_ENDPOINT.
   */
  Spans(Description plugin, Identity identity, String traces, String collector) {
    this.plugin = plugin;
    this.identity = identity;
    Set<String> endpoints = new LinkedHashSet<>();
    for (String given : List.of(traces, collector == null ? "" : collector)) {
      if (!given.isEmpty()) {
        endpoints.add(given.contains("://") ? given.replaceAll("/+$", "") : "http://" + given);
      }
    }
    if (endpoints.isEmpty()) {
      provider = null;
      tracer = TracerProvider.noop().get("");
      return;
    }
    SdkTracerProviderBuilder made =
        SdkTracerProvider.builder()
            .setSampler(Sampler.parentBased(Sampler.alwaysOn()))
            .setResource(
                Resource.create(
                    Attributes.of(
                        AttributeKey.stringKey("service.name"), plugin.id(),
                        AttributeKey.stringKey("service.version"), plugin.manifest().getVersion(),
                        AttributeKey.stringKey("service.instance.id"), identity.instanceId())));
    for (String endpoint : endpoints) {
      made.addSpanProcessor(
          BatchSpanProcessor.builder(OtlpGrpcSpanExporter.builder().setEndpoint(endpoint).build())
              .setScheduleDelay(SENT_SOON)
              .build());
    }
    provider = made.build();
    tracer = provider.get("dev.forgemesh.plugin");
    GlobalOpenTelemetry.set(
        OpenTelemetrySdk.builder()
            .setTracerProvider(provider)
            .setPropagators(ContextPropagators.create(W3CTraceContextPropagator.getInstance()))
            .build());
  }

  /** Sends what waits. Who is away when the process ends loses the last spans. */
  void close(Duration within) {
    if (provider != null) {
      provider.shutdown().join(within.toMillis(), TimeUnit.MILLISECONDS);
    }
  }

  CallSpan begin(Invocation invocation) {
    Context parent =
        W3CTraceContextPropagator.getInstance()
            .extract(Context.root(), invocation.getTraceparent(), PARENT);
    Span span =
        tracer
            .spanBuilder("execute " + plugin.id() + "/" + invocation.getOperation())
            .setParent(parent)
            .setSpanKind(SpanKind.SERVER)
            .startSpan();
    if (span.isRecording()) {
      span.setAttribute("forgemesh.plugin.id", plugin.id());
      span.setAttribute("forgemesh.plugin.version", plugin.manifest().getVersion());
      span.setAttribute("forgemesh.operation", invocation.getOperation());
      span.setAttribute("forgemesh.instance.id", identity.instanceId());
      span.setAttribute("forgemesh.instance.incarnation", identity.incarnation());
      span.setAttribute("forgemesh.execution.id", invocation.getExecutionId());
      span.setAttribute("forgemesh.step.path", invocation.getStepPath());
      span.setAttribute("forgemesh.step.attempt", invocation.getAttempt());
      span.setAttribute("forgemesh.idempotency.key", invocation.getIdempotencyKey());
    }
    return new CallSpan(span);
  }

  /** The span of one call. */
  record CallSpan(Span span) {
    /** Makes it the current span of this thread. */
    Scope enter() {
      return span.makeCurrent();
    }

    String traceparent() {
      Map<String, String> carrier = new HashMap<>();
      W3CTraceContextPropagator.getInstance().inject(Context.root().with(span), carrier, Map::put);
      return carrier.getOrDefault(TRACEPARENT, "");
    }

    /** Says how it went. A call that was taken back has no error: nobody wanted its result. */
    void end(RunningCall call) {
      if (span.isRecording()) {
        span.setAttribute("forgemesh.queue.wait_ms", call.queuedNanos() / 1e6);
        if (call.failure != null) {
          span.setAttribute("error.type", call.failure.getReason());
          if (call.failure.getCode() != Status.Code.CANCELLED.value()) {
            span.setStatus(StatusCode.ERROR, call.failure.getMessage());
          }
        }
      }
      span.end();
    }
  }
}
