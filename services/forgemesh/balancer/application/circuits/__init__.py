"""The circuit of each instance, and who may make the trial calls on it."""
