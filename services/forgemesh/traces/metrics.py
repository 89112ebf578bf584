"""What the trace store measures of itself."""

from __future__ import annotations

from forgemesh.metrics import catalogue
from forgemesh.metrics.instrument import Meter
from forgemesh.traces.application import Traces


def measure(meter: Meter, traces: Traces) -> None:
    """From now on."""
    stored, durations = meter.counter(catalogue.SPANS_STORED), meter.histogram(catalogue.SPANS_STORE_DURATION)

    def recorded(spans: int, seconds: float) -> None:
        stored.add(spans)
        durations.record(seconds)

    traces.on_recorded.add(recorded)
