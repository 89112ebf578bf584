"""Drives open executions: decide, commit, only then act."""
