"""A balancer that says what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, policy_pb2, report_pb2, snapshot_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import (
    BalancerServiceServicer,
    add_BalancerServiceServicer_to_server,
)
from forgemesh.chassis.tasks import beside
from tests.component.orchestrator.hosts import PATIENCE


class ScriptedBalancer(BalancerServiceServicer):
    """Says to each subscriber what a test puts into `feed`, None ends the subscription; keeps what it hears."""

    def __init__(self) -> None:
        self.feed: asyncio.Queue[pb.SubscribeResponse | None] = asyncio.Queue()
        self.hellos: list[pb.SubscriberHello] = []
        self.acks: list[pb.SnapshotAck] = []
        self.nacks: list[pb.SnapshotNack] = []
        self.reports: list[report_pb2.OutcomeReport] = []
        self.heard = asyncio.Event()

    async def Subscribe(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.SubscribeResponse]:
        self.hellos.append((await anext(aiter(request_iterator))).hello)
        async with beside(self._listen(request_iterator)):
            while (message := await self.feed.get()) is not None:
                yield message

    async def _listen(self, requests: Any) -> None:
        async for request in requests:
            if request.HasField("ack"):
                self.acks.append(request.ack)
            if request.HasField("nack"):
                self.nacks.append(request.nack)
            if request.HasField("report"):
                self.reports.append(request.report)
            self.heard.set()
        await asyncio.Event().wait()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what a subscriber says."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self.heard.clear()
                await self.heard.wait()

    async def ListSnapshots(self, request: pb.ListSnapshotsRequest, context: Any) -> pb.ListSnapshotsResponse:
        return pb.ListSnapshotsResponse()

    def show(
        self,
        plugin_id: str,
        revision: int,
        *endpoints: snapshot_pb2.Endpoint,
        epoch: int = 1,
        policy: policy_pb2.PluginPolicy | None = None,
    ) -> None:
        at = snapshot_pb2.FeedRevision(epoch=epoch, revision=revision)
        shown = snapshot_pb2.PluginSnapshot(plugin_id=plugin_id, revision=at, endpoints=endpoints, policy=policy)
        self.feed.put_nowait(pb.SubscribeResponse(snapshot=shown))

    def beat(self, acknowledged: int = 0) -> None:
        beat = pb.Heartbeat(epoch=1, acknowledged=acknowledged)
        self.feed.put_nowait(pb.SubscribeResponse(heartbeat=beat))

    def grant(self, permit_id: str, instance_id: str, generation: int, after: int, lease: float = 10.0) -> None:
        grant = report_pb2.PermitGrant(
            permit_id=permit_id,
            plugin_id="p",
            instance_id=instance_id,
            incarnation=1,
            generation=generation,
            lease_millis=int(lease * 1000),
            after_sequence=after,
        )
        self.feed.put_nowait(pb.SubscribeResponse(permit=grant))


def endpoint(instance_id: str, address: str, **facts: Any) -> snapshot_pb2.Endpoint:
    known = {"incarnation": 1, "health": snapshot_pb2.HEALTH_SERVING, "session": True}
    return snapshot_pb2.Endpoint(instance_id=instance_id, address=address, **(known | facts))


@contextlib.asynccontextmanager
async def serving_balancer(balancer: ScriptedBalancer) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_BalancerServiceServicer_to_server(balancer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)
