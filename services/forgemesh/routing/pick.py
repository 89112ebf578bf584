"""The choice of an instance for one call, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import NamedTuple, TypeAlias, assert_never

from forgemesh.faults import Fault
from forgemesh.faults.plugin import PluginCrashLoop
from forgemesh.faults.routing import AllFull, CircuitOpen, NoneHealthy, NotRegistered
from forgemesh.notation.version_range import any_version
from forgemesh.routing.affinity import favourite, favourite_with_room
from forgemesh.routing.eligibility import Exclusion, LocalView, Permit, Terms, permit_for
from forgemesh.routing.endpoint import CircuitState, Endpoint
from forgemesh.routing.filter import filter_endpoints, nothing_against
from forgemesh.routing.least_connections import less_loaded, load_of
from forgemesh.routing.policy import PluginPolicy, Policy
from forgemesh.routing.random_choice import drawn
from forgemesh.routing.round_robin import Turns, forget, next_turn
from forgemesh.routing.snapshot import Snapshot
from forgemesh.routing.weighted_round_robin import next_weighted_turn
from forgemesh.routing.weights import weights_of

Excluded: TypeAlias = tuple[tuple[str, Exclusion], ...]

LISTED = 16
"""How many exclusions an answer names at most."""


class NoPickReason(Enum):
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

    reason: NoPickReason
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
        return self.reason is not NoPickReason.CRASH_LOOP

    @property
    def message(self) -> str:
        """What happened and what to do about it."""
        return self.fault().message

    def fault(self) -> Fault:
        """The refusal as it crosses the wire."""
        match self.reason:
            case NoPickReason.NOT_REGISTERED:
                return NotRegistered(self.plugin, self.unwanted)
            case NoPickReason.NONE_HEALTHY:
                return NoneHealthy(self.plugin, self.instances)
            case NoPickReason.CIRCUIT_OPEN:
                forced = self.tripped is not None and self.tripped.circuit.state is CircuitState.FORCED_OPEN
                return CircuitOpen(self.plugin, self.retry_after, forced=forced)
            case NoPickReason.ALL_FULL:
                return AllFull(self.plugin, self.instances)
            case NoPickReason.CRASH_LOOP:
                assert self.crashed is not None
                return PluginCrashLoop(self.plugin, self.crashed.instance_id, self.crashed.admission_reason)


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
    Choose an instance whose plugin version is `wanted`, by the policy of the operation.

    A call that may be a `trial`, because it is safe to repeat, makes the first trial that there is a permit for. Any
    other call with an `affinity` goes where that leads, whatever the policy is, and makes a trial only there.
    `exclude` holds the ids that were tried already: they are taken only if nobody else is eligible. Each call of `draw`
    gives a number of [0, 1), all equally likely. `now` is on the clock of the snapshot and of `local`. The caller keeps
    a cursor for each policy in use.
    """
    rules = snapshot.policy
    policy = rules.pick_of(operation)
    if (
        policy is Policy.ROUND_ROBIN
        and wanted is any_version
        and not (trial or exclude or affinity)
        and nothing_against(snapshot, local, now)
    ):
        if len(cursor.owed) > len(snapshot.endpoints):
            cursor = forget(cursor, snapshot.endpoints)
        chosen, cursor = next_turn(cursor, snapshot.open)
        against = snapshot.ruled_out[:LISTED]
        return Picked(chosen, cursor, policy, len(snapshot.endpoints), len(snapshot.open), against)
    terms = Terms(wanted, exclude, trial, snapshot.weightless and policy.heeds_weight, rules.load_memory, now)
    eligible, trials, excluded = filter_endpoints(snapshot, local, terms)
    permit: Permit | None = None
    against = (*snapshot.ruled_out, *excluded) if excluded else snapshot.ruled_out
    if trials and (half_open := _on_trial(eligible, trials, affinity)):
        chosen, permit = half_open, permit_for(half_open, local)
        against = tuple([one for one in against if one[0] != chosen.instance_id])
    elif not eligible:
        return _no_pick(snapshot, wanted, against, now)
    elif affinity:
        chosen = _home(affinity, eligible, local, rules, now)
    else:
        chosen, cursor = _next(policy, snapshot, cursor, eligible, local, draw, now)
    return Picked(chosen, cursor, policy, len(snapshot.endpoints), len(eligible), against[:LISTED], permit)


