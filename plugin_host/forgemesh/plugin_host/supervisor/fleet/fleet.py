"""All hosts of one supervisor, and the one place where it is decided which of them may start, wait or must stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.supervisor.v1 import attach_pb2 as pb
from forgemesh.chassis.containment import contained
from forgemesh.chassis.subscribers import Subscribers
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest, ShuttingDown
from forgemesh.faults.supervisor import HandshakeRefused, HostNotFound, PluginNotConfigured
from forgemesh.plugin_host.supervisor.fleet.group import Group, usefulness
from forgemesh.plugin_host.supervisor.hosts.attachment import Attachment
from forgemesh.plugin_host.supervisor.hosts.context import SupervisorContext
from forgemesh.plugin_host.supervisor.hosts.host import RUNNING, Host, State
from forgemesh.plugin_host.supervisor.hosts.host_runner import HostRunner
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import Kind, LifecycleEvent, lifecycle_event_of
from forgemesh.plugin_host.supervisor.needs.loading import Decision, Member, Need, Offer, Readiness, decide
from forgemesh.plugin_host.supervisor.plan.config import ConfigurationInvalid
from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.processes.output import Follower
from forgemesh.plugin_host.supervisor.state.reattach_store import ReattachRecord
from forgemesh.routing.scaling import Scale

_log = logging.getLogger(__name__)

DECIDED_AGAIN = 1.0
"""Seconds after which it is decided again what a bug has kept from being decided."""

T = TypeVar("T")

LAST_LINES, LONGEST_OUTPUT = 20, 4000
"""What of a crashed host's output goes with the news of the crash: lines, and characters of all of them."""

_STOPPING = "the supervisor stops"
LAZY = "it starts when it is called"


class MeshPort(Protocol):
    """What a supervisor knows of the mesh around it, and tells it."""

    def offers(self, own: Callable[[str], bool]) -> Sequence[Offer] | None:
        """What serves elsewhere, i.e. in instances that are not our `own`; None while that is not known yet."""

    def report(self, event: LifecycleEvent) -> None:
        """Tell the mesh."""

    def publish(self, manifest: manifest_pb2.Manifest, owner_key: str = "") -> None:
        """Put a plugin that does not run into the catalogue."""

    def stand_in(self, runner: HostRunner, manifest: manifest_pb2.Manifest | None) -> None:
        """Say whether the instance is in CRASH_LOOP, as it stands now."""


