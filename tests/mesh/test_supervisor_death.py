"""kill -9 of the supervisor: its hosts end, or live on and are found again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.chassis.server import Serving
from tests.mesh.processes import alive, eventually, kill
from tests.mesh.supervised import call, plugin_source, running_registry, section, state_of, supervised

pytestmark = pytest.mark.mesh

PROGRAM = Path(__file__).with_name("foreign_plugin.py")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def write(directory: Path, name: str, *keys: str, body: str = "") -> str:
    (directory / f"{name}.py").write_text(plugin_source(f"test.{name}", body=body))
    return section(name, directory, *keys)


COUNTER = """
count = 0

@operation
async def add(self) -> int:
    self.count += 1
    print("counted", flush=True)
    return self.count
"""


async def test_no_host_is_left_after_its_supervisor_was_killed(tmp_path: Path, registry: Serving) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "mortal", "instances = 3")) as mesh:
        hosts = await mesh.in_state(mortal_1="READY", mortal_2="READY", mortal_3="READY")
        await mesh.service.kill()

        async def gone() -> bool:
            return not any(alive(host.pid) for host in hosts.values())

        await eventually(gone)


async def test_nothing_that_a_host_has_started_outlives_the_supervisor(tmp_path: Path, registry: Serving) -> None:
    body = """
    @operation
    async def child(self) -> int:
        import subprocess
        return subprocess.Popen(["sleep", "600"]).pid
    """
    async with supervised(tmp_path, registry.address, write(tmp_path, "parent", body=body)) as mesh:
        host = (await mesh.in_state(parent_1="READY"))["parent-1"]
        child = await mesh.call("parent-1", "child")
        await mesh.service.kill()

        async def gone() -> bool:
            return not alive(host.pid) and not alive(child)

        await eventually(gone)


async def test_a_host_that_is_stopped_does_not_outlive_its_supervisor(tmp_path: Path, registry: Serving) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "frozen")) as mesh:
        host = (await mesh.in_state(frozen_1="READY"))["frozen-1"]
        os.kill(host.pid, signal.SIGSTOP)
        await mesh.service.kill()

        async def gone() -> bool:
            return not alive(host.pid)

        await eventually(gone)


async def test_no_program_outlives_its_supervisor_with_what_it_has_started(tmp_path: Path, registry: Serving) -> None:
    child = tmp_path / "child"
    words = f'["sh", "-c", "sleep 600 & echo $! >{child}; {sys.executable} {PROGRAM}"]'
    async with supervised(tmp_path, registry.address, f"[plugins.foreign]\ncommand = {words}\n") as mesh:
        host = (await mesh.in_state(foreign_1="READY"))["foreign-1"]
        await mesh.service.kill()

        async def gone() -> bool:
            return not alive(host.pid) and not alive(int(child.read_text()))

        await eventually(gone)


async def test_hosts_that_may_live_on_are_found_again_and_watched_as_before(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "hardy", "instances = 2", "reattach = true", body=COUNTER)
    async with supervised(tmp_path, registry.address, configuration) as first:
        before = await first.in_state(hardy_1="READY", hardy_2="READY")
        registered = await first.instances()
        await first.call("hardy-1", "add")
        await first.service.kill()
    assert await call(registered["hardy-1"].address, "add") == 2
    async with supervised(tmp_path, registry.address, configuration) as second:
        found = await second.in_state(hardy_1="READY", hardy_2="READY")
        counted = await second.call("hardy-1", "add")
        again = await second.instances()
        written = (tmp_path / "logs" / "hardy-1.log").read_text()
        kill(found["hardy-2"].pid)
        restarted = await second.until(
            lambda hosts: state_of(hosts["hardy-2"]) == "READY" and hosts["hardy-2"].restarts == 1
        )
        assert await second.service.stop() == 0

    assert {name: host.pid for name, host in found.items()} == {name: host.pid for name, host in before.items()}
    assert counted == 3
    assert written.count("counted") == 3
    assert {name: one.incarnation for name, one in again.items()} == {
        name: one.incarnation for name, one in registered.items()
    }
    assert not any(alive(host.pid) for host in restarted.values())
    assert json.loads((tmp_path / "supervisor.json").read_text()) == []


async def test_a_process_that_has_the_id_of_a_dead_host_is_not_touched(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "hardy", "reattach = true")
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        left = [
            {"instance_id": "hardy-1", "name": "hardy", "pid": stranger.pid, "started": "1", "token": "old"},
            {"instance_id": "other-1", "name": "other", "pid": stranger.pid, "started": "2", "token": "old"},
        ]
        (tmp_path / "supervisor.json").write_text(json.dumps(left))
        try:
            async with supervised(tmp_path, registry.address, configuration) as mesh:
                host = (await mesh.in_state(hardy_1="READY"))["hardy-1"]

                assert host.pid != stranger.pid
                assert await mesh.service.stop() == 0
                assert stranger.poll() is None
        finally:
            stranger.kill()


async def test_a_host_whose_section_is_gone_is_ended_by_the_next_supervisor(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "hardy", "reattach = true") + write(tmp_path, "other", "reattach = true")
    async with supervised(tmp_path, registry.address, configuration) as first:
        before = await first.in_state(hardy_1="READY", other_1="READY")
        await first.service.kill()
    configuration = write(tmp_path, "hardy", "reattach = true")
    async with supervised(tmp_path, registry.address, configuration) as second:
        await second.in_state(hardy_1="READY")

        async def gone() -> bool:
            return not alive(before["other-1"].pid)

        await eventually(gone)
        assert await second.service.stop() == 0


async def test_a_host_that_nobody_comes_back_for_ends_by_itself(tmp_path: Path, registry: Serving) -> None:
    configuration = write(tmp_path, "hardy", "reattach = true")
    short = {"FORGEMESH_SUPERVISOR_REATTACH_SECONDS": "1"}
    async with supervised(tmp_path, registry.address, configuration, **short) as mesh:
        pid = (await mesh.in_state(hardy_1="READY"))["hardy-1"].pid
        await mesh.service.kill()

        async def gone() -> bool:
            return not alive(pid)

        await eventually(gone)
