from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from forgemesh.api.plugin.v1 import load_pb2, manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, provider_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.availability_pb2 import Availability
from forgemesh.api.registry.v1.resolution_pb2 import Requirement
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.registry import InterfaceNotFound, NoProviderAvailable, PluginNotFound, VersionConflict
from forgemesh.faults.service import InvalidRequest
from tests.component.registry.registries import goodbye, refusing, registration, renewal
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

SUMMARY = Requirement(interface_name="timeseries.summary", version_range="^1.2")


async def publish(registry: RegistryServiceAsyncStub, plugin_id: str, interface: str, **facts: Any) -> None:
    manifest = manifest_pb2.Manifest(
        plugin_id=plugin_id,
        version="1.0.0",
        provides=[manifest_pb2.Interface(name="timeseries.summary", version=interface)],
        operations=[manifest_pb2.Operation(name="mean")],
        **facts,
    )
    await registry.PublishManifest(pb.PublishManifestRequest(manifest=manifest))


async def register(registry: RegistryServiceAsyncStub, instance_id: str, plugin_id: str, **facts: Any) -> Any:
    request = registration(instance_id)
    request.instance.MergeFrom(instance_pb2.Instance(plugin_id=plugin_id, **facts))
    return await registry.RegisterInstance(request)


async def found(registry: RegistryServiceAsyncStub, requirement: Requirement = SUMMARY, **more: Any) -> list[str]:
    answer = await registry.FindProviders(pb.FindProvidersRequest(requirement=requirement, **more))
    return [one.instance.instance_id for one in answer.providers]


async def test_the_providers_of_an_interface_in_a_compatible_version_are_found_the_best_first(
    registry: RegistryServiceAsyncStub,
) -> None:
    await publish(registry, "a.old", "1.1.0")
    await publish(registry, "b.fits", "1.2.0", priority=-5)
    await publish(registry, "c.newer", "1.4.0", priority=7)
    await publish(registry, "d.other", "2.0.0")
    for plugin_id in ("a.old", "b.fits", "c.newer", "d.other"):
        await register(registry, f"{plugin_id}-1", plugin_id)

    assert await found(registry) == ["c.newer-1", "b.fits-1"]
    assert await found(registry, Requirement(plugin_id="b.fits")) == ["b.fits-1"]
    assert await found(registry, limit=1) == ["c.newer-1"]


async def test_what_an_instance_measures_decides_and_the_answer_says_so(registry: RegistryServiceAsyncStub) -> None:
    await publish(registry, "stats", "1.2.0")
    for name, rate in (("s-1", 0.3), ("s-2", 1.0)):
        request = renewal(await register(registry, name, "stats"))
        request.load.CopyFrom(load_pb2.LoadReport(named_metrics={"success_rate": rate}))
        await registry.RenewLease(request)

    answer = await registry.FindProviders(pb.FindProvidersRequest(requirement=SUMMARY))

    first, second = answer.providers
    assert (first.instance.instance_id, second.instance.instance_id) == ("s-2", "s-1")
    said = {part.name: part.source for part in second.parts}
    assert said["success_rate"] == "measured: 30.0%"
    assert first.score > second.score


async def test_conditions_have_to_be_met_and_preferences_decide(registry: RegistryServiceAsyncStub) -> None:
    await publish(registry, "stats", "1.2.0", metadata={"unit": "celsius"})
    for name, zone in (("s-1", "south"), ("s-2", "north")):
        await register(registry, name, "stats", zone=zone)
    north = provider_pb2.Condition(zone="north")

    assert await found(registry, must=[north]) == ["s-2"]
    assert (await found(registry, prefer=[provider_pb2.Preference(condition=north)]))[0] == "s-2"
    assert len(await found(registry, must=[provider_pb2.Condition(label=provider_pb2.Label(key="unit"))])) == 2
    with refusing(NoProviderAvailable):
        await found(registry, must=[provider_pb2.Condition(operation="median")])


async def test_nothing_of_the_kind_is_told_apart_from_nothing_at_the_moment(
    registry: RegistryServiceAsyncStub, clock: ManualClock
) -> None:
    with refusing(InterfaceNotFound):
        await found(registry)
    with refusing(PluginNotFound):
        await found(registry, Requirement(plugin_id="stats"))
    await publish(registry, "stats", "1.2.0")
    with refusing(VersionConflict):
        await found(registry, Requirement(plugin_id="stats", version_range="^2"))

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await found(registry)

    fault = from_rpc_error(refused.value)
    assert isinstance(fault, NoProviderAvailable)
    assert fault.retry_after == 1.0


async def test_what_would_not_be_called_is_found_only_if_asked_for_and_says_why(
    registry: RegistryServiceAsyncStub,
) -> None:
    await publish(registry, "stats", "1.2.0")
    looping = registration("s-1")
    looping.instance.plugin_id, looping.instance.state_reason = "stats", "out of memory"
    looping.instance.state = instance_pb2.INSTANCE_STATE_CRASH_LOOP
    await registry.RegisterInstance(looping)
    draining = await register(registry, "s-2", "stats")
    await registry.DeregisterInstance(goodbye(draining, drain=True))
    sick = await register(registry, "s-3", "stats")
    change = provider_availability(sick)
    await registry.ReportAvailability(pb.ReportAvailabilityRequest(balancer_epoch=1, changes=[change]))
    with refusing(NoProviderAvailable):
        await found(registry)

    answer = await registry.FindProviders(pb.FindProvidersRequest(requirement=SUMMARY, include_unavailable=True))

    assert {one.instance.instance_id: one.unavailable_reason for one in answer.providers} == {
        "s-1": "it crashed too often: out of memory",
        "s-2": "it drains",
        "s-3": "it does not serve: busy",
    }
    await register(registry, "s-4", "stats")
    assert await found(registry) == ["s-4"]
    assert (await found(registry, include_unavailable=True))[0] == "s-4"


def provider_availability(registered: pb.RegisterInstanceResponse) -> Any:
    instance = registered.instance
    return Availability(instance_id=instance.instance_id, incarnation=instance.incarnation, reason="busy")


async def test_a_search_that_cannot_be_meant_is_refused(registry: RegistryServiceAsyncStub) -> None:
    for wrong in (
        pb.FindProvidersRequest(),
        pb.FindProvidersRequest(requirement=Requirement(plugin_id="a", version_range="newest")),
        pb.FindProvidersRequest(requirement=SUMMARY, must=[provider_pb2.Condition()]),
        pb.FindProvidersRequest(requirement=SUMMARY, limit=-1),
    ):
        with refusing(InvalidRequest):
            await registry.FindProviders(wrong)
