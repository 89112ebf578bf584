"""The safety net: looks whether every open execution can go on, and counts what it had to save."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forgemesh.faults.service import DataCorrupted
from forgemesh.orchestrator.application.engine import Engine
from forgemesh.orchestrator.application.recovery import Recovery
from forgemesh.orchestrator.domain.liveness import is_stuck
from forgemesh.orchestrator.ports import Store

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Sweep:
    """
    "Every open execution has a timer, an attempt, a wait or a pause": whatever does not is woken, and counted.

    Nothing waits for a sweep, since every wait is woken by an event; `saved` and `leaked` must stay 0.
    """

    store: Store
    engine: Engine
    recovery: Recovery
    clock: Callable[[], int]
    saved: int = 0
    leaked: int = 0
    swept_at: int = 0
    damaged: Callable[[], Sequence[str]] = tuple
    """What is to be said of each record that was found damaged; lists leave these out."""

    async def run(self) -> None:
        """Look once; idempotent."""
        if self.engine.trouble:
            await self.store.drop_expired_results(self.clock())
            self.engine.write_went_well()
        with contextlib.suppress(DataCorrupted):  # it is named; all that can go on does, and is looked after
            await self.recovery.run()
        moved = self.engine.timers.look(self.engine.all_running())
        for running in self.engine.all_running():
            idle = running.written is None or running.written.done()
            overdue = not moved and running.timer_at and running.timer_at + GRACE < self.clock()
            if idle and (is_stuck(running.state) or overdue):
                self.saved += 1
                _log.error("execution %s stood still and is woken; this is a bug", running.state.execution_id)
                self.engine.wake(running)
        self.leaked = self.engine.effects.places.leaked()
        self.swept_at = self.clock()


GRACE = 2_000_000_000
"""Nanoseconds that a timer may be late on a busy machine."""
