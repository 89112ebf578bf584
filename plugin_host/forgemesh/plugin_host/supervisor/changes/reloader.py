"""Replacing the hosts of a plugin by new ones, blue/green: the new ones serve before the old ones drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest

from forgemesh.api.supervisor.v1 import attach_pb2
from forgemesh.faults.supervisor import ReloadFailed
from forgemesh.plugin_host.supervisor.changes.changes import Changes
from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.group import Group, Known
from forgemesh.plugin_host.supervisor.fleet.lifecycle_publisher import publish
from forgemesh.plugin_host.supervisor.hosts.host import RUNNING, SERVING, Phase, State
from forgemesh.plugin_host.supervisor.hosts.host_runner import HostRunner
from forgemesh.plugin_host.supervisor.hosts.lifecycle_event import Kind
from forgemesh.plugin_host.supervisor.hosts.questions import Unanswered
from forgemesh.plugin_host.supervisor.state.change import Change, Stage
from forgemesh.plugin_host.supervisor.state.journal import Journal

_log = logging.getLogger(__name__)

OVERLAP = 0.5
"""Seconds that old and new hosts serve side by side: routers need a moment to notice the new ones."""
PATIENCE = 3
"""How many times its `start_timeout` a new process has until it serves, whatever keeps it."""
_REPLACED = "a new process took over"
_FAILED = "it was to replace another process and did not come up"
_OVER = "the old one has ended; it is started again by its rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What was before, and what is now."""

    from_version: str
    to_version: str
    instance_ids: tuple[str, ...]


class Reloader:
    """
    Reloads plugins of a fleet, each one at a time.

    All new hosts have to serve before the first old one goes: either all are replaced or none.
    """

    def __init__(self, fleet: Fleet, changes: Changes, journal: Journal) -> None:
        self._fleet = fleet
        self._changes = changes
        self._journal = journal

    async def reload(self, name: str, *, force: bool) -> Reloaded:
        """
        Raises PluginNotConfigured, InvalidRequest and ReloadFailed; goes on if it is cancelled.

        With `force`, also without the state of a host that cannot save it.
        """
        if name not in self._fleet.groups:
            self._fleet.reread()
        group = self._fleet.group(name)
        return await self._changes.of(group, partial(self._reload, group, force=force))

    async def _reload(self, group: Group, *, force: bool) -> Reloaded:
        before = group.known
        self._fleet.reread(group)
        return await self.replace(group, before, force=force)

    async def replace(self, group: Group, before: Known, *, force: bool) -> Reloaded:
        """As `reload`, for one who holds `group.changing`; how it was `before` counts again if it fails."""
        old = group.staying
        change = Change(
            name=group.name,
            stage=Stage.TRYING,
            before=before.configuration,
            after=group.configuration,
            old=tuple(runner.instance_id for runner in old),
        )
        self._journal.note(change)
        try:
            first = group.plan.exclusive and any(runner.wanted or runner.host.state in RUNNING for runner in old)
            new = await (self._afresh if first else self._beside)(group, before, change, force=force)
        except ReloadFailed as failed:
            self._journal.settle(group.name, group.configuration)
            publish(self._fleet, group, Kind.RELOAD_FAILED, failed.message, {"phase": failed.metadata["phase"]})
            raise
        self._journal.settle(group.name, group.configuration)
        return self._reloaded(group, before, new)

    def _reloaded(self, group: Group, before: Known, new: Sequence[HostRunner]) -> Reloaded:
        reloaded = Reloaded(
            from_version=before.manifest.version if before.manifest is not None else "",
            to_version=group.manifest.version if group.manifest is not None else "",
            instance_ids=tuple(runner.instance_id for runner in new),
        )
        group.blame.forgive()
        facts = {"from": reloaded.from_version, "to": reloaded.to_version}
        publish(self._fleet, group, Kind.RELOADED, f"{group.name}: {', '.join(reloaded.instance_ids)} took over", facts)
        return reloaded

    async def _beside(self, group: Group, before: Known, change: Change, *, force: bool) -> list[HostRunner]:
        predecessors = [runner for runner in group.staying if runner.host.state in SERVING]
        group.on = True
        new: list[HostRunner] = []
        try:
            for number in range(group.count):
                runner = self._fleet.add(group, held=True)
                new.append(runner)
                runner.start()
                await self._called_back(group, runner)
                runner.state = await _state_of(group, predecessors[number : number + 1], force=force)
                runner.held = False
                self._fleet.nudge()
                await self._serving(group, runner)
            if predecessors:
                await asyncio.sleep(OVERLAP)
            _judge(group, new)
        except BaseException:
            try:
                await self._end(new, _FAILED)
            finally:
                group.restore(before)
            raise
        self._journal.note(replace(change, stage=Stage.REPLACING))
        await self._end([runner for runner in group.staying if runner not in new], _REPLACED)
        _judge(group, new, _OVER)
        return new

    async def _afresh(self, group: Group, before: Known, change: Change, *, force: bool) -> list[HostRunner]:
        """The old one first: it holds something that there is only once."""
        old = group.staying
        try:
            states = [await _state_of(group, [runner], force=force) for runner in old]
        except BaseException:
            group.restore(before)
            raise
        left = tuple(state.SerializeToString() if state is not None else b"" for state in states)
        change = replace(change, stage=Stage.REPLACING, states=left)
        self._journal.note(change)
        await self._end(old, _REPLACED)
        self._journal.note(replace(change, old=()))
        group.on = True
        new = self._begun(group, states)
        try:
            for runner in new:
                await self._serving(group, runner)
            _judge(group, new)
        except ReloadFailed:
            await self._end(new, _FAILED)
            group.restore(before)
            self._begun(group, states)
            raise
        return new

    def _begun(self, group: Group, states: Sequence[attach_pb2.SavedState | None]) -> list[HostRunner]:
        """As many hosts as the plugin is to have, with what others have left."""
        new = [self._fleet.add(group) for _ in range(group.count)]
        for runner, state in zip_longest(new, states[: len(new)]):
            runner.state = state
            runner.start()
        self._fleet.nudge()
        return new

    async def _end(self, runners: Sequence[HostRunner], why: str) -> None:
        for runner in runners:
            runner.retire(why)
        await self._fleet.gone(runners)

    async def _called_back(self, group: Group, runner: HostRunner) -> None:
        def looked() -> bool:
            _refuse_failed(group, runner)
            return runner.host.state is State.HANDSHAKING

        async with _in_time(group, runner):
            await self._fleet.until(looked)

    async def _serving(self, group: Group, runner: HostRunner) -> None:
        def looked() -> bool:
            _refuse_failed(group, runner)
            hopeless = self._fleet.decision.hopeless.get(runner.instance_id)
            if hopeless and runner.host.state is State.HANDSHAKING:
                cause = f"it needs {', '.join(need.text for need in hopeless)}, and nothing provides that"
                raise ReloadFailed(group.name, Phase.INIT.value, cause, remains=_remains(group))
            return runner.host.state in SERVING

        async with _in_time(group, runner):
            await self._fleet.until(looked)


