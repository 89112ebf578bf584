/** The trace context and the baggage of the caller, as they travel. */

import { Metadata } from "@grpc/grpc-js";
import { context } from "@opentelemetry/api";
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from "@opentelemetry/core";

const propagator = new CompositePropagator({
  propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()],
});

/** What goes along with a call that is made now. */
export function propagated(): Metadata {
  const metadata = new Metadata();
  propagator.inject(context.active(), metadata, { set: (carrier, key, value) => carrier.set(key, value) });
  return metadata;
}
