"""How the last calls went: how many, how fast, how well."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

REMEMBERED = 256
"""How many calls the quantiles are taken from."""
FRESH = 60.0
"""Seconds after which a call no longer counts."""
LEAST_SPAN = 1.0
"""Seconds over which rates are taken at least."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second: calls that ended, calls that failed by the instance's fault, seconds of processor time."""

    ended: float = 0.0
    failed: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class _Mark:
    at: float
    ended: int
    failed: int
    cpu: float


@dataclass(slots=True)
class CallStatistics:
    """
    Counts calls in place, since each is told: two additions and an entry in a ring.

    Times are seconds of one clock that only grows.
    """

    ended: int = 0
    failed: int = 0
    _last: deque[tuple[float, float, bool]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _rates: Rates = Rates()
    _mark: _Mark | None = None

    def add(self, now: float, latency: float, failed: bool) -> None:
        """A call has ended after `latency` seconds; `failed` if that was the instance's fault."""
        self.ended += 1
        self.failed += failed
        self._last.append((now, latency, failed))

    def rates(self, now: float, cpu: float) -> Rates:
        """Over the time since it last took them, at least LEAST_SPAN; until that is over, what it said before."""
        mark = self._mark
        if mark is None:
            self._mark = _Mark(now, self.ended, self.failed, cpu)
            return self._rates
        span = now - mark.at
        if span >= LEAST_SPAN:
            self._rates = Rates(
                (self.ended - mark.ended) / span, (self.failed - mark.failed) / span, max(0.0, cpu - mark.cpu) / span
            )
            self._mark = _Mark(now, self.ended, self.failed, cpu)
        return self._rates

    def quality(self, now: float) -> tuple[float, float]:
        """The 95th percentile of latencies (seconds) and the share of successes of the last calls; (0, 1) if none."""
        fresh = [entry for entry in tuple(self._last) if now - entry[0] <= FRESH]
        if not fresh:
            return 0.0, 1.0
        latencies = sorted(latency for _, latency, _ in fresh)
        good = sum(not failed for _, _, failed in fresh)
        return latencies[min(len(latencies) - 1, int(len(latencies) * 0.95))], good / len(fresh)
