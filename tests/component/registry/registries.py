"""Registries that are started and stopped by a test, and what is asked of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault
from forgemesh.registry.main import running
from forgemesh.registry.settings import RegistrySettings
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

SECRET = "the owner's secret"
DEADLINE = 180.0


def settings_of(database: Path, **others: Any) -> RegistrySettings:
    given: dict[str, Any] = {"listen": "127.0.0.1:0", "health_listen": "127.0.0.1:0", "grace": 1.0}
    return RegistrySettings(database=database, **(given | others))


@contextlib.asynccontextmanager
async def registry_at(database: Path, clock: ManualClock, **others: Any) -> AsyncIterator[RegistryServiceAsyncStub]:
    """A registry on this database, and a stub for it."""
    async with running(settings_of(database, **others), clock) as server, connect(server.address) as channel:
        yield RegistryServiceStub(channel)


def registration(instance_id: str = "stats-1", *, owner: str = SECRET, ttl: int = 15) -> pb.RegisterInstanceRequest:
    return pb.RegisterInstanceRequest(
        instance=instance_pb2.Instance(
            instance_id=instance_id, plugin_id="weather.stats", plugin_version="1.0.0", address="127.0.0.1:7001"
        ),
        owner_token=owner,
        ttl=Duration(seconds=ttl),
    )


def renewal(registered: pb.RegisterInstanceResponse, *, owner: str = SECRET) -> pb.RenewLeaseRequest:
    instance = registered.instance
    return pb.RenewLeaseRequest(instance_id=instance.instance_id, incarnation=instance.incarnation, owner_token=owner)


def goodbye(registered: pb.RegisterInstanceResponse, *, drain: bool = False) -> pb.DeregisterInstanceRequest:
    instance = registered.instance
    return pb.DeregisterInstanceRequest(
        instance_id=instance.instance_id, incarnation=instance.incarnation, owner_token=SECRET, drain=drain
    )


async def listed(registry: RegistryServiceAsyncStub) -> list[str]:
    response = await registry.ListInstances(pb.ListInstancesRequest())
    return [instance.instance_id for instance in response.instances]


@contextlib.asynccontextmanager
async def watching(
    registry: RegistryServiceAsyncStub, resume_after: instance_pb2.Revision | None = None
) -> AsyncIterator[AsyncGenerator[pb.WatchInstancesResponse, None]]:
    """The steps of a watch, bookmarks left out; each must come in time."""
    call = registry.WatchInstances(pb.WatchInstancesRequest(resume_after=resume_after))

    async def steps() -> AsyncGenerator[pb.WatchInstancesResponse, None]:
        messages = aiter(call)
        while True:
            async with asyncio.timeout(DEADLINE):
                message = await anext(messages)
            if not message.HasField("bookmark"):
                yield message

    try:
        async with contextlib.aclosing(steps()) as generator:
            yield generator
    finally:
        call.cancel()


@contextlib.contextmanager
def refusing(fault: type[Fault]) -> Any:
    """The block's RPC is refused with this fault; yields what is known of it afterwards."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        yield refused
    assert isinstance(from_rpc_error(refused.value), fault)
