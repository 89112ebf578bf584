/** The calls that a host takes at a time, its queue included, shared over all sessions. */

/**
 * A session *holds* what its caller may still send and what it has in the host. Each gets its share at once, when it comes
 * and when another one leaves. Credits are never taken from a caller: one above its share gives back as its calls finish.
 */
export class CreditPool {
  constructor(readonly size: number) {}

  /**
   * What a session that holds `held`, of which `finished` calls have ended, gets anew while the others hold `others`; never
   * less than one call is its share.
   */
  grant(held: number, finished: number, others: number, sessions: number): number {
    const left = held - finished;
    const free = this.size - others - left;
    const share = Math.max(1, Math.floor(this.size / Math.max(1, sessions)));
    return Math.max(0, share - left, Math.min(finished, free));
  }
}
