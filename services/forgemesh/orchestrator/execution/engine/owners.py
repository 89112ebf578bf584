"""Who runs an execution: this process, another one or nobody for the moment, or nobody any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from forgemesh.orchestrator.execution.engine.history import row_of
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.ports.histories import HistoryStore
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow


@dataclass(frozen=True, slots=True)
class Local:
    """This process runs it. Its end may be decided already, and not durable yet."""

    running: Running


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """It is open and does not run here: its shard is another process's, or nobody has taken it up yet."""

    row: ExecutionRow


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended, and that is durable."""

    row: ExecutionRow


Found: TypeAlias = Local | Elsewhere | Ended


class Owners:
    """Asks memory first: what runs here costs no look at the store."""

    def __init__(self, store: HistoryStore, executions: OpenExecutions) -> None:
        self._store = store
        self._executions = executions

    async def find(self, namespace: str, execution_id: str, run_id: str = "") -> Found:
        """The run that is named or, without a name, the one that has the id; raises as `history.row_of`."""
        running = self.local(namespace, execution_id, run_id)
        if running is not None:
            return Local(running)
        row = await row_of(self._store, namespace, execution_id, run_id)
        return self.of(row)

    def of(self, row: ExecutionRow) -> Found:
        """Who runs it at this moment."""
        if row.status.final:
            return Ended(row)
        running = self.local(row.namespace, row.execution_id, row.run_id)  # it may have come since the row was read
        return Local(running) if running is not None else Elsewhere(row)

    def local(self, namespace: str, execution_id: str, run_id: str = "") -> Running | None:
        """What runs here; None says nothing about whether somebody else runs it."""
        return self._executions.find(namespace, execution_id, run_id)
