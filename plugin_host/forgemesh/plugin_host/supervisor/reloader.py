"""Replacing the hosts of a plugin by new ones, blue/green: the new ones serve before the old ones drain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from forgemesh.api.supervisor.v1 import attach_pb2
from forgemesh.faults.supervisor import ReloadFailed
from forgemesh.plugin_host.supervisor.domain.happening import Kind
from forgemesh.plugin_host.supervisor.domain.host import SERVING, Phase, State
from forgemesh.plugin_host.supervisor.fleet import Fleet
from forgemesh.plugin_host.supervisor.group import Group
from forgemesh.plugin_host.supervisor.keeper import Keeper
from forgemesh.plugin_host.supervisor.news import tell

OVERLAP = 0.5
"""Seconds that old and new hosts serve side by side: routers need a moment to notice the new ones."""
_REPLACED = "a new process took over"
_FAILED = "it was to replace another process and did not come up"


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

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def reload(self, name: str) -> Reloaded:
        """Raises PluginNotConfigured and ReloadFailed."""
        self._fleet.reread()
        group = self._fleet.group(name)
        async with group.changing:
            return await self.replace(group)

    async def replace(self, group: Group) -> Reloaded:
        """As `reload`, for one who holds `group.changing`."""
        before = _version(group)
        old = group.staying
        try:
            new = await (self._afresh(group, old) if group.plan.exclusive else self._beside(group, old))
        except ReloadFailed as failed:
            tell(self._fleet, group, Kind.RELOAD_FAILED, failed.message, {"phase": failed.metadata["phase"]})
            raise
        reloaded = Reloaded(
            from_version=before, to_version=_version(group), instance_ids=tuple(keeper.instance_id for keeper in new)
        )
        facts = {"from": before, "to": reloaded.to_version}
        tell(self._fleet, group, Kind.RELOADED, f"{group.name}: {', '.join(reloaded.instance_ids)} took over", facts)
        return reloaded

    async def _beside(self, group: Group, old: Sequence[Keeper]) -> list[Keeper]:
        predecessors = [keeper for keeper in old if keeper.host.state in SERVING]
        group.on = True
        new: list[Keeper] = []
        known = group.manifest, group.offer, group.needs
        try:
            for number in range(group.count):
                keeper = self._fleet.add(group, held=True)
                new.append(keeper)
                keeper.start()
                await self._called_back(group, keeper)
                keeper.state = await _state_of(predecessors[number]) if number < len(predecessors) else None
                keeper.held = False
                self._fleet.nudge()
                await self._serving(group, keeper)
        except BaseException:
            for keeper in new:
                keeper.retire(_FAILED)
            await self._fleet.gone(new)
            group.manifest, group.offer, group.needs = known
            raise
        if predecessors:
            await asyncio.sleep(OVERLAP)
        for keeper in old:
            keeper.retire(_REPLACED)
        await self._fleet.gone(old)
        return new

    async def _afresh(self, group: Group, old: Sequence[Keeper]) -> list[Keeper]:
        """The old one first: it holds something that there is only once."""
        states = [await _state_of(keeper) if keeper.host.state in SERVING else None for keeper in old]
        for keeper in old:
            keeper.retire(_REPLACED)
        await self._fleet.gone(old)
        group.on = True
        new = [self._fleet.add(group) for _ in range(group.count)]
        for keeper, state in zip_longest(new, states[: len(new)]):
            keeper.state = state
            keeper.start()
        self._fleet.nudge()
        for keeper in new:
            await self._serving(group, keeper)
        return new

    async def _called_back(self, group: Group, keeper: Keeper) -> None:
        def looked() -> bool:
            self._refuse_failed(group, keeper)
            return keeper.host.state is State.HANDSHAKING

        await self._fleet.until(looked)

    async def _serving(self, group: Group, keeper: Keeper) -> None:
        def looked() -> bool:
            self._refuse_failed(group, keeper)
            hopeless = self._fleet.decision.hopeless.get(keeper.instance_id)
            if hopeless and keeper.host.state is State.HANDSHAKING:
                cause = f"it needs {', '.join(need.text for need in hopeless)}, and nothing provides that"
                raise ReloadFailed(group.name, Phase.INIT.value, cause)
            return keeper.host.state in SERVING

        await self._fleet.until(looked)

    def _refuse_failed(self, group: Group, keeper: Keeper) -> None:
        host = keeper.host
        if host.state in (State.BACKOFF, State.CRASH_LOOP) or (host.state is State.STOPPED and not keeper.wanted):
            ended = "; it is exclusive, so its old process had ended before" if group.plan.exclusive else ""
            raise ReloadFailed(group.name, (host.phase or Phase.SPAWN).value, f"{host.reason}{ended}")


async def _state_of(keeper: Keeper) -> attach_pb2.SavedState | None:
    return await keeper.life.save_state() if keeper.life is not None else None


def _version(group: Group) -> str:
    return group.manifest.version if group.manifest is not None else ""
