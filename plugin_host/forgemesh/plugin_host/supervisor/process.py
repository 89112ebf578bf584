"""One host process: exec, read what it writes, hear that it is ready, end it with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from forgemesh.chassis.process import PARENT_FD, READY_FD
from forgemesh.chassis.tasks import beside
from forgemesh.plugin_host.supervisor.output import OutputLog
from forgemesh.plugin_host.supervisor.waiting import first_of

COMMAND = (sys.executable, "-P", "-m", "forgemesh.plugin_host.main")
"""With -P nothing in the directory that it is started in takes the place of a library."""
_CHUNK = 64 * 1024
_LAST_OUTPUT = 1.0
"""Seconds that the output may stay open after the process has ended: something it started may hold it."""


class HostProcess:
    """A running host and its pipes. `exited` is set once it has ended."""

    def __init__(self, process: asyncio.subprocess.Process, ready: asyncio.StreamReader) -> None:
        self._process = process
        self._ready = ready
        self._drained = asyncio.Event()
        self.pid = process.pid
        self.exited = asyncio.Event()

    async def wait_ready(self) -> dict[str, Any] | None:
        """What the host said when it was ready; None if it ended without."""
        line = await self._ready.readline()
        return dict(json.loads(line)) if line.endswith(b"\n") else None

    async def collect(self, log: OutputLog) -> None:
        """Read all output into the log and set `exited` at the end, whatever still holds the pipe then."""
        try:
            async with beside(self._drain(log)):
                await self._process.wait()
                self.kill_group()
                await first_of(self._drained, timeout=_LAST_OUTPUT)
        finally:
            log.end()
            self.exited.set()

    async def _drain(self, log: OutputLog) -> None:
        output = self._process.stdout
        assert output is not None
        while chunk := await output.read(_CHUNK):
            log.add(chunk)
        self._drained.set()

    def terminate(self) -> None:
        """Ask it to end in good order."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill_group(self) -> None:
        """End it at once, with everything in its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def ending(self) -> str:
        """How it ended, for people."""
        code = self._process.returncode
        if code is None:
            return "still running"
        return f"exit code {code}" if code >= 0 else f"killed by signal {-code}"


@contextlib.asynccontextmanager
async def spawned(environment: Mapping[str, str], parent_pipe: int) -> AsyncIterator[HostProcess]:
    """
    Start a host; it is gone, with its process group, when the block has ended.

    `parent_pipe` is the end that breaks when this process dies. Raises OSError if nothing can be started.
    """
    reading, writing = os.pipe()
    async with _reader(reading) as ready:
        try:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                env={**environment, PARENT_FD: str(parent_pipe), READY_FD: str(writing)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(parent_pipe, writing),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        host = HostProcess(process, ready)
        try:
            yield host
        finally:
            if process.returncode is None:
                host.kill_group()
                await process.wait()


@contextlib.contextmanager
def parent_pipe() -> Iterator[int]:
    """The end of a pipe to pass on; it breaks when this process ends, however it ends."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


@contextlib.asynccontextmanager
async def _reader(pipe: int) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    try:
        yield reader
    finally:
        transport.close()
