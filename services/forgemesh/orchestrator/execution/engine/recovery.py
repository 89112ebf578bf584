"""Taking up what another process left: open executions, and spans that no collector took."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from forgemesh.faults import Code, Fault, code_of
from forgemesh.faults.workflow import ExecutionNotFound
from forgemesh.orchestrator.execution.engine.arrivals import Arrivals
from forgemesh.orchestrator.execution.engine.engine import Engine
from forgemesh.orchestrator.execution.engine.families import Families
from forgemesh.orchestrator.execution.engine.history import NO_SPANS
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.engine.turn_marker import ALLOWED, TurnMarker
from forgemesh.orchestrator.execution.family import on_close_of, origin_of
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.workflow.definition import Definition
from forgemesh.orchestrator.workflow.definitions import Definitions

_log = logging.getLogger(__name__)

SET_ASIDE = f"{ALLOWED} orchestrators in a row ended, or had to be ended, while they worked on it"
AT_ONCE = 100
"""Executions that go on before the loop turns to others."""


@dataclass(slots=True)
class _Renewed:
    """Definitions with what their plugins say now; `away`: the registry did not answer."""

    found: dict[tuple[str, str, str], Definition] = field(default_factory=dict)
    away: bool = False


class Recovery:
    """Idempotent: run at the start, and again whenever executions were suspended."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        executions: OpenExecutions,
        arrivals: Arrivals,
        families: Families,
        definitions: Definitions,
        marker: TurnMarker,
    ) -> None:
        self._store = store
        self._engine = engine
        self._executions = executions
        self._arrivals = arrivals
        self._families = families
        self._definitions = definitions
        self._marker = marker
        self._spans_sent_again = False

    async def run(self) -> None:
        """
        Take up every open execution that does not run; raises the last error after having tried all of them.

        All are read before the first one goes on, so that whoever does finds its family. What is damaged stays
        suspended, and is told once.
        """
        async with self._arrivals.taking_up:
            await self._run()

    async def _run(self) -> None:
        shard, _ = self._engine.shard
        sent = await self._store.spans_sent(shard)
        behind = [] if self._spans_sent_again else await self._store.executions_after(shard, sent)
        again = {row.key: row for row in behind}
        self._spans_sent_again = True
        failure: Exception | None = None
        found: list[Running] = []
        renewed = _Renewed()
        open_rows = {row.key: row for row in await self._store.open_executions({shard})}
        for key, row in (again | open_rows).items():
            if self._is_set_aside(row):
                continue
            spans_from = await self._store.last_before(key, sent) + 1 if key in again else NO_SPANS
            try:
                running = await self._read(row, spans_from, renewed)
            except Fault as fault:
                self._leave(row, fault)
                failure = fault
            except Exception as error:  # noqa: BLE001 - one bad execution keeps no other one down
                _log.exception("execution %s cannot be taken up; this is a bug", row.execution_id)
                self._executions.suspended.add((row.namespace, row.execution_id))
                failure = error
            else:
                if running is not None:
                    found.append(running)
        failure = await self._go_on(found) or failure
        if failure is not None:
            raise failure

    def _is_set_aside(self, row: ExecutionRow) -> bool:
        """It keeps orchestrators from serving, or bugs interrupt it: it is not taken up again, and told once."""
        name, set_aside = (row.namespace, row.execution_id), self._executions.set_aside
        if row.status.final or not (name in set_aside or self._marker.keeps_hanging(row.key)):
            return False
        if name not in set_aside:
            _log.error("execution %s is set aside: %s", row.execution_id, SET_ASIDE)
            set_aside[name] = SET_ASIDE
        self._executions.suspended.add(name)
        return True

    async def _read(self, row: ExecutionRow, spans_from: int, renewed: _Renewed) -> Running | None:
        stored = await self._definitions.find(row.namespace, row.workflow, row.workflow_version)
        if not row.status.final:
            definition = await self._renewed(stored.definition, renewed)
            return await self._arrivals.find_open(row, definition, spans_from)
        with contextlib.suppress(ExecutionNotFound):  # retention has deleted it meanwhile
            await self._arrivals.load(row, stored.definition, spans_from)
        return None

    async def _renewed(self, definition: Definition, renewed: _Renewed) -> Definition:
        """Each definition once; if the registry does not answer, as it was registered, and nobody asks again."""
        key = (definition.namespace, definition.name, definition.version)
        if key not in renewed.found and not renewed.away:
            try:
                renewed.found[key] = await self._definitions.renewed(definition)
            except Fault as fault:
                renewed.away = True
                _log.warning("what plugins say about repeating counts as it was registered: %s", fault.message)
        return renewed.found.get(key, definition)

    async def _go_on(self, found: Sequence[Running]) -> Exception | None:
        """The last error; whoever cannot go on holds nobody else up."""
        found = sorted(found, key=lambda running: running.key)
        self._engine.expect(found)
        for running in found:
            if origin_of(running.state).parent_id and self._families.parent_of(running) is None:
                running.orphaned = await self._lost_to(running)
        failure: Exception | None = None
        for number, running in enumerate(found, start=1):
            try:
                self._engine.go_on(running)
            except Exception as error:  # noqa: BLE001 - one bad execution keeps no other one down
                _log.exception("execution %s cannot be taken up; this is a bug", running.name[1])
                self._executions.suspended.add(running.name)
                failure = error
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        return failure

    async def _lost_to(self, child: Running) -> str:
        """
        What is to become of a child for which nobody waits: what the step says that had started it, if that step's
        execution was here and stopped waiting. Of what nobody knows nothing is ended.
        """
        if child.state.imported:
            return ""
        try:
            parent = await self._store.find_run(child.parent_run) if child.parent_run else None
            if parent is None or (parent.namespace, parent.execution_id) in self._executions.suspended:
                return ""
            stored = await self._definitions.find(parent.namespace, parent.workflow, parent.workflow_version)
        except Fault as fault:
            _log.warning("what becomes of execution %s, whose parent is gone, is not known: %s", child.name[1], fault)
            return ""
        on_close = on_close_of(child.state, stored.definition)
        if on_close and on_close != "abandon":
            message = "execution %s goes on although %s, which had started it, does not wait for it: it is told to %s"
            _log.warning(message, child.name[1], parent.execution_id, on_close)
        return on_close

    def _leave(self, row: ExecutionRow, fault: Fault) -> None:
        name = (row.namespace, row.execution_id)
        if code_of(fault) is Code.UNAVAILABLE or name not in self._executions.suspended:
            _log.error("execution %s cannot be taken up: %s", row.execution_id, fault)
        self._executions.suspended.add(name)
