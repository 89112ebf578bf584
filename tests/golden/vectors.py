"""
Golden vectors of picks: what a picker in any language must choose. docs/routing.md describes the format.

A field that has its default is left out; enums are written by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any

from forgemesh.notation.version_range import any_version
from forgemesh.routing.eligibility import LocalView, Permit, RemoteLoad
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.pick import NoPick, Picked, pick
from forgemesh.routing.policy import OperationPolicy, PluginPolicy, Policy
from forgemesh.routing.round_robin import Turns
from forgemesh.routing.slow_start import SlowStart
from forgemesh.routing.snapshot import Revision, Snapshot

ENUMS: dict[str, type[Enum]] = {
    "health": Health,
    "admission": Admission,
    "state": CircuitState,
    "pick": Policy,
}
RECORDS: dict[str, type] = {"circuit": CircuitView, "slow_start": SlowStart}


def replay(
    stages: Iterable[Mapping[str, Any]], draw: Callable[[], float]
) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Each stage of a case, and what it gives now."""
    cursors: dict[Policy, Turns] = {}
    snapshot, local = Snapshot.nothing(""), LocalView()
    for stage in stages:
        if "snapshot" in stage:
            snapshot = read_snapshot(stage["snapshot"])
        if "local" in stage:
            local = read_local(stage["local"])
        yield stage, gives(stage, snapshot, local, cursors, draw)


def gives(
    stage: Mapping[str, Any],
    snapshot: Snapshot,
    local: LocalView,
    cursors: dict[Policy, Turns],
    draw: Callable[[], float],
) -> dict[str, Any]:
    """The picks of one stage, and what the last of them says of those that were passed over."""
    in_flight = dict(local.in_flight)
    view = LocalView(in_flight, local.lost, local.full, local.tripped, local.permits, local.loads)
    picks: list[Any] = []
    answer: Picked | NoPick | None = None
    for terms in terms_of(stage):
        policy = snapshot.policy.pick_of(terms.get("operation", ""))
        answer = pick(snapshot, cursors.get(policy, Turns()), view, draw=draw, **terms)
        picks.append(written(answer))
        if isinstance(answer, Picked):
            cursors[policy] = answer.cursor
            if stage.get("stay"):
                chosen = answer.endpoint.instance_id
                in_flight[chosen] = in_flight.get(chosen, 0) + 1
    assert answer is not None
    excluded = {instance_id: reason.name for instance_id, reason in answer.excluded}
    return {"picks": picks} | ({"excluded": excluded} if excluded else {})


def terms_of(stage: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What each pick of a stage asks for."""
    terms = dict(stage.get("terms", {}))
    if "wanted" in terms:
        terms["wanted"] = set(terms["wanted"]).__contains__
    if "exclude" in terms:
        terms["exclude"] = frozenset(terms["exclude"])
    for key in terms.pop("affinities", None) or [terms.get("affinity", "")] * stage.get("count", 1):
        yield {"wanted": any_version, **terms, "affinity": key}


def written(answer: Picked | NoPick) -> Any:
    """The id of what was picked, with its permit for a trial; or the reason of a refusal."""
    if isinstance(answer, NoPick):
        return {"refused": answer.reason.value, "retry_after": answer.retry_after}
    if answer.permit is not None:
        return {"instance": answer.endpoint.instance_id, "permit": answer.permit.permit_id}
    return answer.endpoint.instance_id


def read_snapshot(given: Mapping[str, Any]) -> Snapshot:
    rules = dict(given.get("policy", {}))
    operations = {name: read(OperationPolicy, own) for name, own in rules.pop("operations", {}).items()}
    policy = read(PluginPolicy, rules | {"operations": operations})
    return Snapshot("golden", Revision(1, 1), policy, tuple(read(Endpoint, one) for one in given["endpoints"]))


def read_local(given: Mapping[str, Any]) -> LocalView:
    return LocalView(
        in_flight=given.get("in_flight", {}),
        lost={(name, incarnation) for name, incarnation in given.get("lost", ())},
        full=set(given.get("full", ())),
        tripped={(name, incarnation) for name, incarnation in given.get("tripped", ())},
        permits={name: Permit(**permit) for name, permit in given.get("permits", {}).items()},
        loads={name: RemoteLoad(**load) for name, load in given.get("loads", {}).items()},
    )


def read(record: type, given: Mapping[str, Any]) -> Any:
    """A dataclass from its fields."""
    values = dict(given)
    for name, enum in ENUMS.items():
        if name in values:
            values[name] = enum[values[name]]
    for name, inner in RECORDS.items():
        if name in values:
            values[name] = read(inner, values[name])
    return record(**values)


def write(record: Any) -> dict[str, Any]:
    """A dataclass as its fields, as far as they differ from their defaults."""
    return {
        field.name: _plain(getattr(record, field.name))
        for field in fields(record)
        if field.init and getattr(record, field.name) != _default(field)
    }


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if is_dataclass(value):
        return write(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(list(one) if isinstance(one, tuple) else one for one in value)
    return value
