"""The way from a target to an instance."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias

from forgemesh.notation.version_range import LONGEST, wanted_by
from forgemesh.orchestrator.dispatch.call_request import CallRequest, Wanted
from forgemesh.orchestrator.dispatch.manifests import Manifests
from forgemesh.orchestrator.dispatch.pool import Pool
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.workflow.definition import Target
from forgemesh.orchestrator.workflow.provider import Choice, ranked
from forgemesh.routing.affinity import draw
from forgemesh.routing.endpoint import CircuitState, Endpoint
from forgemesh.routing.pick import LISTED, NoPick, NoPickReason, Picked
from forgemesh.routing.scaling import Demanded

Found: TypeAlias = tuple[Pool, Picked]

_HURDLES = (
    NoPickReason.ALL_FULL,
    NoPickReason.CIRCUIT_OPEN,
    NoPickReason.NONE_HEALTHY,
    NoPickReason.NOT_REGISTERED,
    NoPickReason.CRASH_LOOP,
)
"""The nearest to a call first."""


class Route(Protocol):
    """Finds an instance for each call of one target."""

    def find(self, request: CallRequest, now: float) -> Found | NoPick:
        """`now` is monotonic seconds."""

    def wants(self, plugin_id: str, version: str) -> bool:
        """Whether it leads to instances of this plugin in this version."""

    def may_try(self, now: float) -> bool:
        """Whether a trial call may be made for this target."""

    @property
    def plugins(self) -> Collection[str]:
        """Those a change of whose instances may let a call go."""

    @property
    def demanded(self) -> Collection[Demanded]:
        """Each plugin that could serve a call, in its versions that could."""

    @property
    def wanted(self) -> Wanted:
        """Where it leads."""

    @property
    def settled(self) -> bool:
        """False as long as it is not known who there is."""


class PluginRoute:
    """To one plugin in a range of versions."""

    __slots__ = ("_manifests", "_pool", "_wanted", "demanded", "plugin_id")

    settled = True

    def __init__(self, pool: Pool, version_range: str, manifests: Manifests) -> None:
        self.plugin_id = pool.plugin_id
        self._pool = pool
        self._manifests = manifests
        self._wanted = wanted_by(version_range)
        self.demanded = (Demanded(pool.plugin_id, version_range),)

    def find(self, request: CallRequest, now: float) -> Found | NoPick:
        wanted = repeatable(request, self.plugin_id, self._wanted, self._manifests) if request.doubts else self._wanted
        picked = self._pool.pick(request, wanted, now)
        if isinstance(picked, NoPick):
            return told_apart(picked, request) if request.doubts else picked
        return self._pool, picked

    def wants(self, plugin_id: str, version: str) -> bool:
        return plugin_id == self.plugin_id and self._wanted(version)

    def may_try(self, now: float) -> bool:
        return self._pool.may_try(self._wanted, now)

    @property
    def plugins(self) -> Collection[str]:
        return (self.plugin_id,)

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.plugin_id, "")


class InterfaceRoute:
    """
    To any provider of an interface: those of the most preferred tier that has room, in turn.

    With an affinity, providers of a tier are tried in the order that the key gives them. Without one an instance that
    was tried before is taken only if no provider has another one.
    """

    def __init__(self, target: Target, providers: Providers, pool: Callable[[str], Pool]) -> None:
        self._target = target
        self._providers = providers
        self._pool = pool
        self._tiers: tuple[tuple[Choice, ...], ...] = ()
        self._seen = -1
        self._plugins: frozenset[str] = frozenset()
        self.demanded: tuple[Demanded, ...] = ()
        self._turn = 0
        self._name = f"{target.interface}@{target.version_range}" if target.version_range else target.interface

    @property
    def interface(self) -> str:
        return self._target.interface

    @property
    def settled(self) -> bool:
        return self._providers.of(self.interface) is not None

    def wants(self, plugin_id: str, version: str) -> bool:
        return any(one.plugin_id == plugin_id and version in one.versions for tier in self._tiers for one in tier)

    def may_try(self, now: float) -> bool:
        choices = [choice for tier in self._tiers for choice in tier]
        return any(self._pool(one.plugin_id).may_try(one.versions.__contains__, now) for one in choices)

    @property
    def plugins(self) -> Collection[str]:
        return self._plugins

    @property
    def wanted(self) -> Wanted:
        return Wanted("", self.interface)

    def find(self, request: CallRequest, now: float) -> Found | NoPick:
        if self._seen != self._providers.version:
            self._rank()
        if not self._tiers:
            self._providers.ask(self.interface)
        if request.idempotent is False:
            found = self._find(request, now, last_resort=False)
            if not isinstance(found, NoPick):
                return found
        return self._find(request, now, last_resort=True)

    def _find(self, request: CallRequest, now: float, *, last_resort: bool) -> Found | NoPick:
        reasons: list[NoPick] = []
        again: Found | None = None
        for choice in self._choices(request.affinity):
            pool = self._pool(choice.plugin_id)
            wanted: Callable[[str], bool] = choice.versions.__contains__
            if request.doubts:
                wanted = repeatable(request, choice.plugin_id, wanted, self._providers.manifests)
            picked = pool.pick(request, wanted, now, last_resort=last_resort)
            if isinstance(picked, NoPick):
                reasons.append(picked)
            elif request.affinity or picked.endpoint.instance_id not in request.tried:
                return pool, picked
            else:
                again = again or (pool, picked)
        if again is not None:
            return again
        why = summed(self._name, reasons)
        return told_apart(why, request) if request.doubts else why

    def _rank(self) -> None:
        self._seen = self._providers.version
        self._tiers = ranked(self._providers.of(self.interface) or (), self._target)
        versions: dict[str, set[str]] = {}
        for choice in (choice for tier in self._tiers for choice in tier):
            versions.setdefault(choice.plugin_id, set()).update(choice.versions)
        self._plugins = frozenset(versions)
        self.demanded = tuple(Demanded(plugin_id, _exactly(some)) for plugin_id, some in versions.items())

    def _choices(self, affinity: str) -> Iterator[Choice]:
        self._turn += 1
        for tier in self._tiers:
            if affinity:
                yield from sorted(tier, key=lambda choice: draw(affinity, choice.plugin_id), reverse=True)
            else:
                first = self._turn % len(tier)
                yield from tier[first:]
                yield from tier[:first]


def _is_forced(endpoint: Endpoint) -> bool:
    return endpoint.circuit.state is CircuitState.FORCED_OPEN


def _exactly(versions: Collection[str]) -> str:
    """A range that holds these versions and few others; empty, which is any, if there is none that can be said."""
    said = " || ".join(f"={version}" for version in sorted(versions))
    return said if len(said) <= LONGEST and all(map(wanted_by(said), versions)) else ""


def repeatable(
    request: CallRequest, plugin_id: str, wanted: Callable[[str], bool], manifests: Manifests
) -> Callable[[str], bool]:
    """Those of the wanted versions of a plugin that may repeat what earlier attempts may have done."""
    return lambda version: wanted(version) and manifests.may_repeat(request, plugin_id, version)


def told_apart(why: NoPick, request: CallRequest) -> NoPick:
    """The same for a call that may not go to every instance of its target, by a name that says so."""
    if why.reason is not NoPickReason.NOT_REGISTERED:
        return why
    where = ", ".join(f"{plugin_id} {version}" for plugin_id, version in sorted(request.doubts))
    return replace(why, plugin=f"{why.plugin}, as an earlier attempt may have had its effect on {where}")


def summed(name: str, reasons: Sequence[NoPick]) -> NoPick:
    """Why none of several plugins can take a call: the hurdle of those that come nearest to it."""
    reason = next(
        (hurdle for hurdle in _HURDLES if any(why.reason is hurdle for why in reasons)), NoPickReason.NOT_REGISTERED
    )
    nearest = [why for why in reasons if why.reason is reason]
    waits = [why.retry_after for why in nearest if why.retry_after is not None]
    return NoPick(
        reason,
        name,
        sum(why.instances for why in nearest),
        min(waits, default=None),
        tuple(excluded for why in reasons for excluded in why.excluded)[:LISTED],
        tuple(sorted({version for why in nearest for version in why.unwanted})),
        next((why.crashed for why in nearest if why.crashed is not None), None),
        min((why.tripped for why in nearest if why.tripped is not None), key=_is_forced, default=None),
    )
