/** An execution as its caller holds it. */

import { hostname, userInfo } from "node:os";
import {
  PauseExecutionRequest,
  ResumeExecutionRequest,
  SignalExecutionRequest,
} from "../api/forgemesh/api/orchestrator/v1/control.js";
import type { ExecutionEvent } from "../api/forgemesh/api/orchestrator/v1/event.js";
import { ExecutionStatus, Execution as State } from "../api/forgemesh/api/orchestrator/v1/execution.js";
import { WatchExecutionRequest } from "../api/forgemesh/api/orchestrator/v1/orchestrator_service.js";
import { Fault } from "../fault.js";
import { Payload } from "../payload.js";
import { Bounds, type CallOptions, within } from "./bounds.js";
import type { Client } from "./client.js";
import { propagated } from "./propagation.js";
import { passes, pauseAfter, repeated } from "./repeat.js";

export type { ExecutionEvent, State };
export { ExecutionStatus };

const FINAL = new Set([
  ExecutionStatus.EXECUTION_STATUS_SUCCEEDED,
  ExecutionStatus.EXECUTION_STATUS_FAILED,
  ExecutionStatus.EXECUTION_STATUS_CANCELLED,
  ExecutionStatus.EXECUTION_STATUS_TERMINATED,
  ExecutionStatus.EXECUTION_STATUS_TIMED_OUT,
  ExecutionStatus.EXECUTION_STATUS_COMPENSATED,
  ExecutionStatus.EXECUTION_STATUS_COMPENSATION_FAILED,
]);

/** How an execution ended that did not end well; reason and metadata are those of its failure. */
export class ExecutionFailed extends Fault {
  override readonly name = "ExecutionFailed";

  constructor(
    readonly executionId: string,
    readonly status: ExecutionStatus,
    failure: Fault | undefined,
  ) {
    super(
      failure?.reason ?? "",
      failure?.message ?? `execution ${executionId} ended as ${ExecutionStatus[status]}`,
      failure,
    );
  }
}

export interface SignalOptions extends CallOptions {
  /** Tells a repetition of the same signal, and lets this wait for an orchestrator that is away. */
  id?: string;
}

export interface StopOptions extends CallOptions {
  /** For people who ask later. */
  reason?: string;
}

export interface WatchOptions extends CallOptions {
  /** The first event that is wanted, 1 without it. */
  from?: bigint;
}

/** It runs on whether or not anybody holds a handle of it. */
export class Execution {
  readonly #client: Client;
  #seen: State;

  constructor(client: Client, seen: State | undefined) {
    this.#client = client;
    this.#seen = seen ?? State.create();
  }

  /** Unique in its namespace. */
  get id(): string {
    return this.#seen.executionId;
  }

  /** Tells it from every other execution that has had, or will have, its id. All that is asked is asked of this run. */
  get runId(): string {
    return this.#seen.runId;
  }

  /** The trace that all its spans belong to, 32 hex digits. */
  get traceId(): string {
    return this.#seen.traceId;
  }

  /** Where it stood when the mesh was last asked. */
  get lastSeen(): State {
    return this.#seen;
  }

