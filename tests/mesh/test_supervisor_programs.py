"""Plugins that are programs in any language, run by the same supervisor."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.chassis.server import Serving
from tests.mesh.processes import alive, eventually, kill
from tests.mesh.supervised import call, plugin_source, running_registry, section, state_of, supervised

pytestmark = pytest.mark.mesh

PROGRAM = Path(__file__).with_name("foreign_plugin.py")
TOML = 'id = "test.foreign"\nversion = "3.2.0"\nrequires = ["test.ground"]\n[operations.reverse]\n'


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Serving]:
    async with running_registry(tmp_path) as serving:
        yield serving


def program(*arguments: str, keys: str = "") -> str:
    words = ", ".join(f'"{word}"' for word in (sys.executable, str(PROGRAM), *arguments))
    return f"[plugins.foreign]\ncommand = [{words}]\n{keys}\n"


@pytest.mark.parametrize("arguments", [(), ("--with-manifest",)])
async def test_a_program_that_announces_itself_is_registered_called_and_deregistered(
    tmp_path: Path, registry: Serving, arguments: tuple[str, ...]
) -> None:
    async with supervised(tmp_path, registry.address, program(*arguments)) as mesh:
        host = (await mesh.in_state(foreign_1="READY"))["foreign-1"]
        registered = (await mesh.instances())["foreign-1"]
        answer = await mesh.call("foreign-1", "reverse", text="mesh")
        assert await mesh.service.stop() == 0
        left = await mesh.instances()

    assert (host.plugin_id, host.plugin_version) == ("test.foreign", "3.1.0")
    assert registered.labels["pid"] == str(host.pid)
    assert not registered.session
    assert answer == "hsem"
    assert left == {}
    assert not alive(host.pid)


async def test_a_program_that_dies_is_started_again_as_a_new_incarnation(tmp_path: Path, registry: Serving) -> None:
    async with supervised(tmp_path, registry.address, program()) as mesh:
        before = (await mesh.in_state(foreign_1="READY"))["foreign-1"]
        first = (await mesh.instances())["foreign-1"]
        kill(before.pid)
        await mesh.until(lambda hosts: hosts["foreign-1"].restarts == 1 and state_of(hosts["foreign-1"]) == "READY")
        second = (await mesh.instances())["foreign-1"]

    assert second.incarnation > first.incarnation
    assert second.address != first.address


async def test_the_manifest_of_a_program_may_stand_in_a_file_and_says_what_it_needs(
    tmp_path: Path, registry: Serving
) -> None:
    (tmp_path / "foreign.toml").write_text(TOML)
    (tmp_path / "ground.py").write_text(plugin_source("test.ground"))
    configuration = program(keys='manifest = "foreign.toml"') + section("ground", tmp_path)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        hosts = await mesh.in_state(foreign_1="READY", ground_1="READY")

    assert hosts["foreign-1"].plugin_version == "3.2.0"


async def test_a_program_without_health_fails_with_what_to_do(tmp_path: Path, registry: Serving) -> None:
    keys = "crash_budget = { crashes = 1 }"
    async with supervised(tmp_path, registry.address, program("--without-health", keys=keys)) as mesh:
        host = (await mesh.in_state(foreign_1="CRASH_LOOP"))["foreign-1"]

    assert "it does not answer grpc.health.v1.Health/Check for the name 'readiness' (NOT_FOUND)" in host.reason
    assert "set that name to SERVING" in host.reason


async def test_a_program_that_does_not_serve_is_not_kept_registered_until_it_serves_again(
    tmp_path: Path, registry: Serving
) -> None:
    async with supervised(tmp_path, registry.address, program()) as mesh:
        pid = (await mesh.in_state(foreign_1="READY"))["foreign-1"].pid
        address = (await mesh.instances())["foreign-1"].address
        await mesh.call("foreign-1", "reverse", text="sick")

        async def gone() -> bool:
            return not await mesh.instances()

        await eventually(gone)
        await call(address, "reverse", text="well")

        async def back() -> bool:
            return bool(await mesh.instances())

        await eventually(back)
        host = (await mesh.hosts())["foreign-1"]

    assert (state_of(host), host.pid) == ("READY", pid)


async def test_a_program_that_leaks_ends_alone_and_is_named(tmp_path: Path, registry: Serving) -> None:
    keys = 'limits = { memory = "256MiB" }\ncrash_budget = { crashes = 1 }'
    (tmp_path / "ground.py").write_text(plugin_source("test.ground"))
    configuration = program("--leak", keys=keys) + section("ground", tmp_path)
    async with supervised(tmp_path, registry.address, configuration) as mesh:
        hosts = await mesh.in_state(foreign_1="CRASH_LOOP", ground_1="READY")

    assert "OOM, exit code 1, used up to 2" in hosts["foreign-1"].reason
    assert "of 256 MiB; last words: MemoryError" in hosts["foreign-1"].reason
    assert 200 << 20 < hosts["foreign-1"].memory_peak_bytes <= 256 << 20
    assert hosts["ground-1"].restarts == 0
