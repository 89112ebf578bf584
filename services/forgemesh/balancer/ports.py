"""What the balancer needs from the world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeAlias

from forgemesh.balancer.domain.decisions import Decisions, Forced, LastCircuit
from forgemesh.balancer.domain.fleet import Member
from forgemesh.balancer.domain.policies import PolicyRecord
from forgemesh.balancer.domain.probe import Verdict
from forgemesh.routing.load_weight import LoadReport

Report: TypeAlias = Callable[[str, int, Verdict], None]
"""Takes what the checks of an instance (id, incarnation) say, whenever that changes."""


class HealthChecks(Protocol):
    """Checks the health of instances, of each as long as it is a member."""

    def follow(self, members: Collection[Member], report: Report) -> None:
        """From now on check exactly these, and report what changes."""

    def ask(self, instance_id: str, incarnation: int, then: Callable[[bool], None]) -> None:
        """Check once more now, and tell whether it passed; one that is not followed does not pass."""


HeardLoad: TypeAlias = Callable[[str, int, LoadReport], None]
"""Takes each load report of an instance (id, incarnation)."""


class LoadReports(Protocol):
    """Listens to what instances say of their load, to each as long as it is followed."""

    def follow(self, members: Collection[Member], heard: HeardLoad) -> None:
        """From now on listen to exactly these."""


class Catalogue(Protocol):
    """What was published of plugins, whether they run or not."""

    async def capacities(self, plugin_id: str) -> Mapping[str, int]:
        """
        How many calls an instance of each version runs at a time, 0 where its manifest does not say.

        Raises PluginNotFound, and ServiceUnreachable if that cannot be known now and was not known before.
        """


class DecisionStore(Protocol):
    """Keeps what outlives the balancer; whatever returns is durable. Raises StoreUnavailable."""

    async def load(self) -> Decisions:
        """Everything that is kept."""

    async def save_policy(self, record: PolicyRecord) -> None:
        """Keep the policy in place of the plugin's earlier one."""

    async def save_forced(self, decided: Collection[Forced]) -> None:
        """Keep what is decided for these instances."""

    async def forget_forced(self, instance_ids: Collection[str]) -> None:
        """Nothing is decided for these instances any more."""

    def note(self, circuit: LastCircuit) -> None:
        """Keep where a circuit stands now, soon; a loss does no harm, as subscribers know it too."""

    def forget_circuits(self, instance_keys: Collection[tuple[str, int]]) -> None:
        """These registrations (instance id, incarnation) are over: keep nothing of their circuits, soon."""
