"""Use cases of the orchestrator, over ports."""
