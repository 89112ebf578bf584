/** Takes calls on, runs as many as may run, and answers each of them once. */

import type { Failure } from "../api/forgemesh/api/errors/v1/failure.js";
import type { Invocation } from "../api/forgemesh/api/plugin/v1/invocation.js";
import { Code, Fault, millisecondsOf } from "../fault.js";
import { Payload } from "../payload.js";
import { Admission } from "./admission.js";
import { Alarm } from "./alarm.js";
import { CallView, type Receiver, RunningCall } from "./call.js";
import {
  cancelled,
  cut,
  failureOf,
  inputInvalid,
  instanceDraining,
  instanceFull,
  Misfit,
  MOST_OUTPUT,
  operationNotFound,
  outputInvalid,
  permitRefused,
  pluginException,
  queueTooLong,
  timedOut,
  tooLarge,
} from "./failure.js";
import type { Identity } from "./identity.js";
import type { Log } from "./log.js";
import { Permits } from "./permits.js";
import { type Callable, OutputMisfit, type Served } from "./plugin.js";
import type { Spans } from "./spans.js";
import { Tally } from "./tally.js";

const DEFAULT_TIMEOUT = 60_000;
/** Milliseconds that an operation has to end by itself once its call is taken back or its time is over. */
const LAST_WORDS = 500;

/** Codes of failures that count against the instance. */
const OURS = new Set<number>([Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS]);

export class Host {
  readonly admission: Admission;
  readonly tally = new Tally();
  readonly #permits = new Permits();
  readonly #waiting = new Set<RunningCall>();
  #drained: (() => void) | undefined;
  #draining = false;

  constructor(
    readonly plugin: Served,
    readonly identity: Identity,
    queue: number,
    readonly spans: Spans,
    readonly log: Log,
  ) {
    this.admission = new Admission(plugin.maxConcurrency, queue);
  }

  /** How many calls the host takes at a time, its queue included. */
  get capacity(): number {
    return this.admission.concurrency + this.admission.queue;
  }

  /**
   * Takes a call on, or throws why it is refused; the receiver is told its answer later. `left` is what the transport
   * allows, in milliseconds.
   */
  take(invocation: Invocation, receiver: Receiver, credited: boolean, left = Number.POSITIVE_INFINITY): RunningCall {
    const { instanceId } = this.identity;
    if (this.#draining) {
      throw instanceDraining(instanceId);
    }
    this.identity.refuseOthers(invocation.incarnation);
    const operation = this.plugin.operations.get(invocation.operation);
    if (operation === undefined) {
      const known = [...this.plugin.operations.keys()].sort().join(", ");
      throw operationNotFound(this.plugin.id, cut(invocation.operation), known);
    }
    const use = this.#permitted(invocation);
    const within = Math.min(allowed(invocation, operation), left);
    const verdict = this.admission.arrive(credited, within);
    if (verdict === "full") {
      throw instanceFull(instanceId, this.admission.running);
    }
    if (verdict === "too late") {
      throw queueTooLong(instanceId, this.admission.expectedWait, within);
    }
    use(); // not before: a permit whose call was refused is still good
    const call = new RunningCall(invocation, operation, receiver, within, this.spans.begin(invocation, this.identity));
    call.alarm = new Alarm(within, () => this.#expire(call));
    if (verdict === "runs") {
      this.#start(call);
    } else {
      this.#waiting.add(call);
    }
    return call;
  }

  /** Takes a call back; without effect once it is answered. */
  cancel(call: RunningCall): void {
    this.#endEarly(call, cancelled(call.invocation.stepPath));
  }

  /** Takes nothing on from now; true once everything taken on has ended, false if that takes longer than `grace`. */
  async drain(grace: number): Promise<boolean> {
    this.#draining = true;
    if (this.admission.isIdle) {
      return true;
    }
    return await new Promise((resolve) => {
      const alarm = new Alarm(grace, () => resolve(false));
      this.#drained = () => {
        alarm.stop();
        resolve(true);
      };
    });
  }

