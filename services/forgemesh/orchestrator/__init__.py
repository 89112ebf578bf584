"""Runs workflows: definitions, executions, their history, timers and recovery."""
