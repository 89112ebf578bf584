"""Executions that are not run for a moment: what memory knew of them is void, and they are taken up from the store."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from forgemesh.chassis.containment import contained
from forgemesh.chassis.subscribers import Subscribers
from forgemesh.orchestrator.execution.decide import NOTHING
from forgemesh.orchestrator.execution.effects import Effect, unsent_in
from forgemesh.orchestrator.execution.engine.open_executions import OpenExecutions
from forgemesh.orchestrator.execution.engine.running import Running

_log = logging.getLogger(__name__)

TRIES = 3
"""So often in a row a bug may interrupt an execution, before that is set aside."""
IN_A_ROW = 60_000_000_000
"""Nanoseconds after which one interruption has nothing to do with the one before."""


class Suspension:
    """
    A bug (an exception that nobody expects) in what is done for an execution ends nothing but that execution's turn: it
    is logged and counted in `bugs`, and the execution is taken up again, as after a crash. What a bug interrupts TRIES
    times in a row is set aside with the reason, until it is terminated or the orchestrator is started again.

    Attempts that are known not to have been sent wait again then; others count as lost. `trouble` says why the store
    takes no writes, if it takes none.
    """

    def __init__(
        self,
        executions: OpenExecutions,
        now: Callable[[], int],
        unsent_calls: Callable[[Running], Mapping[str, int]],
        drop: Callable[[Running], None],
    ) -> None:
        self._executions = executions
        self._now = now
        self._unsent_calls = unsent_calls
        self._drop = drop
        self.on_suspended: Subscribers[[]] = Subscribers("an execution that was suspended")
        self.on_trouble: Subscribers[[]] = Subscribers("the state of the store")
        self.bugs = 0
        self.trouble = ""
        self._unsent: dict[tuple[str, str, str], dict[str, int]] = {}
        self._unwritten: dict[tuple[str, str], Future[Any]] = {}
        self._interrupted: dict[tuple[str, str, str], tuple[int, int]] = {}
        """How often in a row, and when (Unix nanoseconds)."""

    def broke(self, running: Running, error: Exception, unsent: Mapping[str, int] = NOTHING) -> None:
        """A bug has interrupted what is done for it; `unsent` are attempts by path that had not been sent."""
        self.bugs += 1
        name, times = running.name, self._count(running)
        text = "a bug has interrupted execution %s, time %d in a row (%d in all): it is taken up again from the store"
        _log.error(text, name[1], times, self.bugs, exc_info=error, extra={"execution_id": name[1]})
        if running.ended or self._executions.find(*name) not in (None, running):
            return
        if times >= TRIES:
            kind = type(error).__name__
            reason = f"a bug of the orchestrator ({kind}) has interrupted it {times} times in a row; see its log"
            self._executions.set_aside.setdefault(name, reason)
            _log.error("execution %s is set aside: %s", name[1], reason)
        self.forsake(running, unsent, haste=times == 1)

    def unwritten(self, running: Running, error: BaseException | None) -> None:
        """The store has not taken what was decided."""
        _log.error("execution %s is suspended: %s", running.name[1], error)
        self.trouble = str(error)
        self.on_trouble.tell()
        self.forsake(running)

    def write_went_well(self) -> None:
        """The store takes writes; if it did not before, that is over."""
        if self.trouble:
            self.trouble = ""
            self.on_trouble.tell()

    def forsake(self, running: Running, unsent: Mapping[str, int] = NOTHING, *, haste: bool = True) -> None:
        """Forget it, and have it taken up from the store: in `haste` at once, or with the next sweep."""
        if not self._executions.has(running):
            return
        self._unsent[running.run] = {**self._unsent_calls(running), **unsent}
        self._executions.suspended.add(running.name)
        if running.written is not None and not running.written.done():
            self._unwritten[running.name] = running.written
        with contained(f"what execution {running.name[1]} leaves behind"):
            self._drop(running)
        if haste:
            self.on_suspended.tell()

    def skipped(self, running: Running, effects: Iterable[Effect]) -> None:
        """Of one that was forsaken more has become durable; nothing of that was acted upon."""
        if running.run in self._unsent:
            self._unsent[running.run].update(unsent_in(effects))

    async def settled(self, name: tuple[str, str]) -> None:
        """Return once its history in the store is all that there will be of it."""
        written = self._unwritten.pop(name, None)
        if written is not None:
            await asyncio.wait([written])

    def unsent(self, running: Running) -> Mapping[str, int]:
        """The attempts by path of one that is taken up that are known not to have been sent; told once."""
        return self._unsent.pop(running.run, NOTHING)

    def _count(self, running: Running) -> int:
        now = self._now()
        times, last = self._interrupted.get(running.run, (0, 0))
        times = times + 1 if now - last < IN_A_ROW else 1
        self._interrupted = {run: one for run, one in self._interrupted.items() if now - one[1] < IN_A_ROW}
        self._interrupted[running.run] = times, now
        return times
