/** How long a caller waits: until its signal aborts or its time is over. */

import { setTimeout as sleep } from "node:timers/promises";

export interface CallOptions {
  /** Ends the waiting; what was asked for goes on. */
  signal?: AbortSignal;
  /** Milliseconds after which the waiting ends with a DOMException of the name TimeoutError. */
  timeout?: number;
}

/** `signal` aborts when the waiting is over; who makes one closes it. */
export class Bounds {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #until: number | undefined;
  readonly #given: AbortSignal | undefined;
  readonly #abort = () => this.#controller.abort(this.#given?.reason);
  #timer: NodeJS.Timeout | undefined;

  constructor({ signal, timeout }: CallOptions = {}) {
    this.signal = this.#controller.signal;
    this.#given = signal;
    if (signal?.aborted) {
      this.#abort();
    } else {
      signal?.addEventListener("abort", this.#abort, { once: true });
    }
    if (timeout !== undefined) {
      this.#until = performance.now() + timeout;
      const over = () => this.#controller.abort(new DOMException("the time of the call is over", "TimeoutError"));
      this.#timer = setTimeout(over, Math.min(timeout, 2 ** 31 - 1));
    }
  }

  /** Milliseconds that are left. */
  get left(): number {
    return this.#until === undefined ? Number.POSITIVE_INFINITY : Math.max(0, this.#until - performance.now());
  }

  /** Throws why the waiting is over, if it is. */
  check(): void {
    this.signal.throwIfAborted();
  }

  /** Waits for so many milliseconds, or throws why the waiting is over. */
  async pause(milliseconds: number): Promise<void> {
    await sleep(milliseconds, undefined, { signal: this.signal }).catch(() => this.check());
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#given?.removeEventListener("abort", this.#abort);
  }
}

/** Does something within bounds that end with it. */
export async function within<T>(options: CallOptions, act: (bounds: Bounds) => Promise<T>): Promise<T> {
  const bounds = new Bounds(options);
  try {
    return await act(bounds);
  } finally {
    bounds.close();
  }
}
