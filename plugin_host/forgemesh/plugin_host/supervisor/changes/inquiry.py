"""Asking all hosts of a plugin, also those that come meanwhile, whether they take a configuration on."""

from __future__ import annotations

import asyncio
import logging

from forgemesh.api.supervisor.v1 import attach_pb2
from forgemesh.faults.supervisor import ConfigRejected
from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.group import Group
from forgemesh.plugin_host.supervisor.hosts.host import SERVING, State
from forgemesh.plugin_host.supervisor.hosts.host_runner import Keeper
from forgemesh.plugin_host.supervisor.hosts.process_run import Life
from forgemesh.plugin_host.supervisor.hosts.questions import Unanswered
from forgemesh.plugin_host.supervisor.state.change import Configuration

_log = logging.getLogger(__name__)


class Inquiry:
    """One configuration, and the hosts that have been given it; for one who holds `group.changing`."""

    def __init__(self, fleet: Fleet, group: Group, wanted: Configuration) -> None:
        self._fleet = fleet
        self._group = group
        self._wanted = wanted
        self._told: dict[Keeper, Life] = {}

    async def told(self) -> bool:
        """
        Tell all hosts that serve, and wait for those that start with another configuration; whether they have to be
        replaced for it.

        Raises ConfigRejected if one of them refuses, ends, or does not answer. When this returns, all that serve have
        taken it on, and those that do not start their plugin yet begin with what counts then.
        """
        while True:
            running = await self.running()
            for keeper, life in self._told.items():
                if keeper.life is not life or keeper.host.state not in SERVING:
                    raise self._rejected(keeper, f"it took it on and has ended: {_end_of(keeper)}")
            left = [keeper for keeper in running if keeper not in self._told]
            if not left:
                return False
            if await self._tell(left[0]):
                return True

    async def running(self) -> list[Keeper]:
        """The hosts that serve, once none is starting its plugin; raises ConfigRejected if one does so for too long."""
        patience = self._group.plan.start_timeout
        try:
            async with asyncio.timeout(patience):
                await self._fleet.until(lambda: not any(_starts(keeper) for keeper in self._group.staying))
        except TimeoutError as error:
            late = next(keeper for keeper in self._group.staying if _starts(keeper))
            raise self._rejected(late, f"it has been starting for {patience:g} s") from error
        return [keeper for keeper in self._group.staying if keeper.host.state in SERVING]

    async def undo(self) -> None:
        """Give the one that counts to all that were given another one."""
        for keeper, life in self._told.items():
            if keeper.life is life and not keeper.retired:
                await self.insist(keeper)

    async def insist(self, keeper: Keeper) -> None:
        """Give it the configuration that counts; a process that does not take it is replaced by one that does."""
        counts = self._group.configuration
        try:
            result = await _asked(keeper, counts)
        except Unanswered as unanswered:
            _renew(keeper, str(unanswered))
            return
        if result.refusal or result.needs_restart:
            _renew(keeper, result.refusal or "it takes a configuration on only at its start")
        else:
            keeper.configured(counts.revision)

    async def _tell(self, keeper: Keeper) -> bool:
        """Whether it takes a configuration on only at its start."""
        life = keeper.life
        try:
            result = await _asked(keeper, self._wanted)
        except Unanswered as unanswered:
            if keeper.life is life:
                _renew(keeper, f"{unanswered} to another configuration")
            raise self._rejected(keeper, f"{unanswered}; it is started again with the one before") from unanswered
        if result.refusal:
            if result.unsettled:
                _renew(keeper, f"it does not take its old configuration back: {result.refusal}")
            raise self._rejected(keeper, result.refusal)
        if result.needs_restart:
            return True
        if life is not None and keeper.life is life:
            self._told[keeper] = life
            keeper.configured(self._wanted.revision)
        return False

    def _rejected(self, keeper: Keeper, cause: str) -> ConfigRejected:
        return ConfigRejected(self._group.name, keeper.instance_id, cause)


async def _asked(keeper: Keeper, wanted: Configuration) -> attach_pb2.ConfigureResult:
    if keeper.life is None:
        raise Unanswered("its process ended")
    return await keeper.life.configure(wanted.text, wanted.revision, keeper.plan.change_timeout)


def _starts(keeper: Keeper) -> bool:
    """Whether it is about to serve with a configuration that it has already."""
    state, life = keeper.host.state, keeper.life
    if keeper.survivor is not None and state in (State.STOPPED, State.STARTING):
        return keeper.wanted  # it serves, and has not called this supervisor yet
    begun = life is not None and (life.go.is_set() or life.serving.is_set())
    return begun and state in (State.HANDSHAKING, State.INITIALIZING)


def _renew(keeper: Keeper, why: str) -> None:
    """End its process in good order, and start another one."""
    _log.warning("%s is started again, with the configuration that counts: %s", keeper.instance_id, why)
    keeper.stop(why)
    keeper.start()


def _end_of(keeper: Keeper) -> str:
    ends = (step.reason for step in reversed(keeper.host.history) if step.phase is not None)
    return keeper.host.reason or next(ends, "nobody knows how")
