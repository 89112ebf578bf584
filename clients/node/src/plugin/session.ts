/** The sessions of a host: long-lived streams of calls and results in batches. */

import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { Failure } from "../api/forgemesh/api/errors/v1/failure.js";
import { type Invocation, InvocationResult } from "../api/forgemesh/api/plugin/v1/invocation.js";
import { type Progress, type SessionRequest, SessionResponse } from "../api/forgemesh/api/plugin/v1/session.js";
import { Fault } from "../fault.js";
import type { Payload } from "../payload.js";
import type { Receiver, RunningCall } from "./call.js";
import { CreditPool } from "./credits.js";
import { cut, failureOf, instanceFull, invalidRequest, protocolUnsupported, textOf } from "./failure.js";
import type { Host } from "./host.js";

/** The session protocol, the only one there is. */
const PROTOCOL = 1;
const HELLO_DEADLINE = 10_000;
const FRAME_BYTES = 1 << 20;
/** Bytes of a result, or of a word of progress, besides what is of any length. */
const OVERHEAD = 64;
const RECEIPT_BYTES = 11;

type Stream = ServerDuplexStream<SessionRequest, SessionResponse>;

/** The open sessions of one host, which share its credits. */
export class Sessions {
  readonly #pool: CreditPool;
  readonly #open = new Set<Session>();
  isDraining = false;

  constructor(
    readonly host: Host,
    readonly endIsTold: boolean,
  ) {
    this.#pool = new CreditPool(host.capacity);
  }

  /** Serves one stream until its caller is done or the host has drained; its loss takes all its calls back. */
  serve(stream: Stream): void {
    new Session(this, stream);
  }

  drain(): void {
    this.isDraining = true;
    this.#wakeAll();
  }

  enter(session: Session): void {
    this.#open.add(session);
  }

  leave(session: Session): void {
    if (this.#open.delete(session)) {
      this.#wakeAll();
    }
  }

  /** Grants new credits in place of the calls that have ended since. */
  renew(session: Session): number {
    if (this.isDraining) {
      return 0;
    }
    let others = 0;
    for (const other of this.#open) {
      others += other === session ? 0 : other.held;
    }
    const granted = this.#pool.grant(session.held, session.finished, others, this.#open.size);
    session.held += granted - session.finished;
    session.finished = 0;
    return granted;
  }

  #wakeAll(): void {
    for (const session of this.#open) {
      session.wake();
    }
  }
}

/** One stream. Whatever waits when it can be written leaves as one message; reading never waits for writing. */
class Session implements Receiver {
  /** The caller's credits and its calls in the host. */
  held = 0;
  /** Calls that have ended since the last grant. */
  finished = 0;
  readonly #host: Host;
  readonly #impatience: NodeJS.Timeout;
  readonly #calls = new Map<bigint, RunningCall | undefined>();
  readonly #accepted = new Set<bigint>();
  readonly #progress = new Map<bigint, Progress>();
  #results: InvocationResult[] = [];
  #newest = 0n;
  #greeted = false;
  #halfClosed = false;
  #saidDrain = false;
  #isOver = false;
  #isWoken = false;
  #isBlocked = false;

