"""The registry as a supervisor uses it."""
