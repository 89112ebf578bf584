"""xDS over gRPC: check and translate, ask, translate back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from forgemesh.api.xds.v3 import discovery_service_pb2 as pb, load_report_service_pb2 as load_pb
from forgemesh.api.xds.v3.discovery_service_pb2_grpc import AggregatedDiscoveryServiceServicer
from forgemesh.api.xds.v3.load_report_service_pb2_grpc import LoadReportingServiceServicer
from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.application.requests.stock_clients import StockClient, StockClients, StockCounter
from forgemesh.balancer.codec import discovery as codec, resources
from forgemesh.balancer.domain.discovery import Kind
from forgemesh.chassis.tasks import beside
from forgemesh.chassis.violations import Violations
from forgemesh.chassis.waking_clock import patience
from forgemesh.routing.snapshot import Snapshot

_log = logging.getLogger(__name__)

SERVICES = (
    pb.DESCRIPTOR.services_by_name["AggregatedDiscoveryService"].full_name,
    load_pb.DESCRIPTOR.services_by_name["LoadReportingService"].full_name,
)
HELLO_DEADLINE = 5.0
LONGEST_ID = 256
"""Characters of what a client calls itself."""
UNNAMED = "a client without a name"
_SHOWN = 64


class XdsServicer(AggregatedDiscoveryServiceServicer, LoadReportingServiceServicer):
    """`clock` is the balancer's."""

    def __init__(self, balancer: Balancer, clients: StockClients, clock: Callable[[], float]) -> None:
        self._balancer = balancer
        self._clients = clients
        self._clock = clock
        self._assignments: dict[str, tuple[Snapshot, float, bytes]] = {}
        self._unreachable: dict[str, frozenset[str]] = {}

    async def StreamAggregatedResources(
        self, request_iterator: AsyncIterator[pb.DiscoveryRequest], context: Any
    ) -> AsyncIterator[pb.DiscoveryResponse]:
        self._balancer.refuse_unless_warm()
        first = await _first(request_iterator, pb.DiscoveryRequest())
        with self._clients.following(context.peer(), first.node.id or UNNAMED) as client:
            client.library = first.node.user_agent_name[:_SHOWN]
            _log.info("%s (%s) follows by xDS", client.name, client.library)
            resource = partial(self._resource, client)
            async with beside(self._listen(first, request_iterator, client)):
                while not client.ended:
                    for told in client.discovery.due(self._known, resource):
                        yield codec.told_to_message(told)
                    await client.follower.wait(self._clients.pause(client))

    async def StreamLoadStats(
        self, request_iterator: AsyncIterator[load_pb.LoadStatsRequest], context: Any
    ) -> AsyncIterator[load_pb.LoadStatsResponse]:
        self._balancer.refuse_unless_warm()
        first = await _first(request_iterator, load_pb.LoadStatsRequest())
        with self._clients.counting(context.peer(), first.node.id or UNNAMED) as (counter, follower):
            yield codec.counting_to_message()
            over = asyncio.Event()

            async def listen() -> None:
                await _count(first, request_iterator, counter)
                over.set()
                follower.nudge()

            async with beside(listen()):
                while not over.is_set():
                    await follower.wait(None)

    async def _listen(
        self, first: pb.DiscoveryRequest, requests: AsyncIterator[pb.DiscoveryRequest], client: StockClient
    ) -> None:
        """What a client says, for as long as it says anything; a kind that is not served is passed over."""
        unknown = self._hear(client, first)
        async for request in requests:
            if self._hear(client, request) and not unknown:
                unknown = True
                _log.info("%s asks for %s, which is not served", client.name, request.type_url[: 2 * _SHOWN])
        client.end()

    def _hear(self, client: StockClient, request: pb.DiscoveryRequest) -> bool:
        """Whether it is about something that is not served."""
        wanted = codec.wanted(request)
        if wanted is not None:
            self._clients.hear(client, wanted)
        return wanted is None

    def _known(self) -> list[str]:
        return sorted(self._balancer.feed.published)

    def _resource(self, client: StockClient, kind: Kind, name: str) -> bytes:
        """There is one for every name: nobody waits for what does not exist, and what is gone is empty."""
        snapshot = self._balancer.feed.snapshot(name)
        match kind:
            case Kind.LISTENER:
                return resources.listener(name)
            case Kind.CLUSTER:
                return resources.cluster(name, snapshot.policy, envoy=client.library == resources.ENVOY)
            case Kind.ENDPOINTS:
                found = self._assignment(snapshot)
                return resources.for_java(name, found) if client.library == resources.JAVA else found

    def _assignment(self, snapshot: Snapshot) -> bytes:
        """The same for all who ask, until the snapshot or the share of an instance changes."""
        plugin_id, now = snapshot.plugin_id, self._clock()
        second = float(int(now)) if snapshot.warm_at > now else 0.0
        known = self._assignments.get(plugin_id)
        if known is not None and known[0] is snapshot and known[1] == second:
            return known[2]
        found = resources.endpoints(snapshot, now)
        if snapshot.endpoints or known is not None:  # of what never was there nothing is kept
            self._assignments[plugin_id] = snapshot, second, found
            self._say_unreachable(snapshot)
        return found

    def _say_unreachable(self, snapshot: Snapshot) -> None:
        """Once for each instance, as long as nothing changes about it."""
        found = {one.instance_id: one.address for one in resources.unreachable(snapshot)}
        before = self._unreachable.pop(snapshot.plugin_id, frozenset())
        if found:
            self._unreachable[snapshot.plugin_id] = frozenset(found)
        for instance_id in found.keys() - before:
            address = found[instance_id]
            _log.warning("stock clients do not reach %s: its address %s is no IP and port", instance_id, address)


async def _first(requests: AsyncIterator[Any], nothing: Any) -> Any:
    """The first message; raises InvalidRequest if it is late, or names somebody at too great length."""
    first = nothing
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        async with patience(HELLO_DEADLINE):
            first = await anext(requests)
    found = Violations()
    found.unless(first is not nothing, "node", f"must open the stream within {HELLO_DEADLINE:g} seconds")
    found.unless(len(first.node.id) <= LONGEST_ID, "node.id", f"must have at most {LONGEST_ID} characters")
    found.refuse()
    return first


async def _count(
    first: load_pb.LoadStatsRequest, requests: AsyncIterator[load_pb.LoadStatsRequest], counter: StockCounter
) -> None:
    counter.add(codec.counted(first))
    async for request in requests:
        counter.add(codec.counted(request))
