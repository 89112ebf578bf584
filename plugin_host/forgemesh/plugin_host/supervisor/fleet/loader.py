"""Loading plugins with all that they need, and unloading them with all that needs them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forgemesh.faults.registry import DependencyCycle, DependencyMissing
from forgemesh.faults.supervisor import DependentsLive, LoadFailed, LoadsFull
from forgemesh.plugin_host.supervisor.fleet.fleet import LAZY, Fleet
from forgemesh.plugin_host.supervisor.fleet.group import Group, has_ended
from forgemesh.plugin_host.supervisor.hosts.host import Host, Phase, State
from forgemesh.plugin_host.supervisor.hosts.host_runner import HostRunner
from forgemesh.plugin_host.supervisor.needs.loading import levels, losers

MOST_LOADS = 100
"""Loads under way at a time: each goes on until all serve or one cannot, whoever still waits for it."""
UNLOADED = "it was unloaded; `forgemesh plugin load` starts it again"
_ROLLED_BACK = "it was started for a plugin that did not start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A plugin that was to be loaded, as it runs now."""

    group: Group
    started: bool
    level: int
    missing: tuple[str, ...]


class Loader:
    """Starts and stops whole plugins of a fleet, for those who ask for it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loads = 0

    async def load(self, names: Sequence[str]) -> list[Loaded]:
        """
        Return when all of them serve, in the order in which they started.

        Raises DependencyMissing, DependencyCycle or LoadFailed once one of them cannot serve; what this call has
        started is stopped again then, the last one first. Raises LoadsFull before anything is done if MOST_LOADS are
        under way.
        """
        if self._loads >= MOST_LOADS:
            raise LoadsFull(self._loads)
        self._loads += 1
        try:
            return await self._load(names)
        finally:
            self._loads -= 1

    async def _load(self, names: Sequence[str]) -> list[Loaded]:
        self._fleet.reread()
        wanted = [self._fleet.group(name) for name in names or self._fleet.groups]
        started: list[Group] = []
        before = {runner.instance_id: runner.host.history[-1:] for runner in self._fleet.runners}
        for group in sorted(wanted, key=lambda one: one.changing.locked()):
            async with group.changing:  # what a change has ended is not to be started beside what it has begun
                pass
            self._switch_on(group, started)
        self._fleet.nudge()
        try:
            await self._fleet.until(lambda: self._served(wanted, started, before))
        except _Failed as failed:
            stopped = await self._roll_back(started, f": {failed.cause}")
            raise LoadFailed(failed.name, failed.phase.value, failed.cause, stopped) from failed
        except BaseException:
            await self._roll_back(started)
            raise
        rank = self.levels()
        found = self._closure(wanted)
        found.sort(key=lambda group: (rank.get(group.name, 0), _ready_at(group)))
        return [
            Loaded(
                group=group,
                started=group in started,
                level=rank.get(group.name, 0),
                missing=tuple(sorted({name for runner in group.runners for name in runner.host.missing})),
            )
            for group in found
        ]

    async def unload(self, name: str, *, cascade: bool) -> list[str]:
        """The names of what was stopped, in that order; raises DependentsLive unless `cascade`."""
        group = self._fleet.group(name)
        leaving = self._with_dependents(group)
        dependents = sorted(one.name for one in leaving if one is not group)
        if dependents and not cascade:
            raise DependentsLive(name, dependents)
        rank = self.levels()
        order = sorted(leaving, key=lambda one: -rank.get(one.name, 0))
        order.remove(group)
        for one in (*order, group):
            async with one.changing:
                self._fleet.switch_off(one, UNLOADED, disable=True)
                await self._fleet.off(one)
        return [one.name for one in (*order, group)]

    def levels(self) -> dict[str, int]:
        """How far above the ground each plugin stands, by name."""
        known = [group for group in self._fleet.groups.values() if group.offer]
        return levels(
            {group.name: group.offer for group in known if group.offer}, {group.name: group.needs for group in known}
        )

    def _switch_on(self, group: Group, started: list[Group]) -> None:
        if not group.on:
            started.append(group)
            self._fleet.switch_on(group)
            return
        for runner in group.staying:
            if has_ended(runner):
                runner.start()
        if len(group.staying) != group.count:
            self._fleet.resize(group, group.count, "its section says so")

    def _served(self, wanted: Sequence[Group], started: list[Group], before: Mapping[str, Sequence[object]]) -> bool:
        """Whether all serve; raises if one of them, or of what they need, will not. `before` is where hosts stood."""
        for group in self._closure(wanted):
            for runner in group.staying:
                host = runner.host
                ended_before = host.state is State.BACKOFF and host.history[-1:] == before.get(host.instance_id)
                if not ended_before:  # else its next start is what this call is about
                    self._look_at(group, runner, started, wanted)
        return all(len(group.serving) >= len(group.staying) for group in wanted)

    def _look_at(self, group: Group, runner: HostRunner, started: list[Group], wanted: Sequence[Group]) -> None:
        host, decision = runner.host, self._fleet.decision
        if has_ended(runner) or host.state in (State.BACKOFF, State.CRASH_LOOP, State.DISABLED):
            raise _Failed(group.name, host)
        circle = decision.circles.get(runner.instance_id)
        if circle and host.state is State.HANDSHAKING:
            raise DependencyCycle(circle)
        waits = host.state is State.HANDSHAKING or runner.lost
        for need in decision.hopeless.get(runner.instance_id, ()) if waits else ():
            provider = next(
                (one for one in self._fleet.groups.values() if one.offer is not None and one.offer.meets(need)), None
            )
            if provider is None or not provider.count:
                raise DependencyMissing(need.text, [*self._path(wanted, group), need.text])
            self._switch_on(provider, started)
            if not provider.able:
                raise _Failed(provider.name, provider.staying[0].host)

    def _closure(self, wanted: Sequence[Group]) -> list[Group]:
        """These and what they cannot do without, as far as this supervisor has it and runs it."""
        found = list(dict.fromkeys(wanted))
        for group in found:  # grows while it is walked over
            found += [one for one in self._providers(group) if one.on and one not in found]
        return found

    def _providers(self, group: Group) -> list[Group]:
        needs = [need for need in group.needs if not need.optional]
        return [
            one
            for one in self._fleet.groups.values()
            if one.offer is not None and any(one.offer.meets(need) for need in needs)
        ]

    def _path(self, wanted: Sequence[Group], target: Group) -> list[str]:
        """From one of those that were asked for to the one that misses something."""
        came_from: dict[str, Group | None] = {group.name: None for group in wanted}
        queue = deque(wanted)
        while queue and target.name not in came_from:
            group = queue.popleft()
            for provider in self._providers(group):
                if provider.name not in came_from:
                    came_from[provider.name] = group
                    queue.append(provider)
        path, at = [], came_from.get(target.name)
        path.append(_label(target))
        while at is not None:
            path.append(_label(at))
            at = came_from[at.name]
        return path[::-1]

    def _with_dependents(self, group: Group) -> list[Group]:
        members, elsewhere = self._fleet.members(), self._fleet.elsewhere() or ()
        leaving = [group]
        while True:
            ids = {runner.instance_id for one in leaving for runner in one.runners}
            found = {self._fleet.group_of(instance_id).name for instance_id in losers(members, ids, elsewhere)}
            more = [self._fleet.groups[name] for name in sorted(found) if self._fleet.groups[name] not in leaving]
            if not more:
                return leaving
            leaving += more

    async def _roll_back(self, started: Sequence[Group], cause: str = "") -> list[str]:
        """Others may have waited for the same start: they are told the cause as well."""
        order = sorted(started, key=lambda group: -(_ready_at(group) or math.inf))
        for group in order:
            lazy = group.plan.lazy
            self._fleet.switch_off(group, LAZY if lazy else _ROLLED_BACK + cause, disable=not lazy)
            await self._fleet.off(group)
        return [group.name for group in order]


class _Failed(Exception):
    """A host did not come up."""

    def __init__(self, name: str, host: Host) -> None:
        super().__init__(host.reason)
        self.name = name
        self.phase = host.phase or Phase.SPAWN
        self.cause = host.reason


def _label(group: Group) -> str:
    return group.offer.plugin_id if group.offer else group.name


def _ready_at(group: Group) -> float:
    return min((runner.host.ready_at for runner in group.runners if runner.host.ready_at), default=0.0)
