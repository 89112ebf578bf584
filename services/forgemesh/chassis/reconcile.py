"""A loop that brings the world to where it should be: on a nudge, and slowly all by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from forgemesh.chassis.backoff import drawn_pause

_log = logging.getLogger(__name__)


class ReconcileLoop:
    """
    Runs an idempotent function that takes no input whenever it is nudged, and at least every `period` seconds.

    A failing run is logged and tried again after a back-off of up to `period`.
    """

    def __init__(self, name: str, function: Callable[[], Awaitable[None]], *, period: float) -> None:
        self._name = name
        self._function = function
        self._period = period
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        """Run soon; several nudges before that run are one."""
        self._nudged.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            self._nudged.clear()
            try:
                await self._function()
                failures = 0
            except Exception:  # noqa: BLE001 - the loop outlives its function's mistakes
                failures += 1
                _log.exception("%s failed, run %d in a row", self._name, failures)
            wait = self._period
            if failures:
                wait = drawn_pause(failures, first=0.1, most=self._period, least=0.5)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):  # wait_for of Python 3.11 loses a cancellation beside a nudge
                    await self._nudged.wait()
