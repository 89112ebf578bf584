"""How busy an instance says it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFacts:
    """
    One load report, as it came: nothing in it is checked.

    Rates are per second; utilizations are 0 for idle and 1 for full, `application_utilization` by the calls that run
    and `cpu_utilization` by processor time.
    """

    calls: float = 0.0
    failures: float = 0.0
    application_utilization: float = 0.0
    cpu_utilization: float = 0.0
