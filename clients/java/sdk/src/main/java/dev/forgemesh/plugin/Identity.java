package dev.forgemesh.plugin;

import dev.forgemesh.FaultException;
import java.util.HashSet;
import java.util.Set;

/**
 * An instance and its incarnations, one for each time that this process has registered. A call may
 * mean any of them, since all are this process; one that means another process is refused.
 */
final class Identity {
  private final String instanceId;
  private final Set<Long> own = new HashSet<>(Set.of(0L));
  private long newest;

  Identity(String instanceId) {
    this.instanceId = instanceId;
  }

  String instanceId() {
    return instanceId;
  }

  synchronized void registered(long incarnation) {
    newest = incarnation;
    own.add(incarnation);
  }

  synchronized long incarnation() {
    return newest;
  }

  /** What a caller is told that means another process; null if it means this one, or any. */
  synchronized FaultException refusal(long wanted) {
    return own.contains(wanted) ? null : Failures.wrongIncarnation(instanceId, wanted, newest);
  }
}
