import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceServicer,
    RegistryServiceStub,
    add_RegistryServiceServicer_to_server,
)
from forgemesh.chassis.channel import connect
from forgemesh.chassis.server import Serving
from forgemesh.plugin_host.host.server.hosting import registered
from forgemesh.plugin_host.registration.registration import Registration
from forgemesh.registry.main import running
from tests.component.plugin_host.hosts import DEADLINE, Served, eventually, host_at, invoke, settings_of
from tests.component.registry.registries import settings_of as registry_settings
from tests.manual_clock import ManualClock

LEASE = 1.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def registry(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Serving]:
    async with running(registry_settings(tmp_path / "registry.db"), clock) as server:
        yield server


@contextlib.asynccontextmanager
async def registering(served: Served, address: str, **others: Any) -> AsyncIterator[Registration]:
    settings = settings_of(registry=address, lease_ttl=LEASE, owner_token="ours", name="kit", **others)
    async with registered(served.host, served.plugin, served.identity, settings) as registration:
        assert registration is not None
        yield registration


def registration_of(served: Served, channel: grpc.aio.Channel) -> Registration:
    instance = instance_pb2.Instance(
        instance_id="kit-1", plugin_id="test.kit", plugin_version="1.0.0", address="127.0.0.1:7001"
    )
    return Registration(channel, served.plugin.manifest, instance, served.identity, owner_token="ours", ttl=LEASE)


def renewed_since(registration: Registration, renewals: int) -> bool:
    return registration.renewals > renewals


async def instances(address: str) -> list[instance_pb2.Instance]:
    async with connect(address) as channel:
        stub = RegistryServiceStub(channel)
        return list((await stub.ListInstances(pb.ListInstancesRequest(), timeout=DEADLINE)).instances)


async def test_a_host_publishes_its_manifest_and_registers(served: Served, registry: Serving) -> None:
    async with registering(served, registry.address, advertise="kit.example"):
        await eventually(lambda: served.identity.incarnation > 0)
        (instance,) = await instances(registry.address)
        async with connect(registry.address) as channel:
            plugins = await RegistryServiceStub(channel).ListPlugins(pb.ListPluginsRequest(), timeout=DEADLINE)

    port = served.host.server.address.rpartition(":")[2]
    assert instance.instance_id == "kit-1"
    assert instance.address == f"kit.example:{port}"
    assert instance.incarnation == served.identity.incarnation
    assert instance.max_in_flight == 6
    assert instance.session
    assert instance.labels["name"] == "kit"
    assert set(instance.labels) == {"pid", "host", "sdk", "name"}
    assert [manifest.plugin_id for manifest in plugins.manifests] == ["test.kit"]


async def test_a_host_says_goodbye(served: Served, registry: Serving) -> None:
    async with registering(served, registry.address) as registration:
        await eventually(lambda: served.identity.incarnation > 0)
        await registration.announce_drain()
        (draining,) = await instances(registry.address)

    assert draining.state == instance_pb2.INSTANCE_STATE_DRAINING
    assert await instances(registry.address) == []


async def test_a_lease_is_renewed_before_it_runs_out(served: Served, registry: Serving, clock: ManualClock) -> None:
    async with registering(served, registry.address) as registration:
        await eventually(lambda: served.identity.incarnation > 0)
        for _ in range(3):
            before = registration.renewals
            clock.advance(LEASE * 0.6)
            await eventually(partial(renewed_since, registration, before))
        (instance,) = await instances(registry.address)

    assert instance.incarnation == 1


