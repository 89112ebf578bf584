/** Runs a plugin in a test: with real ports and a real caller, and without a mesh. */
package dev.forgemesh.plugintest;
