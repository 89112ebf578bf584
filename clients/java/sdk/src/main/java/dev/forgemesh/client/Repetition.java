package dev.forgemesh.client;

import dev.forgemesh.FaultException;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/**
 * Makes calls that may be repeated: while the orchestrator is away, is stopping or is without its
 * store, for as long as the patience lasts. A pause that the mesh asks for is kept.
 */
final class Repetition {
  private static final Duration FIRST_PAUSE = Duration.ofMillis(50);
  private static final Duration LONGEST_PAUSE = Duration.ofSeconds(1);
  private static final int MOST_DOUBLINGS = 10;

  private final Deadline deadline;
  private final Duration patience;

  /** The caller's deadline may be null. */
  Repetition(Deadline deadline, Duration patience) {
    this.deadline = deadline;
    this.patience = patience;
  }

  /** Its answer, or why there is none; each try is given its own deadline. */
  <T> T of(Duration within, Function<Deadline, T> call) {
    long until = 0;
    for (int failures = 0; ; failures++) {
      try {
        return call.apply(earliest(within));
      } catch (StatusRuntimeException thrown) {
        FaultException fault = FaultException.of(thrown);
        until = failures == 0 ? System.nanoTime() + patience.toNanos() : until;
        refuseIfOver(fault);
        Duration pause = pauseAfter(failures, fault);
        if (!passes(fault) || System.nanoTime() + pause.toNanos() > until) {
          throw fault;
        }
        sleep(pause, fault);
      }
    }
  }

  /** Throws if the caller does not wait any more. */
  void refuseIfOver(FaultException lastHeard) {
    Context context = Context.current();
    boolean late = deadline != null && deadline.isExpired();
    if (late || context.getDeadline() != null && context.getDeadline().isExpired()) {
      throw new DeadlineException(lastHeard);
    }
    if (context.isCancelled()) {
      CancellationException cancelled = new CancellationException("the caller waits no more");
      cancelled.initCause(lastHeard);
      throw cancelled;
    }
  }

  /** Waits, but not beyond the caller's own time. */
  void sleep(Duration pause, FaultException because) {
    long nanos = pause.toNanos();
    if (deadline != null) {
      nanos = Math.min(nanos, Math.max(0, deadline.timeRemaining(TimeUnit.NANOSECONDS)));
    }
    try {
      TimeUnit.NANOSECONDS.sleep(nanos);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      throw because;
    }
    refuseIfOver(because);
  }

  /** Whether waiting may help. */
  static boolean passes(FaultException fault) {
    return switch (fault.code()) {
      case UNAVAILABLE -> true;
      // of one try, without a reason of the mesh's: nobody has answered
      case DEADLINE_EXCEEDED -> fault.reason().isEmpty();
      case RESOURCE_EXHAUSTED -> !fault.retryAfter().isZero();
      default -> false;
    };
  }

  /** Full of jitter, and never shorter than what the mesh asks for. */
  static Duration pauseAfter(int failures, FaultException fault) {
    long longest =
        Math.min(
            LONGEST_PAUSE.toNanos(), FIRST_PAUSE.toNanos() << Math.min(failures, MOST_DOUBLINGS));
    Duration pause =
        Duration.ofNanos(longest / 2 + ThreadLocalRandom.current().nextLong(longest / 2));
    return pause.compareTo(fault.retryAfter()) < 0 ? fault.retryAfter() : pause;
  }

  private Deadline earliest(Duration within) {
    Deadline own = Deadline.after(within.toNanos(), TimeUnit.NANOSECONDS);
    return deadline == null ? own : own.minimum(deadline);
  }
}
