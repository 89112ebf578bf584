"""The spans of calls, and those that the author adds."""
