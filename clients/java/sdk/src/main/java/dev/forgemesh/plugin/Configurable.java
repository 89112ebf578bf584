package dev.forgemesh.plugin;

/**
 * A plugin with a configuration of a type of its own, whose JSON Schema goes into the manifest.
 *
 * @param <T> the type, a record as a rule
 */
public interface Configurable<T> {
  /**
   * Takes a configuration on: before the start, and again whenever it changes. An exception refuses
   * the change, and the configuration before is given again.
   */
  void configure(T config) throws Exception;
}
