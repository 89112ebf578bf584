"""Until when each registration is valid unless it is renewed."""

from __future__ import annotations

from collections.abc import Sequence

SHORTEST, LONGEST = 1.0, 600.0
"""Bounds of a lease in seconds."""


class Leases:
    """
    Ends of leases, by instance id, on a clock that never goes back.

    They are not durable: after a restart of the registry every registration gets a fresh lease.
    """

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def extend(self, instance_id: str, until: float) -> None:
        """Grant a lease, or renew it."""
        self._ends[instance_id] = until

    def drop(self, instance_id: str) -> None:
        """The registration is gone."""
        self._ends.pop(instance_id, None)

    def holds(self, instance_id: str, now: float) -> bool:
        """Whether the instance has a lease that is valid now."""
        return now < self._ends.get(instance_id, now)

    def expired(self, now: float) -> Sequence[str]:
        """The instances whose lease has run out, in the order in which that happened."""
        ended = [(end, instance_id) for instance_id, end in self._ends.items() if end <= now]
        return [instance_id for _, instance_id in sorted(ended)]

    def next_end(self) -> float | None:
        """When the next lease runs out."""
        return min(self._ends.values(), default=None)
