"""Keeps one instance running until the supervisor stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Mapping
from pathlib import Path

from forgemesh.chassis.process import Stop
from forgemesh.chassis.tasks import beside
from forgemesh.plugin_host.supervisor.config import HostPlan
from forgemesh.plugin_host.supervisor.domain.host import Host, State
from forgemesh.plugin_host.supervisor.output import OutputLog
from forgemesh.plugin_host.supervisor.process import HostProcess, spawned
from forgemesh.plugin_host.supervisor.waiting import first_of

_log = logging.getLogger(__name__)

START_SLOT = 10.0
"""Seconds after which a host that is not ready yet no longer keeps others from starting."""
ORPHAN_GRACE = 1.0


class Keeper:
    """
    Starts a host, watches it, starts it again after a back-off when it ends by itself.

    `host` tells where it stands. `slots` bounds how many hosts are starting at a time.
    """

    def __init__(
        self,
        plan: HostPlan,
        environment: Mapping[str, str],
        log_directory: Path,
        slots: asyncio.Semaphore,
        *,
        parent_pipe: int,
        grace: float,
    ) -> None:
        self.host = Host(instance_id=plan.instance_id, name=plan.name, load=plan.load)
        self._environment = environment
        self._log_path = log_directory / f"{plan.instance_id}.log"
        self._slots = slots
        self._parent_pipe = parent_pipe
        self._grace = grace
        self._ready = asyncio.Event()

    async def run(self, stop: Stop) -> None:
        """Return once `stop` is set and the process has ended."""
        with contextlib.closing(OutputLog(self._log_path)) as log:
            while not stop.is_set():
                try:
                    await self._live(log, stop)
                except OSError as error:
                    self._failed(f"it cannot be started: {error.strerror or error}")
                await first_of(stop, timeout=max(0.0, self.host.next_start_at - time.time()))
        if self.host.state is State.BACKOFF:
            self.host = self.host.stopped(self.host.reason)

    async def _live(self, log: OutputLog, stop: Stop) -> None:
        """One life of the process."""
        async with contextlib.AsyncExitStack() as stack:
            async with self._slots:
                if stop.is_set():
                    return
                process = await stack.enter_async_context(spawned(self._environment, self._parent_pipe))
                self._started(process, log)
                await stack.enter_async_context(beside(process.collect(log), self._await_ready(process)))
                await first_of(self._ready, process.exited, stop, timeout=START_SLOT)
            if not self._ready.is_set():
                self.host = self.host.late(f"not registered yet; last line: {log.last_line}")
            await first_of(process.exited, stop)
            if stop.is_set():
                await self._end(process, self._grace if not stop.orphaned else ORPHAN_GRACE, log)
            else:
                log.note(process.ending)
                self._failed(_reason(process, log))

    def _started(self, process: HostProcess, log: OutputLog) -> None:
        self._ready.clear()
        log.forget()
        log.note(f"process {process.pid} started")
        self.host = self.host.started(process.pid, time.time())

    async def _await_ready(self, process: HostProcess) -> None:
        facts = await process.wait_ready()
        if facts is not None and self.host.state is State.STARTING:
            self.host = self.host.ready(time.time())
            self._ready.set()
            _log.info("%s serves at %s", self.host.instance_id, facts.get("address"))

    async def _end(self, process: HostProcess, grace: float, log: OutputLog) -> None:
        self.host = self.host.draining()
        process.terminate()
        await first_of(process.exited, timeout=grace)
        if not process.exited.is_set():
            log.note(f"did not end within {grace:g} s, killed")
            process.kill_group()
            await first_of(process.exited)
        log.note(process.ending)
        self.host = self.host.stopped(process.ending)

    def _failed(self, reason: str) -> None:
        self.host = self.host.failed(reason, time.time(), random.random())
        _log.warning("%s ended: %s", self.host.instance_id, reason)


def _reason(process: HostProcess, log: OutputLog) -> str:
    return f"{process.ending}; last line: {log.last_line}" if log.last_line else process.ending
