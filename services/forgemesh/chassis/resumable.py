"""A stream from another process that is opened again whenever it breaks."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import grpc

T = TypeVar("T")

_log = logging.getLogger(__name__)

INITIAL_BACKOFF = 0.1
MAX_BACKOFF = 2.0


async def follow(
    name: str,
    open_stream: Callable[[], AsyncIterator[T]],
    *,
    silence: float,
    on_break: Callable[[], None] = lambda: None,
) -> AsyncIterator[T]:
    """
    Yield what `open_stream()` yields, opening it again after a break; it reads its own resume point each time.

    A stream that stays silent for `silence` seconds counts as broken (its server sends heartbeats more often).
    Back-off is full jitter from 0.1 to 2 s and starts over once a message has come.
    """
    failures = 0
    while True:
        stream = open_stream()
        try:
            while True:
                async with asyncio.timeout(silence):
                    message = await anext(stream)
                failures = 0
                yield message
        except StopAsyncIteration:
            reason = "it ended"
        except TimeoutError:
            reason = f"silent for {silence:g} s"
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name}: {error.details()}"
        finally:
            cancel = getattr(stream, "cancel", None)
            if cancel is not None:
                cancel()
        failures += 1
        on_break()
        log = _log.warning if failures == 1 else _log.debug
        log("%s broke (%s), opening it again", name, reason)
        await asyncio.sleep(random.uniform(0, min(MAX_BACKOFF, INITIAL_BACKOFF * 2**failures)))
