"""Until when each registration is valid unless it is renewed."""

from __future__ import annotations

from collections import Counter
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
        self._extensions: Counter[str] = Counter()

    def extend(self, instance_id: str, until: float) -> None:
        """Grant a lease, or renew it."""
        self._ends[instance_id] = until
        self._extensions[instance_id] += 1

    def hold(self, instance_id: str, until: float) -> None:
        """Let a lease last longer although nobody has renewed it."""
        self._ends[instance_id] = until

    def renewals(self, instance_id: str) -> int:
        """How often the lease was granted or renewed since this registry has started, or it was dropped."""
        return self._extensions[instance_id]

    def drop(self, instance_id: str) -> None:
        """The registration is gone."""
        self._ends.pop(instance_id, None)
        self._extensions.pop(instance_id, None)

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
