/** Which calls run, which wait and which are refused. */

export type Verdict = "runs" | "waits" | "full" | "too late";

/** The share of the newest run in the mean of run times. */
const NEWEST_COUNTS = 0.1;

/**
 * At most `concurrency` run at a time, those behind them wait in order of arrival. A call with a credit always waits if it
 * cannot run, one without only while fewer than `queue` do. None waits that is likely to be given up before its turn. All
 * lengths are milliseconds.
 */
export class Admission {
  running = 0;
  waiting = 0;
  #meanRun = 0;

  constructor(
    readonly concurrency: number,
    readonly queue: number,
  ) {}

  get isIdle(): boolean {
    return this.running === 0 && this.waiting === 0;
  }

  get expectedWait(): number {
    if (this.running < this.concurrency && this.waiting === 0) {
      return 0;
    }
    return ((this.waiting + 0.5) * this.#meanRun) / this.concurrency;
  }

  /** Counts a call that is wanted for so long, unless it is refused. */
  arrive(credited: boolean, within: number): Verdict {
    if (this.running < this.concurrency && this.waiting === 0) {
      this.running++;
      return "runs";
    }
    if (!credited && this.waiting >= this.queue) {
      return "full";
    }
    if (this.expectedWait >= within) {
      return "too late";
    }
    this.waiting++;
    return "waits";
  }

  /** Takes a call out that ran for so long; whether the first of those that wait runs now in its place. */
  leave(ran: number): boolean {
    this.#meanRun += this.#meanRun === 0 ? ran : (ran - this.#meanRun) * NEWEST_COUNTS;
    this.running--;
    if (this.waiting === 0) {
      return false;
    }
    this.waiting--;
    this.running++;
    return true;
  }

  /** Takes a call out that waits and is not wanted any more. */
  abandon(): void {
    this.waiting--;
  }
}
