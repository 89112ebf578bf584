"""One plugin of a supervisor: its plan, its hosts, and what is known about it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.plugin_host.supervisor.hosts.blame import Blame
from forgemesh.plugin_host.supervisor.hosts.codec import suspects_message
from forgemesh.plugin_host.supervisor.hosts.host import RUNNING, SERVING, State
from forgemesh.plugin_host.supervisor.hosts.host_runner import HostRunner
from forgemesh.plugin_host.supervisor.hosts.process_run import ProcessRun
from forgemesh.plugin_host.supervisor.needs.loading import Member, Need, Offer, Readiness
from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.state.change import Configuration
from forgemesh.routing.scaling import DEFAULT_CAPACITY, Scale

_STANDINGS = {
    State.STARTING: Readiness.UNKNOWN,
    State.HANDSHAKING: Readiness.WAITING,
    State.INITIALIZING: Readiness.COMING,
    State.READY: Readiness.SERVING,
    State.DEGRADED: Readiness.SERVING,
}
_OUT = 3


def usefulness(runner: HostRunner) -> int:
    """What a host does for its plugin, the smaller the more: it serves, is about to, waits to be started, or is out."""
    state = runner.host.state
    if state in SERVING:
        return 0
    if state in RUNNING and state is not State.DRAINING:
        return 1
    return 2 if (runner.wanted or runner.lost) and state is not State.CRASH_LOOP else _OUT


def has_ended(runner: HostRunner) -> bool:
    """Whether a host has ended and is not started again: its rule says so, or somebody has stopped it."""
    return runner.host.state is State.STOPPED and not runner.wanted and not runner.lost


@dataclass(frozen=True, slots=True)
class Known:
    """What a plugin is and how it is to run, as it was at one moment."""

    plan: PluginPlan
    on: bool
    count: int
    manifest: manifest_pb2.Manifest | None
    offer: Offer | None
    needs: tuple[Need, ...]
    configuration: Configuration


class Group:
    """
    The hosts of one plugin.

    `on` says whether it is to run, `count` how many hosts it has then; `manifest` is what it last said that it is.
    `changing` is held by whoever replaces hosts or their configuration. `blame` is what crashes of its processes say of
    the calls that ran in them.
    """

    def __init__(self, plan: PluginPlan) -> None:
        self.plan = plan
        self.runners: list[HostRunner] = []
        self.on = False
        self.count = plan.instances
        self.manifest: manifest_pb2.Manifest | None = None
        self.offer: Offer | None = None
        self.needs: tuple[Need, ...] = ()
        self.config = plan.config
        self.revision = 1 if plan.config else 0
        self.scale = Scale()
        self.busy_at = 0.0
        self.changing = asyncio.Lock()
        self._newest: PluginPlan | None = None
        self.blame = Blame(plan.restart.poison_after, plan.restart.within)

    @property
    def name(self) -> str:
        """Its section in forgemesh.toml."""
        return self.plan.name

    @property
    def sleeping(self) -> bool:
        """Whether it does not run, and starts when it is called."""
        disabled = any(runner.host.state is State.DISABLED for runner in self.runners)
        return self.plan.lazy and not self.on and not disabled

    @property
    def staying(self) -> list[HostRunner]:
        """Its hosts that are not on their way out for good."""
        return [runner for runner in self.runners if not runner.retired]

    @property
    def capacity(self) -> int:
        """How many calls each of its hosts runs at a time."""
        return (self.manifest.max_concurrency if self.manifest is not None else 0) or DEFAULT_CAPACITY

    @property
    def able(self) -> list[HostRunner]:
        """Its hosts that serve, or are on their way without anybody's help."""
        return [runner for runner in self.staying if usefulness(runner) < _OUT]

    @property
    def serving(self) -> list[HostRunner]:
        """Its hosts that take calls."""
        return [runner for runner in self.runners if runner.host.state in SERVING]

    @property
    def configuration(self) -> Configuration:
        """The one that counts."""
        return Configuration(text=self.config, revision=self.revision, section=self.plan.config)

    @property
    def known(self) -> Known:
        """As it is now."""
        return Known(self.plan, self.on, self.count, self.manifest, self.offer, self.needs, self.configuration)

    def restore(self, known: Known) -> None:
        """As it was then."""
        self.plan, self.on, self.count = known.plan, known.on, known.count
        self.manifest, self.offer, self.needs = known.manifest, known.offer, known.needs
        self.config, self.revision = known.configuration.text, known.configuration.revision

    def catch_up(self) -> None:
        """Take in what its section has said while something was changing."""
        newest, self._newest = self._newest, None
        if newest is not None:
            self._replan(newest)

    def replan(self, plan: PluginPlan, *, now: bool = False) -> None:
        """
        Its section has changed, or not; what somebody has set meanwhile stays unless the section says otherwise.

        While something is changing, that counts at its end, or `now`.
        """
        self._newest = plan
        if now or not self.changing.locked():
            self.catch_up()

    def _replan(self, plan: PluginPlan) -> None:
        before, self.plan = self.plan, plan
        count = plan.instances if plan.instances != before.instances else self.count
        self.count = max(plan.least, min(count, plan.most))
        if plan.scale != before.scale:
            self.scale = Scale()
        if plan.config != before.config:
            self.config = plan.config
            self.revision += 1

    def learn(self, process_run: ProcessRun) -> None:
        """One of its hosts has said what it is."""
        self.manifest, self.offer, self.needs = process_run.manifest, process_run.offer, process_run.needs

    def tell_suspects(self, at: float) -> None:
        """Each of its processes is to know which calls may end it, at a moment in seconds."""
        message = suspects_message(self.blame, at)
        for runner in self.runners:
            if runner.process_run is not None:
                runner.process_run.suspect(message)

    def free_id(self) -> str:
        """The lowest number that no host has; one that ends may still be registered."""
        taken = {runner.instance_id for runner in self.runners}
        return next(name for number in itertools.count(1) if (name := f"{self.name}-{number}") not in taken)

    def member(self, runner: HostRunner) -> Member:
        """One of its hosts, as others depend on it."""
        process_run = runner.process_run
        known = process_run is not None and process_run.offer is not None
        return Member(
            instance_id=runner.instance_id,
            standing=self._standing(runner),
            offer=process_run.offer if process_run is not None and known else self.offer,
            needs=process_run.needs if process_run is not None and known else self.needs,
        )

    def _standing(self, runner: HostRunner) -> Readiness:
        state = runner.host.state
        if runner.held or not self.on:
            return Readiness.SERVING if state in SERVING else Readiness.OUT
        if runner.lost and not runner.wanted:
            return Readiness.PAUSED
        if state is State.STOPPED and runner.wanted:
            return Readiness.UNKNOWN
        if state is State.HANDSHAKING and runner.process_run is not None and runner.process_run.serving.is_set():
            return Readiness.COMING
        return _STANDINGS.get(state, Readiness.OUT)
