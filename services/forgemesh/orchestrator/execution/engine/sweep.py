"""The safety net: looks whether every open execution can go on, and counts what it had to save."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.execution.engine.engine import Engine
from forgemesh.orchestrator.execution.engine.executor import Executor
from forgemesh.orchestrator.execution.engine.recovery import Recovery
from forgemesh.orchestrator.execution.engine.running import Running
from forgemesh.orchestrator.execution.liveness import is_stuck
from forgemesh.orchestrator.execution.ports.forgetting import ForgettingStore

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Sweep:
    """
    "Every open execution has a timer, an attempt, a wait or a pause": whatever does not is woken, and counted. "Every
    open attempt is carried out by somebody": of one that is not, the execution is taken up again, and counted. What
    executions have ordered that do not run here is taken back.

    Nothing waits for a sweep, since every wait is woken by an event; `saved` and `leaked` must stay 0. `damaged` says
    what is to be said of each record that was found damaged; lists leave these out.
    """

    store: ForgettingStore
    engine: Engine
    executor: Executor
    recovery: Recovery
    clock: Callable[[], int]
    damaged: Callable[[], Sequence[str]] = tuple
    saved: int = 0
    leaked: int = 0
    swept_at: int = 0

    async def run(self) -> None:
        """Look once; idempotent."""
        if self.engine.trouble:
            await self.store.drop_expired_results(self.clock())
            self.engine.write_went_well()
        with contextlib.suppress(DataCorrupted):  # it is named; all that can go on does, and is looked after
            await self.recovery.run()
        moved = self.engine.look_at_the_clock()
        for running in self.engine.all_running():
            idle = running.written is None
            overdue = not moved and running.timer_at and running.timer_at + GRACE < self.clock()
            if idle and (is_stuck(running.state) or overdue):
                self.saved += 1
                _log.error("execution %s stood still and is woken; this is a bug", running.state.execution_id)
                self.engine.wake(running)
            elif idle and not self.engine.stopping:
                self._look_after_attempts(running)
        self._take_strays_back()
        self.leaked = self.executor.leaked_slots()
        self.swept_at = self.clock()

    def _look_after_attempts(self, running: Running) -> None:
        undriven = self.executor.undriven(running)
        if undriven:
            self.saved += 1
            named = ", ".join(f"{step.path} (attempt {step.attempts})" for step in undriven[:_MOST_NAMED])
            text = "nobody carries out %d open attempts of execution %s: %s; it is taken up again; this is a bug"
            _log.error(text, len(undriven), running.name[1], named, extra={"execution_id": running.name[1]})
            self.engine.forsake(running)

    def _take_strays_back(self) -> None:
        for run in self.executor.stray():
            self.saved += 1
            _log.error("calls of execution %s, which does not run here, are taken back; this is a bug", run[1])
            self.executor.forget_run(run)


_MOST_NAMED = 5
GRACE = 2_000_000_000
"""Nanoseconds that a timer may be late on a busy machine."""
