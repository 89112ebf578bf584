"""Definitions and histories in SQLite."""
