"""Callers and their calls: what runs, what waits, and which plugins they miss."""
