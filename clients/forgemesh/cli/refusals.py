"""Processes that the registry has refused: of them nothing else is seen, for they serve nobody."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forgemesh.api.registry.v1.registry_service_pb2 import ListInstancesRequest
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.cli.moment import ago
from forgemesh.cli.service_discovery import DEADLINE
from forgemesh.cli.terminal import as_value
from forgemesh.client.peer import Peer

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.refusal_pb2 import Refusal
    from forgemesh.cli.terminal import Terminal


async def refusals(address: str) -> list[Refusal]:
    """Whom the registry at `address` has refused lately, the latest first."""
    peer = Peer("registry", address)
    async with peer.channel() as channel:
        method = RegistryServiceStub(channel).ListInstances
        answer = await peer.call(method, ListInstancesRequest(page_size=1), deadline=DEADLINE)
        return list(answer.refusals)


def as_values(refused: Sequence[Refusal]) -> list[Any]:
    """For programs."""
    return [as_value(one) for one in refused]


def show_refusals(refused: Sequence[Refusal], terminal: Terminal) -> None:
    """A line for each, after an empty one."""
    if refused:
        terminal.data("")
    now = time.time_ns()
    for one in refused:
        often = f", {one.count} times" if one.count > 1 else ""
        who = f"{one.instance_id} of {one.plugin_id} {one.plugin_version} (from {one.peer})"
        terminal.data(f"{who} was refused {ago(one.last_at, now)}{often}: {one.message}")
