"""Asking all hosts of a plugin, also those that come meanwhile, whether they take a configuration on."""

from __future__ import annotations

import asyncio
import logging

from forgemesh.api.supervisor.v1 import attach_pb2
from forgemesh.faults.supervisor import ConfigRejected
from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.group import Group
from forgemesh.plugin_host.supervisor.hosts.host import SERVING, State
from forgemesh.plugin_host.supervisor.hosts.host_runner import HostRunner
from forgemesh.plugin_host.supervisor.hosts.process_run import ProcessRun
from forgemesh.plugin_host.supervisor.hosts.questions import Unanswered
from forgemesh.plugin_host.supervisor.state.change import Configuration

_log = logging.getLogger(__name__)


class Inquiry:
    """One configuration, and the hosts that have been given it; for one who holds `group.changing`."""

    def __init__(self, fleet: Fleet, group: Group, wanted: Configuration) -> None:
        self._fleet = fleet
        self._group = group
        self._wanted = wanted
        self._told: dict[HostRunner, ProcessRun] = {}

    async def told(self) -> bool:
        """
        Tell all hosts that serve, and wait for those that start with another configuration; whether they have to be
        replaced for it.

        Raises ConfigRejected if one of them refuses, ends, or does not answer. When this returns, all that serve have
        taken it on, and those that do not start their plugin yet begin with what counts then.
        """
        while True:
            running = await self.running()
            for runner, process_run in self._told.items():
                if runner.process_run is not process_run or runner.host.state not in SERVING:
                    raise self._rejected(runner, f"it took it on and has ended: {_end_of(runner)}")
            left = [runner for runner in running if runner not in self._told]
            if not left:
                return False
            if await self._tell(left[0]):
                return True

    async def running(self) -> list[HostRunner]:
        """The hosts that serve, once none is starting its plugin; raises ConfigRejected if one does so for too long."""
        patience = self._group.plan.start_timeout
        try:
            async with asyncio.timeout(patience):
                await self._fleet.until(lambda: not any(_starts(runner) for runner in self._group.staying))
        except TimeoutError as error:
            late = next(runner for runner in self._group.staying if _starts(runner))
            raise self._rejected(late, f"it has been starting for {patience:g} s") from error
        return [runner for runner in self._group.staying if runner.host.state in SERVING]

    async def undo(self) -> None:
        """Give the one that counts to all that were given another one."""
        for runner, process_run in self._told.items():
            if runner.process_run is process_run and not runner.retired:
                await self.insist(runner)

    async def insist(self, runner: HostRunner) -> None:
        """Give it the configuration that counts; a process that does not take it is replaced by one that does."""
        counts = self._group.configuration
        try:
            result = await _asked(runner, counts)
        except Unanswered as unanswered:
            _renew(runner, str(unanswered))
            return
        if result.refusal or result.needs_restart:
            _renew(runner, result.refusal or "it takes a configuration on only at its start")
        else:
            runner.configured(counts.revision)

    async def _tell(self, runner: HostRunner) -> bool:
        """Whether it takes a configuration on only at its start."""
        process_run = runner.process_run
        try:
            result = await _asked(runner, self._wanted)
        except Unanswered as unanswered:
            if runner.process_run is process_run:
                _renew(runner, f"{unanswered} to another configuration")
            raise self._rejected(runner, f"{unanswered}; it is started again with the one before") from unanswered
        if result.refusal:
            if result.unsettled:
                _renew(runner, f"it does not take its old configuration back: {result.refusal}")
            raise self._rejected(runner, result.refusal)
        if result.needs_restart:
            return True
        if process_run is not None and runner.process_run is process_run:
            self._told[runner] = process_run
            runner.configured(self._wanted.revision)
        return False

    def _rejected(self, runner: HostRunner, cause: str) -> ConfigRejected:
        return ConfigRejected(self._group.name, runner.instance_id, cause)


async def _asked(runner: HostRunner, wanted: Configuration) -> attach_pb2.ConfigureResult:
    if runner.process_run is None:
        raise Unanswered("its process ended")
    return await runner.process_run.configure(wanted.text, wanted.revision, runner.plan.change_timeout)


def _starts(runner: HostRunner) -> bool:
    """Whether it is about to serve with a configuration that it has already."""
    state, process_run = runner.host.state, runner.process_run
    if runner.reattach_record is not None and state in (State.STOPPED, State.STARTING):
        return runner.wanted  # it serves, and has not called this supervisor yet
    begun = process_run is not None and (process_run.go.is_set() or process_run.serving.is_set())
    return begun and state in (State.HANDSHAKING, State.INITIALIZING)


def _renew(runner: HostRunner, why: str) -> None:
    """End its process in good order, and start another one."""
    _log.warning("%s is started again, with the configuration that counts: %s", runner.instance_id, why)
    runner.stop(why)
    runner.start()


def _end_of(runner: HostRunner) -> str:
    ends = (step.reason for step in reversed(runner.host.history) if step.phase is not None)
    return runner.host.reason or next(ends, "nobody knows how")
