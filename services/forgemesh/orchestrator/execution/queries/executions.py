"""Looking at executions; what is shown is durable."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from forgemesh.chassis.callers import caller
from forgemesh.chassis.turnstile import Turnstile
from forgemesh.faults import Fault
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.checkpoint import Checkpoint, checkpoint_at
from forgemesh.orchestrator.execution.engine.engine import Engine
from forgemesh.orchestrator.execution.engine.history import pages, read_state, row_of
from forgemesh.orchestrator.execution.engine.owners import Elsewhere, Ended, Local, Owners
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.explain import Explanation, explain
from forgemesh.orchestrator.execution.fold import restore
from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder, Page
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from forgemesh.orchestrator.execution.ports.store import Store
from forgemesh.orchestrator.execution.progress import expected_end, progress
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.workflow.definitions import Definitions

WATCH_PAGE = 200
READING = 8
"""Watches that read at a time; the others wait for their caller's turn, and whoever reads once waits for these only."""
SOON = 10
"""Writes that follow one another before an answer is read from the store."""
NEVER = 1 << 62
"""A sequence number that no event reaches."""


@dataclass(frozen=True, slots=True)
class View:
    """An execution as people see it: with what is known of it beyond its history."""

    state: ExecutionState
    progress: float
    expected_end: int
    suspended: str
    said: dict[str, tuple[float, str]]


