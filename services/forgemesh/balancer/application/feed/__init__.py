"""Snapshots and load on their way to subscribers."""
