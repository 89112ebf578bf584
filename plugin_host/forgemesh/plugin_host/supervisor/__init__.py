"""Starts, watches and restarts the plugin hosts of one machine."""
