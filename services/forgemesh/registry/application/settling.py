"""Work whose result somebody waits for, and waiting that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def settle(work: Callable[[], Awaitable[object]], done: asyncio.Future[object]) -> None:
    """Do the work, also if nobody waits for its result any more."""
    try:
        result = await work()
    except Exception as error:  # noqa: BLE001 - belongs to whoever asked
        if not done.done():
            done.set_exception(error)
        return
    if not done.done():
        done.set_result(result)


async def within(seconds: float, event: asyncio.Event) -> bool:
    """Whether the event came in time."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