  /** Where it stands now, with its steps. */
  async describe(options: CallOptions = {}): Promise<State> {
    const method = this.#client.orchestrator.getExecution.bind(this.#client.orchestrator);
    const answer = await within(options, (bounds) => repeated(method, this.#named, bounds, this.#client));
    this.#seen = answer.execution ?? this.#seen;
    return this.#seen;
  }

  /**
   * Its events up to its last one, each exactly once and in order. A broken stream is opened again where it broke; it
   * throws if that cannot be done any more.
   */
  async *watch(options: WatchOptions = {}): AsyncGenerator<ExecutionEvent, void, undefined> {
    const bounds = new Bounds(options);
    let next = options.from ?? 1n;
    let breaks = 0;
    let since = performance.now();
    try {
      for (;;) {
        bounds.check();
        const request = WatchExecutionRequest.fromPartial({ ...this.#named, fromSequence: next });
        const stream = this.#client.orchestrator.watchExecution(request, propagated());
        const cancel = () => stream.cancel();
        bounds.signal.addEventListener("abort", cancel, { once: true });
        try {
          for await (const response of stream) {
            for (const event of response.events as ExecutionEvent[]) {
              if (event.sequence < next) {
                continue;
              }
              next = event.sequence + 1n;
              breaks = 0;
              yield event;
              since = performance.now();
            }
          }
          return;
        } catch (error) {
          bounds.check();
          const fault = Fault.from(error);
          const pause = pauseAfter(breaks++, fault);
          if (!passes(fault) || performance.now() - since + pause > this.#client.patience) {
            throw fault;
          }
          await bounds.pause(pause);
        } finally {
          bounds.signal.removeEventListener("abort", cancel);
          stream.cancel();
        }
      }
    } finally {
      bounds.close();
    }
  }

  /** Waits for the end and returns the output. One that ended badly is an ExecutionFailed. */
  async result<Output = unknown>(options: CallOptions = {}): Promise<Output> {
    const payload = await this.resultPayload(options);
    return (payload.isJson ? payload.decode() : payload) as Output;
  }

  /** As `result`, with the output unread. */
  async resultPayload(options: CallOptions = {}): Promise<Payload> {
    if (!FINAL.has(this.#seen.status) || this.#seen.leftOut) {
      await within(options, (bounds) => this.#untilTheEnd(bounds));
    }
    const { status, failure, output } = this.#seen;
    if (status !== ExecutionStatus.EXECUTION_STATUS_SUCCEEDED) {
      throw new ExecutionFailed(this.id, status, failure && Fault.ofFailure(failure));
    }
    return Payload.from(output);
  }

  /** Sends it a signal, which is kept until a step waits for it. */
  async signal(name: string, payload: unknown = null, options: SignalOptions = {}): Promise<void> {
    const method = this.#client.orchestrator.signalExecution.bind(this.#client.orchestrator);
    const signal = { name, payload: Payload.of(payload).toMessage(), signalId: options.id ?? "" };
    const patience = options.id === undefined ? 0 : this.#client.patience;
    const request = SignalExecutionRequest.fromPartial({ ...this.#named, signal });
    await within(options, (bounds) => repeated(method, request, bounds, { patience }));
  }

  /** Stops it: what runs is taken back, then what it did is undone. */
  async cancel(options: StopOptions = {}): Promise<void> {
    const method = this.#client.orchestrator.cancelExecution.bind(this.#client.orchestrator);
    await within(options, (bounds) => repeated(method, this.#asked(options), bounds, this.#client));
  }

  /** Ends it at once; nothing is undone. */
  async terminate(options: StopOptions = {}): Promise<void> {
    const method = this.#client.orchestrator.terminateExecution.bind(this.#client.orchestrator);
    await within(options, (bounds) => repeated(method, this.#asked(options), bounds, this.#client));
  }

  /** Starts nothing new in it until it is resumed; what runs ends. */
  async pause(options: StopOptions = {}): Promise<void> {
    const method = this.#client.orchestrator.pauseExecution.bind(this.#client.orchestrator);
    const request = PauseExecutionRequest.fromPartial(this.#asked(options));
    await within(options, (bounds) => repeated(method, request, bounds, this.#client));
  }

  /** Lets it go on. */
  async resume(options: CallOptions = {}): Promise<void> {
    const method = this.#client.orchestrator.resumeExecution.bind(this.#client.orchestrator);
    const request = ResumeExecutionRequest.fromPartial(this.#asked({}));
    await within(options, (bounds) => repeated(method, request, bounds, this.#client));
  }

  get #named(): { namespace: string; executionId: string; runId: string } {
    return { namespace: this.#seen.namespace, executionId: this.id, runId: this.runId };
  }

  #asked({ reason = "" }: StopOptions) {
    return { ...this.#named, by: `${who()}@${hostname()}`, reason };
  }

  async #untilTheEnd(bounds: Bounds): Promise<void> {
    const options = { signal: bounds.signal };
    while (!FINAL.has((await this.describe(options)).status)) {
      for await (const _ of this.watch({ ...options, from: this.#seen.sequence + 1n })) {
        // until the last one
      }
    }
  }
}

function who(): string {
  try {
    return userInfo().username;
  } catch {
    return "somebody"; // a user without a name, as containers have them
  }
}
