"""Taking up what an earlier supervisor was changing when it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from forgemesh.api.supervisor.v1 import attach_pb2
from forgemesh.chassis.containment import contained
from forgemesh.faults.service import ShuttingDown
from forgemesh.plugin_host.supervisor.changes.reconfigurer import Reconfigurer
from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.group import Group
from forgemesh.plugin_host.supervisor.hosts.host import SERVING
from forgemesh.plugin_host.supervisor.state.change import Change
from forgemesh.plugin_host.supervisor.state.journal import Journal

_log = logging.getLogger(__name__)


class Resumption:
    """Begins a fleet, and leads each change that its journal still holds to its end, in tasks of `tasks`."""

    def __init__(self, fleet: Fleet, journal: Journal, reconfigurer: Reconfigurer, tasks: asyncio.TaskGroup) -> None:
        self._fleet = fleet
        self._journal = journal
        self._reconfigurer = reconfigurer
        self._tasks = tasks
        self._found_again: set[str] = set()

    def begin(self) -> None:
        """Start what is to run; of the processes that were left, those stay that count for their plugin."""
        self._journal.forget_all_but(self._fleet.groups)
        self._fleet.begin(self._stays)
        for group in self._fleet.groups.values():
            with contained(group.name):
                self._take_up(group)

    def _stays(self, group: Group, instance_id: str) -> bool:
        change = self._journal.change(group.name)
        stays = change is None or change.keeps(instance_id)
        if stays:
            self._found_again.add(group.name)
        return stays

    def _take_up(self, group: Group) -> None:
        change = self._journal.change(group.name)
        found_again = group.name in self._found_again
        if found_again:
            self._configure(group, change)
        if change is None:
            if group.plan.reattach:
                self._journal.settle(group.name, group.configuration)
            return
        _log.warning("%s was being changed when an earlier supervisor ended; %s", group.name, change.end)
        for runner, state in zip(group.runners, change.states, strict=False):
            if state:
                runner.state = attach_pb2.SavedState.FromString(state)
        tell = found_again and change.before != change.after
        self._tasks.create_task(self._finish(group, change, tell=tell))

    def _configure(self, group: Group, change: Change | None) -> None:
        """Processes that live on have their configuration from before, unless forgemesh.toml has changed since."""
        noted = self._journal.configuration(group.name) if change is None else change.counts
        if noted is None:
            return
        if noted.section == group.plan.config:
            group.config, group.revision = noted.text, noted.revision
        else:
            given = (noted,) if change is None else (change.before, change.after)
            group.revision = max(one.revision for one in given) + 1

    async def _finish(self, group: Group, change: Change, *, tell: bool) -> None:
        with contained(f"the end of a change of {group.name}"), contextlib.suppress(ShuttingDown):
            if tell:
                await self._reconfigurer.settle(group)
            if any(change.states):
                await self._fleet.until(lambda: all(runner.host.state in SERVING for runner in group.staying))
            async with group.changing:
                if self._journal.change(group.name) is change:
                    self._journal.settle(group.name, group.configuration)
