package dev.forgemesh.plugin;

import dev.forgemesh.Payload;

/** A plugin whose successor begins with what it knew. */
public interface Stateful {
  /**
   * What a successor begins with: anything that JSON can hold, or a Payload, at most 3 MiB; null
   * for nothing.
   */
  Object saveState() throws Exception;

  /**
   * Takes what a predecessor left, after the start. An exception keeps the instance from serving,
   * and the predecessor goes on.
   *
   * @param version the plugin's version that wrote it
   */
  void restoreState(Payload state, String version) throws Exception;
}
