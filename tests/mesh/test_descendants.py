"""What a plugin has started ends with its process, wherever it has gone; nothing else does."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.chassis.server import Serving
from tests.mesh.processes import alive, eventually, kill
from tests.mesh.supervised import Supervised, plugin_source, running_registry, section, state_of, supervised

pytestmark = pytest.mark.mesh

BODY = """
@operation
def launch(self, how: str) -> int:
    import subprocess
    sleep = ["sleep", "600"]
    if how == "child":
        return subprocess.Popen(sleep).pid
    if how == "group":
        return subprocess.Popen(sleep, process_group=0).pid
    if how == "session":
        return subprocess.Popen(sleep, start_new_session=True).pid
    script = "setsid sleep 600 >/dev/null 2>&1 & echo $!"  # its parent ends at once
    environment = {"PATH": os.environ["PATH"]} if how == "bare daemon" else None
    return int(subprocess.check_output(["sh", "-c", script], env=environment))
"""
HOWS = ("child", "group", "session", "daemon", "bare daemon")
DETACHED = ("session", "daemon", "bare daemon")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


@pytest.fixture
def started() -> Iterator[dict[str, int]]:
    """What a test has had started, by how; ended at the end if it still runs."""
    pids: dict[str, int] = {}
    yield pids
    for pid in pids.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def write(directory: Path, name: str, *keys: str) -> str:
    (directory / f"{name}.py").write_text(plugin_source(f"test.{name}", body=BODY))
    return section(name, directory, *keys)


async def start_all(mesh: Supervised, instance_id: str, started: dict[str, int]) -> None:
    for how in HOWS:
        started[how] = await mesh.call(instance_id, "launch", how=how)


def left(started: dict[str, int]) -> list[str]:
    return [how for how, pid in started.items() if alive(pid)]


async def test_what_a_crashed_process_has_started_is_gone_before_the_next_one_runs(
    tmp_path: Path, registry: Serving, started: dict[str, int]
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "parent")) as mesh:
        host = (await mesh.in_state(parent_1="READY"))["parent-1"]
        await start_all(mesh, "parent-1", started)
        kill(host.pid)
        await mesh.until(lambda hosts: hosts["parent-1"].restarts == 1)

        assert left(started) == []


async def test_an_unload_answers_when_all_that_the_plugin_has_started_is_gone(
    tmp_path: Path, registry: Serving, started: dict[str, int]
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "parent")) as mesh:
        await mesh.in_state(parent_1="READY")
        await start_all(mesh, "parent-1", started)
        await mesh.ask("UnloadPlugin", pb.UnloadPluginRequest(name="parent"))

        assert left(started) == []


async def test_nothing_is_left_of_what_plugins_have_started_when_the_supervisor_has_stopped(
    tmp_path: Path, registry: Serving, started: dict[str, int]
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "parent")) as mesh:
        await mesh.in_state(parent_1="READY")
        await start_all(mesh, "parent-1", started)

        assert await mesh.service.stop() == 0
        assert left(started) == []


async def test_nothing_is_left_of_what_plugins_have_started_after_the_supervisor_was_killed(
    tmp_path: Path, registry: Serving, started: dict[str, int]
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "parent")) as mesh:
        await mesh.in_state(parent_1="READY")
        await start_all(mesh, "parent-1", started)
        await mesh.service.kill()

        async def gone() -> bool:
            return not left(started)

        await eventually(gone)


async def test_what_another_plugin_has_started_goes_on(
    tmp_path: Path, registry: Serving, started: dict[str, int]
) -> None:
    configuration = write(tmp_path, "parent") + write(tmp_path, "other")
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        host = (await mesh.in_state(parent_1="READY", other_1="READY"))["parent-1"]
        await start_all(mesh, "other-1", started)
        kill(host.pid)
        await mesh.until(lambda hosts: state_of(hosts["parent-1"]) == "READY" and hosts["parent-1"].restarts == 1)

        assert left(started) == list(HOWS)


async def test_a_plugin_that_says_so_leaves_what_it_has_put_into_sessions_of_their_own(
    tmp_path: Path, registry: Serving, started: dict[str, int]
) -> None:
    async with supervised(tmp_path, registry.address, write(tmp_path, "parent", "leave_detached = true")) as mesh:
        host = (await mesh.in_state(parent_1="READY"))["parent-1"]
        await start_all(mesh, "parent-1", started)
        kill(host.pid)
        await mesh.until(lambda hosts: state_of(hosts["parent-1"]) == "READY" and hosts["parent-1"].restarts == 1)
        left_by_the_crash = left(started)
        await mesh.service.stop()

    assert left_by_the_crash == list(DETACHED)
    assert left(started) == list(DETACHED)


async def test_what_was_started_before_another_supervisor_came_ends_with_its_process_too(
    tmp_path: Path, registry: Serving, started: dict[str, int]
) -> None:
    configuration = write(tmp_path, "hardy", "reattach = true")
    async with supervised(tmp_path, registry.address, configuration) as first:
        await first.in_state(hardy_1="READY")
        await start_all(first, "hardy-1", started)
        await first.service.kill()
    async with supervised(tmp_path, registry.address, configuration) as second:
        host = (await second.in_state(hardy_1="READY"))["hardy-1"]
        left_by_the_first = left(started)
        kill(host.pid)
        await second.until(lambda hosts: hosts["hardy-1"].restarts == 1)

        assert left_by_the_first == list(HOWS)
        assert left(started) == []


async def test_what_a_process_has_left_that_died_without_a_supervisor_is_ended_by_the_next_one(
    tmp_path: Path, registry: Serving, started: dict[str, int]
) -> None:
    configuration = write(tmp_path, "hardy", "reattach = true")
    async with supervised(tmp_path, registry.address, configuration) as first:
        host = (await first.in_state(hardy_1="READY"))["hardy-1"]
        await start_all(first, "hardy-1", started)
        await first.service.kill()
    kill(host.pid)
    async with supervised(tmp_path, registry.address, configuration) as second:
        await second.in_state(hardy_1="READY")

        assert left(started) == []
