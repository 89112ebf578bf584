"""A process that measures itself: its meter, what every process measures, and where that is read and sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from uuid import uuid4

from forgemesh.chassis.metrics_endpoint import serving_metrics
from forgemesh.chassis.metrics_export import sending_metrics
from forgemesh.metrics import catalogue
from forgemesh.metrics.instrument import Histogram, Meter

LAG_PERIOD = 0.5
"""Seconds between two timers by which the lag of the event loop is measured."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """A process's own id, which no other has, its meter, and host:port where that is read; empty for nowhere."""

    instance: str
    meter: Meter
    address: str

    @property
    def ports(self) -> frozenset[int]:
        """Where it listens for readers of its metrics."""
        return frozenset({int(self.address.rpartition(":")[2])}) if self.address else frozenset()


@contextlib.asynccontextmanager
async def measuring(service: str, listen: str, *, version: str) -> AsyncIterator[Measuring]:
    """
    A meter that is read on `listen` (host:port, empty for nowhere) and sent to OTEL_EXPORTER_OTLP_ENDPOINT, if set.
    """
    meter, instance = Meter(), uuid4().hex
    with _watching_lag(meter.histogram(catalogue.LOOP_LAG)):
        async with (
            serving_metrics(meter, listen) as address,
            sending_metrics(meter, service, instance, version=version),
        ):
            yield Measuring(instance, meter, address)


@contextlib.contextmanager
def _watching_lag(lag: Histogram) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def due(at: float) -> None:
        now = loop.time()
        lag.record(max(0.0, now - at))
        set_timer(now + LAG_PERIOD)

    def set_timer(at: float) -> None:
        timers[0] = loop.call_at(at, due, at)

    timers: list[asyncio.TimerHandle] = [loop.call_later(LAG_PERIOD, due, loop.time() + LAG_PERIOD)]
    try:
        yield
    finally:
        timers[0].cancel()
