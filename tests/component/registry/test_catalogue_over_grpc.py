from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import registry_service_pb2 as pb
from forgemesh.chassis.sqlite.database import open_database
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.registry import ManifestConflict
from forgemesh.faults.service import InvalidRequest
from forgemesh.registry.adapters.sqlite_store import MIGRATIONS, SqliteStore
from forgemesh.registry.codec import manifests
from forgemesh.registry.codec.requests import MOST_PATTERNS
from tests.component.registry.registries import listed, refusing, registration, registry_at
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


def manifest(version: str, plugin_id: str = "weather.stats", description: str = "") -> manifest_pb2.Manifest:
    made = manifest_pb2.Manifest(plugin_id=plugin_id, version=version, description=description)
    made.operations.add(name="temperature")
    return made


async def publish(registry: RegistryServiceAsyncStub, made: manifest_pb2.Manifest) -> bool:
    return (await registry.PublishManifest(pb.PublishManifestRequest(manifest=made))).created


async def test_a_manifest_is_published_once(registry: RegistryServiceAsyncStub) -> None:
    assert await publish(registry, manifest("1.0.0"))
    assert not await publish(registry, manifest("1.0.0"))
    with refusing(ManifestConflict):
        await publish(registry, manifest("1.0.0", description="Another one."))


async def test_the_catalogue_outlives_the_process(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock) as registry:
        await publish(registry, manifest("1.0.0"))
    async with registry_at(database, clock) as registry:
        response = await registry.ListPlugins(pb.ListPluginsRequest())

        assert list(response.manifests) == [manifest("1.0.0")]
        with refusing(ManifestConflict):
            await publish(registry, manifest("1.0.0", description="Another one."))


@pytest.mark.parametrize("more", [0, 1])
async def test_a_manifest_has_at_most_a_thousand_different_patterns(
    registry: RegistryServiceAsyncStub, more: int
) -> None:
    made = manifest("1.0.0")
    half = MOST_PATTERNS // 2
    made.config_schema = json.dumps({"allOf": [{"pattern": f"a{number}"} for number in range(half)] * 2})
    others = {f"b{number}": True for number in range(half + more)}
    made.operations[0].input_schema = json.dumps({"patternProperties": others})

    if not more:
        assert await publish(registry, made)
        return
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await publish(registry, made)
    fault = from_rpc_error(refused.value)
    assert isinstance(fault, InvalidRequest)
    assert fault.violations[0].field == "manifest"
    assert "more than 1000 different patterns" in fault.violations[0].message


async def test_a_pattern_that_could_be_searched_for_ever_is_refused_with_its_place(
    registry: RegistryServiceAsyncStub,
) -> None:
    made = manifest("1.0.0")
    made.config_schema = '{"properties": {"a": {"pattern": "(?=x)y"}}}'
    made.operations[0].output_schema = '{"pattern": "(?!x)y"}'

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await publish(registry, made)

    fault = from_rpc_error(refused.value)
    assert isinstance(fault, InvalidRequest)
    assert [violation.field for violation in fault.violations] == [
        "manifest.config_schema",
        "manifest.operations[0].output_schema",
    ]
    assert "$.properties.a.pattern: the pattern '(?=x)y' cannot be read" in fault.violations[0].message


