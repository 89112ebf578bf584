"""What the balancer needs from the world."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol, TypeAlias

from forgemesh.balancer.domain.fleet import Member
from forgemesh.balancer.domain.load_facts import LoadFacts
from forgemesh.balancer.domain.probe import Verdict

Report: TypeAlias = Callable[[str, int, Verdict], None]
"""Takes what the checks of an instance (id, incarnation) say, whenever that changes."""


class HealthChecks(Protocol):
    """Checks the health of instances, of each as long as it is a member."""

    def follow(self, members: Collection[Member], report: Report) -> None:
        """From now on check exactly these, and report what changes."""

    def ask(self, instance_id: str, incarnation: int, then: Callable[[bool], None]) -> None:
        """Check once more now, and tell whether it passed; one that is not followed does not pass."""


HeardLoad: TypeAlias = Callable[[str, int, LoadFacts], None]
"""Takes each load report of an instance (id, incarnation)."""


class LoadReports(Protocol):
    """Listens to what instances say of their load, to each as long as it is followed."""

    def follow(self, members: Collection[Member], heard: HeardLoad) -> None:
        """From now on listen to exactly these."""