class Fleet:
    """The groups by name. `decision` is the last one; everything that changes leads to a new one soon."""

    def __init__(
        self,
        plans: Iterable[PluginPlan],
        context: SupervisorContext,
        mesh: MeshPort,
        tasks: asyncio.TaskGroup,
        read: Callable[[], Iterable[PluginPlan]],
    ) -> None:
        self.groups = {plan.name: Group(plan) for plan in plans}
        self.decision = Decision()
        self.mesh = mesh
        self._context = context
        self._tasks = tasks
        self._read = read
        self._by_id: dict[str, tuple[Group, HostRunner]] = {}
        self._decided = asyncio.Event()
        self._left = asyncio.Event()
        self._followers: list[tuple[Callable[[HostRunner], bool], Follower]] = []
        self._due = False
        self._closing = False
        self.on_event: Subscribers[[LifecycleEvent]] = Subscribers("what happens to hosts and plugins")

    @property
    def hosts(self) -> list[Host]:
        """As they stand, ordered by instance id."""
        return sorted((runner.host for _, runner in self._by_id.values()), key=lambda host: host.instance_id)

    @property
    def runners(self) -> list[HostRunner]:
        """All of them."""
        return [runner for _, runner in self._by_id.values()]

    def report(self, event: LifecycleEvent) -> None:
        """Tell the mesh, and whoever counts what happens."""
        self.mesh.report(event)
        self.on_event.tell(event)

    def has(self, instance_id: str) -> bool:
        """Whether there is such a host."""
        return instance_id in self._by_id

    def begin(self, stays: Callable[[Group, str], bool] = lambda group, instance_id: True) -> None:
        """
        Start every plugin; of one that starts when it is called, only to see what it is.

        Processes that an earlier supervisor has left take their places again if that instance `stays`, or are ended.
        """
        homeless = []
        for reattach_record in self._context.reattach_store.left():
            group = self.groups.get(reattach_record.name)
            fits = group is not None and group.plan.reattach and len(group.runners) < group.count
            runs = self._context.runner.runs(reattach_record.identity)
            if runs and group is not None and fits and stays(group, reattach_record.instance_id):
                self.add(group, reattach_record=reattach_record).start()
                group.on = True
            else:
                homeless.append(reattach_record.identity)
                if runs:
                    left = (reattach_record.pid, reattach_record.name)
                    _log.warning("ending process %d of %s, left by an earlier supervisor", *left)
        self._context.runner.stop(homeless)
        for group in self.groups.values():
            while len(group.runners) < group.count:
                runner = self.add(group)
                if not group.plan.lazy or len(group.runners) == 1:
                    runner.start()
            group.on = group.on or not group.plan.lazy
        self.nudge()

    def close(self, *, orphaned: bool) -> None:
        """Stop every host; the tasks of all host runners end."""
        self._closing = True
        self._context.orphaned = orphaned
        for _, runner in list(self._by_id.values()):
            with contained(f"the stop of {runner.instance_id}"):
                runner.retire(_STOPPING)
        for _, follower in self._followers:
            follower.end()
        self._decided.set()

    def reread(self, holder: Group | None = None) -> None:
        """
        Take in what forgemesh.toml says now, also for the plugin that the caller is changing (`holder`).

        A section that is new can be loaded, one that has changed counts for hosts that are added from now on, and one
        that is gone is left alone. Raises InvalidRequest with all mistakes in the file; nothing changes then.
        """
        try:
            plans = list(self._read())
        except ConfigurationInvalid as invalid:
            raise InvalidRequest([Violation("forgemesh.toml", mistake) for mistake in invalid.mistakes]) from invalid
        for plan in plans:
            if plan.name in self.groups:
                group = self.groups[plan.name]
                group.replan(plan, now=group is holder)
            else:
                self.groups[plan.name] = Group(plan)

    def group(self, name: str) -> Group:
        """Raises PluginNotConfigured."""
        if name not in self.groups:
            raise PluginNotConfigured(name, sorted(self.groups))
        return self.groups[name]

    def runner(self, instance_id: str) -> HostRunner:
        """Raises HostNotFound."""
        if instance_id not in self._by_id:
            raise HostNotFound(instance_id)
        return self._by_id[instance_id][1]

    def group_of(self, instance_id: str) -> Group:
        """Raises HostNotFound."""
        self.runner(instance_id)
        return self._by_id[instance_id][0]

    def attach(self, hello: pb.AttachHello) -> Attachment:
        """A process calls back; raises HandshakeRefused and HostProtocolUnsupported."""
        if hello.instance_id not in self._by_id:
            raise HandshakeRefused(hello.instance_id, "this supervisor has no such host")
        attachment = self.runner(hello.instance_id).attach(hello)
        self.group_of(hello.instance_id).tell_suspects(self._context.clock())
        return attachment

    def add(self, group: Group, *, held: bool = False, reattach_record: ReattachRecord | None = None) -> HostRunner:
        """Another host; `held` until somebody lets it go on. A `reattach_record` keeps its instance id."""
        instance_id = reattach_record.instance_id if reattach_record else group.free_id()
        runner = HostRunner(group.plan, instance_id, self._context, group.blame, self._changed, reattach_record)
        runner.held = held
        if self._closing:
            runner.retire(_STOPPING)
        group.runners.append(runner)
        self._by_id[runner.instance_id] = (group, runner)
        for choose, follower in self._followers:
            if choose(runner):
                runner.log.follow(follower)
        self._tasks.create_task(self._keep(group, runner))
        return runner

    def switch_on(self, group: Group) -> None:
        """Let it run."""
        group.on = True
        group.scale = Scale()
        group.busy_at = asyncio.get_running_loop().time()
        if len(group.staying) < group.count or not group.changing.locked():  # a change has more of them for a while
            self.resize(group, group.count, "its section says so")
        for runner in group.staying:
            runner.start()
        self.nudge()

    def switch_off(self, group: Group, why: str, *, disable: bool) -> None:
        """Stop it, and keep it stopped."""
        group.on = False
        for runner in group.runners:
            runner.stop(why, disable=disable)
        self.nudge()

    def resize(self, group: Group, count: int, why: str) -> None:
        """Have so many hosts; those that are of least use go first, of equals the newest."""
        group.count = count
        for _ in range(count - len(group.staying)):
            runner = self.add(group)
            if group.on:
                runner.start()
        for runner in sorted(group.staying, key=usefulness)[count:]:
            runner.retire(why)
        self.nudge()

    async def off(self, group: Group) -> None:
        """Return when no process of it runs, or somebody has switched it on again."""
        await self.until(lambda: group.on or not any(runner.host.state in RUNNING for runner in group.runners))

    async def gone(self, runners: Sequence[HostRunner]) -> None:
        """Return when hosts that were retired are gone."""
        await self.until(lambda: not any(runner.instance_id in self._by_id for runner in runners))

    async def empty(self) -> None:
        """Return when every host that was retired is gone."""
        while self._by_id:
            await self._left.wait()
            self._left.clear()

    async def until(self, condition: Callable[[], T | None]) -> T:
        """
        What `condition` returns, as soon as that is true; it is looked at after each decision.

        Raises ShuttingDown if the supervisor stops.
        """
        while not (found := condition()):
            if self._closing:
                raise ShuttingDown("the supervisor")
            await self._decided.wait()
        return found

    @contextlib.contextmanager
    def followed_by(self, follower: Follower, choose: Callable[[HostRunner], bool]) -> Iterator[None]:
        """It gets every line that the chosen hosts write, also those that come later, until the supervisor stops."""
        entry = (choose, follower)
        self._followers.append(entry)
        for runner in filter(choose, self.runners):
            runner.log.follow(follower)
        try:
            yield
        finally:
            self._followers.remove(entry)
            for runner in self.runners:
                runner.log.unfollow(follower)

    def members(self) -> list[Member]:
        """All hosts as others depend on them."""
        return [group.member(runner) for group in self.groups.values() for runner in group.runners]

    def elsewhere(self) -> Sequence[Offer] | None:
        """What serves outside of this supervisor; None while that is not known yet."""
        return self.mesh.offers(self.has)

    def nudge(self) -> None:
        """Decide anew, soon."""
        if not self._due and not self._closing:
            self._due = True
            asyncio.get_running_loop().call_soon(self._decide)

    def _decide(self) -> None:
        """A bug leaves nothing undecided for ever: it is decided again."""
        self._due = False
        try:
            self._decide_anew()
        except Exception:  # noqa: BLE001 - whatever it is
            _log.exception("what the hosts are to do was not decided, which is tried again; this is a bug")
            asyncio.get_running_loop().call_later(DECIDED_AGAIN, self.nudge)

    def _decide_anew(self) -> None:
        elsewhere = self.elsewhere()
        members = self.members()
        if elsewhere is None:
            members.append(Member(instance_id="", standing=Readiness.UNKNOWN))
        self.decision = decide(members, elsewhere or ())
        self._apply(self.decision)
        decided, self._decided = self._decided, asyncio.Event()
        decided.set()

    def _apply(self, decision: Decision) -> None:
        for instance_id in decision.start:
            with self._of(instance_id) as (group, runner):
                runner.initialize(group.config, group.revision)
        for instance_id, needs in decision.waiting.items():
            with self._of(instance_id) as (_, runner):
                runner.waits(tuple(sorted(need.name for need in needs)), self._waits_for(instance_id, needs))
                for need in needs:
                    self._wake(need)
        for instance_id, missing in decision.lacking.items():
            with self._of(instance_id) as (_, runner):
                runner.misses(missing)
        for instance_id, missing in decision.stop.items():
            with self._of(instance_id) as (_, runner):
                runner.stop(f"{', '.join(missing)} is lost; it starts again when that is back", lost=missing)
        for instance_id in decision.resume:
            with self._of(instance_id) as (_, runner):
                runner.start()
        for group in self.groups.values():
            with contained(group.name):
                self._rest(group)

    @contextlib.contextmanager
    def _of(self, instance_id: str) -> Iterator[tuple[Group, HostRunner]]:
        """One host of many: what fails for it fails for no other."""
        found = self._by_id[instance_id]
        with contained(instance_id):
            yield found

    def _waits_for(self, instance_id: str, needs: Sequence[Need]) -> str:
        circle = self.decision.circles.get(instance_id)
        if circle:
            return f"plugins need one another in a circle: {' -> '.join(circle)}; make one dependency optional"
        return f"waits for {', '.join(need.text for need in needs)}"

    def _wake(self, need: Need) -> None:
        """Something that starts when it is called is needed."""
        for group in self.groups.values():
            if group.sleeping and group.offer is not None and group.offer.meets(need):
                self.switch_on(group)

    def _rest(self, group: Group) -> None:
        """What was started only to see what it is stops again."""
        if group.on or not group.plan.lazy:
            return
        for runner in group.runners:
            if runner.host.state is State.HANDSHAKING and runner.wanted and not runner.held:
                runner.stop(LAZY)
                if group.manifest is not None:
                    self.mesh.publish(group.manifest, group.plan.owner_key())

    async def _keep(self, group: Group, runner: HostRunner) -> None:
        try:
            if group.plan.exclusive:
                with contextlib.suppress(ShuttingDown):
                    await self.gone([one for one in group.runners if one.retired and one is not runner])
            await runner.run()
        except Exception:  # noqa: BLE001 - one host is no reason to end the others
            _log.exception("%s is no longer looked after", runner.instance_id)
        group.runners.remove(runner)
        del self._by_id[runner.instance_id]
        self._left.set()
        self.nudge()

    def _changed(self, runner: HostRunner, before: Host) -> None:
        group = self._by_id[runner.instance_id][0]
        if runner.host.state is State.HANDSHAKING and before.state is State.STARTING and runner.process_run is not None:
            group.learn(runner.process_run)
        if before.state in RUNNING and runner.host.state not in RUNNING:
            group.tell_suspects(self._context.clock())
        if State.CRASH_LOOP in (before.state, runner.host.state) and before.state is not runner.host.state:
            self.mesh.stand_in(runner, group.manifest)
        with contained(f"the news of {runner.instance_id}"):  # they are no reason to look after it no more
            self._report(runner, before)
        self.nudge()

    def _report(self, runner: HostRunner, before: Host) -> None:
        event = lifecycle_event_of(before, runner.host, runner.incarnation)
        if event is not None:
            if event.kind in (Kind.CRASHED, Kind.CRASH_LOOP):
                event = replace(event, facts={**event.facts, "output": _last_lines(runner)})
            self.report(event)


def _last_lines(runner: HostRunner) -> str:
    lines = [line.text for line in runner.log.tail(LAST_LINES)]
    return "\n".join(lines)[-LONGEST_OUTPUT:]
