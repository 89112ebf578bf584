"""The time of day, and waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
import time

LONGEST_SLEEP = 30.0
"""Seconds. A timer runs by another clock, which stands still while the machine sleeps and does not follow a jump."""


class SystemWallClock:
    """See schedule_ports.WallClock."""

    def now(self) -> int:
        return time.time_ns()

    async def wait(self, event: asyncio.Event, until: int | None) -> None:
        while not event.is_set() and (until is None or self.now() < until):
            seconds = None if until is None else min(LONGEST_SLEEP, (until - self.now()) / 1e9)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await event.wait()
