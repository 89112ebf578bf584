"""An instance's weight by what it reports of itself (gRFC A58)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Self

BLACKOUT = 10.0
"""Seconds from the first report until the weight counts."""
EXPIRY = 180.0
"""Seconds from the last report until the weight counts no more."""
PENALTY = 1.0
"""Utilization by which a failing call counts for more than its cost."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """
    Calls per second, how many of them failed, and how far the instance is used, 1.0 being wholly.

    `application_utilization` is what the plugin itself says (0: nothing); only without it `cpu_utilization` counts.
    """

    calls_per_second: float
    failures_per_second: float = 0.0
    application_utilization: float = 0.0
    cpu_utilization: float = 0.0

    @property
    def weight(self) -> float:
        """How many calls per second it would take if wholly used; 0: the report does not say."""
        used = self.application_utilization if _positive(self.application_utilization) else self.cpu_utilization
        if not (_positive(used) and _positive(self.calls_per_second)):
            return 0.0
        failing = self.failures_per_second if _positive(self.failures_per_second) else 0.0
        weight = self.calls_per_second / (used + failing / self.calls_per_second * PENALTY)
        return weight if _positive(weight) else 0.0


@dataclass(frozen=True, slots=True)
class LoadWeight:
    """
    The weight of one incarnation; times are in seconds on one clock.

    The first reports count only after BLACKOUT, since a process that starts is busy with itself, and so do those that
    come after a pause of EXPIRY. A report that says nothing, or nothing sensible, or is older than the last one, is
    passed over.
    """

    value: float = 0.0
    since: float = 0.0
    at: float = -inf

    def reported(self, report: LoadReport, now: float) -> Self:
        """The weight after a report that came at `now`."""
        weight = report.weight
        if not weight or not self.at <= now < inf:
            return self
        since = now if now - self.at >= EXPIRY else self.since
        return replace(self, value=weight, since=since, at=now)

    def weight(self, now: float) -> float:
        """What counts at `now`; 0: not known."""
        known = self.since + BLACKOUT <= now < self.at + EXPIRY and self.at <= now
        return self.value if known else 0.0


def _positive(number: float) -> bool:
    return 0.0 < number < inf
