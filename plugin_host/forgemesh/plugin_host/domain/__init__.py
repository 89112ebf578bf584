"""The arithmetic of a plugin host: who may run, who may send."""
