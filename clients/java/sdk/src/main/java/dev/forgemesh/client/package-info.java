/** Starts, watches and steers workflows of a mesh. */
package dev.forgemesh.client;
