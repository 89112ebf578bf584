"""Whether an endpoint may get a call, and if not, the first reason against it."""

from __future__ import annotations

from collections.abc import Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum

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
    EJECTED = "ejected as an outlier"
    LOST = "connection lost"
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


def standing_exclusion(endpoint: Endpoint) -> Exclusion | None:
    """What the snapshot alone holds against the endpoint, whoever asks; a half-open circuit needs a permit."""
    if excluded := _BY_ADMISSION[endpoint.admission]:
        return excluded
    if endpoint.circuit.state is CircuitState.FORCED_OPEN:
        return Exclusion.FORCED_OPEN
    if excluded := _BY_HEALTH[endpoint.health]:
        return excluded
    if endpoint.circuit.state is not CircuitState.CLOSED:
        return Exclusion.CIRCUIT_OPEN
    return Exclusion.EJECTED if endpoint.ejected else None


def has_room(endpoint: Endpoint, local: LocalView) -> bool:
    """Whether the instance takes one more call of this caller."""
    if endpoint.instance_id in local.full:
        return False
    return not endpoint.max_in_flight or local.in_flight.get(endpoint.instance_id, 0) < endpoint.max_in_flight


def local_exclusion(endpoint: Endpoint, local: LocalView, wanted: bool, tried: bool) -> Exclusion | None:
    """What this caller holds against an endpoint against which the snapshot holds nothing; tiers apart."""
    if local.lost and (endpoint.instance_id, endpoint.incarnation) in local.lost:
        return Exclusion.LOST
    if not wanted:
        return Exclusion.VERSION
    if tried:
        return Exclusion.TRIED
    return None if has_room(endpoint, local) else Exclusion.FULL


def exclusion(endpoint: Endpoint, local: LocalView, *, wanted: bool = True, tried: bool = False) -> Exclusion | None:
    """The first reason against the endpoint, or None; tiers are compared only among those without one."""
    return standing_exclusion(endpoint) or local_exclusion(endpoint, local, wanted, tried)
