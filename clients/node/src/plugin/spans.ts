/** One span for each call: the parent of whatever spans the author adds through OpenTelemetry. */

import { status as Code } from "@grpc/grpc-js";
import {
  type Attributes,
  type Context,
  context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import type { Invocation } from "../api/forgemesh/api/plugin/v1/invocation.js";
import type { RunningCall } from "./call.js";
import type { Identity } from "./identity.js";

/** Milliseconds after which a span that has ended is sent, with what ends together with it. */
const SENT_SOON = 20;
const NAME = "forgemesh/plugin";

const propagator = new W3CTraceContextPropagator();
const getter = { get: (carrier: Record<string, string>, key: string) => carrier[key], keys: Object.keys };

export class Spans {
  readonly #provider: BasicTracerProvider | undefined;

  /** Sends to the mesh's own collector (host:port, empty for none) and to the one of OTEL_EXPORTER_OTLP_ENDPOINT. */
  constructor(
    readonly plugin: { readonly id: string; readonly version: string },
    instanceId: string,
    traces: string,
  ) {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const collectors = endpoints(traces, process.env.OTEL_EXPORTER_OTLP_ENDPOINT ?? "");
    if (collectors.length === 0) {
      return;
    }
    this.#provider = new BasicTracerProvider({
      resource: resourceFromAttributes({
        "service.name": plugin.id,
        "service.version": plugin.version,
        "service.instance.id": instanceId,
      }),
      spanProcessors: collectors.map(
        (url) => new BatchSpanProcessor(new OTLPTraceExporter({ url }), { scheduledDelayMillis: SENT_SOON }),
      ),
    });
    trace.setGlobalTracerProvider(this.#provider);
  }

  begin(invocation: Invocation, identity: Identity): CallSpan {
    const parent = propagator.extract(ROOT_CONTEXT, { traceparent: invocation.traceparent }, getter);
    const tracer = (this.#provider ?? trace).getTracer(NAME);
    const attributes: Attributes = {
      "forgemesh.plugin.id": this.plugin.id,
      "forgemesh.plugin.version": this.plugin.version,
      "forgemesh.operation": invocation.operation,
      "forgemesh.instance.id": identity.instanceId,
      "forgemesh.instance.incarnation": Number(identity.incarnation),
      "forgemesh.execution.id": invocation.executionId,
      "forgemesh.step.path": invocation.stepPath,
      "forgemesh.step.attempt": invocation.attempt,
      "forgemesh.idempotency.key": invocation.idempotencyKey,
    };
    const name = `execute ${this.plugin.id}/${invocation.operation}`;
    const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, parent);
    return new CallSpan(span, trace.setSpan(parent, span));
  }

  /** Sends what waits; who is away when the process ends loses the last spans. */
  async close(): Promise<void> {
    await this.#provider?.shutdown().catch(() => {});
  }
}

/** The span of one call, and the context in which its operation runs. */
export class CallSpan {
  constructor(
    readonly span: Span,
    readonly context: Context,
  ) {}

  get traceparent(): string {
    const carrier: Record<string, string> = {};
    propagator.inject(this.context, carrier, { set: (into, key, value) => (into[key] = value) });
    return carrier.traceparent ?? "";
  }

  within<T>(act: () => T): T {
    return context.with(this.context, act);
  }

  /** Says how it went. A call that was taken back has no error: nobody wanted its result. */
  end(call: RunningCall): void {
    this.span.setAttribute("forgemesh.queue.wait_ms", call.queued);
    if (call.failure !== undefined) {
      this.span.setAttribute("error.type", call.failure.reason);
      if (call.failure.code !== Code.CANCELLED) {
        this.span.setStatus({ code: SpanStatusCode.ERROR, message: call.failure.message });
      }
    }
    this.span.end();
  }
}

/** The URL of each collector, and none twice. */
function endpoints(...given: string[]): string[] {
  const urls = given.filter((one) => one !== "").map((one) => (one.includes("://") ? one : `http://${one}`));
  return [...new Set(urls.map((url) => url.replace(/\/$/, "")))];
}
