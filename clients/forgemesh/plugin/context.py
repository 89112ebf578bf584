"""What an operation may know about the call that it answers."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from forgemesh.language.json_value import NotJson, read_json
from forgemesh.plugin.failure import OperationCancelled
from forgemesh.plugin.payload import JSON, Payload, written

MOST_DETAILS = 64 * 1024
"""Bytes of what the next attempt is told."""

Report: TypeAlias = Callable[[float, str, Payload | None], None]


def _unheard(fraction: float, note: str, details: Payload | None) -> None:
    """Nobody listens to progress."""


class Context:
    """
    One call: whose it is, how long it may take, whether anybody still wants it.

    The host makes it; a test of an operation makes its own, with what it needs. Delivery is at least once: the
    `idempotency_key` stays the same over all attempts at a step, `attempt` counts them from 1. `heartbeat_details` is
    what an earlier attempt last said with its progress: as JSON gives it back, a `Payload` if it is none, or None.
    """

    __slots__ = (
        "_cancellation",
        "_cancelled",
        "_expires",
        "_report",
        "attempt",
        "execution_id",
        "heartbeat_details",
        "idempotency_key",
        "logger",
        "namespace",
        "step_path",
        "traceparent",
    )

    def __init__(
        self,
        *,
        execution_id: str = "",
        step_path: str = "",
        attempt: int = 1,
        idempotency_key: str = "",
        namespace: str = "default",
        expires: float = math.inf,
        traceparent: str = "",
        logger: logging.Logger | None = None,
        report: Report = _unheard,
        heartbeat_details: Any = None,
    ) -> None:
        self.execution_id = execution_id
        self.step_path = step_path
        self.attempt = attempt
        self.idempotency_key = idempotency_key
        self.namespace = namespace
        self.traceparent = traceparent
        self.heartbeat_details = _read(heartbeat_details)
        self.logger = logger or logging.getLogger("plugin")
        self._expires = expires
        self._report = report
        self._cancelled = False
        self._cancellation: asyncio.Event | None = None

    @property
    def deadline(self) -> float:
        """Seconds until the caller gives up, never below 0; infinite if it does not."""
        return max(0.0, self._expires - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """True once nobody waits for the result: the call was taken back, or its time is over."""
        return self._cancelled

    def raise_if_cancelled(self) -> None:
        """For loops of synchronous operations, which nothing can interrupt."""
        if self._cancelled:
            raise OperationCancelled("nobody waits for the result any more")

    async def cancellation(self) -> None:
        """Return once the call is cancelled; for operations that shield work from CancelledError."""
        if self._cancellation is None:
            self._cancellation = asyncio.Event()
            if self._cancelled:
                self._cancellation.set()
        await self._cancellation.wait()

    async def progress(self, fraction: float, note: str = "", *, details: Any = None) -> None:
        """
        Tell the caller how far the work is, from 0 to 1. Never waits; the newest word may replace older ones.

        `details`, anything that JSON can hold, or a `Payload`, of at most 64 KiB, is for the next attempt, should this
        one fail; it finds the last ones as `heartbeat_details`. Raises ValueError if they are larger, or no JSON.
        """
        self.report(fraction, note, details=details)

    def report(self, fraction: float, note: str = "", *, details: Any = None) -> None:
        """The same for operations without `async`."""
        self._report(min(1.0, max(0.0, fraction)), note, None if details is None else _written(details))

    def cancel(self) -> None:
        """Turn `cancelled` true; for the host, and for tests of operations."""
        self._cancelled = True
        if self._cancellation is not None:
            self._cancellation.set()


def _written(details: Any) -> Payload:
    payload = written(details)
    if payload.size > MOST_DETAILS:
        raise ValueError(f"the details of progress have {payload.size} bytes, at most {MOST_DETAILS} are kept")
    return payload


def _read(details: Any) -> Any:
    if isinstance(details, Payload) and details.media_type == JSON:
        try:
            return read_json(details.data)
        except NotJson:
            return details
    return details
