from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import registry_service_pb2 as pb, resolution_pb2
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.registry import DependencyMissing, VersionConflict
from forgemesh.faults.service import InvalidRequest
from tests.component.registry.registries import refusing

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


def needing(text: str, *needs: manifest_pb2.Dependency, provides: str = "") -> pb.PublishManifestRequest:
    plugin_id, version = text.split()
    made = manifest_pb2.Manifest(plugin_id=plugin_id, version=version, dependencies=needs)
    made.operations.add(name="run")
    if provides:
        name, _, interface_version = provides.partition("@")
        made.provides.add(name=name, version=interface_version)
    return pb.PublishManifestRequest(manifest=made)


def plugin(plugin_id: str, version_range: str = "", *, optional: bool = False) -> manifest_pb2.Dependency:
    return manifest_pb2.Dependency(plugin_id=plugin_id, version_range=version_range, optional=optional)


async def resolved(registry: RegistryServiceAsyncStub, *plugin_ids: str) -> pb.ResolvePluginsResponse:
    wanted = [resolution_pb2.Requirement(plugin_id=one) for one in plugin_ids]
    return await registry.ResolvePlugins(pb.ResolvePluginsRequest(requirements=wanted))


async def test_a_resolution_tells_versions_levels_and_who_asked(registry: RegistryServiceAsyncStub) -> None:
    speech = manifest_pb2.Dependency(interface_name="speech", version_range="^1.2")
    maps = plugin("maps", optional=True)
    await registry.PublishManifest(needing("report 1.0.0", plugin("stats", "^1"), speech, maps))
    await registry.PublishManifest(needing("stats 1.0.0"))
    await registry.PublishManifest(needing("stats 2.0.0"))
    await registry.PublishManifest(needing("espeak 3.0.0", provides="speech@1.4.0"))
    answer = await resolved(registry, "report")

    assert [(one.plugin_id, one.version, one.level) for one in answer.plugins] == [
        ("stats", "1.0.0", 0),
        ("espeak", "3.0.0", 0),
        ("report", "1.0.0", 1),
    ]
    assert list(answer.plugins[1].required_by) == [
        resolution_pb2.RequiredBy(plugin_id="report", version="1.0.0", interface_name="speech", version_range="^1.2")
    ]
    assert list(answer.plugins[2].required_by) == [resolution_pb2.RequiredBy()]
    assert list(answer.plugins[2].needs) == ["espeak", "stats"]
    assert [(one.plugin_id, one.target) for one in answer.dropped] == [("report", "maps")]


async def test_what_is_missing_is_named_with_the_way_to_it(registry: RegistryServiceAsyncStub) -> None:
    await registry.PublishManifest(needing("report 1.0.0", plugin("stats")))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await resolved(registry, "report")

    fault = from_rpc_error(refused.value)
    assert isinstance(fault, DependencyMissing)
    assert fault.metadata == {"target": "stats", "path": "report 1.0.0 -> stats"}


async def test_a_way_that_is_too_long_to_be_told_is_shortened_and_the_next_step_still_told(
    registry: RegistryServiceAsyncStub,
) -> None:
    for number in range(300):
        await registry.PublishManifest(needing(f"plugin-{number} 1.0.0", plugin(f"plugin-{number + 1}")))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await resolved(registry, "plugin-0")

    message = from_rpc_error(refused.value).message
    assert "plugin-0 1.0.0 -> " in message
    assert message.endswith("-> plugin-300; serve a plugin that provides it")


async def test_a_conflict_between_many_names_them_within_what_can_be_told(registry: RegistryServiceAsyncStub) -> None:
    await registry.PublishManifest(needing("stats 1.0.0"))
    names = [f"report-{number}" for number in range(100)]
    for name in names:
        await registry.PublishManifest(needing(f"{name} 1.0.0", plugin("stats", "^2")))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await resolved(registry, *names)

    fault = from_rpc_error(refused.value)
    assert isinstance(fault, VersionConflict)
    assert fault.message.endswith("; ask for other versions, or publish one that fits")


async def test_bad_requirements_are_refused_at_the_door(registry: RegistryServiceAsyncStub) -> None:
    with refusing(InvalidRequest):
        await registry.ResolvePlugins(pb.ResolvePluginsRequest())
    with refusing(InvalidRequest):
        await resolved(registry, "Weather Stats")
    bad = resolution_pb2.Requirement(plugin_id="stats", version_range="latest")
    with refusing(InvalidRequest):
        await registry.ResolvePlugins(pb.ResolvePluginsRequest(requirements=[bad]))
