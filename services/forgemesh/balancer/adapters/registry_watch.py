"""The registry as the balancer follows it: an epoch first, then every change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

import grpc

from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.balancer.application.balancer import Balancer
from forgemesh.balancer.codec import feed as codec
from forgemesh.balancer.domain.fleet import MemberState
from forgemesh.chassis.resumable import follow
from forgemesh.chassis.status import from_rpc_error
from forgemesh.chassis.tasks import lasting
from forgemesh.chassis.waking_clock import WakingClock
from forgemesh.faults import Fault
from forgemesh.faults.registry import RevisionCompacted

_log = logging.getLogger(__name__)

ACQUIRE_DEADLINE = 2.0
ACQUIRE_PAUSE = 0.5
REPORT_DEADLINE = 2.0


class RegistryWatch:
    """
    Tells the balancer what the registry says, resuming after each break where it stopped.

    While the registry is away nothing is told, so the balancer keeps what it knows. `silence` (seconds) without any
    message counts as a break; `on_open` is told before each new watch, behind which there may be another registry.
    """

    def __init__(
        self, channel: grpc.aio.Channel, balancer: Balancer, clock: WakingClock, *, balancer_id: str, silence: float
    ) -> None:
        self._stub = RegistryServiceStub(channel)
        self._balancer = balancer
        self._clock = clock
        self._balancer_id = balancer_id
        self._silence = silence
        self._seen: instance_pb2.Revision | None = None
        self.on_open: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Until cancelled."""
        self._balancer.begin(await self._acquire_epoch())
        await lasting("the watch of the registry", self._follow)

    async def _follow(self) -> None:
        stream = follow(
            "the watch of the registry",
            self._open,
            silence=self._silence,
            on_refusal=self._refused,
            clock=self._clock,
        )
        async with contextlib.aclosing(stream) as messages:
            async for message in messages:
                self._tell(message)
                self._seen = message.revision

    async def tell(self, epoch: int, standings: Sequence[MemberState]) -> None:
        """Tell the registry how instances are; raises Fault."""
        request = pb.ReportAvailabilityRequest(
            balancer_epoch=epoch, changes=[codec.availability(standing) for standing in standings]
        )
        try:
            await self._stub.ReportAvailability(request, timeout=REPORT_DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def request(self, plugin_id: str) -> None:
        """Tell the registry that somebody waits for a plugin; raises Fault."""
        try:
            await self._stub.RequestPlugin(pb.RequestPluginRequest(plugin_id=plugin_id), timeout=REPORT_DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    def _open(self) -> grpc.aio.UnaryStreamCall[pb.WatchInstancesRequest, pb.WatchInstancesResponse]:
        self.on_open()
        return self._stub.WatchInstances(pb.WatchInstancesRequest(resume_after=self._seen))

    def _refused(self, fault: Fault) -> None:
        if isinstance(fault, RevisionCompacted):
            self._seen = None

    def _tell(self, message: pb.WatchInstancesResponse) -> None:
        match message.WhichOneof("kind"):
            case "all":
                self._balancer.listed([codec.member(instance) for instance in message.all.instances])
            case "changed":
                self._balancer.changed(codec.member(message.changed))
            case "gone":
                self._balancer.gone(message.gone.instance_id, message.gone.incarnation)

    async def _acquire_epoch(self) -> int:
        request = pb.AcquireBalancerEpochRequest(balancer_id=self._balancer_id)
        tries = 0
        while True:
            try:
                return (await self._stub.AcquireBalancerEpoch(request, timeout=ACQUIRE_DEADLINE)).epoch
            except grpc.aio.AioRpcError as error:
                tries += 1
                log = _log.warning if tries == 1 else _log.debug
                log("no epoch from the registry (%s), trying again", error.details())
            await asyncio.sleep(ACQUIRE_PAUSE * random.uniform(0.5, 1.0))
