"""Plugins whose code breaks the logging of its process: calls are answered all the same, in real hosts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.mesh.processes import Service, eventually, start_service
from tests.mesh.supervised import call

pytestmark = pytest.mark.mesh

PLUGIN = """
import ctypes, logging, os, sys, threading

from forgemesh.plugin import operation, plugin


MEETING = threading.Barrier(2)


class Raises(logging.Handler):
    def emit(self, record):
        raise RuntimeError("no log today")


def leaves(record):
    sys.exit(5)


def no_record(*arguments, **named):
    raise ValueError("no record")


class Nameless(type):
    def __getattribute__(cls, name):
        if name in ("__name__", "__qualname__", "__module__"):
            raise RuntimeError("it has no name")
        return type.__getattribute__(cls, name)


class Unspeakable(Exception, metaclass=Nameless):
    pass


@plugin("test.mute", version="1.0.0", max_concurrency=2)
class Mute:
    @operation
    async def breaks(self, how: str) -> int:
        if how == "handler":
            logging.root.handlers[:] = [Raises()]
        elif how == "filter":
            for handler in logging.root.handlers:
                handler.addFilter(leaves)
        elif how == "factory":
            logging.setLogRecordFactory(no_record)
        elif how == "stream":
            sys.stdout.close()
            sys.stderr.close()
        elif how == "descriptors":
            os.close(1)
            os.close(2)
            os.open("/dev/full", os.O_WRONLY)
            os.open("/dev/full", os.O_WRONLY)
        return os.getpid()

    @operation
    async def raises(self) -> None:
        raise ValueError("a bad day")

    @operation
    def raises_in_thread(self) -> None:
        raise ValueError("a bad night")

    @operation
    async def raises_the_unspeakable(self) -> None:
        raise Unspeakable

    @operation
    def raises_the_unspeakable_in_thread(self) -> None:
        raise Unspeakable

    @operation
    def throws_into_threads(self) -> int:
        thrown = 0
        for thread in threading.enumerate():
            if thread.name.startswith("operation-") and thread is not threading.current_thread():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
                thrown += 1
        return thrown

    @operation
    def meets(self) -> int:
        MEETING.wait()
        return threading.get_ident()

    @operation
    def ping_in_thread(self) -> int:
        return os.getpid()

    @operation
    async def ping(self) -> int:
        return os.getpid()
"""

BREAKAGES = ["handler", "filter", "factory", "stream", "descriptors"]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Service]:
    (tmp_path / "mute_plugin.py").write_text(PLUGIN)
    environment = {"FORGEMESH_HOST_LOAD": "mute_plugin:Mute", "FORGEMESH_HOST_PATH": str(tmp_path)}
    async with start_service("forgemesh.plugin_host.main", environment, tmp_path) as service:
        yield service


@pytest.mark.parametrize("how", BREAKAGES)
async def test_calls_that_fail_are_answered_and_logged_whatever_became_of_logging(host: Service, how: str) -> None:
    await call(host.address, "breaks", how=how)
    for _ in range(3):  # more than there are places
        for operation, said in (("raises", "a bad day"), ("raises_in_thread", "a bad night")):
            with pytest.raises(AssertionError, match=f"ValueError: {said}"):
                await call(host.address, operation)

    assert await call(host.address, "ping") == await call(host.address, "ping_in_thread") == host.pid
    assert {"ValueError: a bad day", "ValueError: a bad night"} <= set(_ends_of_tracebacks(host))
    assert await host.stop() == 0


@pytest.mark.parametrize("operation", ["raises_the_unspeakable", "raises_the_unspeakable_in_thread"])
async def test_an_exception_whose_class_has_no_name_fails_its_call_alone(host: Service, operation: str) -> None:
    for _ in range(3):
        with pytest.raises(AssertionError, match="PLUGIN_EXCEPTION"):
            await call(host.address, operation)

    assert await call(host.address, "ping") == await call(host.address, "ping_in_thread") == host.pid


async def test_threads_into_which_somebody_throws_go_on(host: Service) -> None:
    first, second = await asyncio.gather(*[call(host.address, "meets") for _ in range(2)])
    thrown = await call(host.address, "throws_into_threads")

    async def hit() -> bool:
        """The call that it hits fails, and says so; the other thread may take several before."""
        with contextlib.suppress(AssertionError):
            await call(host.address, "ping_in_thread")
        return "was interrupted, and goes on" in host.log.read_text()

    await eventually(hit)

    assert (first != second, thrown) == (True, 1)
    assert len(set(await asyncio.gather(*[call(host.address, "meets") for _ in range(2)]))) == 2


def _ends_of_tracebacks(host: Service) -> list[str]:
    """The last line of each traceback in the log, however that was written."""
    lines = host.log.read_text().replace("\\n", "\n").replace('"', "\n").splitlines()
    return [line for line in lines if line.startswith("ValueError: ")]
