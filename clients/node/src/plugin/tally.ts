/** How the last calls went. */

/** How many of the newest calls latency and success are counted over. */
const TALLIED = 512;
/** Milliseconds for which a call counts. */
const RECENT = 60_000;

interface Ending {
  at: number;
  latency: number;
  failed: boolean;
}

export class Tally {
  total = 0;
  failed = 0;
  readonly #newest: Ending[] = [];
  #next = 0;

  add(at: number, latency: number, failed: boolean): void {
    this.total++;
    this.failed += failed ? 1 : 0;
    this.#newest[this.#next] = { at, latency, failed };
    this.#next = (this.#next + 1) % TALLIED;
  }

  /** The milliseconds below which 95 of 100 of the recent calls were, and the share of them that succeeded. */
  quality(now: number): { latency: number; success: number } {
    const recent = this.#newest.filter((one) => now - one.at <= RECENT);
    if (recent.length === 0) {
      return { latency: 0, success: 1 };
    }
    const latencies = recent.map((one) => one.latency).sort((one, other) => one - other);
    const failed = recent.filter((one) => one.failed).length;
    return {
      latency: latencies[Math.floor((latencies.length * 95 - 1) / 100)] ?? 0,
      success: 1 - failed / recent.length,
    };
  }
}
