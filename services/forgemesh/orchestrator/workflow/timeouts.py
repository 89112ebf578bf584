"""How long a call may take, by what its step and its operation say."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from forgemesh.orchestrator.workflow.definition import (
    Timeouts,
)


@lru_cache(maxsize=1024)
def lasting(timeouts: Timeouts, start_to_close: float) -> Timeouts:
    """The timeouts with this one (seconds) in place of theirs."""
    return replace(timeouts, start_to_close=start_to_close)