async def test_a_renewal_says_how_busy_the_host_is(served: Served) -> None:
    renewals: list[pb.RenewLeaseRequest] = []

    class Registry(RegistryServiceServicer):
        async def PublishManifest(self, request: Any, context: Any) -> Any:
            return pb.PublishManifestResponse()

        async def RegisterInstance(self, request: Any, context: Any) -> Any:
            return pb.RegisterInstanceResponse(instance=instance_pb2.Instance(incarnation=1))

        async def RenewLease(self, request: Any, context: Any) -> Any:
            renewals.append(request)
            return pb.RenewLeaseResponse()

        async def DeregisterInstance(self, request: Any, context: Any) -> Any:
            return pb.DeregisterInstanceResponse()

    made: Any = Registry
    server = grpc.aio.server()
    add_RegistryServiceServicer_to_server(made(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with registering(served, address):
        await eventually(lambda: bool(renewals))
    await server.stop(0)

    assert renewals[0].load.named_metrics["queued"] == 0
    assert renewals[0].load.named_metrics["memory_bytes"] > 0


async def test_a_host_whose_lease_has_run_out_registers_anew(
    served: Served, registry: Serving, clock: ManualClock
) -> None:
    async with registering(served, registry.address):
        await eventually(lambda: served.identity.incarnation > 0)
        first = served.identity.incarnation
        clock.advance(LEASE * 2)
        await eventually(lambda: served.identity.incarnation > first)
        (instance,) = await instances(registry.address)

        assert instance.incarnation == served.identity.incarnation
        assert (await invoke(served, "echo", value=1, incarnation=first)).HasField("output")


async def test_a_host_that_drains_does_not_register_anew(served: Served, registry: Serving, clock: ManualClock) -> None:
    async with connect(registry.address) as channel:
        registration = registration_of(served, channel)
        keeping = asyncio.create_task(registration.run())
        await eventually(lambda: served.identity.incarnation > 0)
        await registration.announce_drain()
        clock.advance(LEASE * 2)
        await asyncio.wait_for(keeping, DEADLINE)

    assert await instances(registry.address) == []


async def test_a_host_serves_while_the_registry_is_away_and_registers_when_it_is_back(
    served: Served, tmp_path: Path, clock: ManualClock
) -> None:
    async with running(registry_settings(tmp_path / "first.db"), clock) as server:
        address = server.address
    async with registering(served, address):
        assert (await invoke(served, "echo", value=1)).HasField("output")
        assert served.identity.incarnation == 0

        async with running(registry_settings(tmp_path / "second.db", listen=address), clock):
            await eventually(lambda: served.identity.incarnation > 0)
            assert [instance.instance_id for instance in await instances(address)] == ["kit-1"]


async def test_a_registry_that_has_forgotten_everything_is_told_anew(
    served: Served, tmp_path: Path, clock: ManualClock
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running(registry_settings(tmp_path / "first.db"), clock) as server:
            address = server.address
            await stack.enter_async_context(registering(served, address))
            await eventually(lambda: served.identity.incarnation > 0)
        async with running(registry_settings(tmp_path / "second.db", listen=address), clock):
            async with asyncio.timeout(DEADLINE):
                while not await instances(address):
                    await asyncio.sleep(0.01)


async def test_a_restarted_host_takes_over_its_registration_with_the_same_owner_token(
    served: Served, registry: Serving
) -> None:
    async with registering(served, registry.address):
        await eventually(lambda: served.identity.incarnation == 1)
        async with host_at() as successor, registering(successor, registry.address):
            await eventually(lambda: successor.identity.incarnation == 2)
            (instance,) = await instances(registry.address)

            assert instance.address == successor.host.server.address


async def test_a_lost_lease_is_logged_and_does_not_undo_the_first_registration(
    registry: Serving, served: Served, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(registry.address) as channel, asyncio.TaskGroup() as tasks:
        registration = registration_of(served, channel)
        keeping = tasks.create_task(registration.run())
        await asyncio.wait_for(registration.first.wait(), DEADLINE)
        first = served.identity.incarnation
        with caplog.at_level(logging.WARNING):
            clock.advance(LEASE * 2)
            await eventually(lambda: served.identity.incarnation > 1)
        keeping.cancel()

    assert first == 1
    assert registration.first.is_set()
    assert "LEASE_NOT_FOUND" in caplog.text


async def test_another_manifest_of_the_same_version_is_hopeless(registry: Serving, served: Served) -> None:
    async with connect(registry.address) as channel:
        before = manifest_pb2.Manifest()
        before.CopyFrom(served.plugin.manifest)
        before.description = "as it was"
        await RegistryServiceStub(channel).PublishManifest(pb.PublishManifestRequest(manifest=before), timeout=DEADLINE)
        registration = registration_of(served, channel)
        keeping = asyncio.create_task(registration.run())
        await asyncio.wait_for(registration.hopeless.wait(), DEADLINE)
        keeping.cancel()

    assert not registration.first.is_set()
    assert "1.0.0" in registration.refusal


async def test_without_a_registry_a_host_stays_alone(served: Served) -> None:
    async with registered(served.host, served.plugin, served.identity, settings_of()) as registration:
        assert registration is None
        assert (await invoke(served, "echo", value=1)).HasField("output")