class Executions:
    """Use cases over the engine and the store. `checksum` is that of an event as the store keeps it."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        owners: Owners,
        definitions: Definitions,
        clock: Callable[[], int],
        checksum: Callable[[e.Event], int],
    ) -> None:
        self._store = store
        self._engine = engine
        self._owners = owners
        self._definitions = definitions
        self._clock = clock
        self._checksum = checksum
        self._reading = Turnstile(READING)

    async def get(self, namespace: str, execution_id: str, run_id: str = "") -> ExecutionState:
        """As far as it is durable; raises what `row` raises."""
        return await self.stored(await self.row(namespace, execution_id, run_id))

    async def stored(self, row: ExecutionRow) -> ExecutionState:
        """The same of an execution that was found."""
        found = await self._definitions.find(row.namespace, row.workflow, row.workflow_version)
        return await self._whole(await read_state(self._store, row, found.definition))

    async def now(self, running: Running) -> ExecutionState:
        """
        The same of one that runs here, or did just now: as memory has it once all of that is durable. Its history is
        read if no such moment comes soon, or if what memory knows of it has become void.

        What runs goes on: look at it before the next await.
        """
        name = *running.name, running.state.run_id
        with contextlib.suppress(Fault):  # of what was decided since: nobody has asked for that, and it is not shown
            for _ in range(SOON):
                await running.durable()
                if running.written is None and (running.ended or self._owners.local(*name) is running):
                    return await self._whole(running.state)
        return await self.get(*name)

    async def _whole(self, state: ExecutionState) -> ExecutionState:
        """With what only the store knows."""
        if state.left_to_do:
            state.handed_over = {path: await self._named(run) for path, run in await self._given(state)}
        return state

    async def _given(self, state: ExecutionState) -> list[tuple[str, str]]:
        """What was left to do and is a fork's since."""
        claims = await self._store.claims(state.run_id)
        return [(path, claims[path]) for path in state.left_to_do if path in claims]

    async def _named(self, run: str) -> str:
        row = await self._store.find_run(run)
        return f"{row.execution_id}@{run}" if row is not None else run

    def view(self, state: ExecutionState) -> View:
        """The state with how far it is and whether anybody runs it."""
        running = self._owners.local(state.namespace, state.execution_id, state.run_id)
        said = {path: (one.fraction, one.note) for path, one in running.said.items()} if running is not None else {}
        fractions = {path: fraction for path, (fraction, _) in said.items()}
        suspended = self.suspended(state) if running is None and not state.status.final else ""
        end = expected_end(state, fractions, self._clock()) if not suspended else 0
        return View(state, progress(state, fractions), end, suspended, said)

    def suspended(self, state: ExecutionState) -> str:
        """Why nobody runs an open execution at this moment."""
        set_aside = self._engine.set_aside(state.namespace, state.execution_id)
        return set_aside or self._engine.trouble or "its orchestrator has not taken it up yet"

    def _suspension(self, state: ExecutionState) -> str:
        """The same, with what ends it."""
        if self._engine.set_aside(state.namespace, state.execution_id):
            return f"{self.suspended(state)}; end it by `forgemesh execution terminate {state.execution_id}`"
        cause, end = self.suspended(state), "; it goes on by itself"
        return cause if cause.endswith(end) else cause + end

    async def row(self, namespace: str, execution_id: str, run_id: str = "") -> ExecutionRow:
        """See history.row_of."""
        return await row_of(self._store, namespace, execution_id, run_id)

    async def page(self, wanted: ExecutionFilter, order: ExecutionOrder, token: str, limit: int) -> Page:
        """Reads what was acknowledged before."""
        return await self._store.executions(wanted, order, token, limit)

    async def watch(
        self, namespace: str, execution_id: str, from_sequence: int, run_id: str = ""
    ) -> AsyncIterator[list[e.Event]]:
        """Durable events from `from_sequence` on, as they come; ends after the last one of the run."""
        async with self._reading.passing(caller()):
            row = await self.row(namespace, execution_id, run_id)
        following = min(max(1, from_sequence), NEVER)
        while True:
            running = self._owners.local(namespace, execution_id, row.run_id)
            changed = running.change() if running is not None else None
            async with self._reading.passing(caller()):
                events = await self._store.events(row.key, following, WATCH_PAGE)
            if events:
                over = _end_in(events)
                yield events[:over]
                following = events[-1].sequence + 1
                if over is not None:
                    return
            elif changed is not None:
                await changed.wait()
            elif (row := await self.row(namespace, execution_id, row.run_id)).sequence < following:
                if not row.status.final:
                    raise ExecutionSuspended(execution_id)
                return

    async def explain(self, namespace: str, execution_id: str, run_id: str = "") -> Explanation:
        """Why it does not move; raises what `row` raises."""
        match await self._owners.find(namespace, execution_id, run_id):
            case Local(running):
                return self._engine.explain(running)
            case Elsewhere(row):
                state = await self.stored(row)
                reason = "" if state.status.final else self._suspension(state)
                return explain(state, self._clock(), {}, reason, 0)
            case Ended(row):
                return explain(await self.stored(row), self._clock(), {}, "", 0)

    async def checkpoints(
        self, namespace: str, execution_id: str, after: int, limit: int, run_id: str = ""
    ) -> tuple[ExecutionRow, Sequence[Checkpoint]]:
        """Those with a sequence number above `after`, in order of time."""
        row = await self.row(namespace, execution_id, run_id)
        found: list[Checkpoint] = []
        async for state, event in self.replay(row, upto=NEVER):
            checkpoint = checkpoint_at(state, event, self._checksum(event)) if event.sequence > after else None
            if checkpoint is not None:
                found.append(checkpoint)
                if len(found) == limit:
                    break
        return row, found

    async def replay(self, row: ExecutionRow, upto: int) -> AsyncIterator[tuple[ExecutionState, e.Event]]:
        """
        The state after each event up to a sequence number; ended iterations of maps are kept in it.

        Raises ExecutionNotFound if it is deleted meanwhile.
        """
        stored = await self._definitions.find(row.namespace, row.workflow, row.workflow_version)
        state = ExecutionState(row.namespace, row.execution_id, stored.definition, run_id=row.run_id, remember=True)
        async for events in pages(self._store, row):
            for event in events:
                if event.sequence > upto:
                    return
                if not restore(state, event):
                    return
                yield state, event

    async def newest_checkpoint(self, row: ExecutionRow) -> Checkpoint | None:
        """The last point at which a step had ended."""
        newest = None
        async for state, event in self.replay(row, upto=NEVER):
            newest = checkpoint_at(state, event, self._checksum(event)) or newest
        return newest


def _end_in(events: Sequence[e.Event]) -> int | None:
    """How many of the events there are up to the end of the execution; None if it is not among them."""
    ends = (number for number, event in enumerate(events, start=1) if isinstance(event.fact, _ENDS))
    return next(ends, None)


_ENDS = (e.ExecutionSucceeded, e.ExecutionFailed)
