"""Plugins whose code forks, in real hosts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.mesh.processes import Service, alive, kill, start_service
from tests.mesh.supervised import call

pytestmark = pytest.mark.mesh

PLUGIN = """
import asyncio, multiprocessing, os, signal, sys, time

from forgemesh.plugin import operation, plugin

FORKS = multiprocessing.get_context("fork")


def square(number):
    return number * number


def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@plugin("test.forker", version="1.0.0", max_concurrency=4)
class Forker:
    @operation
    def pool(self) -> list[int]:
        with FORKS.Pool(2) as pool:
            return pool.map(square, [1, 2, 3])

    @operation
    def signalled(self, number: int) -> int:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writing, b"x")
            time.sleep(600)
        os.read(reading, 1)
        os.kill(pid, number)
        return code_of(pid)

    @operation
    def signalled_at_once(self, number: int) -> int:
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
        os.kill(pid, number)
        return code_of(pid)

    @operation
    def returns(self) -> int:
        pid = os.fork()
        return code_of(pid) if pid else 7

    @operation
    def raises(self, what: str) -> int:
        pid = os.fork()
        if pid:
            return code_of(pid)
        if what == "exit":
            sys.exit(5)
        raise ValueError(what)

    @operation
    async def returns_on_the_loop(self) -> int:
        pid = os.fork()
        return code_of(pid) if pid else 7

    @operation
    async def waits_on_the_loop(self) -> int:
        pid = os.fork()
        await asyncio.sleep(0)
        return code_of(pid) if pid else 7

    @operation
    async def returns_to_a_thread(self) -> int:
        def forked():
            pid = os.fork()
            return code_of(pid) if pid else 7
        return await asyncio.to_thread(forked)

    @operation
    def leaves(self) -> int:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            time.sleep(600)
        return pid

    @operation
    async def ping(self) -> int:
        return os.getpid()
"""


@contextlib.asynccontextmanager
async def forker(tmp_path: Path) -> AsyncIterator[Service]:
    (tmp_path / "forker_plugin.py").write_text(PLUGIN)
    environment = {
        "FORGEMESH_HOST_LOAD": "forker_plugin:Forker",
        "FORGEMESH_HOST_PATH": str(tmp_path),
        "FORGEMESH_HOST_INSTANCE_ID": "forker-1",
    }
    async with start_service("forgemesh.plugin_host.main", environment, tmp_path) as service:
        yield service


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Service]:
    async with forker(tmp_path) as host:
        yield host


async def test_a_pool_of_forked_processes_does_not_stop_its_host(host: Service) -> None:
    found = [await call(host.address, "pool") for _ in range(4)]

    assert found == [[1, 4, 9]] * 4
    assert await call(host.address, "ping") == host.pid
    assert await host.stop() == 0


@pytest.mark.parametrize("operation", ["signalled", "signalled_at_once"])
async def test_a_signal_to_a_copy_is_none_to_its_host(host: Service, operation: str) -> None:
    assert await call(host.address, operation, number=15) == -15
    assert await call(host.address, "ping") == host.pid


@pytest.mark.parametrize("operation", ["returns", "returns_on_the_loop", "waits_on_the_loop", "returns_to_a_thread"])
async def test_a_copy_that_returns_from_the_authors_code_ends(host: Service, operation: str) -> None:
    assert await call(host.address, operation) == 0
    assert await call(host.address, "ping") == host.pid


@pytest.mark.parametrize(("what", "code"), [("exit", 5), ("a bad day", 1)])
async def test_a_copy_that_raises_ends_as_a_program_of_its_own_would(host: Service, what: str, code: int) -> None:
    assert await call(host.address, "raises", what=what) == code
    assert ("ValueError: a bad day" in host.log.read_text()) == (code == 1)
    assert await call(host.address, "ping") == host.pid


async def test_a_copy_that_outlives_its_host_holds_neither_its_port_nor_its_connections(host: Service) -> None:
    address, _, port = host.address.rpartition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    left = await call(host.address, "leaves")
    try:
        await host.kill()
        async with asyncio.timeout(10):
            await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(address, int(port))

        assert alive(left)
    finally:
        kill(left)
        writer.close()
