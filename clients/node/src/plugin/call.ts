/** A call in the host, as its operation and its caller see it. */

import type { Failure } from "../api/forgemesh/api/errors/v1/failure.js";
import type { Invocation, InvocationResult } from "../api/forgemesh/api/plugin/v1/invocation.js";
import { Payload } from "../payload.js";
import type { Alarm } from "./alarm.js";
import { MOST_DETAILS, tooLarge } from "./failure.js";
import type { Callable } from "./plugin.js";
import type { CallSpan } from "./spans.js";

/** What an operation may know of the call that it answers. */
export interface Call {
  /** Whose call it is; the execution is empty for a call outside a workflow. */
  readonly namespace: string;
  readonly executionId: string;
  /** The step that calls, e.g. "analyse/wind/wind". */
  readonly stepPath: string;
  /** Counts the tries at this step, from 1. */
  readonly attempt: number;
  /** The same for all attempts: what a plugin uses to recognise a repetition. */
  readonly idempotencyKey: string;
  /** The W3C trace context of this call's span, for requests that no OpenTelemetry library makes. */
  readonly traceparent: string;
  /** When its time is over. */
  readonly deadline: Date;
  /** Aborts when the call is taken back or its time is over; `reason` says which. */
  readonly signal: AbortSignal;
  /** What an earlier attempt last said with its progress. */
  readonly details: Payload | undefined;
  /**
   * Says how far the work is, from 0 to 1, with a note for people, and perhaps what the next attempt is told, should this
   * one fail: at most 64 KiB.
   */
  progress(fraction: number, note?: string, details?: unknown): void;
}

/** Is told what becomes of a call. */
export interface Receiver {
  begun(call: RunningCall): void;
  /** Once, when the outcome is known. */
  answered(call: RunningCall): void;
  /** Once, when the operation no longer runs: with the answer or after it. */
  released(call: RunningCall): void;
  progressed(call: RunningCall, fraction: number, note: string, details: Payload | undefined): void;
}

/**
 * One call in the host, from its arrival to the end of its operation. It is answered when its outcome is known and released
 * when its operation no longer runs: one that goes on after its time is over is answered without, and still fills its
 * place. Times are milliseconds.
 */
export class RunningCall {
  readonly arrived = performance.now();
  started: number | undefined;
  finished = 0;
  alarm: Alarm | undefined;
  /** Why it was ended early. */
  ending: Failure | undefined;
  isAnswered = false;
  #controller: AbortController | undefined;
  #abortedBy: unknown;
  output: Payload | undefined;
  failure: Failure | undefined;

  constructor(
    readonly invocation: Invocation,
    readonly operation: Callable,
    readonly receiver: Receiver,
    readonly within: number,
    readonly span: CallSpan,
  ) {}

  get queued(): number {
    return (this.started ?? this.finished) - this.arrived;
  }

  /** The answer as it travels. */
  result(): InvocationResult {
    return {
      callId: this.invocation.callId,
      attempt: this.invocation.attempt,
      queuedMicros: micros(this.queued),
      ranMicros: this.started === undefined ? 0n : micros(this.finished - this.started),
      outcome: this.failure
        ? { $case: "failure", value: this.failure }
        : { $case: "output", value: Payload.of(this.output ?? null).toMessage() },
    };
  }

  /** Made when somebody asks for it: most operations do not. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#abortedBy !== undefined) {
      this.#controller.abort(this.#abortedBy);
    }
    return this.#controller.signal;
  }

  /** Tells the operation that it is not wanted any more. */
  abort(reason: unknown): void {
    this.#abortedBy = reason;
    this.#controller?.abort(reason);
  }
}

/** A running call as its operation sees it. */
export class CallView implements Call {
  readonly #call: RunningCall;

  constructor(call: RunningCall) {
    this.#call = call;
  }

  get namespace(): string {
    return this.#call.invocation.namespace;
  }

  get executionId(): string {
    return this.#call.invocation.executionId;
  }

  get stepPath(): string {
    return this.#call.invocation.stepPath;
  }

  get attempt(): number {
    return this.#call.invocation.attempt;
  }

  get idempotencyKey(): string {
    return this.#call.invocation.idempotencyKey;
  }

  get traceparent(): string {
    return this.#call.span.traceparent;
  }

  get deadline(): Date {
    return new Date(Date.now() + this.#call.within - (performance.now() - this.#call.arrived));
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get details(): Payload | undefined {
    const details = this.#call.invocation.heartbeatDetails;
    return details && Payload.from(details);
  }

  progress(fraction: number, note = "", details?: unknown): void {
    const said = details === undefined ? undefined : Payload.of(details);
    if (said !== undefined && said.size > MOST_DETAILS) {
      throw tooLarge("the details of a progress", said.size, MOST_DETAILS);
    }
    if (!this.#call.isAnswered) {
      this.#call.receiver.progressed(this.#call, fraction, note, said);
    }
  }
}

function micros(milliseconds: number): bigint {
  return BigInt(Math.max(0, Math.round(milliseconds * 1000)));
}
