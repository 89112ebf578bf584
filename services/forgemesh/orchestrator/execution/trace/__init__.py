"""The spans of an execution, and their way to the collector."""
