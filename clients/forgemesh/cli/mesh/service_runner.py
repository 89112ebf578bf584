"""Starts the processes of a local mesh in order, restarts those that die, stops them in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from forgemesh.chassis.backoff import drawn_pause
from forgemesh.chassis.tasks import beside, lasting
from forgemesh.chassis.waking_clock import waking_clock
from forgemesh.cli.mesh.directory import DataDirectory
from forgemesh.cli.mesh.log import last_error
from forgemesh.cli.mesh.plan import Plan, Service
from forgemesh.cli.mesh.process import DidNotStart, ServiceProcess, ended, launch
from forgemesh.cli.mesh.watchdog import STALL_LIMIT, Watchdog

Processes = Mapping[str, ServiceProcess]
"""The processes that run, by the names of their services."""

_STABLE = 30.0
_LOOK_PERIOD = 0.5
_FIRST_BACKOFF, _MAX_BACKOFF = 0.1, 5.0


@dataclass(slots=True, kw_only=True)
class ServiceRunner:
    """
    The processes of one mesh.

    `alive` is the end of a pipe that they inherit, `say` tells people lines, `changed` gets all processes when one has
    ended or was replaced after the start. One whose event loop has not turned for `stall_limit` seconds is replaced; 0
    is never.
    """

    plan: Plan
    directory: DataDirectory
    alive: int
    say: Callable[..., None]
    changed: Callable[[Processes], None]
    stall_limit: float = STALL_LIMIT
    running: dict[str, ServiceProcess] = field(default_factory=dict)
    _complete: bool = False

    async def run(self, started: Callable[[Processes], Awaitable[None]]) -> None:
        """
        Start everything, await `started(processes)`, then keep it up until cancelled.

        Nothing runs any more when this returns or raises: a service that does not start ends the others as well.
        """
        try:
            async with waking_clock() as clock, asyncio.TaskGroup() as tasks:
                watchdog = Watchdog(self.stall_limit, clock, self.say)
                for stage in self.plan.stages:
                    await self._start(stage)
                    for service in stage:
                        tasks.create_task(
                            lasting(f"the care for {service.name}", partial(self._keep, service, watchdog))
                        )
                await started(self.running)
                self._complete = True
                tasks.create_task(self._look_after_directory())
        finally:
            await self._stop()

    async def _start(self, stage: tuple[Service, ...]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for service in stage:
                tasks.create_task(self._launch(service, self.plan.listens(service)))

    async def _look_after_directory(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_PERIOD)
            self._restore_directory()

    def _restore_directory(self) -> None:
        """The processes find out by themselves that their files are gone, and are started again; raises Problem."""
        if self.directory.restore():
            self.say(
                f"warning: the data directory {self.directory.path} was removed or replaced while the mesh ran; every"
                " service is started again with what is there now",
                "  what was acknowledged is in the old one; if you have it: forgemesh down, put it back, forgemesh up",
            )

    async def _launch(self, service: Service, listens: tuple[str, str]) -> None:
        self._restore_directory()
        self.running[service.name] = await launch(
            service,
            arguments=self.plan.arguments(),
            environment=self.plan.settings(service, listens, {name: one.address for name, one in self.running.items()}),
            log=self.directory.log(service.name),
            alive=self.alive,
        )

    async def _keep(self, service: Service, watchdog: Watchdog) -> None:
        """
        Whenever the process ends, or hangs, start another one at the same address: at once, then with growing pauses.
        """
        clock = asyncio.get_running_loop().time
        failures, since = 0, clock()
        while True:
            running = self.running[service.name]
            async with beside(watchdog.watch(running, self.directory.log(service.name))):
                code = await running.process.wait()
            why = last_error(self.directory.log(service.name))
            self.say(f"{service.name} (pid {running.pid}) {ended(code)}; starting it again", *filter(None, [why]))
            self._troubled(service, why or ended(code))
            if clock() - since > _STABLE:
                failures = 0
            failures = await self._again(service, running, failures)
            since = clock()
            if self._complete:
                self.changed(self.running)
            self.say(f"{service.name} runs again (pid {self.running[service.name].pid})")

    async def _again(self, service: Service, old: ServiceProcess, failures: int) -> int:
        """Try until it is ready; the number of tries in a row that were needed lately."""
        while True:
            if failures:
                await asyncio.sleep(drawn_pause(failures, first=_FIRST_BACKOFF, most=_MAX_BACKOFF, least=0.5))
            failures += 1
            try:
                await self._launch(service, (old.address, old.health_address))
            except DidNotStart as problem:
                self.say(*problem.as_lines())
                self._troubled(service, "; ".join((problem.message, *problem.details)))
            except OSError as error:
                self.say(f"{service.name} cannot be started: {error.strerror or error}; it is tried again")
                self._troubled(service, error.strerror or str(error))
            else:
                return failures

    def _troubled(self, service: Service, why: str) -> None:
        """It does not run, and whoever asks is told why."""
        self.running[service.name] = replace(self.running[service.name], trouble=why)
        if self._complete:
            self.changed(self.running)

    async def _stop(self) -> None:
        for stage in reversed(self.plan.stages):
            processes = [self.running[service.name] for service in stage if service.name in self.running]
            in_time = await asyncio.gather(*(running.stop() for running in processes))
            for running, well in zip(processes, in_time, strict=True):
                if not well:
                    self.say(f"{running.service.name} (pid {running.pid}) did not stop in time and was killed")
