"""A supervisor and the registry: what is wanted is started, what happens is told, a crash loop is seen by everybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.api.registry.v1 import event_pb2, instance_pb2, registry_service_pb2
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.chassis.channel import connect
from forgemesh.chassis.server import Serving
from forgemesh.registry.servicer import RegistryServicer
from tests.mesh.processes import eventually, kill
from tests.mesh.supervised import plugin_source, running_registry, section, state_of, supervised

TELLS_EVENTS = "WatchEvents" in vars(RegistryServicer)
pytestmark = [pytest.mark.mesh, pytest.mark.skipif(not TELLS_EVENTS, reason="this registry has no stream of events")]

BUDGET = "crash_budget = { crashes = 2 }"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def write(directory: Path, name: str, *keys: str) -> str:
    (directory / f"{name}.py").write_text(plugin_source(f"test.{name}"))
    return section(name, directory, *keys)


async def test_a_crash_loop_is_seen_in_the_registry_and_ends_with_a_reset(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "frail", BUDGET)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        for _ in range(2):
            kill((await mesh.in_state(frail_1="READY"))["frail-1"].pid)
            await mesh.until(lambda hosts: state_of(hosts["frail-1"]) != "READY")
        looping = (await mesh.in_state(frail_1="CRASH_LOOP"))["frail-1"]

        async def said() -> instance_pb2.Instance | None:
            found = (await mesh.instances()).get("frail-1")
            return found if found and found.state == instance_pb2.INSTANCE_STATE_CRASH_LOOP else None

        standing_in = await eventually(said)
        answer = await mesh.ask("ResetHost", pb.ResetHostRequest(instance_id="frail-1"))
        again = (await mesh.in_state(frail_1="READY"))["frail-1"]
        serving = (await mesh.instances())["frail-1"]

    assert looping.reason.startswith("2 crashes, the last one: killed by signal 9; last words: ")
    assert looping.recent_crashes == 2
    assert standing_in.state_reason == looping.reason
    assert (standing_in.plugin_id, standing_in.plugin_version) == ("test.frail", "1.0.0")
    assert list(answer.instance_ids) == ["frail-1"]
    assert again.recent_crashes == 0
    assert (serving.state, serving.state_reason) == (instance_pb2.INSTANCE_STATE_ACTIVE, "")
    assert serving.incarnation > standing_in.incarnation


async def test_a_lazy_plugin_is_started_once_when_somebody_waits_for_it(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "lazy", "lazy = true")
    async with supervised(tmp_path, registry.address, configuration) as mesh, connect(registry.address) as channel:
        stub = RegistryServiceStub(channel)
        await mesh.in_state(lazy_1="STOPPED")

        async def published() -> bool:
            listed = await stub.ListPlugins(registry_service_pb2.ListPluginsRequest(plugin_id="test.lazy"), timeout=5)
            return bool(listed.manifests)

        await eventually(published)
        request = registry_service_pb2.RequestPluginRequest(plugin_id="test.lazy")
        await asyncio.gather(*(stub.RequestPlugin(request, timeout=5) for _ in range(20)))
        await mesh.in_state(lazy_1="READY")
        answer = await mesh.call("lazy-1", "ping")
        notes = mesh.notes()

    assert answer == "1.0.0"
    assert notes == ["start test.lazy"]


async def test_what_happens_to_hosts_is_in_the_registrys_stream_of_events(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "told", "crash_budget = { crashes = 2 }")
    async with supervised(tmp_path, registry.address, configuration) as mesh, connect(registry.address) as channel:
        kinds: list[str] = []
        stream = RegistryServiceStub(channel).WatchEvents(registry_service_pb2.WatchEventsRequest(), timeout=20)
        await anext(aiter(stream))
        for _ in range(2):
            kill((await mesh.in_state(told_1="READY"))["told-1"].pid)
            await mesh.until(lambda hosts: state_of(hosts["told-1"]) != "READY")
        await mesh.in_state(told_1="CRASH_LOOP")
        await mesh.ask("ResetHost", pb.ResetHostRequest(name="told"))
        async for step in stream:
            kinds.append(event_pb2.EventKind.Name(step.event.kind).removeprefix("EVENT_KIND_"))
            if "RESET" in kinds and kinds[-1] == "READY":
                break

    assert [kind for kind in kinds if kind in ("CRASHED", "CRASH_LOOP", "RESET")] == ["CRASHED", "CRASH_LOOP", "RESET"]
