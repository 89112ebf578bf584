package dev.forgemesh.plugin;

import dev.forgemesh.api.supervisor.v1.HostPhase;

/** A plugin cannot be served, or not any more. */
public final class UnservableException extends Exception {
  private final HostPhase phase;

  UnservableException(HostPhase phase, String message, Throwable cause) {
    super(message, cause);
    this.phase = phase;
  }

  /** How far it came. */
  public HostPhase phase() {
    return phase;
  }
}
