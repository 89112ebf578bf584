"""What whoever starts instances of a plugin asks: how many calls there are, and how many one of them should have."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping

from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.domain.trigger import Trigger
from forgemesh.balancer.ports import Catalogue
from forgemesh.faults.registry import PluginNotFound
from forgemesh.routing.scaling import share_of


class Scaler:
    """
    Answers by what the balancer knows; decides nothing. Raises BalancerWarming as long as that is not enough, and
    PluginNotFound for a plugin, or a version, that neither runs nor was ever published.
    """

    def __init__(self, balancer: Balancer, catalogue: Catalogue) -> None:
        self._balancer = balancer
        self._catalogue = catalogue

    async def share(self, trigger: Trigger) -> int:
        """How many thousandths of a call one instance should have."""
        return share_of(trigger.target, await self._capacity(trigger))

    async def count(self, trigger: Trigger) -> int:
        """How many calls run and wait."""
        await self._capacity(trigger)
        return self._balancer.demands.count(trigger.plugin_id, trigger.version)

    async def active(self, trigger: Trigger) -> bool:
        """Whether anything is asked of it."""
        await self._capacity(trigger)
        return self._balancer.demands.active(trigger.plugin_id, trigger.version)

    async def activity(self, trigger: Trigger) -> AsyncGenerator[bool, None]:
        """The same now, and each change."""
        await self._capacity(trigger)
        async with contextlib.aclosing(self._balancer.demands.activity(trigger.plugin_id, trigger.version)) as activity:
            async for active in activity:
                yield active

    async def _capacity(self, trigger: Trigger) -> int:
        self._balancer.refuse_unless_warm()
        members = (standing.member for standing in self._balancer.fleet.standings.values())
        running = {member.plugin_version for member in members if member.plugin_id == trigger.plugin_id}
        published: Mapping[str, int] = {}
        try:
            published = await self._catalogue.capacities(trigger.plugin_id)
        except PluginNotFound:
            pass  # it may run all the same
        capacity = trigger.capacity(published, running)
        if capacity is None:
            raise PluginNotFound(str(trigger))
        return capacity
