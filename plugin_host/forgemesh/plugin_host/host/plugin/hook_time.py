"""How long a hook of the author may take, known afterwards even where nothing could interrupt it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator


class TookTooLong(Exception):
    """The author's code needed more time than it had."""


@contextlib.asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[None]:
    """
    Raise TookTooLong if the block needs more than `seconds`.

    What waits is cancelled then; what blocks the event loop, or goes on although it is cancelled, ends by itself, and
    is as late.
    """
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds) as patience:
            yield
    except TimeoutError as error:
        if patience.expired():
            raise TookTooLong(f"it took longer than {seconds:.3g} s") from error
        raise
    took = time.monotonic() - began
    if took > seconds:
        raise TookTooLong(f"it took {took:.3g} s, more than {seconds:.3g} s")
