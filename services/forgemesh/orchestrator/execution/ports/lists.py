"""Lists of executions, by page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.state import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """Which executions are meant: every field that is set narrows the choice; moments are Unix nanoseconds."""

    namespace: str
    workflows: tuple[str, ...] = ()
    workflow_version: str = ""
    statuses: tuple[Status, ...] = ()
    open_only: bool = False
    incidents_only: bool = False
    id_prefix: str = ""
    started_from: int = 0
    started_before: int = 0
    parent_id: str = ""
    schedule_id: str = ""
    concurrency_key: str = ""
    parent_run: str = ""
    schedule_incarnation: str = ""


class ExecutionOrder(Enum):
    """In which order executions are listed; what is open has the latest of all ends."""

    STARTED_DESCENDING = "STARTED_DESCENDING"
    STARTED_ASCENDING = "STARTED_ASCENDING"
    ENDED_DESCENDING = "ENDED_DESCENDING"
    ENDED_ASCENDING = "ENDED_ASCENDING"


@dataclass(frozen=True, slots=True)
class Page:
    """Some executions, and the token of those after them; empty if there are none."""

    rows: list[ExecutionRow]
    next_token: str


class ExecutionLists(Protocol):
    """Lists what was acknowledged."""

    async def executions(self, wanted: ExecutionFilter, order: ExecutionOrder, token: str, limit: int) -> Page:
        """Sees everything that was acknowledged; raises InvalidRequest for a token of another question."""
