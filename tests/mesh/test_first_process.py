"""SIGTERM for process 1 of a container, which the kernel drops unless the process handles it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.mesh.pid_namespace import AS_FIRST_PROCESS, NO_NAMESPACE, first_process
from tests.mesh.processes import DEADLINE, eventually, start_service

pytestmark = [pytest.mark.mesh, pytest.mark.skipif(bool(NO_NAMESPACE), reason=NO_NAMESPACE)]

PROGRAMS = (
    "forgemesh.registry.main",
    "forgemesh.balancer.main",
    "forgemesh.orchestrator.main",
    "forgemesh.traces.main",
    "forgemesh.plugin_host.main",
    "forgemesh.plugin_host.supervisor.main",
    "forgemesh.cli.main",
)
REGISTRY = "forgemesh.registry.main"
IMPORTS_FOR_EVER = """
import os, sys, time


class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "asyncio":
            with open(os.environ["REACHED"], "w") as reached:
                reached.write("here")
            time.sleep(600)


sys.meta_path.insert(0, Slow())
"""
ENDED = 128 + signal.SIGTERM


@contextlib.asynccontextmanager
async def process_one(
    module: str, tmp_path: Path, *first: Path, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """`python -m module` as process 1 of a namespace: who started it there, and its process id as seen from here."""
    known = {
        "FORGEMESH_REGISTRY_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_HEALTH_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_DATABASE": str(tmp_path / "registry.db"),
        "PYTHONPATH": os.pathsep.join([*map(str, first), *(path for path in sys.path if path)]),
    }
    process = await asyncio.create_subprocess_exec(
        *AS_FIRST_PROCESS,
        sys.executable,
        "-m",
        module,
        env={**os.environ, **known, **environment},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process, await first_process(process.pid)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("module", PROGRAMS)
async def test_a_program_that_is_still_being_imported_ends_when_it_is_told_to(tmp_path: Path, module: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(IMPORTS_FOR_EVER)
    reached = tmp_path / "reached"
    os.mkfifo(reached)
    async with process_one(module, tmp_path, tmp_path, REACHED=str(reached)) as (process, first):
        assert await asyncio.to_thread(reached.read_text) == "here"
        os.kill(first, signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            code = await process.wait()

    assert code == ENDED


@pytest.mark.parametrize("loaded", ["_asyncio.", "cygrpc.", "uvloop/loop.", "_sqlite3."])
async def test_there_is_no_moment_of_a_start_in_which_a_service_does_not_hear_that_it_is_to_end(
    tmp_path: Path, loaded: str
) -> None:
    async with process_one(REGISTRY, tmp_path) as (process, first):

        async def has_loaded_it() -> bool:
            return loaded in Path(f"/proc/{first}/maps").read_text()

        await eventually(has_loaded_it)
        os.kill(first, signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            code = await process.wait()

    assert code in (0, ENDED)


async def test_a_service_that_runs_as_the_first_process_ends_in_good_order(tmp_path: Path) -> None:
    environment = {
        "FORGEMESH_REGISTRY_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_HEALTH_LISTEN": "127.0.0.1:0",
        "FORGEMESH_REGISTRY_DATABASE": str(tmp_path / "registry.db"),
    }
    async with start_service(REGISTRY, environment, tmp_path, under=AS_FIRST_PROCESS) as service:
        os.kill(await first_process(service.pid), signal.SIGTERM)

        assert await service.wait() == 0
