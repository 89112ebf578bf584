"""The clock of the process."""

from __future__ import annotations

import asyncio
import contextlib
import time

from forgemesh.chassis.waking_clock import WakingClock


class SystemClock:
    """Time as it passes; leases last longer by the time for which this process stood still and heard no renewal."""

    def __init__(self, waking: WakingClock) -> None:
        self._waking = waking

    def monotonic(self) -> float:
        return self._waking.now()

    def wall(self) -> float:
        return time.time()

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        while not event.is_set() and (until is None or self.monotonic() < until):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if until is None else until - self.monotonic()):
                    await event.wait()
