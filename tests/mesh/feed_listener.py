"""A subscriber of the balancer's feed that only listens, and goes on listening over the balancer's death."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, snapshot_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.tasks import beside
from tests.mesh.processes import DEADLINE

PAUSE = 0.02


@dataclass
class FeedListener:
    """What it heard of one plugin: every snapshot and the time of its arrival (monotonic), and how many beats."""

    address: str
    plugin_id: str
    heard: list[tuple[float, snapshot_pb2.PluginSnapshot]] = field(default_factory=list)
    beats: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def epoch(self) -> int:
        """Of the newest snapshot."""
        return self.heard[-1][1].revision.epoch if self.heard else 0

    async def until_beats(self, more: int) -> None:
        """Return after so many more beats: everything that was under way then has arrived."""
        await self._until(lambda target=self.beats + more: self.beats >= target)

    async def until_epoch_after(self, epoch: int) -> None:
        """Return once a later balancer has sent everything that it knows."""
        await self._until(lambda: self.epoch > epoch)
        await self.until_beats(1)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async with connect(self.address) as channel:
                    await self._listen(BalancerServiceStub(channel))
            await asyncio.sleep(PAUSE)

    async def _listen(self, stub: Any) -> None:
        hello = pb.SubscribeRequest(hello=pb.SubscriberHello(subscriber_id="listener", boot_id="1"))
        async for message in stub.Subscribe(iter([hello])):
            if message.HasField("snapshot") and message.snapshot.plugin_id == self.plugin_id:
                self.heard.append((time.monotonic(), message.snapshot))
            self.beats += message.HasField("heartbeat")
            self._news.set()

    async def _until(self, condition: Any) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def listening(address: str, plugin_id: str) -> AsyncIterator[FeedListener]:
    """One that has heard everything that there is."""
    listener = FeedListener(address, plugin_id)
    async with beside(listener.run()):
        await listener.until_beats(1)
        yield listener
