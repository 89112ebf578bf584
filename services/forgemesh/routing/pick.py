"""The choice of an instance for one call, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

from forgemesh.faults import Fault
from forgemesh.faults.plugin import PluginCrashLoop
from forgemesh.faults.routing import AllFull, CircuitOpen, NoneHealthy, NotRegistered
from forgemesh.routing.affinity import favourite
from forgemesh.routing.eligibility import Exclusion, LocalView, Permit, has_room, local_exclusion
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.policy import Policy
from forgemesh.routing.round_robin import Turns, forget, next_turn
from forgemesh.routing.snapshot import Snapshot

Excluded: TypeAlias = tuple[tuple[str, Exclusion], ...]

LISTED = 16
"""How many exclusions an answer names at most."""


class Lack(Enum):
    """Why there is no pick; the values are the reasons of the faults."""

    NOT_REGISTERED = NotRegistered.reason
    NONE_HEALTHY = NoneHealthy.reason
    CIRCUIT_OPEN = CircuitOpen.reason
    ALL_FULL = AllFull.reason
    CRASH_LOOP = PluginCrashLoop.reason


class Picked(NamedTuple):
    """
    Use `endpoint` now and `cursor` for the next pick by the same `policy`; the rest explains the choice.

    With a `permit` the call is a trial on a half-open circuit: the permit goes with it and is used up.
    """

    endpoint: Endpoint
    cursor: Turns
    policy: Policy
    candidates: int
    eligible: int
    excluded: Excluded
    permit: Permit | None = None


@dataclass(frozen=True, slots=True)
class NoPick:
    """
    No instance can take the call now.

    `instances` are those that the reason counts, `unwanted` the versions that are there when none is a wanted one.
    `retry_after` (seconds) is set when it is known when an instance may take the call; without it the next snapshot or
    permit tells. `crashed` is an instance that crashed too often, if all of them did; `tripped` is the one of those
    behind an open circuit that comes nearest to a trial call.
    """

    reason: Lack
    plugin: str
    instances: int
    retry_after: float | None
    excluded: Excluded
    unwanted: tuple[str, ...] = ()
    crashed: Endpoint | None = None
    tripped: Endpoint | None = None

    @property
    def passes(self) -> bool:
        """Whether the call may find an instance later without anybody's doing."""
        return self.reason is not Lack.CRASH_LOOP

    @property
    def message(self) -> str:
        """What happened and what to do about it."""
        return self.fault().message

    def fault(self) -> Fault:
        """The refusal as it crosses the wire."""
        match self.reason:
            case Lack.NOT_REGISTERED:
                return NotRegistered(self.plugin, self.unwanted)
            case Lack.NONE_HEALTHY:
                return NoneHealthy(self.plugin, self.instances)
            case Lack.CIRCUIT_OPEN:
                return CircuitOpen(self.plugin, self.retry_after or 0.0)
            case Lack.ALL_FULL:
                return AllFull(self.plugin, self.instances)
            case Lack.CRASH_LOOP:
                assert self.crashed is not None
                return PluginCrashLoop(self.plugin, self.crashed.instance_id, self.crashed.admission_reason)


def any_version(version: str) -> bool:
    """Every version is wanted."""
    return True


