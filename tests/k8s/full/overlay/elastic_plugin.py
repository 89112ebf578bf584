"""Plugins that are to be scaled: one by the calls that wait for it, one by the processor time that it takes."""

import asyncio
import time

from forgemesh.plugin import operation, plugin


@plugin("bench.holding", version="1.0.0", max_concurrency=4)
class Holding:
    """Takes as long as it is told, and nothing else."""

    @operation(idempotent=True, timeout="5m")
    async def hold(self, seconds: float) -> float:
        """Wait."""
        await asyncio.sleep(seconds)
        return seconds


@plugin("bench.burning", version="1.0.0", max_concurrency=4)
class Burning:
    """Keeps a processor busy for as long as it is told."""

    @operation(idempotent=True, timeout="5m")
    def burn(self, seconds: float) -> float:
        """Count, in a thread."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(10_000))
        return seconds
