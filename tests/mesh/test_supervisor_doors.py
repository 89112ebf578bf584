"""What holds for a plugin holds whichever way somebody comes: the file, load, scale, a caller, the load rule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.chassis.server import Serving
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.supervisor import LoadFailed, ScaleOutOfBounds
from tests.mesh.processes import kill
from tests.mesh.supervised import Supervised, plugin_source, running_registry, section, state_of, supervised

pytestmark = pytest.mark.mesh

FIRST_IS_DEAD = """
def start(self):
    note("start")
    if os.environ["FORGEMESH_HOST_INSTANCE_ID"].endswith("-1"):
        raise OSError("no database")

@operation
async def work(self, seconds: float) -> None:
    await asyncio.sleep(seconds)
"""
SLOW_TO_STOP = """
async def stop(self):
    await asyncio.sleep(1.5)
    note("stop")
"""
AT_ONCE = "crash_budget = { crashes = 1 }"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def write(directory: Path, name: str, *keys: str, body: str = "", **declared: str) -> str:
    (directory / f"{name}.py").write_text(plugin_source(f"test.{name}", body=body, **declared))
    return section(name, directory, *keys)


async def tenure_of(mesh: Supervised, instance_id: str) -> str:
    return (await mesh.instances())[instance_id].labels["tenure"]


async def test_scaling_down_ends_the_host_that_crashes_and_not_the_one_that_serves(
    tmp_path: Path, registry: Serving
) -> None:
    configuration = write(tmp_path, "half", "instances = 2", AT_ONCE, body=FIRST_IS_DEAD)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        before = await mesh.in_state(half_1="CRASH_LOOP", half_2="READY")
        await mesh.ask("ScalePlugin", pb.ScalePluginRequest(name="half", instances=1))
        after = await mesh.until(lambda hosts: len(hosts) == 1)

    assert after["half-2"].pid == before["half-2"].pid


async def test_the_load_rule_goes_on_while_one_host_is_in_a_crash_loop(tmp_path: Path, registry: Serving) -> None:
    keys = ("instances = 2", "max_instances = 3", "scale = { target = 0.05 }", AT_ONCE)
    async with supervised(tmp_path, registry.address, write(tmp_path, "half", *keys, body=FIRST_IS_DEAD)) as mesh:
        await mesh.in_state(half_1="CRASH_LOOP", half_2="READY")
        calls = [asyncio.create_task(mesh.call("half-2", "work", seconds=6)) for _ in range(4)]
        hosts = await mesh.in_state(half_1="CRASH_LOOP", half_2="READY", half_3="READY")
        await asyncio.gather(*calls)

    assert len(hosts) == 3


async def test_processes_of_one_host_share_a_tenure_and_those_of_a_reload_have_another(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "slot")) as mesh:
        first = (await mesh.in_state(slot_1="READY"))["slot-1"]
        tenures = [await tenure_of(mesh, "slot-1")]
        kill(first.pid)
        await mesh.until(lambda hosts: hosts["slot-1"].restarts == 1 and state_of(hosts["slot-1"]) == "READY")
        tenures.append(await tenure_of(mesh, "slot-1"))
        for _ in range(2):  # to another number, and back
            await mesh.ask("ReloadPlugin", pb.ReloadPluginRequest(name="slot"))
        await mesh.in_state(slot_1="READY")
        tenures.append(await tenure_of(mesh, "slot-1"))

    assert tenures[0]
    assert tenures[1] == tenures[0]
    assert tenures[2] != tenures[0]


async def test_an_exclusive_plugin_never_runs_twice_however_it_is_scaled(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "only", "exclusive = true", body=SLOW_TO_STOP)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.in_state(only_1="READY")
        fault = await mesh.fails("ScalePlugin", pb.ScalePluginRequest(name="only", instances=2))
        await mesh.ask("ScalePlugin", pb.ScalePluginRequest(name="only", instances=0))
        await mesh.ask("ScalePlugin", pb.ScalePluginRequest(name="only", instances=1))
        await mesh.until(lambda hosts: [state_of(host) for host in hosts.values()] == ["READY"])
        notes = mesh.notes()

    assert isinstance(fault, ScaleOutOfBounds)
    assert notes == ["start test.only", "stop", "start test.only"]


async def test_a_plugin_that_becomes_exclusive_runs_once_from_its_next_load_on(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "only")) as mesh:
        await mesh.in_state(only_1="READY")
        await mesh.ask("ScalePlugin", pb.ScalePluginRequest(name="only", instances=3))
        await mesh.in_state(only_1="READY", only_2="READY", only_3="READY")
        (tmp_path / "forgemesh.toml").write_text(write(tmp_path, "only", "exclusive = true"))
        await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["only"]))
        hosts = await mesh.until(lambda hosts: len(hosts) == 1)

    assert state_of(hosts["only-1"]) == "READY"


async def test_a_section_that_no_process_can_be_started_with_is_refused_by_name_and_changes_nothing(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "sound")) as mesh:
        before = await mesh.in_state(sound_1="READY")
        wrong = '[plugins.other]\ncommand = ["x"]\nenvironment = { "A=B" = "c" }\n'
        (tmp_path / "forgemesh.toml").write_text(write(tmp_path, "sound") + wrong)
        fault = await mesh.fails("LoadPlugins", pb.LoadPluginsRequest(names=["other"]))
        after = await mesh.hosts()

    assert isinstance(fault, InvalidRequest)
    assert "[plugins.other] 'A=B' is no name of an environment variable" in fault.message
    assert {name: host.pid for name, host in after.items()} == {name: host.pid for name, host in before.items()}


async def test_a_load_starts_what_has_ended_before_and_answers_for_that_start(
    tmp_path: Path, registry: Serving
) -> None:
    configuration = write(tmp_path, "once", 'restart = "never"')
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        first = (await mesh.in_state(once_1="READY"))["once-1"]
        kill(first.pid)
        await mesh.in_state(once_1="STOPPED")
        await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["once"]))
        second = (await mesh.hosts())["once-1"]
        (tmp_path / "once.py").write_text("raise OSError('no disk')")
        kill(second.pid)
        await mesh.in_state(once_1="STOPPED")
        fault = await mesh.fails("LoadPlugins", pb.LoadPluginsRequest(names=["once"]))

    assert state_of(second) == "READY"
    assert second.pid != first.pid
    assert isinstance(fault, LoadFailed)
    assert "no disk" in fault.metadata["cause"]


async def test_a_load_waits_for_the_next_start_of_what_has_crashed_before(tmp_path: Path, registry: Serving) -> None:
    body = """
    def start(self):
        if not Path("mended").exists():
            raise OSError("no database")
    """
    configuration = write(tmp_path, "sore", "crash_budget = { crashes = 50 }", body=body)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        await mesh.until(  # its pauses are seconds by then
            lambda hosts: hosts["sore-1"].recent_crashes >= 4 and state_of(hosts["sore-1"]) == "BACKOFF"
        )
        (tmp_path / "mended").touch()
        await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["sore"]))

        assert state_of((await mesh.hosts())["sore-1"]) == "READY"


async def test_a_load_of_a_plugin_that_has_lost_what_it_needs_names_what_does_not_come_back(
    tmp_path: Path, registry: Serving
) -> None:
    configuration = write(tmp_path, "ground", AT_ONCE) + write(
        tmp_path, "strict", requires='[Requires(plugin="test.ground", on_loss="stop")]'
    )
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        hosts = await mesh.in_state(ground_1="READY", strict_1="READY")
        kill(hosts["ground-1"].pid)
        await mesh.in_state(ground_1="CRASH_LOOP", strict_1="STOPPED")
        fault = await mesh.fails("LoadPlugins", pb.LoadPluginsRequest(names=["strict"]))

    assert isinstance(fault, LoadFailed)
    assert fault.metadata["name"] == "ground"


@pytest.mark.parametrize("optional", [False, True])
async def test_a_load_of_a_plugin_that_has_lost_what_it_needs_starts_that_too(
    tmp_path: Path, registry: Serving, *, optional: bool
) -> None:
    requires = f'[Requires(plugin="test.ground", on_loss="stop", optional={optional})]'
    configuration = write(tmp_path, "ground", 'restart = "never"') + write(tmp_path, "strict", requires=requires)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        hosts = await mesh.in_state(ground_1="READY", strict_1="READY")
        kill(hosts["ground-1"].pid)
        await mesh.in_state(ground_1="STOPPED", strict_1="STOPPED")
        await mesh.ask("LoadPlugins", pb.LoadPluginsRequest(names=["strict"]))
        after = await mesh.hosts()

    assert {name: state_of(host) for name, host in after.items()} == {"ground-1": "READY", "strict-1": "READY"}
