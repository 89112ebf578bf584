package dev.forgemesh.plugin;

import java.util.Arrays;
import java.util.concurrent.TimeUnit;

/** Tells how the last calls went. */
final class Tally {
  /** How many of the newest calls latency and success are counted over. */
  private static final int TALLIED = 512;

  /** For how long a call counts. */
  private static final long RECENT = TimeUnit.MINUTES.toNanos(1);

  private final long[] at = new long[TALLIED];
  private final long[] latency = new long[TALLIED];
  private final boolean[] wasFailure = new boolean[TALLIED];
  private long total;
  private long failed;

  /**
   * What the newest calls were like: seconds below which 95 of 100 were, and the share that
   * succeeded.
   */
  record Quality(double latencySeconds, double success) {}

  synchronized void add(long now, long nanos, boolean failure) {
    int next = (int) (total % TALLIED);
    at[next] = now;
    latency[next] = nanos;
    wasFailure[next] = failure;
    total++;
    failed += failure ? 1 : 0;
  }

  synchronized long total() {
    return total;
  }

  synchronized long failed() {
    return failed;
  }

  synchronized Quality quality(long now) {
    int known = (int) Math.min(total, TALLIED);
    long[] recent = new long[known];
    int count = 0;
    int failures = 0;
    for (int one = 0; one < known; one++) {
      if (now - at[one] <= RECENT) {
        recent[count++] = latency[one];
        failures += wasFailure[one] ? 1 : 0;
      }
    }
    if (count == 0) {
      return new Quality(0, 1);
    }
    Arrays.sort(recent, 0, count);
    return new Quality(recent[(count * 95 - 1) / 100] / 1e9, 1 - (double) failures / count);
  }
}
