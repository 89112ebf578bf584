"""The machine's clock."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Time as it passes."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        try:
            async with asyncio.timeout(None if until is None else max(0.0, until - self.monotonic())):
                await event.wait()
        except TimeoutError:
            pass
