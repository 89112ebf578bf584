package dev.forgemesh.plugin;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/**
 * The permits for which calls were made: each is good for one call, and only as long as no newer
 * one has been seen.
 */
final class Permits {
  private static final int REMEMBERED = 4096;
  private static final int LONGEST = 256;

  /**
   * For how long a generation that was used shuts out older ones; a permit's lease is much shorter.
   * Not for ever: a balancer that starts with nothing to go by counts anew.
   */
  private static final long FENCE = TimeUnit.MINUTES.toNanos(1);

  record Generation(long incarnation, long number) {
    private boolean isBefore(Generation other) {
      int first = Long.compareUnsigned(incarnation, other.incarnation);
      return first < 0 || first == 0 && Long.compareUnsigned(number, other.number) < 0;
    }
  }

  private Generation newest = new Generation(0, 0);
  private final Set<String> used = new HashSet<>();
  private final Deque<String> order = new ArrayDeque<>();
  private long last;

  /** Why no call may be made for a permit; empty if one may. */
  String refusal(String id, Generation of, long now) {
    if (id.isEmpty()) {
      return "it has no name";
    }
    if (id.codePointCount(0, id.length()) > LONGEST) {
      return "its name has more than " + LONGEST + " characters";
    }
    if (used.contains(id)) {
      return "a call was made for it already";
    }
    if (of.isBefore(newest) && now - last < FENCE) {
      String later =
          of.incarnation == newest.incarnation
              ? "generation " + Long.toUnsignedString(newest.number)
              : "incarnation " + Long.toUnsignedString(newest.incarnation);
      return "it is of generation %s and the circuit is at %s by now"
          .formatted(Long.toUnsignedString(of.number), later);
    }
    return "";
  }

  /** Notes that a call is made for a permit against which there is nothing. */
  void use(String id, Generation of, long now) {
    if (!of.equals(newest)) {
      newest = of;
      used.clear();
      order.clear();
    }
    used.add(id);
    order.add(id);
    last = now;
    if (order.size() > REMEMBERED) {
      used.remove(order.remove());
    }
  }
}
