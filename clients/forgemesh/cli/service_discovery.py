"""The services behind the orchestrator, as an operator asks them."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from forgemesh.api.balancer.v1.balancer_service_pb2 import ListSnapshotsRequest
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.api.registry.v1.registry_service_pb2 import ListInstancesRequest, ListPluginsRequest
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.api.supervisor.v1.supervisor_service_pb2 import ListHostsRequest
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from forgemesh.client.peer import Peer

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.snapshot_pb2 import PluginSnapshot
    from forgemesh.api.plugin.v1.manifest_pb2 import Manifest
    from forgemesh.api.registry.v1.instance_pb2 import Instance
    from forgemesh.api.supervisor.v1.host_pb2 import Host

DEADLINE = 3.0
_PAGE = 500


async def snapshots(address: str, plugin_id: str = "") -> list[PluginSnapshot]:
    """What the balancer at `address` thinks of the instances of one plugin, or of all."""
    peer = Peer("balancer", address)
    async with peer.channel() as channel:
        method = BalancerServiceStub(channel).ListSnapshots
        return await _pages(peer, method, ListSnapshotsRequest(plugin_id=plugin_id, page_size=_PAGE), "snapshots")


async def hosts(address: str) -> list[Host]:
    """The plugin hosts of the supervisor at `address`."""
    peer = Peer("supervisor", address)
    async with peer.channel() as channel:
        answer = await peer.call(SupervisorServiceStub(channel).ListHosts, ListHostsRequest(), deadline=DEADLINE)
        return list(answer.hosts)


async def catalogue(address: str) -> tuple[list[Manifest], list[Instance]]:
    """The plugins of the registry at `address`, and the instances with a valid lease."""
    peer = Peer("registry", address)
    async with peer.channel() as channel:
        registry = RegistryServiceStub(channel)
        manifests = await _pages(peer, registry.ListPlugins, ListPluginsRequest(page_size=_PAGE), "manifests")
        instances = await _pages(peer, registry.ListInstances, ListInstancesRequest(page_size=_PAGE), "instances")
        return manifests, instances


async def published(address: str, plugin_id: str = "") -> list[Manifest]:
    """The versions of one plugin, or of all, in the registry at `address`."""
    peer = Peer("registry", address)
    async with peer.channel() as channel:
        request = ListPluginsRequest(plugin_id=plugin_id, page_size=_PAGE)
        return await _pages(peer, RegistryServiceStub(channel).ListPlugins, request, "manifests")


def never_published(plugin_id: str, manifests: Iterable[Manifest]) -> Problem:
    """Nobody knows the plugin; `manifests` are those that are known."""
    close = difflib.get_close_matches(plugin_id, {one.plugin_id for one in manifests}, n=1)
    return Problem(
        ExitCode.NOT_FOUND,
        f"no plugin {plugin_id!r} was ever published",
        reason="PLUGIN_NOT_FOUND",
        code="NOT_FOUND",
        hint=f"did you mean {close[0]}?" if close else "see forgemesh plugin list",
    )


async def _pages(peer: Peer, method: Callable[..., Awaitable[Any]], request: Any, field: str) -> list[Any]:
    found: list[Any] = []
    while True:
        page = await peer.call(method, request, deadline=DEADLINE)
        found += getattr(page, field)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