  constructor(
    readonly sessions: Sessions,
    readonly stream: Stream,
  ) {
    this.#host = sessions.host;
    const late = invalidRequest("hello", `has not come within ${HELLO_DEADLINE / 1000} s`);
    this.#impatience = setTimeout(() => this.#refuse(late), HELLO_DEADLINE);
    stream.on("data", (request: SessionRequest) => this.#guarded(() => this.#hear(request)));
    stream.on("end", () => this.#guarded(() => this.#hearEnd()));
    stream.on("drain", () => {
      this.#isBlocked = false;
      this.wake();
    });
    stream.on("cancelled", () => this.#close());
    stream.on("error", () => this.#close());
  }

  begun(call: RunningCall): void {
    this.#accepted.add(call.invocation.callId);
    this.wake();
  }

  answered(call: RunningCall): void {
    const id = call.invocation.callId;
    this.#accepted.delete(id);
    const said = this.#progress.get(id);
    if (said !== undefined && (call.failure === undefined || said.details === undefined)) {
      this.#progress.delete(id); // its result says it all
    }
    this.#results.push(call.result());
    this.wake();
  }

  released(call: RunningCall): void {
    this.#calls.delete(call.invocation.callId);
    this.finished++;
    this.wake();
  }

  progressed(call: RunningCall, fraction: number, note: string, details: Payload | undefined): void {
    const callId = call.invocation.callId;
    const earlier = this.#progress.get(callId)?.details;
    this.#progress.set(callId, { callId, fraction, note: cut(note), details: details?.toMessage() ?? earlier });
    this.wake();
  }

  /** Writes soon: what comes until then leaves together. */
  wake(): void {
    if (!this.#isWoken && !this.#isOver) {
      this.#isWoken = true;
      setImmediate(() => {
        this.#isWoken = false;
        this.#guarded(() => this.#write());
      });
    }
  }

  /** A fault ends the session; so does a bug, without its text. */
  #guarded(act: () => void): void {
    if (this.#isOver) {
      return;
    }
    try {
      act();
    } catch (error) {
      if (!Fault.is(error)) {
        this.#host.log("error", "a session ended by a bug of this library", { error });
      }
      this.#refuse(Fault.is(error) ? error : new Fault("INTERNAL", "internal error; the instance's log has it"));
    }
  }

  #hear(request: SessionRequest): void {
    if (!this.#greeted) {
      this.#greet(request);
    } else if (request.hello !== undefined) {
      throw invalidRequest("hello", "is the first message of a session, and only that");
    }
    for (const invocation of request.invocations) {
      if (invocation.callId <= this.#newest) {
        throw invalidRequest("invocations.call_id", `${invocation.callId} is not above ${this.#newest}`);
      }
      this.#newest = invocation.callId;
      this.#invoke(invocation);
    }
    for (const { callId } of request.cancels) {
      const call = this.#calls.get(callId);
      if (call !== undefined) {
        this.#host.cancel(call);
      }
    }
  }

  #greet({ hello }: SessionRequest): void {
    if (hello === undefined) {
      throw invalidRequest("hello", "is the first message of a session");
    }
    this.#host.identity.refuseOthers(hello.incarnation);
    if (hello.protocolMin > PROTOCOL || hello.protocolMax < PROTOCOL) {
      throw protocolUnsupported(PROTOCOL, hello.protocolMin, hello.protocolMax);
    }
    clearTimeout(this.#impatience);
    this.#greeted = true;
    this.sessions.enter(this);
    const response = SessionResponse.create({ credits: this.sessions.renew(this) });
    response.hello = {
      protocol: PROTOCOL,
      instanceId: this.#host.identity.instanceId,
      incarnation: this.#host.identity.incarnation,
      pluginId: this.#host.plugin.id,
      tellsBegun: true,
      refusesPoison: false,
      endIsTold: this.sessions.endIsTold,
    };
    this.#send(response);
    this.wake(); // it may drain already
  }

  #hearEnd(): void {
    if (!this.#greeted) {
      throw invalidRequest("hello", "is the first message of a session");
    }
    this.#halfClosed = true; // what runs is still answered
    this.wake();
  }

  #invoke(invocation: Invocation): void {
    this.#calls.set(invocation.callId, undefined); // so that a call that is answered at once is known
    const open = this.#calls.size;
    if (open + this.finished > this.held) {
      this.#refuseCall(invocation, instanceFull(this.#host.identity.instanceId, open - 1));
      return;
    }
    try {
      const call = this.#host.take(invocation, this, true);
      if (this.#calls.has(invocation.callId)) {
        this.#calls.set(invocation.callId, call);
      }
    } catch (error) {
      this.finished++; // the credit that it came with comes back
      this.#refuseCall(invocation, Fault.is(error) ? error : new Fault("INTERNAL", textOf(error)));
    }
  }

