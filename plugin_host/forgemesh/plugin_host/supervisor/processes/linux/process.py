"""One host process: exec, read what it writes, see its end at once, end it with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import resource
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from forgemesh.chassis.containment import contained
from forgemesh.chassis.process import PARENT_FD
from forgemesh.chassis.tasks import lasting, watched
from forgemesh.plugin_host.supervisor.plan.plan import Limits
from forgemesh.plugin_host.supervisor.processes.ending import Ending, ending_of
from forgemesh.plugin_host.supervisor.processes.linux.cgroup import Cgroup
from forgemesh.plugin_host.supervisor.processes.linux.orphan_reaper import OrphanReaper
from forgemesh.plugin_host.supervisor.processes.linux.process_table import (
    Kin,
    mark_of,
    marking,
    new_mark,
    start_time_of,
)
from forgemesh.plugin_host.supervisor.processes.linux.sweeper import Leftovers
from forgemesh.plugin_host.supervisor.processes.output import OutputLog
from forgemesh.plugin_host.supervisor.processes.runner import ProcessIdentity
from forgemesh.plugin_host.waiting import first_of

_log = logging.getLogger(__name__)

_CHUNK = 64 * 1024
_FIFO_SIZE = 1024 * 1024
"""What a process may write while no supervisor reads."""
_LAST_OUTPUT = 0.25
"""Seconds that the output may stay open after the process has ended: something it started may hold it."""


class LinuxProcess:
    """
    A HostProcess, watched by a descriptor of the process itself. What it has started ends with it: all that belongs to
    `kin`.
    """

    def __init__(
        self,
        identity: ProcessIdentity,
        kin: Kin,
        sweep: Callable[[Kin], Awaitable[None]],
        *,
        memory_limit: int = 0,
        cgroup: Cgroup | None = None,
        child: bool = True,
    ) -> None:
        self.identity = identity
        self.pid = identity.pid
        self.kin = kin
        self.ending: Ending | None = None
        self.ended_at = 0.0
        self.exited = asyncio.Event()
        self._ended = asyncio.Event()
        self._drained = asyncio.Event()
        self.memory_limit = memory_limit
        self._cgroup = cgroup
        self._child = child
        self._sweep = sweep
        self._descriptor = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._see_end)

    async def collect(self, output: asyncio.StreamReader, log: OutputLog) -> None:
        """Read all output into the log and set `exited` at the end, whatever still holds the pipe then."""
        draining = watched(lasting(f"the output of process {self.pid}", partial(self._drain, output, log)))
        try:
            await self._ended.wait()
            await self._sweep(self.kin)
            await first_of(self._drained, timeout=_LAST_OUTPUT)
        finally:
            draining.cancel()
            with contained(f"the log of process {self.pid}"):
                log.end()
            self.exited.set()

    def terminate(self) -> None:
        """Ask it to end in good order."""
        with contextlib.suppress(ProcessLookupError):
            if self.ending is None:
                signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)

    def kill_group(self) -> None:
        """End it at once, with everything in its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def bound(self, limits: Limits) -> None:
        """Bound what it may allocate and open; what it has already stays with it."""
        bounds = {resource.RLIMIT_DATA: limits.memory, resource.RLIMIT_NOFILE: limits.open_files}
        self.memory_limit = limits.memory
        for kind, most in bounds.items():
            if most and self.ending is None:
                try:
                    resource.prlimit(self.pid, kind, (most, most))
                except (OSError, ValueError, OverflowError) as error:
                    _log.warning("process %d runs without one of its limits: %s", self.pid, error)

    async def close(self) -> None:
        """It is gone, with its process group, when this returns."""
        if self.ending is None:
            self.kill_group()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
            await self._ended.wait()
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Watch it no more, and leave it alone."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _see_end(self) -> None:
        """The process has ended; until it is waited for, nobody else can get its id or that of its group."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self.ended_at = time.monotonic()
        try:
            self.ending = self._how_it_ended()
        finally:
            if self.ending is None:
                self.ending = Ending(memory_limit=self.memory_limit)
            self._ended.set()

    def _how_it_ended(self) -> Ending:
        if self._child:
            self.kill_group()
            _, status, usage = os.wait4(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            ending = ending_of(code, memory_peak=usage.ru_maxrss * 1024, memory_limit=self.memory_limit)
            killed = self._cgroup is not None and self._cgroup.memory_kills > 0
            return replace(ending, killed_for_memory=killed)
        return Ending(memory_limit=self.memory_limit)

    async def _drain(self, output: asyncio.StreamReader, log: OutputLog) -> None:
        while chunk := await output.read(_CHUNK):
            log.add(chunk)
            await asyncio.sleep(0)  # others have their turn, however much comes
        self._drained.set()


@contextlib.asynccontextmanager
async def spawned(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: OutputLog,
    leftovers: Leftovers,
    *,
    parent_pipe: int | None,
    fifo: Path | None,
    memory_limit: int,
    cgroup: Cgroup | None,
    orphan_reaper: OrphanReaper | None,
    patient: bool,
) -> AsyncIterator[LinuxProcess]:
    """
    Start a process; it is gone, with all that it has started, when the block has ended.

    `parent_pipe` is the end that breaks when this process dies, None for one that may live on then; that one writes to
    a named pipe at `fifo`, which another supervisor can open. The `orphan_reaper` of one that may not is `patient`
    if it looks at `parent_pipe`. Raises OSError if nothing can be started.
    """
    mark = new_mark()
    reading, writing = os.pipe() if fifo is None else _made(fifo)
    async with _reader(reading) as output:
        try:
            with marking(mark):
                pid = _exec(command, environment, parent_pipe, writing)
        finally:
            os.close(writing)
        kin = leftovers.kin(pid, mark, cgroup.processes if cgroup else None)
        sweep = leftovers.sweeper.sweep
        identity = ProcessIdentity(pid=pid, started=start_time_of(pid), mark=0 if kin.session else mark)
        process = LinuxProcess(identity, kin, sweep, memory_limit=memory_limit, cgroup=cgroup)
        async with _collected(process, output, log):
            if orphan_reaper is not None:
                orphan_reaper.watch(pid, identity.started, mark=identity.mark, patient=patient)
            if cgroup is not None:
                cgroup.take_in(pid)
            yield process
        if orphan_reaper is not None:
            orphan_reaper.release(pid)
    if cgroup is not None:
        cgroup.remove()


@contextlib.asynccontextmanager
async def adopted(
    identity: ProcessIdentity,
    log: OutputLog,
    leftovers: Leftovers,
    *,
    fifo: Path,
    memory_limit: int,
) -> AsyncIterator[LinuxProcess]:
    """
    Watch over a process that another supervisor has started; it is gone, as one that was spawned, at the block's end.

    Raises OSError if it is gone before. How it ends, nobody can tell.
    """
    kin = leftovers.kin(identity.pid, mark_of(identity.pid), None)
    process = LinuxProcess(identity, kin, leftovers.sweeper.sweep, memory_limit=memory_limit, child=False)
    if start_time_of(identity.pid) != identity.started:
        process.abandon()
        raise ProcessLookupError(errno.ESRCH, "the process is gone")
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    async with _reader(reading) as output, _collected(process, output, log):
        yield process


@contextlib.asynccontextmanager
async def _collected(process: LinuxProcess, output: asyncio.StreamReader, log: OutputLog) -> AsyncIterator[None]:
    collecting = watched(process.collect(output, log))
    try:
        yield
    finally:
        await process.close()
        await process.exited.wait()
        collecting.cancel()


def _made(fifo: Path) -> tuple[int, int]:
    """
    A new named pipe, and both its ends.

    The end for writing can read as well: who holds it never writes into a pipe that nobody could read from.
    """
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo, 0o600)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    writing = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _FIFO_SIZE)
    return reading, writing


def _exec(command: Sequence[str], environment: Mapping[str, str], parent_pipe: int | None, output: int) -> int:
    inherited = {} if parent_pipe is None else {PARENT_FD: str(parent_pipe)}
    process = subprocess.Popen(
        command,
        env={**environment, **inherited},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=() if parent_pipe is None else (parent_pipe,),
        start_new_session=True,
    )
    process.returncode = 0  # it is waited for by its descriptor, not by this object
    return process.pid


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
