/** An instance, and its incarnations: one for each time that this process has registered. */

import { hostname } from "node:os";
import { wrongIncarnation } from "./failure.js";

/** A call may mean any of them, since all are this process; one that means another process is refused. */
export class Identity {
  incarnation = 0n;
  readonly #own = new Set([0n]);

  constructor(readonly instanceId: string) {}

  registered(incarnation: bigint): void {
    this.incarnation = incarnation;
    this.#own.add(incarnation);
  }

  /** Throws if a caller means another process; 0 means any. */
  refuseOthers(wanted: bigint): void {
    if (!this.#own.has(wanted)) {
      throw wrongIncarnation(this.instanceId, wanted, this.incarnation);
    }
  }
}

/**
 * What a host is called that nobody has named. The first process of a container has the number 1 everywhere; it is called
 * as its machine is, which on Kubernetes is the name of the pod.
 */
export function defaultInstanceId(plugin: string): string {
  return process.pid === 1 ? hostname() : `${plugin}-${process.pid}`;
}