  #refuseCall(invocation: Invocation, fault: Fault): void {
    this.#calls.delete(invocation.callId);
    this.#results.push({
      callId: invocation.callId,
      attempt: invocation.attempt,
      outcome: { $case: "failure", value: failureOf(fault, invocation.stepPath) },
      queuedMicros: 0n,
      ranMicros: 0n,
    });
    this.wake();
  }

  #write(): void {
    while (!this.#isBlocked && this.#greeted) {
      const response = this.#next();
      if (response === undefined) {
        break;
      }
      this.#send(response);
    }
    if (this.#calls.size === 0 && this.#results.length === 0 && (this.#halfClosed || this.#saidDrain)) {
      this.#close();
      this.stream.end();
    }
  }

  #send(response: SessionResponse): void {
    this.#isBlocked = !this.stream.write(response);
  }

  /**
   * The message that leaves now, if anything waits. All that goes into it counts, and none has more than a mebibyte, unless
   * a single result has: that goes without anything else.
   */
  #next(): SessionResponse | undefined {
    const credits = this.sessions.renew(this);
    const drains = this.sessions.isDraining && !this.#saidDrain;
    const waiting = this.#results.length + this.#accepted.size + this.#progress.size;
    if (credits === 0 && !drains && waiting === 0) {
      return undefined;
    }
    const response = SessionResponse.create({ credits });
    if (drains) {
      this.#saidDrain = true;
      response.drain = { reason: "shutdown" };
    }
    let room = this.#takeResults(response, FRAME_BYTES);
    for (const id of this.#accepted) {
      if (room < RECEIPT_BYTES) {
        break;
      }
      room -= RECEIPT_BYTES;
      response.accepted.push(id);
      this.#accepted.delete(id);
    }
    for (const [id, said] of this.#progress) {
      const size = sizeOfProgress(said);
      if (size > room) {
        break;
      }
      room -= size;
      response.progress.push(said);
      this.#progress.delete(id);
    }
    return response;
  }

  /** Moves results into a message, and what failed calls said for their next attempts; the room that is left. */
  #takeResults(response: SessionResponse, room: number): number {
    let left = room;
    for (const result of this.#results) {
      const last = this.#progress.get(result.callId);
      const size = sizeOf(result) + (last === undefined ? 0 : sizeOfProgress(last));
      if (size > left && response.results.length > 0) {
        break;
      }
      left -= size;
      response.results.push(result);
      if (last !== undefined) {
        response.progress.push(last);
        this.#progress.delete(result.callId);
      }
    }
    this.#results = this.#results.slice(response.results.length);
    return left;
  }

  #refuse(fault: Fault): void {
    this.#close();
    this.stream.emit("error", fault.toStatus());
  }

  /** Takes back what still runs for a caller that is gone. */
  #close(): void {
    if (this.#isOver) {
      return;
    }
    this.#isOver = true;
    clearTimeout(this.#impatience);
    this.sessions.leave(this);
    for (const call of this.#calls.values()) {
      if (call !== undefined) {
        this.#host.cancel(call);
      }
    }
  }
}

/** Bytes that are enough for it. */
function sizeOf(result: InvocationResult): number {
  if (result.outcome?.$case === "output") {
    const { data, mediaType, metadata } = result.outcome.value;
    return OVERHEAD + data.length + 3 * mediaType.length + sizeOfFacts(metadata);
  }
  return OVERHEAD + InvocationResult.encode(result).finish().length;
}

function sizeOfProgress({ note, details }: Progress): number {
  const size = details === undefined ? 0 : details.data.length + 3 * details.mediaType.length;
  return OVERHEAD + 3 * note.length + size + sizeOfFacts(details?.metadata ?? {});
}

function sizeOfFacts(facts: Failure["metadata"]): number {
  return Object.entries(facts).reduce((size, [key, value]) => size + 16 + 3 * (key.length + value.length), 0);
}
