package dev.forgemesh.plugin;

import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * The open sessions of one host, which share the calls that it takes at a time.
 *
 * <p>A session <em>holds</em> what its caller may still send and what it has in the host. Each gets
 * its share at once, when it comes and when another one leaves. Credits are never taken from a
 * caller: one above its share gives back as its calls finish.
 */
final class Sessions {
  private final int pool;
  private final Set<Session> open = new HashSet<>();
  private boolean draining;

  /** What a session may send anew; -1 once the host drains. */
  static final int NONE_SINCE_IT_DRAINS = -1;

  Sessions(int pool) {
    this.pool = pool;
  }

  void drain() {
    List<Session> told;
    synchronized (this) {
      draining = true;
      told = List.copyOf(open);
    }
    told.forEach(Session::wake);
  }

  synchronized void enter(Session one) {
    open.add(one);
  }

  void leave(Session one) {
    List<Session> told;
    synchronized (this) {
      open.remove(one);
      told = List.copyOf(open);
    }
    told.forEach(Session::wake);
  }

  /** Grants new credits in place of the calls that have ended since. */
  synchronized int renew(Session one) {
    if (draining) {
      return NONE_SINCE_IT_DRAINS;
    }
    int others = 0;
    for (Session other : open) {
      others += other == one ? 0 : other.held;
    }
    int left = one.held - one.finished;
    int share = Math.max(1, pool / Math.max(1, open.size()));
    int granted = Math.max(0, Math.max(share - left, Math.min(one.finished, pool - others - left)));
    one.held += granted - one.finished;
    one.finished = 0;
    return granted;
  }

  /** Counts a call of a session that has ended. */
  synchronized void finished(Session one) {
    one.finished++;
  }

  /** Whether a session with so many calls in the host had the credit for the last of them. */
  synchronized boolean hadCredit(Session one, int calls) {
    return calls + one.finished <= one.held;
  }
}
