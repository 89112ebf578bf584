from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration

from forgemesh.api.balancer.v1 import balancer_service_pb2 as balancer_pb, snapshot_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from tests.mesh.processes import start_service

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceAsyncStub

pytestmark = pytest.mark.mesh

REGISTRY, BALANCER = "forgemesh.registry.main", "forgemesh.balancer.main"
DEADLINE = 180.0
GRACE = 5.0
"""Seconds that a service gives calls that go on; watches must not make it wait for them."""
INSTANCES = 5


def registry_environment(folder: Path, listen: str = "127.0.0.1:0") -> dict[str, str]:
    return {
        "FORGEMESH_REGISTRY_LISTEN": listen,
        "FORGEMESH_REGISTRY_HEALTH_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_DATABASE": str(folder / "registry.db"),
    }


def balancer_environment(registry: str) -> dict[str, str]:
    return {
        "FORGEMESH_BALANCER_LISTEN": "127.0.0.1:0",
        "FORGEMESH_BALANCER_HEALTH_LISTEN": "127.0.0.1:0",
        "FORGEMESH_BALANCER_REGISTRY": registry,
        "FORGEMESH_BALANCER_DATABASE": "",
    }


async def register(address: str, instance_id: str) -> pb.RegisterInstanceResponse:
    """An instance whose process is gone already: nobody listens on port 1."""
    instance = instance_pb2.Instance(
        instance_id=instance_id, plugin_id="weather.stats", plugin_version="1.0.0", address="127.0.0.1:1"
    )
    async with connect(address) as channel:
        return await RegistryServiceStub(channel).RegisterInstance(
            pb.RegisterInstanceRequest(instance=instance, owner_token="secret", ttl=Duration(seconds=60)),
            timeout=DEADLINE,
        )


async def listed(address: str) -> list[instance_pb2.Instance]:
    async with connect(address) as channel:
        response = await RegistryServiceStub(channel).ListInstances(pb.ListInstancesRequest(), timeout=DEADLINE)
        return list(response.instances)


async def test_a_killed_registry_has_lost_no_registration_when_it_is_back(tmp_path: Path) -> None:
    async with start_service(REGISTRY, registry_environment(tmp_path), tmp_path) as service:
        answers = await asyncio.gather(*(register(service.address, f"stats-{n}") for n in range(INSTANCES)))
        await service.kill()
    async with start_service(REGISTRY, registry_environment(tmp_path), tmp_path) as service:
        assert await listed(service.address) == sorted(
            (answer.instance for answer in answers), key=lambda instance: instance.instance_id
        )
        again = await register(service.address, "stats-0")

    assert again.instance.incarnation > max(answer.instance.incarnation for answer in answers)


async def test_a_terminated_registry_ends_well_although_it_is_watched(tmp_path: Path) -> None:
    async with (
        start_service(REGISTRY, registry_environment(tmp_path), tmp_path) as service,
        connect(service.address) as channel,
    ):
        watch = RegistryServiceStub(channel).WatchInstances(pb.WatchInstancesRequest())
        await anext(aiter(watch))
        async with asyncio.timeout(GRACE - 1):
            code = await service.stop()

    assert code == 0


async def snapshot_with(balancer: BalancerServiceAsyncStub, instance_id: str) -> snapshot_pb2.PluginSnapshot:
    """The first snapshot in which the instance has been checked."""
    hello = balancer_pb.SubscribeRequest(hello=balancer_pb.SubscriberHello(subscriber_id="test", boot_id="1"))
    call = balancer.Subscribe(iter([hello]))
    async with asyncio.timeout(DEADLINE):
        async for message in call:
            for endpoint in message.snapshot.endpoints:
                if endpoint.instance_id == instance_id and endpoint.health:
                    call.cancel()
                    return message.snapshot
    raise AssertionError("the feed ended")


async def test_a_balancer_keeps_its_snapshots_while_the_registry_is_dead_and_goes_on_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = start_service(REGISTRY, registry_environment(tmp_path), tmp_path)
        registry = await stack.enter_async_context(first)
        await register(registry.address, "stats-1")
        environment = balancer_environment(registry.address)
        service = await stack.enter_async_context(start_service(BALANCER, environment, tmp_path))
        balancer = BalancerServiceStub(await stack.enter_async_context(connect(service.address)))
        before = await snapshot_with(balancer, "stats-1")
        await registry.kill()
        meanwhile = await snapshot_with(balancer, "stats-1")
        second = start_service(REGISTRY, registry_environment(tmp_path, registry.address), tmp_path)
        await stack.enter_async_context(second)
        await register(registry.address, "stats-2")
        after = await snapshot_with(balancer, "stats-2")

    assert before.endpoints[0].health == snapshot_pb2.HEALTH_UNREACHABLE
    assert meanwhile.revision == before.revision
    assert [endpoint.instance_id for endpoint in after.endpoints] == ["stats-1", "stats-2"]
    assert after.endpoints[0].incarnation == before.endpoints[0].incarnation
