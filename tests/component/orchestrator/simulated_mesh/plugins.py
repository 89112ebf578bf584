"""All plugins of a simulated mesh: their processes, who is known to be where, and what reaches whom when."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from itertools import count

from forgemesh.api.plugin.v1 import invocation_pb2, session_pb2
from forgemesh.orchestrator.dispatch.feed.hosts import FeedHosts
from forgemesh.orchestrator.values.retry import SECOND
from forgemesh.orchestrator.workflow.provider import OperationFacts, Provider
from forgemesh.routing.endpoint import Admission, Endpoint, Health
from forgemesh.routing.policy import DEFAULT
from forgemesh.routing.snapshot import Revision, Snapshot
from tests.component.orchestrator.simulated_mesh.effects import Effects
from tests.component.orchestrator.simulated_mesh.plugin_process import HostCall, PluginProcess
from tests.component.orchestrator.simulated_mesh.virtual_time import Calendar

OPERATIONS = {
    "do": OperationFacts(),
    "once": OperationFacts(idempotent=False),
    "safe": OperationFacts(idempotent=True),
    "undo": OperationFacts(idempotent=True),
    "look": OperationFacts(idempotent=True),
}
INTERFACE = "places"
FLEET = {"acts": 2, "single": 1, "rare": 1, "europe": 1, "america": 1}
"""How many instances each plugin has; `single` is called by unary Invoke."""
REGIONS = {"europe": "eu", "america": "us"}


class Plugins:
    """Catalogue and network in one. While there is `trouble`, anything may happen to a call."""

    def __init__(self, draw: random.Random, calendar: Calendar, effects: Effects) -> None:
        self.draw = draw
        self.calendar = calendar
        self.effects = effects
        self.trouble = True
        self.hosts: FeedHosts | None = None
        self._incarnations = count(1)
        self._revisions = count(1)
        self._versions = dict.fromkeys(FLEET, "1.0.0")
        self._published = {plugin: {"1.0.0"} for plugin in FLEET}
        self._cut_off: set[str] = set()
        self._left: dict[tuple[str, str], int] = {}
        """When the last instance of a version was known to be gone (nanoseconds)."""
        effects.is_served = self._is_served
        self._processes: dict[str, PluginProcess] = {}
        self._known: dict[str, dict[str, PluginProcess]] = {plugin: {} for plugin in FLEET}
        for plugin, number in FLEET.items():
            for index in range(number):
                self._start(plugin, f"{plugin}-{index}")

    def _start(self, plugin_id: str, instance_id: str) -> None:
        version = self._versions[plugin_id]
        process = PluginProcess(
            self,
            plugin_id,
            instance_id,
            next(self._incarnations),
            version,
            {"region": REGIONS[plugin_id]} if plugin_id in REGIONS else {},
            speaks_session=plugin_id != "single",
        )
        self._processes[instance_id] = process
        self._known[plugin_id][instance_id] = process
        self._publish(plugin_id)

    def begin(self, hosts: FeedHosts) -> None:
        """A new life of the orchestrator hears of everybody."""
        self.hosts = hosts
        for plugin in FLEET:
            self._publish(plugin)

    def silence(self) -> None:
        """The orchestrator lives no more: its connections end, in an order that does not depend on how it is buried."""
        self.hosts = None
        for process in self._processes.values():
            for session in process.sessions:
                if not session.over:
                    self.calendar.after(self.delay(), session.lost)
            for call in list(process.calls.values()):
                if call.alone is not None:
                    call.cancel()

    def _publish(self, plugin_id: str) -> None:
        hosts = self.hosts
        if hosts is None:
            return
        endpoints = tuple(self._endpoint(process) for process in self._known[plugin_id].values())
        snapshot = Snapshot(plugin_id, Revision(1, next(self._revisions)), DEFAULT, endpoints)

        def arrive() -> None:
            if self.hosts is hosts:
                hosts.take(snapshot)

        self.calendar.after(self.delay(), arrive)

    def _endpoint(self, process: PluginProcess) -> Endpoint:
        return Endpoint(
            instance_id=process.instance_id,
            incarnation=process.incarnation,
            address=process.address,
            plugin_version=process.version,
            health=Health.SERVING,
            admission=Admission.DRAINING if process.draining else Admission.OPEN,
            session=process.speaks_session,
        )

    async def plugins(self, plugin_id: str) -> dict[str, Mapping[str, OperationFacts]] | None:
        """See ports.Catalogue."""
        known = self._published.get(plugin_id)
        return dict.fromkeys(sorted(known), OPERATIONS) if known is not None else None

    async def providers(self, interfaces: Collection[str]) -> dict[str, list[Provider]]:
        """See ports.Catalogue."""
        found = [
            Provider(
                plugin_id=plugin,
                plugin_version=version,
                interface_version="1.0.0",
                operations=OPERATIONS,
                metadata={"region": region},
            )
            for plugin, region in REGIONS.items()
            for version in sorted(self._published[plugin])
        ]
        return {interface: found if interface == INTERFACE else [] for interface in interfaces}

    def delay(self) -> float:
        """Seconds on the wire."""
        return 0.0002 + self.draw.random() / 500

    def in_order(self, last: float, do: Callable[[], None]) -> float:
        """`do` happens after a delay, and after what was sent at `last`; when that is."""
        now = self.calendar.now / SECOND
        at = max(now + self.delay(), last + 1e-5)
        self.calendar.after(at - now, do)
        return at

    def reach(self, address: str) -> PluginProcess | None:
        """The process at an address, if it can be connected to."""
        instance_id, _, incarnation = address.partition(":")
        process = self._processes.get(instance_id)
        if process is None or not process.alive or process.incarnation != int(incarnation):
            return None
        return None if instance_id in self._cut_off else process

    def fate(self, fates: Mapping[str, int]) -> str:
        """What becomes of a call."""
        if self.trouble:
            return self.draw.choices(list(fates), list(fates.values()))[0]
        return self.draw.choices(("done", "broken", "away"), (90, 4, 6))[0]

    def sent(self, message: session_pb2.SessionRequest) -> None:
        """Calls leave the orchestrator."""
        for invocation in message.invocations:
            self.effects.left(invocation)

    def sent_alone(self, invocation: invocation_pb2.Invocation) -> None:
        """See `sent`."""
        self.effects.left(invocation)

    def never_left(self, invocation: invocation_pb2.Invocation) -> None:
        """It was refused, or nobody was there: nothing can have come of it."""
        self.effects.refused(invocation)

    def happened(self, call: HostCall) -> None:
        """An operation has had its effect."""
        self.effects.happened(call.invocation, call.process.plugin_id, self.calendar.now)

    def output_of(self, call: HostCall) -> dict[str, object]:
        """What it answers; no two answers are equal."""
        process = call.process
        return self.effects.answer(call.invocation, process.plugin_id, process.version, process.facts)

    def died(self, process: PluginProcess) -> None:
        """After a while that is known, and a while later there is another one."""
        self.calendar.after(0.05 + self.draw.random() * 2, lambda: self._forget(process))
        rest = 0.5 + self.draw.random() * (8 if process.plugin_id == "rare" else 3)
        self.calendar.after(2.1 + rest, lambda: self._start(process.plugin_id, process.instance_id))

    def _forget(self, process: PluginProcess) -> None:
        if self._known[process.plugin_id].get(process.instance_id) is process:
            del self._known[process.plugin_id][process.instance_id]
            self._left[process.plugin_id, process.version] = self.calendar.now
            self._publish(process.plugin_id)

    def _is_served(self, plugin_id: str, version: str) -> bool:
        """Whether an instance of the version is known, or was a moment ago."""
        known = any(process.version == version for process in self._known[plugin_id].values())
        return known or self.calendar.now - self._left.get((plugin_id, version), 0) < SECOND

    def strike(self) -> None:
        """Something happens to somebody."""
        process = self.draw.choice(list(self._processes.values()))
        what = self.draw.choice(("die", "die", "drain", "cut off", "sever", "upgrade"))
        if not process.alive:
            return
        if what == "die":
            process.die()
        elif what == "drain" and not process.draining:
            process.drain()
            self._publish(process.plugin_id)
        elif what == "cut off":
            self._cut_off.add(process.instance_id)
            self.calendar.after(self.draw.random() * 4, lambda: self._cut_off.discard(process.instance_id))
        elif what == "sever":
            for session in process.sessions:
                session.end(None)
                session.lost()
        elif what == "upgrade":
            self._upgrade(process)

    def _upgrade(self, process: PluginProcess) -> None:
        major, minor, _ = self._versions[process.plugin_id].split(".")
        version = self._versions[process.plugin_id] = f"{major}.{int(minor) + 1}.0"
        self._published[process.plugin_id].add(version)
        process.die()

    def calm_down(self) -> None:
        """From now on everybody serves."""
        self.trouble = False
        self._cut_off.clear()
