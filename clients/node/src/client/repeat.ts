/** Calls that may be repeated are, while the orchestrator is away, is stopping or is without its store. */

import type { Metadata as GrpcMetadata, CallOptions as GrpcOptions, ServiceError } from "@grpc/grpc-js";
import { Code, Fault } from "../fault.js";
import type { Bounds } from "./bounds.js";
import { propagated } from "./propagation.js";

/** Milliseconds that one try may take. */
export const CALL_DEADLINE = 10_000;
const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 1000;

export interface Repetition {
  /** Milliseconds for which a call is repeated; 0 for one that may not be. */
  patience: number;
  /** Milliseconds that one try may take. */
  tryWithin?: number;
}

export type UnaryMethod<Request, Answer> = (
  request: Request,
  metadata: GrpcMetadata,
  options: GrpcOptions,
  done: (error: ServiceError | null, answer: Answer) => void,
) => { cancel(): void };

/** Makes a unary call until it is answered, refused for good, or the patience is used up. */
export async function repeated<Request, Answer>(
  method: UnaryMethod<Request, Answer>,
  request: Request,
  bounds: Bounds,
  { patience, tryWithin = CALL_DEADLINE }: Repetition,
): Promise<Answer> {
  let until: number | undefined;
  for (let failures = 0; ; failures++) {
    bounds.check();
    try {
      return await once(method, request, bounds, tryWithin);
    } catch (error) {
      bounds.check();
      const fault = Fault.from(error);
      const pause = pauseAfter(failures, fault);
      until ??= performance.now() + patience;
      if (!passes(fault) || performance.now() + pause > until) {
        throw fault;
      }
      await bounds.pause(pause);
    }
  }
}

/** Whether waiting may help. */
export function passes(error: unknown): boolean {
  if (!Fault.is(error)) {
    return false;
  }
  switch (error.code) {
    case Code.UNAVAILABLE:
      return true;
    case Code.DEADLINE_EXCEEDED: // of one try, without a reason of the mesh's: nobody has answered
      return error.reason === "";
    case Code.RESOURCE_EXHAUSTED:
      return error.retryAfter !== undefined;
    default:
      return false;
  }
}

/** Milliseconds, full of jitter, and never fewer than what the mesh asks for. */
export function pauseAfter(failures: number, error: unknown): number {
  const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(failures, 10));
  const asked = Fault.is(error) ? (error.retryAfter ?? 0) : 0;
  return Math.max(pause / 2 + (Math.random() * pause) / 2, asked);
}

function once<Request, Answer>(
  method: UnaryMethod<Request, Answer>,
  request: Request,
  bounds: Bounds,
  tryWithin: number,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + Math.min(tryWithin, bounds.left);
    const call = method(request, propagated(), { deadline }, (error, answer) => {
      bounds.signal.removeEventListener("abort", cancel);
      error === null ? resolve(answer) : reject(error);
    });
    const cancel = () => call.cancel();
    bounds.signal.addEventListener("abort", cancel, { once: true });
  });
}
