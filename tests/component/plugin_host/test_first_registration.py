"""When a host calls itself started and ready, and which refusals of the registry it takes for final."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.health import LIVENESS, OVERALL, READINESS, STARTUP
from forgemesh.chassis.server import Serving
from forgemesh.plugin_host.host.server.hosting import SERVICES, registered
from forgemesh.plugin_host.registration.identity import Identity
from forgemesh.plugin_host.registration.registration import Registration
from forgemesh.registry.main import running
from tests.component.plugin_host.hosts import DEADLINE, Served, eventually, host_at, settings_of
from tests.component.registry.registries import settings_of as registry_settings
from tests.manual_clock import ManualClock

LEASE = 10.0
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
WAITING = (STARTUP, READINESS, OVERALL, *SERVICES)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def registry(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Serving]:
    async with running(registry_settings(tmp_path / "registry.db"), clock) as server:
        yield server


@pytest.fixture
async def stub(registry: Serving) -> AsyncIterator[Any]:
    async with connect(registry.address) as channel:
        yield RegistryServiceStub(channel)


async def statuses(served: Served) -> set[tuple[str, int]]:
    """What both ports say about the names that wait, and about liveness."""
    found = set()
    for address in (served.host.server.address, served.host.server.health_address):
        async with grpc.aio.insecure_channel(address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            for name in (LIVENESS, *WAITING):
                found.add((name, (await check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE)).status))
    return found


def all_say(status: int) -> set[tuple[str, int]]:
    return {(LIVENESS, SERVING)} | {(name, status) for name in WAITING}


@contextlib.asynccontextmanager
async def trying(channel: grpc.aio.Channel, served: Served, owner_token: str = "ours", **of_instance: Any) -> Any:
    """A registration of the test plugin that is being tried."""
    given = {"instance_id": "kit-1", "plugin_id": "test.kit", "plugin_version": "1.0.0", "address": "127.0.0.1:7001"}
    registration = Registration(
        channel,
        served.plugin.manifest,
        instance_pb2.Instance(**(given | of_instance)),
        Identity(given["instance_id"]),
        owner_token=owner_token,
        ttl=LEASE,
    )
    keeping = asyncio.create_task(registration.run())
    try:
        yield registration
    finally:
        keeping.cancel()


async def hold_the_id(stub: Any, served: Served, token: str = "theirs") -> pb.RenewLeaseRequest:
    """Another process registers as the same instance; what it renews its lease with."""
    await stub.PublishManifest(pb.PublishManifestRequest(manifest=served.plugin.manifest), timeout=DEADLINE)
    instance = instance_pb2.Instance(
        instance_id="kit-1", plugin_id="test.kit", plugin_version="1.0.0", address="127.0.0.1:7777"
    )
    request = pb.RegisterInstanceRequest(instance=instance, owner_token=token)
    request.ttl.FromSeconds(int(LEASE))
    incarnation = (await stub.RegisterInstance(request, timeout=DEADLINE)).instance.incarnation
    return pb.RenewLeaseRequest(instance_id="kit-1", incarnation=incarnation, owner_token=token)


async def test_a_host_is_started_and_ready_from_its_first_registration_on_whatever_becomes_of_the_registry(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running(registry_settings(tmp_path / "first.db"), clock) as server:
        address = server.address
    settings = settings_of(registry=address, lease_ttl=1.0)
    async with (
        host_at(registry=address) as served,
        registered(served.host, served.plugin, served.identity, settings) as registration,
    ):
        assert registration is not None
        await eventually(lambda: bool(registration.refusal))
        before = await statuses(served)
        async with running(registry_settings(tmp_path / "second.db", listen=address), clock):
            await asyncio.wait_for(registration.first.wait(), DEADLINE)
            await served.host.rotation.say()
            there = await statuses(served)
            registration.refusal = ""
        await eventually(lambda: bool(registration.refusal))
        after = await statuses(served)

    assert before == all_say(NOT_SERVING)
    assert (there, after) == (all_say(SERVING), all_say(SERVING))


async def test_a_host_without_a_registry_is_ready_at_once(served: Served) -> None:
    assert await statuses(served) == all_say(SERVING)


async def changed_manifest(stub: Any, served: Served) -> dict[str, Any]:
    other = manifest_pb2.Manifest()
    other.CopyFrom(served.plugin.manifest)
    other.description = "as it was"
    await stub.PublishManifest(pb.PublishManifestRequest(manifest=other), timeout=DEADLINE)
    return {}


async def other_owner(stub: Any, served: Served) -> dict[str, Any]:
    request = pb.PublishManifestRequest(manifest=served.plugin.manifest, owner_key="the key of somebody else")
    await stub.PublishManifest(request, timeout=DEADLINE)
    return {}


async def bad_address(stub: Any, served: Served) -> dict[str, Any]:
    return {"address": "no port"}


@pytest.mark.parametrize(
    ("prepare", "said"),
    [(changed_manifest, "raise its version"), (other_owner, "owner_key_file"), (bad_address, "must be host:port")],
)
async def test_a_refusal_that_repeating_does_not_mend_is_final(
    registry: Serving, served: Served, stub: Any, prepare: Any, said: str
) -> None:
    of_instance = await prepare(stub, served)
    async with connect(registry.address) as channel, trying(channel, served, **of_instance) as registration:
        await asyncio.wait_for(registration.hopeless.wait(), DEADLINE)

    assert said in registration.refusal
    assert not registration.first.is_set()


async def test_an_id_whose_holder_renews_its_lease_is_refused_for_good_and_who_holds_it_is_named(
    registry: Serving, served: Served, stub: Any
) -> None:
    renewal = await hold_the_id(stub, served)
    async with connect(registry.address) as channel, trying(channel, served) as registration:
        await eventually(lambda: bool(registration.refusal))
        before = registration.hopeless.is_set()
        await stub.RenewLease(renewal, timeout=DEADLINE)
        await asyncio.wait_for(registration.hopeless.wait(), DEADLINE)

    assert not before
    assert "127.0.0.1:7777" in registration.refusal
    assert "FORGEMESH_HOST_INSTANCE_ID" in registration.refusal


async def test_the_lease_that_a_dead_predecessor_has_left_is_waited_for(
    registry: Serving, served: Served, stub: Any, clock: ManualClock
) -> None:
    await hold_the_id(stub, served)
    asked: list[str] = []
    async with connect(registry.address) as channel, trying(channel, served) as registration:
        for _ in range(3):
            registration.refusal = ""
            await eventually(lambda: bool(registration.refusal))
            asked.append(registration.refusal)
        hopeless = registration.hopeless.is_set()
        clock.advance(LEASE)
        await asyncio.wait_for(registration.first.wait(), DEADLINE)

    assert (len(asked), hopeless) == (3, False)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:7402"])
async def test_a_registry_that_is_not_there_is_no_refusal_and_is_named_once_and_not_with_every_try(
    served: Served, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    with caplog.at_level(logging.WARNING):
        async with connect(address) as channel, trying(channel, served) as registration:
            for _ in range(3):
                registration.refusal = ""
                await eventually(lambda: bool(registration.refusal))
            hopeless = registration.hopeless.is_set()

    warnings = [record.getMessage() for record in caplog.records if "cannot register" in record.getMessage()]
    assert not hopeless
    assert len(warnings) == 1
    assert address.rpartition(":")[0] in warnings[0]


async def test_a_registration_that_was_on_its_way_when_the_host_began_to_drain_is_announced_as_draining(
    registry: Serving, served: Served, stub: Any
) -> None:
    async def draining() -> bool:
        (one,) = (await stub.ListInstances(pb.ListInstancesRequest(), timeout=DEADLINE)).instances
        return bool(one.state == instance_pb2.INSTANCE_STATE_DRAINING)

    async with connect(registry.address) as channel, trying(channel, served) as registration:
        await asyncio.sleep(0)  # its first call is under way
        await registration.announce_drain()
        await asyncio.wait_for(registration.first.wait(), DEADLINE)
        async with asyncio.timeout(DEADLINE):
            while not await draining():
                await asyncio.sleep(0.001)
