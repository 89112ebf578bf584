"""Whether an endpoint may get a call, and if not, the first reason against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from math import exp
from typing import NamedTuple

from forgemesh.notation.version_range import any_version
from forgemesh.routing.endpoint import Admission, CircuitState, Endpoint, Health


class Exclusion(Enum):
    """Why an endpoint is passed over, in the order in which the reasons are looked for."""

    ADMIN_OUT = "taken out by an operator"
    CRASH_LOOP = "crashed too often"
    DRAINING = "draining"
    FORCED_OPEN = "circuit forced open"
    UNCHECKED = "health not checked yet"
    NOT_SERVING = "not serving"
    UNREACHABLE = "unreachable"
    CIRCUIT_OPEN = "circuit open"
    TRIAL = "half open: trial calls only"
    EJECTED = "ejected as an outlier"
    WEIGHTLESS = "weight is zero"
    LOST = "connection lost"
    TRIPPED = "left out by this caller after failures"
    VERSION = "other version"
    TRIED = "tried already"
    FULL = "full"
    TIER = "lower tier preferred"


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to make one trial call on a half-open circuit of this generation."""

    permit_id: str
    incarnation: int
    generation: int


@dataclass(frozen=True, slots=True)
class RemoteLoad:
    """
    What is known of an instance's load: `others`, calls of other callers under way there at the moment `at` (on the
    picker's clock), and `weight` by gRFC A58, 0 if that is not known.
    """

    others: int = 0
    at: float = 0.0
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class LocalView:
    """
    What a caller knows by itself.

    `in_flight`: its calls by instance id. `lost`: (instance id, incarnation) of each connection that broke since the
    snapshot said SERVING. `full`: ids of the instances that give it no room. `tripped`: (instance id, incarnation) of
    those that it leaves out for a moment because its own calls there failed. `permits`: by instance id, the trial call
    that it may make there. `loads`: by instance id, what others do there. The caller may keep one view and change the
    collections in it.
    """

    in_flight: Mapping[str, int] = field(default_factory=dict)
    lost: AbstractSet[tuple[str, int]] = frozenset()
    full: AbstractSet[str] = frozenset()
    tripped: AbstractSet[tuple[str, int]] = frozenset()
    permits: Mapping[str, Permit] = field(default_factory=dict)
    loads: Mapping[str, RemoteLoad] = field(default_factory=dict)


_BY_ADMISSION = {
    Admission.OPEN: None,
    Admission.DRAINING: Exclusion.DRAINING,
    Admission.OUT: Exclusion.ADMIN_OUT,
    Admission.CRASH_LOOP: Exclusion.CRASH_LOOP,
}
_BY_HEALTH = {
    Health.SERVING: None,
    Health.UNCHECKED: Exclusion.UNCHECKED,
    Health.NOT_SERVING: Exclusion.NOT_SERVING,
    Health.UNREACHABLE: Exclusion.UNREACHABLE,
}


_PASSES = (CircuitState.CLOSED, CircuitState.FORCED_CLOSED, CircuitState.METRICS_ONLY)


def standing_exclusion(endpoint: Endpoint, *, panic: bool = False) -> Exclusion | None:
    """What the snapshot alone holds against the endpoint, whoever asks; in a panic ejection does not count."""
    if excluded := _BY_ADMISSION[endpoint.admission]:
        return excluded
    circuit = endpoint.circuit.state
    if circuit is CircuitState.FORCED_OPEN:
        return Exclusion.FORCED_OPEN
    if excluded := _BY_HEALTH[endpoint.health]:
        return excluded
    if circuit is CircuitState.HALF_OPEN:
        return Exclusion.TRIAL
    if circuit not in _PASSES:
        return Exclusion.CIRCUIT_OPEN
    return Exclusion.EJECTED if endpoint.ejected and not panic else None


def permit_for(endpoint: Endpoint, local: LocalView) -> Permit | None:
    """The permit for a trial call on the half-open circuit of the endpoint, as it is now."""
    permit = local.permits.get(endpoint.instance_id)
    if permit is None or permit.incarnation != endpoint.incarnation:
        return None
    return permit if permit.generation == endpoint.circuit.generation else None


def believed(load: RemoteLoad | None, memory: float, now: float) -> float:
    """
    How many calls of others are under way now: with each `memory` seconds fewer by a factor of e, so that an old count
    does not send everybody to where it was quiet then. A count from the future is one of now, a negative one is none.
    """
    if load is None or load.others <= 0 or memory <= 0:
        return 0.0
    age = now - load.at
    return load.others * exp(-age / memory) if age > 0 else float(load.others)


def has_room(endpoint: Endpoint, local: LocalView, memory: float, now: float) -> bool:
    """Whether the instance takes one more call; `memory` (seconds) is for how long others' calls are believed in."""
    instance_id, most = endpoint.instance_id, endpoint.max_in_flight
    if instance_id in local.full:
        return False
    if not most:
        return True
    mine = local.in_flight.get(instance_id, 0)
    if mine >= most or not local.loads:
        return mine < most
    return mine + believed(local.loads.get(instance_id), memory, now) < most


class Terms(NamedTuple):
    """
    What a call asks for. `wanted` says which versions fit, `tried` holds the ids that are to be avoided, `trial` is
    whether it may be a trial call, `weighs` whether an endpoint without weight gets nothing. `memory` (seconds) is for
    how long counts of others' calls are believed in, `now` the moment on the picker's clock.
    (A tuple, because one is made for every step.)
    """

    wanted: Callable[[str], bool] = any_version
    tried: AbstractSet[str] = frozenset()
    trial: bool = False
    weighs: bool = False
    memory: float = 0.0
    now: float = 0.0


FOR_ANY_CALL = Terms()


def local_exclusion(endpoint: Endpoint, local: LocalView, terms: Terms) -> Exclusion | None:
    """What this caller holds against an endpoint against which the snapshot holds nothing; tiers apart."""
    if terms.weighs and not endpoint.weight > 0:
        return Exclusion.WEIGHTLESS
    if local.lost and (endpoint.instance_id, endpoint.incarnation) in local.lost:
        return Exclusion.LOST
    if local.tripped and (endpoint.instance_id, endpoint.incarnation) in local.tripped:
        return Exclusion.TRIPPED
    if not (terms.wanted is any_version or terms.wanted(endpoint.plugin_version)):
        return Exclusion.VERSION
    if endpoint.instance_id in terms.tried:
        return Exclusion.TRIED
    return None if has_room(endpoint, local, terms.memory, terms.now) else Exclusion.FULL


def exclusion(
    endpoint: Endpoint, local: LocalView, terms: Terms = FOR_ANY_CALL, *, panic: bool = False
) -> Exclusion | None:
    """The first reason against the endpoint, or None; tiers are compared only among those without one."""
    standing = standing_exclusion(endpoint, panic=panic)
    if standing is Exclusion.TRIAL and terms.trial and permit_for(endpoint, local):
        standing = Exclusion.EJECTED if endpoint.ejected and not panic else None
    return standing or local_exclusion(endpoint, local, terms)
