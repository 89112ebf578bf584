"""How long calls take, as far as it matters for how long to wait for one."""

from __future__ import annotations

from math import frexp, ldexp

AGED = 1024
"""After so many calls all that were seen count half."""
REFRESHED = 32
"""So many calls that come do not change what was worked out."""


class Latencies:
    """
    Counts of calls by duration, four buckets for each doubling, so that what it says is at most a quarter too much.

    An account that is written at each call; old calls count less and less.
    """

    __slots__ = ("_buckets", "_percentile", "_stale", "count")

    def __init__(self) -> None:
        self.count = 0
        self._buckets: dict[int, int] = {}
        self._percentile = 0.0
        self._stale = 0

    def saw(self, seconds: float) -> None:
        """A call took so long."""
        mantissa, exponent = frexp(max(seconds, 1e-6))
        bucket = 4 * exponent + int(8 * mantissa) - 4
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self._stale -= 1
        if self.count >= AGED:
            self._buckets = {known: count // 2 for known, count in self._buckets.items() if count > 1}
            self.count = sum(self._buckets.values())

    def percentile_95(self) -> float:
        """Seconds within which 95 of 100 calls ended, or a little more; 0 if none was seen."""
        if self._stale <= 0:
            self._stale = REFRESHED
            self._percentile = self._work_out()
        return self._percentile

    def _work_out(self) -> float:
        left = 0.95 * self.count
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return ldexp((bucket % 4 + 5) / 8, bucket // 4)
        return 0.0
