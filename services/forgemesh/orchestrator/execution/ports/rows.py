"""What the store shows of an execution without its history."""

from __future__ import annotations

from dataclasses import dataclass

from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.shard import SOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRow:
    """
    What lists show of an execution; `key` is the store's own name for it, times are Unix nanoseconds.

    `incidents` counts the steps that wait for a person. Ids can be given again, `run_id` and what is called so cannot.
    `shard` is the id of the one that the execution belongs to for good.
    """

    key: int
    namespace: str
    execution_id: str
    workflow: str
    workflow_version: str
    status: Status
    started_at: int
    ended_at: int
    trace_id: str
    sequence: int
    incidents: int = 0
    priority: int = 0
    concurrency_key: str = ""
    parent_id: str = ""
    schedule_id: str = ""
    run_id: str = ""
    parent_run: str = ""
    schedule_incarnation: str = ""
    shard: int = SOLE


@dataclass(frozen=True, slots=True)
class Standing:
    """What of an execution's row changes."""

    status: Status
    ended_at: int = 0
    incidents: int = 0


@dataclass(frozen=True, slots=True)
class SlotRow:
    """An open execution with a concurrency key: whether it has a place, or waits for one."""

    namespace: str
    workflow: str
    concurrency_key: str
    execution_id: str
    granted: bool