async def test_a_manifest_that_was_published_before_goes_on_serving_and_is_named(
    database: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = manifest("1.0.0")
    made.operations[0].input_schema = '{"pattern": "(?=x)y"}'
    made.config_schema = "{"
    async with open_database(database, MIGRATIONS) as opened:
        store = SqliteStore(opened)
        await store.load()
        await store.publish(manifests.from_message(made))

    async with registry_at(database, clock) as registry:
        assert not await publish(registry, made)
        assert list((await registry.ListPlugins(pb.ListPluginsRequest())).manifests) == [made]

    assert "weather.stats 1.0.0: operations[0].input_schema: $.pattern: the pattern '(?=x)y'" in caplog.text


async def test_the_catalogue_is_paged_by_plugin_and_precedence(registry: RegistryServiceAsyncStub) -> None:
    for version in ("1.10.0", "1.9.0", "1.10.0-rc.1"):
        await publish(registry, manifest(version))
    await publish(registry, manifest("3.0.0", plugin_id="weather.reader"))
    request, seen = pb.ListPluginsRequest(page_size=2), []
    for _ in range(2):
        response = await registry.ListPlugins(request)
        seen += [(found.plugin_id, found.version) for found in response.manifests]
        request.page_token = response.next_page_token

    assert seen == [
        ("weather.reader", "3.0.0"),
        ("weather.stats", "1.9.0"),
        ("weather.stats", "1.10.0-rc.1"),
        ("weather.stats", "1.10.0"),
    ]
    assert request.page_token == ""


async def test_instances_are_paged_by_id(registry: RegistryServiceAsyncStub) -> None:
    for number in (3, 1, 2):
        await registry.RegisterInstance(registration(f"stats-{number}"))
    first = await registry.ListInstances(pb.ListInstancesRequest(page_size=2))
    rest = await registry.ListInstances(pb.ListInstancesRequest(page_size=2, page_token=first.next_page_token))

    assert [instance.instance_id for instance in (*first.instances, *rest.instances)] == [
        "stats-1",
        "stats-2",
        "stats-3",
    ]
    assert rest.next_page_token == ""
    assert await listed(registry) == ["stats-1", "stats-2", "stats-3"]


async def test_a_refused_request_names_every_violation(registry: RegistryServiceAsyncStub) -> None:
    with refusing(InvalidRequest):
        await registry.RegisterInstance(pb.RegisterInstanceRequest())
    with refusing(InvalidRequest):
        await registry.ListInstances(pb.ListInstancesRequest(page_token="elsewhere"))
    with refusing(InvalidRequest):
        await registry.ListPlugins(pb.ListPluginsRequest(page_size=-1))


async def test_an_instance_bears_the_digest_of_the_manifest_that_was_published_when_it_registered(
    registry: RegistryServiceAsyncStub, database: Path, clock: ManualClock
) -> None:
    unpublished = await registry.RegisterInstance(registration("stats-1"))
    await publish(registry, manifest("1.0.0"))
    published = await registry.RegisterInstance(registration("stats-2"))
    again = await registry.RegisterInstance(registration("stats-1"))

    assert unpublished.instance.manifest_digest == ""
    assert len(published.instance.manifest_digest) == 32
    assert again.instance.manifest_digest == published.instance.manifest_digest


async def test_the_digest_outlives_the_process_and_differs_with_the_manifest(
    tmp_path: Path, clock: ManualClock
) -> None:
    found: dict[str, list[str]] = {}
    for description in ("One.", "Another."):
        for _ in range(2):
            async with registry_at(tmp_path / f"{description}db", clock) as registry:
                if description not in found:
                    await publish(registry, manifest("1.0.0", description=description))
                    await registry.RegisterInstance(registration("stats-1"))
                instances = (await registry.ListInstances(pb.ListInstancesRequest())).instances
                found.setdefault(description, []).extend(one.manifest_digest for one in instances)

    assert found["One."][0] == found["One."][1] != found["Another."][0] == found["Another."][1]


async def test_a_manifest_has_at_most_a_thousand_operations_and_one_more_is_refused_by_name(
    registry: RegistryServiceAsyncStub,
) -> None:
    made = manifest("1.0.0")
    for number in range(999):
        made.operations.add(name=f"o{number}")
    assert await publish(registry, made)
    made.version = "1.1.0"
    made.operations.add(name="one_more")

    with refusing(InvalidRequest) as refused:
        await publish(registry, made)

    assert "manifest.operations: there are 1,001 of them in one message, at most 1,000 are taken" in str(refused.value)


async def test_names_that_stand_twice_in_a_manifest_are_each_named(registry: RegistryServiceAsyncStub) -> None:
    made = manifest("1.0.0")
    made.operations.add(name="temperature")

    with refusing(InvalidRequest) as refused:
        await publish(registry, made)

    for index in range(2):
        assert f"manifest.operations[{index}].name: 'temperature' must occur once" in str(refused.value)
