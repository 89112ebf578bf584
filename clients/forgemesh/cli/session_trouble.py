"""Instances that serve and to which no workflow's call comes: they refuse the session, or say nothing on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from forgemesh.client import Balancer
from forgemesh.faults.plugin import ProtocolBroken

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2 import InstanceCircuit
    from forgemesh.api.balancer.v1.snapshot_pb2 import Endpoint

Troubles: TypeAlias = Mapping[tuple[str, int], str]
"""Why, by instance and incarnation."""


async def session_troubles(balancer: str) -> list[InstanceCircuit]:
    """Of all instances that the balancer at this address knows those whose calls last failed by their session."""
    async with Balancer.connect(balancer) as asked:
        return [one for one in await asked.circuits() if is_in_trouble(one)]


def is_in_trouble(one: InstanceCircuit) -> bool:
    """Whether nothing has succeeded since an orchestrator last said that the session was broken off."""
    return bool(one.failures_in_a_row) and one.last_failure.reason == ProtocolBroken.reason


def by_instance(found: list[InstanceCircuit]) -> Troubles:
    """What the callers say of each."""
    return {(one.instance_id, one.incarnation): one.last_failure.message for one in found}


def trouble_of(endpoint: Endpoint, troubles: Troubles) -> str:
    """Empty if nothing is known."""
    return troubles.get((endpoint.instance_id, endpoint.incarnation), "")
