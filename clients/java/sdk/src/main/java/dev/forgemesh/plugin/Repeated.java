package dev.forgemesh.plugin;

import dev.forgemesh.api.plugin.v1.Idempotency;

/** What a repetition of a call does. */
public enum Repeated {
  /** The author does not say: repeated after a crash or a lost connection, never hedged. */
  UNSAID(Idempotency.IDEMPOTENCY_UNSPECIFIED),
  /** No harm: a call may also be hedged, and used as a trial call. */
  HARMLESS(Idempotency.IDEMPOTENCY_IDEMPOTENT),
  /** Harm: never repeated while the fate of an earlier call is unknown. */
  HARMFUL(Idempotency.IDEMPOTENCY_NOT_IDEMPOTENT);

  private final Idempotency published;

  Repeated(Idempotency published) {
    this.published = published;
  }

  Idempotency published() {
    return published;
  }
}