def pick(
    snapshot: Snapshot,
    cursor: Turns,
    local: LocalView,
    *,
    draw: Callable[[], float],
    operation: str = "",
    wanted: Callable[[str], bool] = any_version,
    exclude: frozenset[str] = frozenset(),
    affinity: str = "",
    trial: bool = False,
    now: float = 0.0,
) -> Picked | NoPick:
    """
    Choose an instance whose plugin version is `wanted`: the next one in turn, or the one that `affinity` leads to.

    `operation` is what will be called; it may have a policy of its own. `draw` gives a number of [0, 1), each as likely
    as the other, for each time that it is asked. `exclude` holds the ids that were tried already: they are taken only
    if nobody else is eligible. Of `trial` is whether the call may be a trial on a half-open circuit: it is safe to
    repeat. `now` is on the clock of `CircuitView.open_until`. A caller keeps one cursor for each policy in use.
    """
    policy = snapshot.policy.pick_of(operation)
    eligible, excluded = _sieve(snapshot.open, local, wanted, exclude)
    if not eligible and exclude:
        eligible, excluded = _sieve(snapshot.open, local, wanted, frozenset())
    if not eligible:
        return _lacking(snapshot, wanted, (*snapshot.ruled_out, *excluded), now)
    if snapshot.tiered:
        eligible = _preferred_tier(eligible, excluded)
    if affinity:
        chosen = favourite(affinity, eligible)
    else:
        if len(cursor.owed) > len(snapshot.endpoints):
            cursor = forget(cursor, snapshot.endpoints)
        chosen, cursor = next_turn(cursor, eligible)
    against = (*snapshot.ruled_out, *excluded) if excluded else snapshot.ruled_out
    return Picked(chosen, cursor, policy, len(snapshot.endpoints), len(eligible), against[:LISTED])


def _sieve(
    candidates: Sequence[Endpoint], local: LocalView, wanted: Callable[[str], bool], exclude: frozenset[str]
) -> tuple[list[Endpoint], list[tuple[str, Exclusion]]]:
    """Those that the caller may use, and why not the others."""
    if wanted is any_version and not exclude and not local.lost:
        eligible = [endpoint for endpoint in candidates if has_room(endpoint, local)]
        if len(eligible) == len(candidates):
            return eligible, []
    eligible = []
    excluded: list[tuple[str, Exclusion]] = []
    for endpoint in candidates:
        fits = wanted is any_version or wanted(endpoint.plugin_version)
        reason = local_exclusion(endpoint, local, fits, endpoint.instance_id in exclude)
        if reason is None:
            eligible.append(endpoint)
        else:
            excluded.append((endpoint.instance_id, reason))
    return eligible, excluded


def _preferred_tier(eligible: list[Endpoint], excluded: list[tuple[str, Exclusion]]) -> list[Endpoint]:
    """Those of the lowest tier; the others join `excluded`."""
    best = min([endpoint.tier for endpoint in eligible])
    preferred = [endpoint for endpoint in eligible if endpoint.tier == best]
    if len(preferred) < len(eligible):
        excluded += [(endpoint.instance_id, Exclusion.TIER) for endpoint in eligible if endpoint.tier != best]
    return preferred


def _lacking(snapshot: Snapshot, wanted: Callable[[str], bool], excluded: Excluded, now: float) -> NoPick:
    """The refusal that names the last hurdle: full, else circuit, else health, else nobody is there."""
    why = dict(excluded)
    fitting = [endpoint for endpoint in snapshot.endpoints if wanted(endpoint.plugin_version)]
    full = [endpoint for endpoint in fitting if why[endpoint.instance_id] is Exclusion.FULL]
    tripped = [endpoint for endpoint in fitting if why[endpoint.instance_id] is Exclusion.CIRCUIT_OPEN]
    crashed = [endpoint for endpoint in fitting if why[endpoint.instance_id] is Exclusion.CRASH_LOOP]
    retry_after: float | None = None
    if not fitting:
        reason, count = Lack.NOT_REGISTERED, 0
    elif full:
        reason, count = Lack.ALL_FULL, len(full)
    elif tripped:
        reason, count = Lack.CIRCUIT_OPEN, len(tripped)
        retry_after = max(0.0, min(endpoint.circuit.open_until for endpoint in tripped) - now)
    elif len(crashed) == len(fitting):
        return NoPick(Lack.CRASH_LOOP, snapshot.plugin_id, len(crashed), None, excluded[:LISTED], crashed=crashed[-1])
    else:
        reason, count = Lack.NONE_HEALTHY, len(fitting)
    unwanted = tuple(sorted({e.plugin_version for e in snapshot.endpoints})) if not fitting else ()
    return NoPick(reason, snapshot.plugin_id, count, retry_after, excluded[:LISTED], unwanted)
