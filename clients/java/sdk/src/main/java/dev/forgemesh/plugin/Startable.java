package dev.forgemesh.plugin;

/** A plugin that has something to do before its first call. */
public interface Startable {
  /** Called once, after it is configured. An exception keeps the instance from serving. */
  void start() throws Exception;
}
