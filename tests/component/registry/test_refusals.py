"""Whom the registry has refused is seen for a while, since of a process that serves nobody nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import refusal_pb2, registry_service_pb2 as pb
from forgemesh.registry.application.refusals import LASTING, MOST
from tests.component.registry.registries import registration
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


def published(description: str, **others: Any) -> pb.PublishManifestRequest:
    manifest = manifest_pb2.Manifest(plugin_id="weather.stats", version="1.0.0", description=description)
    manifest.operations.add(name="temperature")
    return pb.PublishManifestRequest(manifest=manifest, **others)


async def refused(call: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def refusals(registry: RegistryServiceAsyncStub, **of: Any) -> list[refusal_pb2.Refusal]:
    return list((await registry.ListInstances(pb.ListInstancesRequest(**of))).refusals)


def registered(instance_id: str, token: str = "a secret of its own") -> pb.RegisterInstanceRequest:
    request = registration(instance_id)
    request.owner_token = token
    return request


async def test_a_host_whose_manifest_is_refused_is_remembered_with_the_reason_and_how_often(
    registry: RegistryServiceAsyncStub, clock: ManualClock
) -> None:
    await registry.PublishManifest(published("as it was"))
    await refused(registry.PublishManifest(published("as it is", instance_id="stats-2")))
    clock.advance(5.0)
    await refused(registry.PublishManifest(published("as it is", instance_id="stats-2")))

    (one,) = await refusals(registry)
    assert (one.instance_id, one.plugin_id, one.plugin_version) == ("stats-2", "weather.stats", "1.0.0")
    assert (one.reason, one.count, one.peer) == ("MANIFEST_CONFLICT", 2, "127.0.0.1")
    assert "raise its version" in one.message
    assert one.last_at.ToSeconds() - one.first_at.ToSeconds() == 5


async def test_whoever_only_publishes_is_no_host(registry: RegistryServiceAsyncStub) -> None:
    await registry.PublishManifest(published("as it was"))
    await refused(registry.PublishManifest(published("as it is")))

    assert await refusals(registry) == []


async def test_a_host_whose_id_is_taken_is_remembered_until_it_is_registered(
    registry: RegistryServiceAsyncStub, clock: ManualClock
) -> None:
    await registry.RegisterInstance(registered("stats-1"))
    await refused(registry.RegisterInstance(registered("stats-1", "the secret of another one")))
    taken = await refusals(registry)
    clock.advance(15.0)
    await registry.RegisterInstance(registered("stats-1", "the secret of another one"))

    assert [one.reason for one in taken] == ["INSTANCE_OWNED_BY_OTHER"]
    assert await refusals(registry) == []


async def test_a_refusal_that_is_not_repeated_is_forgotten(
    registry: RegistryServiceAsyncStub, clock: ManualClock
) -> None:
    await registry.RegisterInstance(registered("stats-1"))
    await refused(registry.RegisterInstance(registered("stats-1", "the secret of another one")))
    clock.advance(LASTING)

    assert await refusals(registry) == []


async def test_refusals_belong_to_their_plugin_and_to_the_first_page(registry: RegistryServiceAsyncStub) -> None:
    for instance_id in ("stats-1", "stats-2"):
        await registry.RegisterInstance(registered(instance_id))
    await refused(registry.RegisterInstance(registered("stats-1", "the secret of another one")))
    first = await registry.ListInstances(pb.ListInstancesRequest(page_size=1))
    second = await registry.ListInstances(pb.ListInstancesRequest(page_size=1, page_token=first.next_page_token))

    assert [one.instance_id for one in first.refusals] == ["stats-1"]
    assert not second.refusals
    assert await refusals(registry, plugin_id="weather.reader") == []


async def test_however_many_are_refused_and_whatever_they_call_themselves_an_answer_has_room_for_them(
    registry: RegistryServiceAsyncStub,
) -> None:
    for number in range(MOST + 20):
        request = registered("\u20ac" * 40_000 + str(number))
        request.instance.plugin_id = f"{number} " + "\u20ac" * 40_000
        request.instance.instance_id = f"{number} " + "\u20ac" * 40_000
        await refused(registry.RegisterInstance(request))

    found = await registry.ListInstances(pb.ListInstancesRequest())
    assert 0 < len(found.refusals) <= MOST
    assert found.refusals[0].instance_id.startswith(f"{MOST + 19} ")
    assert found.ByteSize() <= 64 * 1024
