"""What the balancer needs from the world."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from forgemesh.balancer.domain.fleet import Member


class HealthChecks(Protocol):
    """Checks the health of instances, of each as long as it is a member."""

    def follow(self, members: Collection[Member]) -> None:
        """From now on check exactly these."""
