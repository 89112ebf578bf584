"""The policies that people set, and what they must not say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from forgemesh.balancer.domain.events import NOBODY, Author
from forgemesh.faults import Violation
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.outlier import OutlierRule
from forgemesh.routing.policy import PluginPolicy

LONGEST_NAME = 128
_OPERATION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DAY = 86_400.0
_SHORTEST = 0.001
_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """What counts for a plugin; `version` grows with each change, 0 is the default that nobody has changed."""

    plugin_id: str
    policy: PluginPolicy
    version: int = 0
    author: Author = NOBODY


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number may be, both ends included; with `off`, also 0, which turns the rule off."""

    attribute: str
    least: float
    most: float
    off: bool = False

    def held(self, value: float) -> bool:
        """False also for what is no number."""
        return (self.off and value == 0) or (math.isfinite(value) and self.least <= value <= self.most)

    @property
    def rule(self) -> str:
        """For people."""
        return f"must be {'0 or ' if self.off else ''}from {self.least:g} to {self.most:g}"


CIRCUIT: Mapping[str, Bounds] = {
    "consecutive_failures": Bounds("consecutive_failures", 0, _MOST),
    "failure_rate": Bounds("failure_rate", 0, 1),
    "slow_call_rate": Bounds("slow_call_rate", 0, 1),
    "slow_call_seconds": Bounds("slow_call", _SHORTEST, _DAY),
    "minimum_calls": Bounds("minimum_calls", 1, _MOST),
    "window_seconds": Bounds("window", 0.1, _DAY),
    "window_calls": Bounds("window_calls", 0, _MOST),
    "open_seconds": Bounds("open", _SHORTEST, _DAY),
    "backoff": Bounds("backoff", 1, 100),
    "max_open_seconds": Bounds("max_open", _SHORTEST, _DAY),
    "jitter": Bounds("jitter", 0, 1),
    "permits": Bounds("permits", 1, 1000),
    "permit_lease_seconds": Bounds("permit_lease", 0.1, 3600),
}
OUTLIERS: Mapping[str, Bounds] = {
    "interval_seconds": Bounds("interval", 0.1, _DAY),
    "base_ejection_seconds": Bounds("base_ejection", 0.1, _DAY),
    "max_ejection_seconds": Bounds("max_ejection", 0.1, _DAY),
    "max_ejected": Bounds("max_ejected", 0, 1),
    "success_rate_factor": Bounds("success_rate_factor", 0, 100),
    "failure_share": Bounds("failure_share", 0, 1),
    "minimum_instances": Bounds("minimum_instances", 1, _MOST),
    "minimum_calls": Bounds("minimum_calls", 1, _MOST),
}
SLOW_START: Mapping[str, Bounds] = {
    "window_seconds": Bounds("window", 0, _DAY),
    "least": Bounds("least", _SHORTEST, 1),
    "aggression": Bounds("aggression", 0.01, 100),
}
# without any, a retry beside which nothing is under way would wait for ever
RETRY_BUDGET: Mapping[str, Bounds] = {
    "share": Bounds("share", 0, 1),
    "least": Bounds("least", 1, _MOST),
}
OPERATION: Mapping[str, Bounds] = {
    "slow_call_seconds": Bounds("slow_call", _SHORTEST, _DAY),
    "hedge_after_seconds": Bounds("hedge_after", 0, _DAY),
}
PLUGIN: Mapping[str, Bounds] = {
    "panic_threshold": Bounds("panic_threshold", 0, 1),
    "load_memory_seconds": Bounds("load_memory", _SHORTEST, 3600),
    "hash_bound": Bounds("hash_bound", 1, 1000, off=True),
}


def mistakes_of(policy: PluginPolicy) -> Iterator[Violation]:
    """Everything that a policy must not say; the fields are those of the API's message."""
    yield from _numbers("policy", policy, PLUGIN)
    yield from _numbers("policy.circuit", policy.circuit, CIRCUIT)
    yield from _circuit(policy.circuit)
    if policy.outliers is not None:
        yield from _numbers("policy.outliers", policy.outliers, OUTLIERS)
        yield from _outliers(policy.outliers)
    yield from _numbers("policy.slow_start", policy.slow_start, SLOW_START)
    yield from _numbers("policy.retry_budget", policy.retry_budget, RETRY_BUDGET)
    for name, own in policy.operations.items():
        at = f"policy.operations[{name[:LONGEST_NAME]}]"
        if len(name) > LONGEST_NAME or _OPERATION.fullmatch(name) is None:
            yield Violation(at, f"must be named like an operation: an identifier of at most {LONGEST_NAME} characters")
        yield from _numbers(at, own, OPERATION)


def _numbers(at: str, said: object, bounds: Mapping[str, Bounds]) -> Iterator[Violation]:
    for name, bound in bounds.items():
        value = getattr(said, bound.attribute)
        if value is not None and not bound.held(value):
            yield Violation(f"{at}.{name}", f"{bound.rule}, not {value:g}")


def _circuit(rule: CircuitRule) -> Iterator[Violation]:
    """Numbers that do not go together."""
    if rule.max_open < rule.open:
        message = f"must be at least open_seconds, {rule.open:g}, not {rule.max_open:g}"
        yield Violation("policy.circuit.max_open_seconds", message)
    if 0 < rule.window_calls < rule.minimum_calls:
        message = f"must be 0 or at least minimum_calls, {rule.minimum_calls}, not {rule.window_calls}"
        yield Violation("policy.circuit.window_calls", message)


def _outliers(rule: OutlierRule) -> Iterator[Violation]:
    if rule.max_ejection < rule.base_ejection:
        message = f"must be at least base_ejection_seconds, {rule.base_ejection:g}, not {rule.max_ejection:g}"
        yield Violation("policy.outliers.max_ejection_seconds", message)