@contextlib.asynccontextmanager
async def _in_time(group: Group, runner: HostRunner) -> AsyncIterator[None]:
    """What nobody ends while the registry is away, or something that is needed is long on its way."""
    patience = PATIENCE * group.plan.start_timeout
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError as error:
        waits = f": {runner.host.reason}" if runner.host.reason else ""
        cause = f"it does not serve after {patience:g} s{waits}"
        phase = runner.host.failing_phase.value
        raise ReloadFailed(group.name, phase, cause, remains=_remains(group)) from error


def _refuse_failed(group: Group, runner: HostRunner, remains: str = "") -> None:
    """Raise ReloadFailed if it has ended, also if it was started again since."""
    host = runner.host
    if host.state in (State.BACKOFF, State.CRASH_LOOP) or host.restarts or (not runner.wanted and not runner.lost):
        alone = group.plan.exclusive and group.staying[0] is runner
        ended = "; it is exclusive, so its old process had ended before" if alone else ""
        reason = host.reason or next((step.reason for step in reversed(host.history) if step.phase is not None), "")
        raise ReloadFailed(
            group.name, (host.phase or Phase.SERVING).value, f"{reason}{ended}", remains=remains or _remains(group)
        )


def _remains(group: Group) -> str:
    """What becomes of a plugin whose reload has failed before anything was replaced."""
    oldest = group.staying[0]
    if group.plan.exclusive and not oldest.held and oldest.wanted:
        return "it is started again as it was"
    return "the old one goes on" if oldest.host.state in SERVING else "it stands as it did before"


def _judge(group: Group, new: Sequence[HostRunner], remains: str = "") -> None:
    """At the end, after all of them have come up: whether they still serve."""
    for runner in new:
        _refuse_failed(group, runner, remains)


async def _state_of(group: Group, runners: Sequence[HostRunner], *, force: bool) -> attach_pb2.SavedState | None:
    """What one host leaves for the one after it, if it is there and serves; it cannot be lost unless `force`."""
    runner = next((one for one in runners if one.host.state in SERVING and one.process_run is not None), None)
    if runner is None or runner.process_run is None:
        return None
    try:
        saved = await runner.process_run.save_state(runner.plan.change_timeout)
    except Unanswered as unanswered:
        failure = str(unanswered)
    else:
        failure = saved.failure
        if not failure:
            return saved if saved.HasField("payload") else None
    if force:
        _log.warning("%s is replaced without its state, which it cannot save: %s", runner.instance_id, failure)
        return None
    raise ReloadFailed(
        group.name,
        Phase.SERVING.value,
        f"{runner.instance_id} cannot save its state: {failure}",
        what=f"plugin {group.name!r} is not reloaded",
        remains=f"it goes on with it; go on without its state: forgemesh plugin reload {group.name} --force",
    )
