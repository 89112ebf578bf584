"""When so many leases run out that the registry rather doubts itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 60.0
"""Seconds within which expired leases are counted together."""
SHARE = 0.15
LEAST = 5
"""So many may always run out, less one: two instances that die together are no sign of anything."""


@dataclass(frozen=True, slots=True)
class Preservation:
    """
    Lets at most a share of all leases run out within a window, like Eureka's self-preservation.

    `lapsed` are the moments at which leases ran out that were let go.
    """

    lapsed: tuple[float, ...] = ()

    def judged(self, expired: Sequence[str], leases: int, now: float) -> tuple[Preservation, Sequence[str]]:
        """What is true afterwards, and those of the `expired`, in order, that are let go; `leases` counts them too."""
        recent = tuple(moment for moment in self.lapsed if moment > now - WINDOW)
        most = max(LEAST - 1, int(SHARE * (leases + len(recent))))
        gone = list(expired[: max(0, most - len(recent))])
        return Preservation((*recent, *[now] * len(gone))), gone
