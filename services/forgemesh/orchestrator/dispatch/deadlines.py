"""Very many alarms of which very few ever ring."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeAlias

_log = logging.getLogger(__name__)

TICKS = 64
"""Per second: an alarm rings up to one tick late."""

Alarm: TypeAlias = tuple[int, int]
"""Tick and number."""


class Deadlines:
    """
    Alarms on the running loop's clock, in buckets of one tick each (a hashed timing wheel, Varghese and Lauck 1987).

    One that is set and called off costs two look-ups and leaves nothing behind, where a timer of the loop's own stays
    in its heap until its time has come. The loop sees one timer in all. `on_bug` is told what an alarm was about that
    has failed; the others ring.
    """

    def __init__(self, on_bug: Callable[[Any, Exception], None] = lambda about, error: None) -> None:
        self._on_bug = on_bug
        self._buckets: dict[int, dict[int, tuple[Callable[[Any], None], Any]]] = {}
        self._ticks: list[int] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, then: Callable[[Any], None], about: object) -> Alarm:
        """Call `then(about)` in so many seconds; what is returned calls it off."""
        loop = asyncio.get_running_loop()
        tick = math.ceil((loop.time() + seconds) * TICKS)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._arm(loop)
        number = next(self._numbers)
        bucket[number] = (then, about)
        return tick, number

    def call_off(self, alarm: Alarm) -> None:
        """Without effect once it has rung."""
        bucket = self._buckets.get(alarm[0])
        if bucket is not None:
            bucket.pop(alarm[1], None)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._ticks[0] / TICKS, self._ring, loop) if self._ticks else None

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time() * TICKS + 0.5  # a loop may wake a timer a little early
        try:
            while self._ticks and (self._ticks[0] <= now or not self._buckets[self._ticks[0]]):
                bucket = self._buckets[self._ticks[0]]
                while bucket:
                    then, about = bucket.pop(next(iter(bucket)))
                    try:
                        then(about)
                    except Exception as error:  # noqa: BLE001 - the others have nothing to do with it
                        _log.exception("an alarm has failed; this is a bug")
                        self._on_bug(about, error)
                del self._buckets[heappop(self._ticks)]
        finally:
            self._arm(loop)
