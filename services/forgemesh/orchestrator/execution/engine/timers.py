"""When open executions have something to do although nothing happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from forgemesh.orchestrator.execution.decide import next_wake
from forgemesh.orchestrator.execution.engine.running import Running

_log = logging.getLogger(__name__)

JUMP = 500_000_000
"""Nanoseconds by which a clock has to be off before anybody cares."""


@dataclass(slots=True, eq=False)
class Timers:
    """
    One for each execution, on the loop's clock; `ring` is told whose time has come.

    `clock` is that of events, Unix nanoseconds, and `wall_ahead` by how many the wall clock is ahead of it: waits until
    a moment go by the wall clock, everything else lasts as long as it lasts. `ahead` is what it was at the last look.
    """

    clock: Callable[[], int]
    wall_ahead: Callable[[], int]
    ring: Callable[[Running], None]
    ahead: int = 0
    _seen: tuple[int, int] | None = None

    def set(self, running: Running) -> None:
        """Its state has changed."""
        at = next_wake(running.state, self.ahead) or 0
        if at == running.timer_at:
            return
        self.off(running)
        running.timer_at = at
        if at:
            wait = max(0, at - self.clock()) / 1e9
            running.timer = asyncio.get_running_loop().call_later(wait, self.ring, running)

    def off(self, running: Running) -> None:
        """It rings no more."""
        if running.timer is not None:
            running.timer.cancel()
        running.timer, running.timer_at = None, 0

    def look(self, everybody: Iterable[Running]) -> bool:
        """
        Whether the wall clock was put, or the machine slept, since the last look: every timer is set anew then.

        The loop's clock stands still while the machine sleeps, and follows no wall clock.
        """
        asleep, ahead = self.clock() - int(asyncio.get_running_loop().time() * 1e9), self.wall_ahead()
        before = self._seen = self._seen or (asleep, 0)
        if max(abs(asleep - before[0]), abs(ahead - before[1])) < JUMP:
            return False
        self._seen, self.ahead = (asleep, ahead), ahead
        slept, put = (asleep - before[0]) / 1e9, (ahead - before[1]) / 1e9
        _log.warning("the machine slept for %.1f s, its wall clock was put by %.1f s: timers are set anew", slept, put)
        for running in everybody:
            self.off(running)
            self.set(running)
        return True
