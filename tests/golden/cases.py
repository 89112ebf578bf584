"""The situations of the golden vectors, and what is picked in them by now."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from forgemesh.routing.eligibility import LocalView, Permit, RemoteLoad
from forgemesh.routing.endpoint import Admission, CircuitState, CircuitView, Endpoint, Health
from forgemesh.routing.policy import DEFAULT, OperationPolicy, Policy
from forgemesh.routing.slow_start import SlowStart
from tests.golden.vectors import replay, write

FINEST = 10_000
"""Draws are multiples of the reciprocal of it, to be short."""


def endpoint(name: str, **facts: Any) -> Endpoint:
    given: dict[str, Any] = {
        "incarnation": 1,
        "address": "127.0.0.1:7000",
        "plugin_version": "1.0.0",
        "health": Health.SERVING,
    }
    return Endpoint(instance_id=name, **(given | facts))


def some(names: str, **facts: Any) -> list[Endpoint]:
    return [endpoint(name, **facts) for name in names]


def weighing(*weights: int) -> list[Endpoint]:
    return [endpoint(name, weight=weight) for name, weight in zip("abcdefgh", weights, strict=False)]


@dataclass
class Case:
    """Stages one after another; snapshot and view stay until they are replaced."""

    name: str
    seed: int = 0
    stages: list[dict[str, Any]] = field(default_factory=list)

    def at(self, *endpoints: Endpoint, **rules: Any) -> Case:
        policy = write(replace(DEFAULT, **rules))
        self.stages.append({"snapshot": {"policy": policy, "endpoints": [write(one) for one in endpoints]}})
        return self

    def seeing(self, **view: Any) -> Case:
        if not self.stages or "count" in self.stages[-1]:
            self.stages.append({})
        self.stages[-1]["local"] = write(LocalView(**view))
        return self

    def pick(self, count: int = 1, *, stay: bool = False, **terms: Any) -> Case:
        if not self.stages or "count" in self.stages[-1]:
            self.stages.append({})
        if "exclude" in terms:
            terms["exclude"] = sorted(terms["exclude"])
        self.stages[-1] |= {"count": count} | ({"stay": True} if stay else {}) | ({"terms": terms} if terms else {})
        return self


def cases() -> Iterator[Case]:
    yield from turns()
    yield from loads()
    yield from keys()
    yield from exclusions()
    yield from circuits()


def turns() -> Iterator[Case]:
    yield Case("round robin").at(*some("abc")).pick(7)
    flapping = Case("round robin while instances come and go")
    for names in ("abcd", "acd", "abcd", "ac", "abcd", "bcd", "abcde"):
        flapping.at(*some(names)).pick(3)
    yield flapping
    heavy = {"pick": Policy.WEIGHTED_ROUND_ROBIN}
    yield Case("weighted round robin, 5 to 1 to 1").at(*weighing(5, 1, 1), **heavy).pick(14)
    yield Case("weighted round robin, 17 to 23 to 37").at(*weighing(17, 23, 37), **heavy).pick(77)
    changed = Case("weights change").at(*weighing(1, 2, 3), **heavy).pick(8)
    yield changed.at(*weighing(3, 2, 1), **heavy).pick(12)
    yield Case("no weight, no traffic").at(*weighing(1, 0, 2), **heavy).pick(6)
    yield Case("nobody has weight").at(*weighing(0, 0), **heavy).pick()
    own = {"count": OperationPolicy(pick=Policy.WEIGHTED_ROUND_ROBIN)}
    mixed = Case("each policy has its own cursor").at(*weighing(3, 1), operations=own)
    yield mixed.pick(3).pick(4, operation="count").pick(2).pick(4, operation="count")
    warm = {"slow_start": SlowStart(window=10.0), **heavy}
    slow = Case("slow start").at(endpoint("a"), endpoint("b", warming_since=100.0), **warm)
    yield slow.pick(11, now=100.0).pick(6, now=105.0).pick(4, now=110.0)
    curve = {"slow_start": SlowStart(window=100.0, aggression=2.0), "pick": Policy.ROUND_ROBIN}
    yield (
        Case("slow start with an aggression of two, in round robin")
        .at(endpoint("a"), endpoint("b", warming_since=100.0), **curve)
        .pick(12, now=125.0)
    )


def loads() -> Iterator[Case]:
    least = {"pick": Policy.LEAST_CONNECTIONS}
    yield Case("least connections, calls that stay", seed=1).at(*some("abcde"), **least).pick(23, stay=True)
    yield Case("least connections with weights", seed=2).at(*weighing(1, 2, 4), **least).pick(21, stay=True)
    uneven = Case("least connections, uneven at first", seed=3).at(*some("abcd"), **least)
    yield uneven.seeing(in_flight={"a": 6, "b": 2, "d": 1}).pick(15, stay=True)
    aged = Case("what others do is believed less and less", seed=4).at(*some("ab"), load_memory=0.25, **least)
    yield (
        aged.seeing(in_flight={"b": 2}, loads={"a": RemoteLoad(others=5, at=10.0)}).pick(2, now=10.0).pick(2, now=10.5)
    )
    resource = {"pick": Policy.RESOURCE_BASED}
    known = {"a": RemoteLoad(weight=10.0), "b": RemoteLoad(weight=100.0)}
    yield Case("resource based, 1 to 10").at(*some("ab"), **resource).seeing(loads=known).pick(22)
    yield Case("resource based, one not known").at(*some("abc"), **resource).seeing(loads=known).pick(24)
    one = {"a": RemoteLoad(weight=10.0), "b": RemoteLoad(weight=-1.0)}
    yield Case("resource based, fewer than two known").at(*some("ab"), **resource).seeing(loads=one).pick(4)
    yield Case("random", seed=5).at(*some("abc"), pick=Policy.RANDOM).pick(12)
    yield Case("random with weights", seed=6).at(*weighing(1, 2, 4), pick=Policy.RANDOM).pick(14)


def keys() -> Iterator[Case]:
    names = [f"order-{number}" for number in range(12)]
    yield Case("keys").at(*some("abcde"), pick=Policy.CONSISTENT_HASH).pick(12, affinities=names)
    yield Case("keys when one is gone").at(*some("abde"), pick=Policy.CONSISTENT_HASH).pick(12, affinities=names)
    yield Case("keys under another policy").at(*some("abcde")).pick(12, affinities=names)
    yield Case("without a key").at(*some("abc"), pick=Policy.CONSISTENT_HASH).pick(4)
    bounded = Case("keys with bounded loads").at(*some("abc"), pick=Policy.CONSISTENT_HASH, hash_bound=1.25)
    yield bounded.pick(12, stay=True, affinities=["order-1", "order-2"] * 6)
    yield Case("a key of letters that are not ASCII").at(*some("abc")).pick(2, affinities=["größe", "数"])


def exclusions() -> Iterator[Case]:
    yield Case("an empty snapshot").at().pick()
    versions = [endpoint("a"), endpoint("b", plugin_version="2.0.0")]
    yield Case("versions").at(*versions).pick(2, wanted=["2.0.0"]).pick(wanted=["3.0.0"])
    tried = Case("tried ones").at(*some("abc")).pick(2, exclude=["a"]).pick(2, exclude=["a", "c"])
    yield tried.pick(3, exclude=["a", "b", "c"])
    tiers = [endpoint("a", tier=1), endpoint("b"), endpoint("c"), endpoint("d", tier=2)]
    tiered = Case("tiers").at(*tiers).pick(3).seeing(full={"b", "c"}).pick(2)
    yield tiered.seeing(lost={("a", 1), ("b", 1), ("c", 1)}).pick()
    capped = [endpoint("a", max_in_flight=2), endpoint("b", max_in_flight=1), endpoint("c", max_in_flight=3)]
    yield Case("limits").at(*capped).pick(7, stay=True)
    shared = Case("limits are everybody's").at(endpoint("a", max_in_flight=4), load_memory=1.0)
    yield shared.seeing(in_flight={"a": 1}, loads={"a": RemoteLoad(others=3, at=10.0)}).pick(now=10.0).pick(now=10.5)
    against = [
        endpoint("a", admission=Admission.OUT),
        endpoint("b", admission=Admission.CRASH_LOOP),
        endpoint("c", admission=Admission.DRAINING),
        endpoint("d", health=Health.UNCHECKED),
        endpoint("e", health=Health.NOT_SERVING),
        endpoint("f", health=Health.UNREACHABLE),
        endpoint("g", ejected=True),
        endpoint("h", incarnation=3),
        endpoint("i"),
    ]
    yield Case("everything that is against an instance").at(*against).seeing(lost={("h", 3), ("i", 9)}).pick(2)
    yield Case("nobody is healthy").at(*against[:8]).seeing(lost={("h", 3)}).pick()
    yield Case("all crashed too often").at(against[1]).pick()
    few = [
        endpoint("a", ejected=True),
        endpoint("b", ejected=True),
        endpoint("c"),
        endpoint("d", health=Health.NOT_SERVING),
    ]
    yield Case("panic").at(*few, panic_threshold=0.5).pick(6)
    yield Case("no panic at the threshold").at(*few, panic_threshold=0.25).pick(2)


def circuits() -> Iterator[Case]:
    def behind(name: str, state: CircuitState, **circuit: Any) -> Endpoint:
        return endpoint(name, incarnation=2, circuit=CircuitView(state, 7, **circuit))

    passing = [CircuitState.CLOSED, CircuitState.FORCED_CLOSED, CircuitState.METRICS_ONLY]
    yield Case("circuits that let calls pass").at(*map(behind, "abc", passing)).pick(3)
    opened = [
        behind("a", CircuitState.OPEN, open_until=130.0),
        behind("b", CircuitState.OPEN, open_until=112.5),
        behind("c", CircuitState.FORCED_OPEN),
    ]
    yield Case("open circuits").at(*opened).pick(now=110.0).pick(now=120.0).pick(now=140.0)
    half = behind("h", CircuitState.HALF_OPEN)
    permits = {"h": Permit("p-1", 2, 7)}
    trial = Case("a trial call").at(endpoint("a"), replace(half, tier=1)).pick(trial=True).seeing(permits=permits)
    yield trial.pick().pick(trial=True).pick(trial=True, exclude=["h"])
    for permit in (Permit("p-1", 1, 7), Permit("p-1", 2, 6)):
        stale = Case(f"a permit for incarnation {permit.incarnation} and generation {permit.generation}")
        yield stale.at(half).seeing(permits={"h": permit}).pick(trial=True)
    homes = Case("a key makes a trial only at its home").at(*some("ab"), half).seeing(permits=permits)
    yield homes.pick(8, trial=True, affinities=[f"order-{number}" for number in range(8)])
    yield Case("left out by the caller itself").at(*some("ab")).seeing(tripped={("a", 1)}).pick(2)


def vectors() -> list[dict[str, Any]]:
    """Every case with its draws and its picks."""
    return [_vector(case) for case in cases()]


def _vector(case: Case) -> dict[str, Any]:
    chance, drawn = random.Random(case.seed), []

    def draw() -> float:
        drawn.append(int(chance.random() * FINEST) / FINEST)
        return drawn[-1]

    stages, seen = [], 0
    for stage, result in replay(case.stages, draw):
        fresh, seen = drawn[seen:], len(drawn)
        stages.append({**stage} | ({"draws": fresh} if fresh else {}) | result)
    return {"name": case.name} | ({"seed": case.seed} if drawn else {}) | {"stages": stages}
