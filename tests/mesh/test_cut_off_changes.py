"""Changes whose caller has gone away, and changes that others join: finished or undone, and judged at their end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from forgemesh.api.registry.v1 import event_pb2, instance_pb2, registry_service_pb2
from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.chassis.server import Serving
from forgemesh.faults.supervisor import ConfigRejected, ReloadFailed
from tests.component.plugin_host.registry import serving_registry
from tests.mesh.gates import at, close, gated
from tests.mesh.processes import alive, kill
from tests.mesh.supervised import Supervised, plugin_source, running_registry, section, state_of, supervised

pytestmark = pytest.mark.mesh

RELOAD = pb.ReloadPluginRequest(name="gated")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def configure(width: int) -> pb.ConfigurePluginRequest:
    return pb.ConfigurePluginRequest(name="gated", config=json.dumps({"width": width}))


async def cut_off(call: asyncio.Task[Any]) -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def widths(mesh: Supervised) -> set[int]:
    return {await mesh.call(name, "shows") for name in await mesh.hosts()}


async def test_an_exclusive_reload_that_is_cut_off_while_the_old_process_ends_leaves_the_new_one(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path, "exclusive = true")) as mesh:
        old = (await mesh.in_state(gated_1="READY"))["gated-1"]
        await mesh.call("gated-1", "add")
        gate = close(tmp_path, "stop", "gated-1")
        gated(tmp_path, version="2.0.0")
        call = asyncio.create_task(mesh.ask("ReloadPlugin", RELOAD))
        await at(mesh, "stop", "gated-1")
        await cut_off(call)
        gate.unlink()
        await mesh.until(lambda hosts: state_of(hosts["gated-1"]) == "READY" and hosts["gated-1"].pid != old.pid)
        counted = await mesh.call("gated-1", "add")
        version = (await mesh.hosts())["gated-1"].plugin_version

    assert (version, counted) == ("2.0.0", 2)


async def test_a_reload_that_is_cut_off_while_old_and_new_processes_serve_ends_the_old_ones(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path, "instances = 2")) as mesh:
        await mesh.in_state(gated_1="READY", gated_2="READY")
        gated(tmp_path, version="2.0.0")
        gate = close(tmp_path, "start", "gated-4")
        call = asyncio.create_task(mesh.ask("ReloadPlugin", RELOAD))
        await at(mesh, "start", "gated-4")
        gate.unlink()
        await mesh.in_state(gated_1="READY", gated_2="READY", gated_3="READY", gated_4="READY")
        await cut_off(call)
        after = await mesh.until(lambda hosts: list(hosts) == ["gated-3", "gated-4"])

    assert {host.plugin_version for host in after.values()} == {"2.0.0"}


async def test_a_reload_that_is_cut_off_while_a_new_process_starts_goes_on_to_its_end(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path)) as mesh:
        await mesh.in_state(gated_1="READY")
        gated(tmp_path, version="2.0.0")
        gate = close(tmp_path, "start", "gated-2")
        call = asyncio.create_task(mesh.ask("ReloadPlugin", RELOAD))
        await at(mesh, "start", "gated-2")
        await cut_off(call)
        gate.unlink()
        after = await mesh.until(lambda hosts: list(hosts) == ["gated-2"])

    assert after["gated-2"].plugin_version == "2.0.0"


async def test_a_configuration_that_is_cut_off_between_two_hosts_reaches_both(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path, "instances = 2")) as mesh:
        await mesh.in_state(gated_1="READY", gated_2="READY")
        gate = close(tmp_path, "configure", "gated-2")
        call = asyncio.create_task(mesh.ask("ConfigurePlugin", configure(7)))
        await at(mesh, "configure", "gated-2")
        await cut_off(call)
        gate.unlink()
        await mesh.until(lambda hosts: {host.config_revision for host in hosts.values()} == {1})
        await mesh.ask("ScalePlugin", pb.ScalePluginRequest(name="gated", instances=3))
        await mesh.in_state(gated_1="READY", gated_2="READY", gated_3="READY")
        shown = await widths(mesh)
        revisions = {host.config_revision for host in (await mesh.hosts()).values()}

    assert (shown, revisions) == ({7}, {1})


async def test_a_load_that_is_cut_off_goes_on(tmp_path: Path, registry: Serving) -> None:
    gate = close(tmp_path, "start", "gated-1")
    async with supervised(tmp_path, registry.address, gated(tmp_path)) as mesh:
        await mesh.in_state(gated_1="INITIALIZING")
        await mesh.ask("UnloadPlugin", pb.UnloadPluginRequest(name="gated"))
        call = asyncio.create_task(mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["gated"])))
        await mesh.in_state(gated_1="INITIALIZING")
        await cut_off(call)
        gate.unlink()
        await mesh.in_state(gated_1="READY")


async def test_a_configuration_reaches_an_instance_that_is_starting(tmp_path: Path, registry: Serving) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path)) as mesh:
        await mesh.in_state(gated_1="READY")
        gate = close(tmp_path, "start", "gated-2")
        await mesh.ask("ScalePlugin", pb.ScalePluginRequest(name="gated", instances=2))
        await mesh.in_state(gated_2="INITIALIZING")
        call = asyncio.create_task(mesh.ask("ConfigurePlugin", configure(7)))
        await asyncio.sleep(0)
        gate.unlink()
        answer = await call
        await mesh.in_state(gated_1="READY", gated_2="READY")
        shown = await widths(mesh)
        revisions = {host.config_revision for host in (await mesh.hosts()).values()}

    assert (shown, revisions) == ({7}, {answer.revision})


async def test_a_configuration_reaches_an_instance_that_is_restarted_after_a_crash_meanwhile(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path, "instances = 2")) as mesh:
        before = await mesh.in_state(gated_1="READY", gated_2="READY")
        gate = close(tmp_path, "configure", "gated-1")
        call = asyncio.create_task(mesh.ask("ConfigurePlugin", configure(7)))
        await at(mesh, "configure", "gated-1")
        kill(before["gated-2"].pid)
        await mesh.until(lambda hosts: state_of(hosts["gated-2"]) == "READY" and hosts["gated-2"].restarts == 1)
        gate.unlink()
        answer = await call
        shown = await widths(mesh)
        revisions = {host.config_revision for host in (await mesh.hosts()).values()}

    assert (shown, revisions) == ({7}, {answer.revision})


async def test_a_configuration_that_an_instance_dies_of_afterwards_is_refused_and_undone(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path, "instances = 2")) as mesh:
        before = await mesh.in_state(gated_1="READY", gated_2="READY")
        gate = close(tmp_path, "configure", "gated-2")
        call = asyncio.create_task(mesh.fails("ConfigurePlugin", configure(7)))
        await at(mesh, "configure", "gated-2")
        kill(before["gated-1"].pid)
        await mesh.until(lambda hosts: state_of(hosts["gated-1"]) == "READY" and hosts["gated-1"].restarts == 1)
        gate.unlink()
        fault = await call
        shown = await widths(mesh)

    assert isinstance(fault, ConfigRejected)
    assert fault.metadata["instance_id"] == "gated-1"
    assert "it took it on and has ended: killed by signal 9" in fault.metadata["cause"]
    assert shown == {1}


async def test_a_new_process_that_is_dead_before_the_last_one_serves_fails_the_reload(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path, "instances = 2")) as mesh:
        before = await mesh.in_state(gated_1="READY", gated_2="READY")
        gated(tmp_path, version="2.0.0")
        gate = close(tmp_path, "start", "gated-4")
        call = asyncio.create_task(mesh.fails("ReloadPlugin", RELOAD))
        await at(mesh, "start", "gated-4")
        kill((await mesh.hosts())["gated-3"].pid)
        await mesh.until(lambda hosts: state_of(hosts["gated-3"]) == "READY" and hosts["gated-3"].restarts == 1)
        gate.unlink()
        fault = await call
        after = await mesh.hosts()

    assert isinstance(fault, ReloadFailed)
    assert "killed by signal 9" in fault.metadata["cause"]
    assert {name: host.pid for name, host in after.items()} == {name: host.pid for name, host in before.items()}


async def test_a_new_process_that_dies_while_the_old_one_drains_fails_the_reload(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path)) as mesh:
        await mesh.in_state(gated_1="READY")
        gated(tmp_path, version="2.0.0")
        gate = close(tmp_path, "stop", "gated-1")
        call = asyncio.create_task(mesh.fails("ReloadPlugin", RELOAD))
        await at(mesh, "stop", "gated-1")
        new = (await mesh.hosts())["gated-2"]
        kill(new.pid)
        await mesh.until(lambda hosts: hosts["gated-2"].pid != new.pid)
        gate.unlink()
        fault = await call
        await mesh.in_state(gated_2="READY")

    assert isinstance(fault, ReloadFailed)
    assert "the old one has ended; it is started again by its rule" in fault.message


async def test_a_reload_that_fails_leaves_the_section_as_it_was(tmp_path: Path, registry: Serving) -> None:
    first = gated(tmp_path, "config = { width = 3 }")
    async with supervised(tmp_path, registry.address, first) as mesh:
        before = (await mesh.in_state(gated_1="READY"))["gated-1"]
        file = tmp_path / "forgemesh.toml"
        file.write_text(gated(tmp_path, 'config = { width = "wide" }'))
        fault = await mesh.fails("ReloadPlugin", RELOAD)
        kill(before.pid)
        after = await mesh.until(
            lambda hosts: state_of(hosts["gated-1"]) == "READY" and hosts["gated-1"].pid != before.pid
        )
        width = await mesh.call("gated-1", "shows")

    assert isinstance(fault, ReloadFailed)
    assert fault.metadata["phase"] == "CONFIG"
    assert (width, after["gated-1"].config_revision) == (3, before.config_revision)


BROKEN = ('await passed("start")', "raise RuntimeError('no dictionary')")


@pytest.mark.parametrize("keys", [("lazy = true",), ("lazy = true", "exclusive = true")])
async def test_a_sleeping_plugin_whose_reload_failed_is_started_by_a_call_and_by_a_load(
    tmp_path: Path, keys: tuple[str, ...]
) -> None:
    async with serving_registry() as mute:
        revision = instance_pb2.Revision(epoch=1, revision=1)
        mute.to_watch.put_nowait(
            registry_service_pb2.WatchInstancesResponse(revision=revision, all=registry_service_pb2.InstanceSet())
        )
        async with supervised(tmp_path, mute.address, gated(tmp_path, *keys)) as mesh:
            await mute.until(lambda: mute.published == ["test.gated"])
            await mesh.in_state(gated_1="STOPPED")
            gated(tmp_path, version="2.0.0", replacing=BROKEN)
            fault = await mesh.fails("ReloadPlugin", RELOAD)
            asleep = await mesh.in_state(gated_1="STOPPED")
            gated(tmp_path, version="3.0.0")
            wanted = event_pb2.Event(kind=event_pb2.EVENT_KIND_WANTED, plugin_id="test.gated")
            mute.events.put_nowait(registry_service_pb2.WatchEventsResponse(event=wanted, position=revision))
            called = await mesh.in_state(gated_1="READY")
            await mesh.ask("UnloadPlugin", pb.UnloadPluginRequest(name="gated"))
            gated(tmp_path, version="2.0.0", replacing=BROKEN)
            again = await mesh.fails("ReloadPlugin", RELOAD)
            gated(tmp_path, version="3.0.0")
            loaded = await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["gated"]))

    assert isinstance(fault, ReloadFailed)
    assert isinstance(again, ReloadFailed)
    assert "no dictionary; it stands as it did before" in fault.message
    assert list(asleep) == list(called) == ["gated-1"]
    assert called["gated-1"].plugin_version == "3.0.0"
    assert [one.started for one in loaded.plugins] == [True]
    assert not alive(called["gated-1"].pid)


async def test_an_exclusive_plugin_keeps_its_state_over_a_reload_that_fails(tmp_path: Path, registry: Serving) -> None:
    async with supervised(tmp_path, registry.address, gated(tmp_path, "exclusive = true")) as mesh:
        await mesh.in_state(gated_1="READY")
        await mesh.call("gated-1", "add")
        gated(tmp_path, version="2.0.0", replacing=BROKEN)
        fault = await mesh.fails("ReloadPlugin", RELOAD)
        gated(tmp_path, version="2.0.0")
        await mesh.in_state(gated_1="READY")
        counted = await mesh.call("gated-1", "add")

    assert isinstance(fault, ReloadFailed)
    assert "it is started again as it was" in fault.message
    assert counted == 2


async def test_a_reload_that_waits_for_what_does_not_come_is_given_up(tmp_path: Path, registry: Serving) -> None:
    gate = close(tmp_path, "start", "gated-1")
    keys = ('start_timeout = "5s"',)
    provider = gated(tmp_path, 'start_timeout = "10m"')
    (tmp_path / "user.py").write_text(plugin_source("test.user"))
    async with supervised(tmp_path, registry.address, provider + section("user", tmp_path, *keys)) as mesh:
        before = await mesh.in_state(user_1="READY", gated_1="INITIALIZING")
        (tmp_path / "user.py").write_text(plugin_source("test.user", version="1.1.0", requires='["test.gated"]'))
        fault = await mesh.fails("ReloadPlugin", pb.ReloadPluginRequest(name="user"))
        after = await mesh.hosts()
        gate.unlink()
        await mesh.in_state(gated_1="READY")
        answer = await mesh.ask("ReloadPlugin", pb.ReloadPluginRequest(name="user"))

    assert isinstance(fault, ReloadFailed)
    assert fault.metadata["cause"] == "it does not serve after 15 s: waits for plugin test.gated"
    assert after["user-1"].pid == before["user-1"].pid
    assert list(answer.instance_ids) == ["user-2"]
