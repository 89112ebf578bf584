"""Which of several instances is to be preferred, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from forgemesh.registry.domain.instance import Registration
from forgemesh.registry.domain.manifest import Manifest

WEIGHTS = {
    "preference": 4.0,
    "success_rate": 3.0,
    "priority": 2.0,
    "latency": 2.0,
    "load": 2.0,
    "uptime": 0.5,
}
"""How much each part of a score counts; what cannot be told of anybody counts for nobody."""
UNKNOWN = 0.5
"""The value of a part of which nothing is known: in the middle, so that a newcomer is neither first nor last."""
SETTLED = 60.0
"""Seconds after which an instance has half of what uptime can give."""


@dataclass(frozen=True, slots=True)
class Load:
    """What an instance measured of itself; None is what it does not say. `latency` (p95) is in seconds."""

    success_rate: float | None = None
    latency: float | None = None
    utilization: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A fact about an instance; exactly one of the three is meant. A label without a value is there with any."""

    label: tuple[str, str] | None = None
    operation: str = ""
    zone: str = ""

    def holds(self, candidate: Candidate) -> bool:
        """Whether it is so; a label of the instance goes before the metadata of its plugin."""
        if self.label is not None:
            key, value = self.label
            facts = dict(candidate.manifest.metadata) | dict(candidate.registration.instance.labels)
            return key in facts and value in ("", facts[key])
        if self.operation:
            return self.operation in candidate.manifest.operations
        return candidate.registration.instance.zone == self.zone


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that provides what is wanted; `objection` is why it would not be called now, if it would not."""

    registration: Registration
    manifest: Manifest
    load: Load = Load()
    objection: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a score, from 0 to 1, and where it comes from."""

    name: str
    value: float
    weight: float
    source: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate and its score, the weighted mean of the parts."""

    candidate: Candidate
    score: float
    parts: Sequence[Part] = field(default=())


def ranked(
    candidates: Sequence[Candidate], prefer: Sequence[tuple[Condition, int]], now: float, turn: int
) -> list[Ranked]:
    """
    The best one first, those that would not be called last; equal ones take turns with `turn`. `now` is wall time.
    """
    scored = [_scored(candidate, candidates, prefer, now) for candidate in candidates]
    scored.sort(key=lambda one: one.candidate.registration.instance.instance_id)
    turned = scored[turn % len(scored) :] + scored[: turn % len(scored)] if scored else []
    return sorted(turned, key=lambda one: (bool(one.candidate.objection), -round(one.score, 9)))


def _scored(
    candidate: Candidate, among: Sequence[Candidate], prefer: Sequence[tuple[Condition, int]], now: float
) -> Ranked:
    parts = [
        _priority(candidate, among),
        _success(candidate),
        _latency(candidate, among),
        _utilization(candidate),
        _uptime(candidate, now),
    ]
    if prefer:
        parts.append(_preference(candidate, prefer))
    total = sum(part.weight for part in parts)
    score = sum(part.value * part.weight for part in parts) / total
    return Ranked(candidate, score, sorted(parts, key=lambda part: -part.weight))


def _part(name: str, value: float, source: str) -> Part:
    return Part(name, min(1.0, max(0.0, value)), WEIGHTS[name], source)


def _priority(candidate: Candidate, among: Sequence[Candidate]) -> Part:
    """Between the lowest and the highest of those that come into question, whatever their numbers are."""
    known = [one.manifest.priority for one in among]
    own, least, most = candidate.manifest.priority, min(known), max(known)
    value = (own - least) / (most - least) if most > least else 1.0
    return _part("priority", value, f"claimed: {own}, between {least} and {most}")


def _success(candidate: Candidate) -> Part:
    measured = candidate.load.success_rate
    if measured is not None:
        return _part("success_rate", measured, f"measured: {measured:.1%}")
    claimed = _claimed(candidate.manifest.metadata, "success_rate")
    if claimed is not None and claimed <= 1:
        return _part("success_rate", claimed, f"claimed: {claimed:.1%}")
    return _part("success_rate", UNKNOWN, "nothing is known")


def _latency(candidate: Candidate, among: Sequence[Candidate]) -> Part:
    """Relative to the fastest one."""
    own, source = _latency_of(candidate)
    if own is None:
        return _part("latency", UNKNOWN, "nothing is known")
    fastest = min(known for one in among if (known := _latency_of(one)[0]) is not None)
    return _part("latency", fastest / own if own else 1.0, f"{source}: p95 {own:.3g} s, the fastest {fastest:.3g} s")


def _latency_of(candidate: Candidate) -> tuple[float | None, str]:
    if candidate.load.latency is not None:
        return candidate.load.latency, "measured"
    return _claimed(candidate.manifest.metadata, "latency_p95_seconds"), "claimed"


def _utilization(candidate: Candidate) -> Part:
    used = candidate.load.utilization
    if used is None:
        return _part("load", UNKNOWN, "nothing is known")
    return _part("load", 1 - used, f"measured: {used:.0%} of its places are taken")


def _uptime(candidate: Candidate, now: float) -> Part:
    age = max(0.0, now - candidate.registration.registered_at)
    return _part("uptime", age / (age + SETTLED), f"measured: registered for {age:.0f} s")


def _preference(candidate: Candidate, prefer: Sequence[tuple[Condition, int]]) -> Part:
    total = sum(weight for _, weight in prefer)
    met = [weight for condition, weight in prefer if condition.holds(candidate)]
    return _part("preference", sum(met) / total, f"{len(met)} of {len(prefer)} preferences are met")


def _claimed(metadata: Sequence[tuple[str, str]] | Mapping[str, str], key: str) -> float | None:
    """A number that is one, and not below zero."""
    try:
        number = float(dict(metadata)[key])
    except (KeyError, ValueError):
        return None
    return number if 0 <= number < float("inf") else None
