/**
 * Serves operations to a mesh: a plugin written in Java.
 *
 * <p>A class with {@link dev.forgemesh.plugin.Plugin} and methods with {@link
 * dev.forgemesh.plugin.Operation} is a plugin; {@link dev.forgemesh.plugin.PluginHost#run} serves
 * it.
 */
package dev.forgemesh.plugin;
