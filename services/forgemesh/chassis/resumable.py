"""A stream from another process that is opened again whenever it breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import TypeVar

import grpc

from forgemesh.chassis.backoff import drawn_pause
from forgemesh.chassis.status import from_rpc_error
from forgemesh.chassis.waking_clock import WakingClock, patience
from forgemesh.faults import Fault

T = TypeVar("T")

_log = logging.getLogger(__name__)

INITIAL_BACKOFF = 0.1
MAX_BACKOFF = 2.0


async def follow(
    name: str,
    open_stream: Callable[[], AsyncIterable[T]],
    *,
    silence: float,
    on_break: Callable[[], None] = lambda: None,
    on_refusal: Callable[[Fault], None] = lambda fault: None,
    clock: WakingClock | None = None,
) -> AsyncGenerator[T, None]:
    """
    Yield what `open_stream()` yields, opening it again after a break; it reads its own resume point each time.

    A stream that stays silent for `silence` seconds counts as broken (its server sends heartbeats more often); the time
    for which this process stood still is none of it. `clock` is that of the process, if it has one.
    `on_refusal` is told the fault with which the server ended the stream, before that is opened again.
    Back-off is full jitter from 0.1 to 2 s and starts over once a message has come.
    """
    failures = 0
    while True:
        stream = open_stream()
        messages = aiter(stream)
        try:
            while True:
                async with patience(silence, clock):
                    message = await anext(messages)
                failures = 0
                yield message
        except StopAsyncIteration:
            reason = "it ended"
        except TimeoutError:
            reason = f"silent for {silence:g} s"
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name}: {error.details()}"
            on_refusal(from_rpc_error(error))
        finally:
            cancel = getattr(stream, "cancel", None)
            if cancel is not None:
                cancel()
        failures += 1
        on_break()
        log = _log.warning if failures == 1 else _log.debug
        log("%s broke (%s), opening it again", name, reason)
        await asyncio.sleep(drawn_pause(failures, first=INITIAL_BACKOFF, most=MAX_BACKOFF))
