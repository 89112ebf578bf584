"""Executions that start by the clock."""
