"""Executions as files that another mesh can take over."""
