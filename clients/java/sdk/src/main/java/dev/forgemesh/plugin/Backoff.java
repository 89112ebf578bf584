package dev.forgemesh.plugin;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/** How long to wait before the next try. */
final class Backoff {
  private static final long FIRST_NANOS = Duration.ofMillis(100).toNanos();
  private static final int MOST_DOUBLINGS = 10;

  private Backoff() {}

  /** Anything up to a bound that doubles with each failure. */
  static long nanos(int failures, Duration longest) {
    long bound =
        Math.min(longest.toNanos(), FIRST_NANOS << Math.min(Math.max(0, failures), MOST_DOUBLINGS));
    return ThreadLocalRandom.current().nextLong(bound);
  }
}
