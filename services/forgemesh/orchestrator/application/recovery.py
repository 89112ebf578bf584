"""Taking up what another process left: open executions, and spans that no collector took."""

from __future__ import annotations

import logging

from forgemesh.faults import Code, Fault, code_of
from forgemesh.orchestrator.application.definitions import Definitions
from forgemesh.orchestrator.application.engine import Engine
from forgemesh.orchestrator.ports import ExecutionRow, Store

_log = logging.getLogger(__name__)


class Recovery:
    """Idempotent: run at the start, and again whenever executions were suspended."""

    def __init__(self, store: Store, engine: Engine, definitions: Definitions) -> None:
        self._store = store
        self._engine = engine
        self._definitions = definitions
        self._spans_sent_again = False

    async def run(self) -> None:
        """
        Take up every open execution that does not run, and try all of them; then raise the last error.

        What is damaged stays suspended, and is told once.
        """
        sent = await self._store.spans_sent()
        again = {} if self._spans_sent_again else {row.key: row for row in await self._store.executions_after(sent)}
        self._spans_sent_again = True
        failure: Exception | None = None
        open_rows = {row.key: row for row in await self._store.open_executions()}
        for key, row in (again | open_rows).items():
            spans_from = await self._store.last_before(key, sent) + 1 if key in again else 1 << 62
            try:
                stored = await self._definitions.find(row.namespace, row.workflow, row.workflow_version)
                if not row.status.final:
                    await self._engine.take_up(row, stored.definition, spans_from)
                else:
                    await self._engine.load(row, stored.definition, spans_from)
            except Fault as fault:
                self._leave(row, fault)
                failure = fault
            except Exception as error:  # noqa: BLE001 - one bad execution keeps no other one down
                _log.exception("execution %s cannot be taken up; this is a bug", row.execution_id)
                self._engine.suspended.add((row.namespace, row.execution_id))
                failure = error
        if failure is not None:
            raise failure

    def _leave(self, row: ExecutionRow, fault: Fault) -> None:
        name = (row.namespace, row.execution_id)
        if code_of(fault) is Code.UNAVAILABLE or name not in self._engine.suspended:
            _log.error("execution %s cannot be taken up: %s", row.execution_id, fault)
        self._engine.suspended.add(name)
