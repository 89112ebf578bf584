package dev.forgemesh.plugin;

import dev.forgemesh.Payload;

/** Is told what becomes of a call. */
interface Receiver {
  /** Its operation has begun to run. */
  default void begun(RunningCall call) {}

  /** Its outcome is known; told once. */
  void answered(RunningCall call);

  /** Its operation no longer runs; told once, with the answer or after it. */
  default void released(RunningCall call) {}

  /** How far it is. */
  default void progressed(RunningCall call, double fraction, String note, Payload details) {}
}
