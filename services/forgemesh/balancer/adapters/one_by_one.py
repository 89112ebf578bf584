"""What takes a millisecond each is a stall when hundreds do it in one round of the event loop."""

from __future__ import annotations

import asyncio


class OneByOne:
    """Lets whoever asks through, in the order in which they ask, one in each round of the event loop."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(1)

    async def turn(self) -> None:
        """Returns when it is the caller's turn."""
        async with self._gate:
            await asyncio.sleep(0)
