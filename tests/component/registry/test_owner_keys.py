"""A plugin that was published with an owner key is served and published by who has it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import registry_service_pb2 as pb
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.registry import ManifestConflict, PluginOwnedByOther
from forgemesh.faults.service import InvalidRequest
from tests.component.registry.registries import goodbye, listed, refusing, registration, registry_at, renewal
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

KEY, OTHER = "the key of the owner", "the key of somebody else"


def publication(version: str = "1.0.0", *, key: str = "", operation: str = "mean") -> pb.PublishManifestRequest:
    operations = [manifest_pb2.Operation(name=operation)]
    manifest = manifest_pb2.Manifest(plugin_id="weather.stats", version=version, operations=operations)
    return pb.PublishManifestRequest(manifest=manifest, owner_key=key)


def instance(instance_id: str = "stats-1", *, key: str = "") -> pb.RegisterInstanceRequest:
    request = registration(instance_id)
    request.owner_key = key
    return request


@pytest.mark.parametrize("key", ["", OTHER])
async def test_who_does_not_have_the_key_can_neither_serve_nor_publish_the_plugin(
    registry: RegistryServiceAsyncStub, key: str
) -> None:
    await registry.PublishManifest(publication(key=KEY))

    for refused in (
        registry.RegisterInstance(instance(key=key)),
        registry.PublishManifest(publication(key=key)),
        registry.PublishManifest(publication("1.1.0", key=key)),
    ):
        with refusing(PluginOwnedByOther) as fault:
            await refused
        said = from_rpc_error(fault.value)
        assert said.metadata == {"plugin_id": "weather.stats", "shown": str(bool(key)).lower()}
        assert "owner_key_file" in said.message
    assert await listed(registry) == []
    assert len((await registry.ListPlugins(pb.ListPluginsRequest())).manifests) == 1


async def test_who_has_the_key_serves_and_publishes(registry: RegistryServiceAsyncStub) -> None:
    created = [
        (await registry.PublishManifest(publication(version, key=KEY))).created
        for version in ("1.0.0", "1.0.0", "1.1.0")
    ]
    registered = await registry.RegisterInstance(instance(key=KEY))
    await registry.RenewLease(renewal(registered))
    await registry.DeregisterInstance(goodbye(registered))

    assert created == [True, False, True]


async def test_the_key_does_not_let_a_version_have_two_contents(registry: RegistryServiceAsyncStub) -> None:
    await registry.PublishManifest(publication(key=KEY))

    with refusing(ManifestConflict):
        await registry.PublishManifest(publication(key=KEY, operation="median"))


async def test_a_plugin_without_an_owner_is_everybodys_until_somebody_shows_a_key(
    registry: RegistryServiceAsyncStub,
) -> None:
    await registry.PublishManifest(publication())
    before = await registry.RegisterInstance(instance("stats-1", key=OTHER))
    created = (await registry.PublishManifest(publication(key=KEY))).created
    await registry.RenewLease(renewal(before))
    with refusing(PluginOwnedByOther):
        await registry.RegisterInstance(instance("stats-2", key=OTHER))
    with refusing(PluginOwnedByOther):
        await registry.PublishManifest(publication(key=OTHER))
    await registry.RegisterInstance(instance("stats-3", key=KEY))

    assert not created
    assert await listed(registry) == ["stats-1", "stats-3"]


async def test_a_publication_that_is_refused_gives_nobody_the_plugin(registry: RegistryServiceAsyncStub) -> None:
    await registry.PublishManifest(publication())
    with refusing(ManifestConflict):
        await registry.PublishManifest(publication(key=OTHER, operation="median"))
    await registry.PublishManifest(publication(key=KEY))

    await registry.RegisterInstance(instance(key=KEY))

    assert await listed(registry) == ["stats-1"]


async def test_the_owner_stays_over_a_restart_and_the_key_stands_nowhere(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "registry.db"
    async with registry_at(path, clock) as registry:
        await registry.PublishManifest(publication(key=KEY))
    async with registry_at(path, clock) as registry:
        with refusing(PluginOwnedByOther):
            await registry.RegisterInstance(instance(key=OTHER))
        await registry.RegisterInstance(instance(key=KEY))
    with sqlite3.connect(path) as connection:
        dumped = "\n".join(connection.iterdump())
    connection.close()

    assert KEY not in dumped
    assert KEY.encode().hex() not in dumped.lower()


@pytest.mark.parametrize("key", ["short", "x" * 257])
async def test_a_key_that_can_be_guessed_or_is_none_is_refused(registry: RegistryServiceAsyncStub, key: str) -> None:
    for request in (registry.PublishManifest(publication(key=key)), registry.RegisterInstance(instance(key=key))):
        with refusing(InvalidRequest) as fault:
            await request
        assert "owner_key" in from_rpc_error(fault.value).message
