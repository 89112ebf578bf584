"""What the registry is told of health: each change, and everything once it may have forgotten."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from forgemesh.balancer.domain.fleet import Fleet, MemberState
from forgemesh.faults import Fault
from forgemesh.routing.endpoint import Health

_log = logging.getLogger(__name__)

AT_A_TIME = 200
"""Instances in one message: with their reasons they have to fit into what the registry receives at most."""

Tell: TypeAlias = Callable[[int, Sequence[MemberState]], Awaitable[None]]
"""Tells the registry, under the balancer's epoch, how these instances are; raises Fault."""


@dataclass(slots=True)
class Availability:
    """
    Keeps in mind what the registry was told last, and tells it the difference.

    Only the edge counts: whether an instance serves. An instance that was not checked yet is not spoken of.
    """

    tell: Tell
    fleet: Callable[[], Fleet]
    _told: dict[str, tuple[int, bool]] = field(default_factory=dict)

    def forget(self) -> None:
        """The registry may have forgotten what it was told."""
        self._told = {}

    async def run(self) -> None:
        """Tell what is different from what was told last; idempotent."""
        fleet = self.fleet()
        known = {
            instance_id: (standing.member.incarnation, standing.verdict.health is Health.SERVING)
            for instance_id, standing in fleet.standings.items()
            if standing.verdict.health is not Health.UNCHECKED
        }
        told = self._told = {one: said for one, said in self._told.items() if one in known}
        updates = [instance_id for instance_id, said in known.items() if told.get(instance_id) != said]
        for begin in range(0, len(updates), AT_A_TIME):
            some = updates[begin : begin + AT_A_TIME]
            try:
                await self.tell(fleet.epoch, [fleet.standings[instance_id] for instance_id in some])
            except Fault as fault:
                left = len(updates) - begin
                _log.info("the registry does not hear about the health of %d instances: %s", left, fault.message)
                return
            told.update((instance_id, known[instance_id]) for instance_id in some)
