from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from forgemesh.api.plugin.v1 import manifest_pb2 as manifests
from forgemesh.api.registry.v1 import registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.faults.service import ServiceUnreachable
from forgemesh.orchestrator.workflow import registry_catalogue as module
from forgemesh.orchestrator.workflow.provider import OperationFacts, Provider
from forgemesh.orchestrator.workflow.registry_catalogue import RegistryCatalogue
from forgemesh.registry.main import running
from tests.component.registry.registries import settings_of
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

FACTS = {
    "careful": OperationFacts(idempotent=False),
    "quick": OperationFacts(idempotent=True, timeout=1.5),
    "silent": OperationFacts(),
}
OPERATIONS = [
    manifests.Operation(name="careful", idempotency=manifests.IDEMPOTENCY_NOT_IDEMPOTENT),
    manifests.Operation(
        name="quick", idempotency=manifests.IDEMPOTENCY_IDEMPOTENT, timeout=Duration(seconds=1, nanos=500_000_000)
    ),
    manifests.Operation(name="silent"),
]


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    async with running(settings_of(tmp_path / "registry.db"), ManualClock()) as server:
        yield server.address


@pytest.fixture
async def registry(address: str) -> AsyncIterator[RegistryServiceAsyncStub]:
    async with connect(address) as channel:
        yield RegistryServiceStub(channel)


@pytest.fixture
async def catalogue(address: str) -> AsyncIterator[RegistryCatalogue]:
    async with connect(address) as channel:
        yield RegistryCatalogue(channel, address)


async def publish(registry: RegistryServiceAsyncStub, plugin_id: str, version: str = "1.0.0", **facts: Any) -> None:
    manifest = manifests.Manifest(plugin_id=plugin_id, version=version, operations=OPERATIONS, **facts)
    await registry.PublishManifest(pb.PublishManifestRequest(manifest=manifest))


async def test_what_each_version_says_about_its_operations_is_known(
    registry: RegistryServiceAsyncStub, catalogue: RegistryCatalogue
) -> None:
    for version in ("1.0.0", "1.1.0"):
        await publish(registry, "shape.circle", version)

    assert await catalogue.plugins("shape.circle") == {"1.0.0": FACTS, "1.1.0": FACTS}
    assert await catalogue.plugins("shape.square") is None


async def test_every_version_that_provides_an_interface_is_found_on_whatever_page_it_stands(
    registry: RegistryServiceAsyncStub, catalogue: RegistryCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    for number in range(3):
        await publish(registry, f"other.p{number}")
    provides = [manifests.Interface(name="shape", version="1.2.0"), manifests.Interface(name="area", version="2.0.0")]
    await publish(registry, "shape.circle", provides=provides, priority=-4, metadata={"gpu": "yes"})

    found = await catalogue.providers(["shape", "nobody"])

    circle = Provider(
        plugin_id="shape.circle",
        plugin_version="1.0.0",
        interface_version="1.2.0",
        operations=FACTS,
        metadata={"gpu": "yes"},
        priority=-4,
    )
    assert found == {"shape": [circle], "nobody": []}


async def test_a_registry_that_is_not_there_is_named() -> None:
    async with connect("127.0.0.1:1") as channel:
        with pytest.raises(ServiceUnreachable) as refused:
            await RegistryCatalogue(channel, "127.0.0.1:1").plugins("p")

    assert refused.value.metadata["service"] == "registry"
