package dev.forgemesh.client;

/** The caller's own time is over. What it has started goes on. */
public final class DeadlineException extends RuntimeException {
  DeadlineException(Throwable lastHeard) {
    super("the caller's deadline is over: " + lastHeard.getMessage(), lastHeard);
  }
}