def _on_trial(eligible: Sequence[Endpoint], trials: Sequence[Endpoint], affinity: str) -> Endpoint | None:
    """The endpoint for a trial call; a key goes only to the one that it would go to if the circuit were closed."""
    if not affinity:
        return trials[0]
    home = favourite(affinity, [*eligible, *trials])
    return home if home in trials else None


def _home(affinity: str, eligible: Sequence[Endpoint], local: LocalView, rules: PluginPolicy, now: float) -> Endpoint:
    if not rules.hash_bound > 0:
        return favourite(affinity, eligible)
    load = partial(load_of, local=local, memory=rules.load_memory, now=now)
    return favourite_with_room(affinity, eligible, load, rules.hash_bound)


def _next(
    policy: Policy,
    snapshot: Snapshot,
    cursor: Turns,
    eligible: Sequence[Endpoint],
    local: LocalView,
    draw: Callable[[], float],
    now: float,
) -> tuple[Endpoint, Turns]:
    weights = weights_of(policy, snapshot, eligible, local, now)
    match policy:
        case Policy.ROUND_ROBIN | Policy.WEIGHTED_ROUND_ROBIN | Policy.RESOURCE_BASED | Policy.CONSISTENT_HASH:
            if len(cursor.owed) > len(snapshot.endpoints):
                cursor = forget(cursor, snapshot.endpoints)
            return next_turn(cursor, eligible) if weights is None else next_weighted_turn(cursor, eligible, weights)
        case Policy.LEAST_CONNECTIONS:
            memory = snapshot.policy.load_memory
            return less_loaded(cursor, eligible, weights, local, draw, memory=memory, now=now)
        case Policy.RANDOM:
            return drawn(eligible, weights, draw), cursor
        case _:
            assert_never(policy)


def _no_pick(snapshot: Snapshot, wanted: Callable[[str], bool], excluded: Excluded, now: float) -> NoPick:
    """The refusal that names the last hurdle: full, else circuit, else health, else nobody is there."""
    why = dict(excluded)
    name, listed = snapshot.plugin_id, excluded[:LISTED]
    fitting = [endpoint for endpoint in snapshot.endpoints if wanted(endpoint.plugin_version)]
    if not fitting:
        unwanted = tuple(sorted({endpoint.plugin_version for endpoint in snapshot.endpoints}))
        return NoPick(NoPickReason.NOT_REGISTERED, name, 0, None, listed, unwanted)
    if full := [endpoint for endpoint in fitting if why[endpoint.instance_id] is Exclusion.FULL]:
        return NoPick(NoPickReason.ALL_FULL, name, len(full), None, listed)
    if tripped := [endpoint for endpoint in fitting if why[endpoint.instance_id] in _BEHIND_A_CIRCUIT]:
        due = [e.circuit.open_until - now for e in tripped if e.circuit.state is CircuitState.OPEN]
        wait = min([seconds for seconds in due if seconds > 0], default=None)
        nearest = min(tripped, key=partial(_distance, now=now))
        return NoPick(NoPickReason.CIRCUIT_OPEN, name, len(tripped), wait, listed, tripped=nearest)
    crashed = [endpoint for endpoint in fitting if why[endpoint.instance_id] is Exclusion.CRASH_LOOP]
    if len(crashed) == len(fitting):
        return NoPick(NoPickReason.CRASH_LOOP, name, len(crashed), None, listed, crashed=crashed[-1])
    return NoPick(NoPickReason.NONE_HEALTHY, name, len(fitting), None, listed)


_BEHIND_A_CIRCUIT = frozenset({Exclusion.FORCED_OPEN, Exclusion.CIRCUIT_OPEN, Exclusion.TRIAL, Exclusion.TRIPPED})
_STAGES = (CircuitState.HALF_OPEN, CircuitState.OPEN)


def _distance(endpoint: Endpoint, now: float) -> tuple[int, float]:
    """How far the endpoint is from a trial call: one is under way, or due at a known time, or somebody must act."""
    state = endpoint.circuit.state
    stage = _STAGES.index(state) if state in _STAGES else len(_STAGES)
    return stage, max(0.0, endpoint.circuit.open_until - now) if state is CircuitState.OPEN else 0.0
