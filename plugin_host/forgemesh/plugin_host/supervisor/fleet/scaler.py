"""The number of hosts: as somebody says, as the load says, and none while nothing is asked of a lazy plugin."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from forgemesh.chassis.containment import contained
from forgemesh.faults.supervisor import ScaleOutOfBounds
from forgemesh.plugin_host.supervisor.fleet.fleet import LAZY, Fleet
from forgemesh.plugin_host.supervisor.fleet.group import Group
from forgemesh.plugin_host.supervisor.fleet.lifecycle_publisher import publish
from forgemesh.plugin_host.supervisor.hosts.host import SERVING, Phase
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import Kind
from forgemesh.plugin_host.supervisor.hosts.load import Idleness, demand_of
from forgemesh.plugin_host.supervisor.needs.loading import losers
from forgemesh.routing.scaling import Scale

TICK = 1.0
RETRY_AFTER_FAILURE = 60.0


class Scaler:
    """
    Looks at a fleet once a second.

    A host that says nothing for `silence` looks (0: any number), although it tells every second how busy it is, is
    stopped or hangs, and is ended.
    """

    def __init__(self, fleet: Fleet, *, silence: int) -> None:
        self._fleet = fleet
        self._silence = silence
        self._passed_over: dict[str, float] = {}

    async def scale(self, name: str, count: int) -> int:
        """How many there were before; raises PluginNotConfigured and ScaleOutOfBounds."""
        group = self._fleet.group(name)
        plan = group.plan
        if not plan.least <= count <= plan.most:
            raise ScaleOutOfBounds(name, count, plan.least, plan.most)
        async with group.changing:
            group.scale = Scale()  # what the load wanted was of another number
            return self._resize(group, count, "somebody said so")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self.look()

    def look(self) -> None:
        """Do for each plugin what follows from how busy it is; one for which that fails holds up no other."""
        now = asyncio.get_running_loop().time()
        for group in list(self._fleet.groups.values()):
            if now < self._passed_over.get(group.name, now):
                continue
            self._passed_over[group.name] = now + RETRY_AFTER_FAILURE
            with contained(f"the number of instances of {group.name}"):
                self._listen(group)
                if not group.changing.locked():
                    self._follow_load(group, now)
                    self._stop_idle(group, now)
                del self._passed_over[group.name]

    def wanted(self, plugin_id: str, interface_name: str) -> None:
        """Somebody waits for a plugin or an interface: start what provides it and does not run."""
        for group in list(self._fleet.groups.values()):
            if not group.sleeping or group.offer is None:
                continue
            if group.offer.plugin_id == plugin_id or interface_name in (name for name, _ in group.offer.interfaces):
                with contained(f"the start of {group.name}, for which somebody waits"):
                    self._fleet.switch_on(group)

    def _listen(self, group: Group) -> None:
        """A host that is stopped (SIGSTOP) or hangs says nothing; one whose event loop is blocked does."""
        for runner in group.serving:
            process_run = runner.process_run
            if process_run is None or process_run.announced:  # a program that only announces itself tells nothing
                continue
            process_run.silence += 1
            if self._silence and process_run.silence >= self._silence:
                process_run.fail(Phase.SERVING, f"it has said nothing for {self._silence * TICK:g} s")

    def _follow_load(self, group: Group, now: float) -> None:
        rule = group.plan.scale
        if rule is None or not group.on:
            return
        able = group.able
        dead = len(group.staying) - len(able)  # each has a place, and takes no part in the load
        rule = replace(rule, most=max(rule.least, rule.most - dead))
        capacity = group.capacity
        loads = [
            one.process_run.load if one.process_run is not None else None for one in able if one.host.state in SERVING
        ]
        said = [one.utilization * capacity for one in loads if one is not None and one.utilization is not None]
        if (not said and group.count) or len(said) < len(loads):
            group.scale, _ = group.scale.desired(rule, len(able), None, capacity, now)
            return
        demand = demand_of(said, len(able) - len(said), rule.target * capacity)
        group.scale, wanted = group.scale.desired(rule, len(able), demand, capacity, now)
        if wanted != len(able):
            why = f"{sum(said):.0f} calls run or wait, of {capacity} that each runs at a time"
            self._resize(group, min(wanted + dead, group.plan.most), why)

    def _stop_idle(self, group: Group, now: float) -> None:
        after = group.plan.idle_stop
        if after is None or not group.on:
            return
        if not group.serving:  # it is idle from when it serves, however long its start takes
            group.busy_at = now
            return
        loads = [runner.process_run.load for runner in group.serving if runner.process_run is not None]
        asked = any(load is not None and load.busy for load in loads) or len(group.serving) < len(group.staying)
        idleness = Idleness(group.busy_at).seen(busy=asked, now=now)
        group.busy_at = idleness.since
        if not idleness.over(after, now):
            return
        ids = {runner.instance_id for runner in group.runners}
        if losers(self._fleet.members(), ids, self._fleet.elsewhere() or ()):
            return
        self._fleet.switch_off(group, f"nothing was asked of it for {after:g} s; {LAZY}", disable=False)

    def _resize(self, group: Group, count: int, why: str) -> int:
        before = group.count
        if count != before:
            self._fleet.resize(group, count, why)
            facts = {"from": str(before), "to": str(count)}
            publish(self._fleet, group, Kind.SCALED, f"{group.name}: {before} to {count} instances, {why}", facts)
        return before
