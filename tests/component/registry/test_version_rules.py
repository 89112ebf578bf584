from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.resolution_pb2 import Requirement
from forgemesh.faults.registry import PluginNotFound, VersionConflict
from forgemesh.faults.service import InvalidRequest
from tests.component.registry.registries import refusing, registration, registry_at, watching
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

STATS = "weather.stats"
BAD = pb.SetQuarantineRequest(plugin_id=STATS, version="1.0.0", quarantined=True, reason="loses rain")
GOOD = pb.SetQuarantineRequest(plugin_id=STATS, version="1.0.0")


async def publish(registry: RegistryServiceAsyncStub, *versions: str) -> None:
    for version in versions:
        operations = [manifest_pb2.Operation(name="mean")]
        manifest = manifest_pb2.Manifest(plugin_id=STATS, version=version, operations=operations)
        await registry.PublishManifest(pb.PublishManifestRequest(manifest=manifest))


async def resolved(registry: RegistryServiceAsyncStub, version_range: str = "") -> str:
    wanted = [Requirement(plugin_id=STATS, version_range=version_range)]
    (plugin,) = (await registry.ResolvePlugins(pb.ResolvePluginsRequest(requirements=wanted))).plugins
    return str(plugin.version)


async def states(registry: RegistryServiceAsyncStub) -> dict[str, tuple[int, str]]:
    listed = await registry.ListInstances(pb.ListInstancesRequest())
    return {one.instance_id: (one.state, one.state_reason) for one in listed.instances}


async def test_instances_of_a_version_in_quarantine_say_so_until_it_is_released_also_over_a_restart(
    database: Path, clock: ManualClock
) -> None:
    async with registry_at(database, clock) as registry:
        await publish(registry, "1.0.0")
        first = await registry.RegisterInstance(registration("stats-1"))
        async with watching(registry, first.revision) as steps:
            assert (await registry.SetQuarantine(BAD)).changed
            assert not (await registry.SetQuarantine(BAD)).changed
            changed = (await anext(steps)).changed
        assert (changed.state, changed.state_reason) == (instance_pb2.INSTANCE_STATE_QUARANTINED, "loses rain")
        assert changed.incarnation == first.instance.incarnation

    async with registry_at(database, clock) as registry:
        await registry.RegisterInstance(registration("stats-2"))
        out = (instance_pb2.INSTANCE_STATE_QUARANTINED, "loses rain")
        assert await states(registry) == {"stats-1": out, "stats-2": out}
        (rule,) = (await registry.ListPlugins(pb.ListPluginsRequest())).rules
        assert (rule.plugin_id, rule.quarantined_version, rule.reason) == (STATS, "1.0.0", "loses rain")
        assert (await registry.SetQuarantine(GOOD)).changed
        back = (instance_pb2.INSTANCE_STATE_ACTIVE, "")
        assert await states(registry) == {"stats-1": back, "stats-2": back}


async def test_what_is_in_quarantine_or_outside_a_pin_is_not_chosen(database: Path, clock: ManualClock) -> None:
    async with registry_at(database, clock) as registry:
        await publish(registry, "1.0.0", "1.1.0", "2.0.0")
        assert await resolved(registry) == "2.0.0"
        assert (await registry.PinVersion(pb.PinVersionRequest(plugin_id=STATS, version_range="^1"))).changed
        assert not (await registry.PinVersion(pb.PinVersionRequest(plugin_id=STATS, version_range="^1"))).changed
        assert await resolved(registry) == "1.1.0"
        request = pb.SetQuarantineRequest(plugin_id=STATS, version="1.1.0", quarantined=True, reason="slow")
        await registry.SetQuarantine(request)

    async with registry_at(database, clock) as registry:
        assert await resolved(registry) == "1.0.0"
        with refusing(VersionConflict):
            await resolved(registry, "^2")
        assert (await registry.PinVersion(pb.PinVersionRequest(plugin_id=STATS))).changed
        assert await resolved(registry) == "2.0.0"


async def test_a_rule_names_a_published_plugin_and_says_why(registry: RegistryServiceAsyncStub) -> None:
    with refusing(PluginNotFound):
        await registry.SetQuarantine(BAD)
    with refusing(PluginNotFound):
        await registry.PinVersion(pb.PinVersionRequest(plugin_id=STATS, version_range="^1"))
    for wrong in (
        pb.SetQuarantineRequest(plugin_id=STATS, version="1.0.0", quarantined=True),
        pb.SetQuarantineRequest(plugin_id=STATS, version="one", quarantined=True, reason="x"),
    ):
        with refusing(InvalidRequest):
            await registry.SetQuarantine(wrong)
    with refusing(InvalidRequest):
        await registry.PinVersion(pb.PinVersionRequest(plugin_id=STATS, version_range="~>nonsense"))
