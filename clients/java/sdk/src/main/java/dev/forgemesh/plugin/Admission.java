package dev.forgemesh.plugin;

/**
 * Decides which calls run, which wait and which are refused: at most {@code concurrency} run at a
 * time, those behind them wait in order of arrival. A call with a credit always waits if it cannot
 * run, one without only while fewer than {@code queue} do. None waits that is likely to be given up
 * before its turn.
 */
final class Admission {
  enum Verdict {
    ADMITTED,
    QUEUED,
    FULL,
    TOO_LATE
  }

  /** The share of the newest run in the mean of run times. */
  private static final double NEWEST_COUNTS = 0.1;

  private final int concurrency;
  private final int queue;
  private int running;
  private int waiting;
  private double meanRunNanos;

  Admission(int concurrency, int queue) {
    this.concurrency = concurrency;
    this.queue = queue;
  }

  int concurrency() {
    return concurrency;
  }

  /** How many calls are taken at a time, those that wait included. */
  int capacity() {
    return concurrency + queue;
  }

  int running() {
    return running;
  }

  int waiting() {
    return waiting;
  }

  boolean isIdle() {
    return running == 0 && waiting == 0;
  }

  long expectedWaitNanos() {
    return running < concurrency && waiting == 0
        ? 0
        : (long) ((waiting + 0.5) * meanRunNanos / concurrency);
  }

  /** Counts a call that is wanted for so long, unless it is refused. */
  Verdict arrive(boolean credited, long withinNanos) {
    if (running < concurrency && waiting == 0) {
      running++;
      return Verdict.ADMITTED;
    }
    if (!credited && waiting >= queue) {
      return Verdict.FULL;
    }
    if (expectedWaitNanos() >= withinNanos) {
      return Verdict.TOO_LATE;
    }
    waiting++;
    return Verdict.QUEUED;
  }

  /**
   * Takes a call out that ran for so long, and says whether the first of those that wait runs now
   * in its place.
   */
  boolean leave(long ranNanos) {
    meanRunNanos =
        meanRunNanos == 0 ? ranNanos : meanRunNanos + (ranNanos - meanRunNanos) * NEWEST_COUNTS;
    running--;
    if (waiting == 0) {
      return false;
    }
    waiting--;
    running++;
    return true;
  }

  /** Takes a call out that waits and is not wanted any more. */
  void abandon() {
    waiting--;
  }
}
