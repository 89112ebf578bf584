"""Who answers is who is registered, in a mesh of real processes."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import event_pb2, instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from tests.mesh.processes import eventually, start_service
from tests.mesh.up_process import PLUGIN, Workplace, going_up

pytestmark = pytest.mark.mesh

ANYWHERE = "127.0.0.1:0"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    assert workplace.left_behind() == []


async def test_a_plugin_that_answers_at_the_address_of_another_does_not_get_its_calls(place: Workplace) -> None:
    with going_up(place) as mesh:
        facts = mesh.facts()["services"]
        async with connect(facts["registry"]["address"]) as channel:
            registry: Any = RegistryServiceStub(channel)
            [real] = (await registry.ListInstances(pb.ListInstancesRequest())).instances
            operations = [manifest_pb2.Operation(name="greet")]
            manifest = manifest_pb2.Manifest(plugin_id="impostor", version="1.0.0", operations=operations)
            await registry.PublishManifest(pb.PublishManifestRequest(manifest=manifest))
            instance = instance_pb2.Instance()
            instance.CopyFrom(real)
            instance.instance_id, instance.plugin_id = "impostor-1", "impostor"
            await registry.RegisterInstance(pb.RegisterInstanceRequest(instance=instance, owner_token="its own secret"))

            async def reasons() -> dict[str, str]:
                rows = json.loads(place.forgemesh("status", "-o", "json").stdout)["instances"]
                found = {row["instance"]: f"{row['health']} {row['reason']}".strip() for row in rows}
                return found if found.get("impostor-1", "NOT_CHECKED") != "NOT_CHECKED" else {}

            health = await eventually(reasons)
            refused = place.forgemesh("plugin", "call", "impostor/greet", "name=Ada")
            called = place.forgemesh("plugin", "call", "greeter/greet", "name=Ada")

    answers = f"instance 'greeter-1' of plugin 'greeter' (incarnation {real.incarnation}) answers at its address"
    assert health == {"greeter-1": "SERVING", "impostor-1": f"NOT_SERVING {answers}"}
    assert refused.returncode == 5
    assert answers in refused.stderr
    assert "Hello, Ada!" in called.stdout


async def test_two_hosts_with_one_id_and_token_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "greeter_plugin.py").write_text(PLUGIN)
    settings = {
        "FORGEMESH_REGISTRY_LISTEN": ANYWHERE,
        "FORGEMESH_REGISTRY_HEALTH_LISTEN": ANYWHERE,
        "FORGEMESH_REGISTRY_DATABASE": str(tmp_path / "registry.db"),
    }
    async with (
        start_service("forgemesh.registry.main", settings, tmp_path) as service,
        connect(service.address) as channel,
    ):
        registry: Any = RegistryServiceStub(channel)
        watch = registry.WatchEvents(pb.WatchEventsRequest())
        await watch.read()
        host = {
            "FORGEMESH_HOST_LOAD": "greeter_plugin:Greeter",
            "FORGEMESH_HOST_PATH": str(tmp_path),
            "FORGEMESH_HOST_REGISTRY": service.address,
            "FORGEMESH_HOST_INSTANCE_ID": "greeter-1",
            "FORGEMESH_HOST_OWNER_TOKEN": "one secret of both",
            "FORGEMESH_HOST_LEASE_TTL": "1",
        }
        async with (
            start_service("forgemesh.plugin_host.main", host, tmp_path) as one,
            start_service("forgemesh.plugin_host.main", host, tmp_path) as other,
            asyncio.timeout(60),
        ):
            while (step := await watch.read()).event.kind != event_pb2.EVENT_KIND_CONTESTED:
                pass
        watch.cancel()

    said = step.event.message
    for process in (one, other):
        assert f"pid {process.pid} on " in said
        assert process.address in said
    warnings = [line for line in service.log.read_text().splitlines() if "in turns" in line]
    assert [json.loads(line)["level"] for line in warnings] == ["WARNING"]