  /** What is to be done once the call is taken on; throws if its permit is good for nothing. */
  #permitted({ permit, incarnation }: Invocation): () => void {
    if (permit === undefined) {
      return () => {};
    }
    const now = performance.now();
    const of = { incarnation: incarnation || this.identity.incarnation, number: permit.generation };
    const why = this.#permits.refusal(permit.permitId, of, now);
    if (why !== "") {
      throw permitRefused(this.identity.instanceId, cut(permit.permitId), why);
    }
    return () => this.#permits.use(permit.permitId, of, now);
  }

  #expire(call: RunningCall): void {
    if (call.started === undefined) {
      const wait = Math.max(this.admission.expectedWait, call.within);
      this.#endEarly(call, queueTooLong(this.identity.instanceId, wait, call.within));
    } else {
      this.#endEarly(call, timedOut(call.invocation.stepPath, call.within));
    }
  }

  /** Tells the operation, and answers when it has ended or has used up its last words. */
  #endEarly(call: RunningCall, fault: Fault): void {
    if (call.isAnswered || call.ending !== undefined) {
      return;
    }
    const failure = failureOf(fault, call.invocation.stepPath);
    call.ending = failure;
    call.alarm?.stop();
    if (call.started !== undefined) {
      call.alarm = new Alarm(LAST_WORDS, () => this.#answer(call, undefined, failure));
      call.abort(fault);
      return;
    }
    this.admission.abandon();
    this.#waiting.delete(call);
    this.#answer(call, undefined, failure);
    this.#release(call);
  }

  #start(call: RunningCall): void {
    call.started = performance.now();
    void this.#run(call, call.started);
  }

  async #run(call: RunningCall, started: number): Promise<void> {
    call.receiver.begun(call);
    const { name } = call.operation.described;
    let output: Payload | undefined;
    let failure: Failure | undefined;
    try {
      const input = Payload.from(call.invocation.input);
      output = await call.span.within(() => call.operation.run(input, new CallView(call)));
      if (output.size > MOST_OUTPUT) {
        failure = failureOf(tooLarge(`the output of ${name}`, output.size, MOST_OUTPUT), call.invocation.stepPath);
      }
    } catch (error) {
      failure = failureOf(this.#faultOf(call, error), call.invocation.stepPath);
    }
    if (this.admission.leave(performance.now() - started)) {
      for (const next of this.#waiting) {
        this.#waiting.delete(next);
        this.#start(next);
        break;
      }
    }
    this.#answer(call, output, call.ending ?? failure);
    this.#release(call);
  }

  #faultOf(call: RunningCall, error: unknown): Fault {
    const { name } = call.operation.described;
    if (error instanceof OutputMisfit) {
      return outputInvalid(this.plugin.id, name, error.message);
    }
    if (error instanceof Misfit) {
      return inputInvalid(this.plugin.id, name, error.message);
    }
    if (Fault.is(error)) {
      return error;
    }
    if (call.ending === undefined) {
      const { executionId, stepPath } = call.invocation;
      const stack = error instanceof Error ? error.stack : undefined;
      this.log("error", "an operation threw an error", { operation: name, executionId, stepPath, error, stack });
    }
    return pluginException(this.plugin.id, name, error);
  }

  /** Makes the outcome known; only the first one counts. */
  #answer(call: RunningCall, output: Payload | undefined, failure: Failure | undefined): void {
    if (call.isAnswered) {
      return;
    }
    call.isAnswered = true;
    call.alarm?.stop();
    call.finished = performance.now();
    call.output = output;
    call.failure = failure;
    this.tally.add(call.finished, call.finished - call.arrived, failure !== undefined && OURS.has(failure.code));
    call.span.end(call);
    call.receiver.answered(call);
  }

  /** Lets go of the call: its operation no longer runs. */
  #release(call: RunningCall): void {
    call.receiver.released(call);
    if (this.#draining && this.admission.isIdle) {
      this.#drained?.();
    }
  }
}

/** Milliseconds that a call may take: what its caller says, or the operation, or the mesh. */
function allowed(invocation: Invocation, { described }: Callable): number {
  if (invocation.remainingMillis > 0n) {
    return Number(invocation.remainingMillis);
  }
  const said = described.timeout === undefined ? 0 : millisecondsOf(described.timeout);
  return said > 0 ? said : DEFAULT_TIMEOUT;
}
