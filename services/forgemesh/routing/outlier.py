"""Which instances do so much worse than their siblings that they are left out for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierRule:
    """
    When to eject (gRFC A50, Envoy's outlier detection); times in seconds, shares from 0 to 1, a rule of 0 is off.

    Every `interval` instances with `minimum_calls` in it are compared, if there are `minimum_instances` of them. Out is
    whose success rate is below mean - `success_rate_factor` * standard deviation, and whose share of failures is
    `failure_share` or more; for `base_ejection` times the number of ejections in a row, at most `max_ejection`. No more
    are out at a time than `max_ejected` of all, but one always may be.
    """

    interval: float = 10.0
    base_ejection: float = 30.0
    max_ejection: float = 300.0
    max_ejected: float = 0.5
    success_rate_factor: float = 1.9
    failure_share: float = 0.85
    minimum_instances: int = 3
    minimum_calls: int = 20


@dataclass(frozen=True, slots=True)
class Ejections:
    """Who is out, and why."""

    out: Mapping[str, str] = field(default_factory=dict)

    def sweep(self, rule: OutlierRule, counts: Mapping[str, tuple[int, int]], now: float) -> Ejections:
        """Nobody yet."""
        return self
