"""Whether a snapshot can be used to pick from."""

from __future__ import annotations

import math
from collections.abc import Iterator

from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.policy import PluginPolicy
from forgemesh.routing.snapshot import Snapshot

MAX_WEIGHT = 1_000_000


def flaw(snapshot: Snapshot) -> str:
    """The first thing in it that makes no sense, for people; nothing if it can be used."""
    return next(_flaws(snapshot), "")


def _flaws(snapshot: Snapshot) -> Iterator[str]:
    if not snapshot.plugin_id:
        yield "it names no plugin"
    before: str | None = None
    for endpoint in snapshot.endpoints:  # they are in order
        if endpoint.instance_id == before:
            yield f"instance {before!r} is in it twice"
        before = endpoint.instance_id
        yield from _of_endpoint(endpoint)
    yield from _of_policy(snapshot.policy)


def _of_endpoint(endpoint: Endpoint) -> Iterator[str]:
    name = endpoint.instance_id
    if not name:
        yield "an instance has no id"
    if not endpoint.incarnation:
        yield f"instance {name!r} has no incarnation"
    if endpoint.weight > MAX_WEIGHT:
        yield f"the weight of instance {name!r} is {endpoint.weight}, and may be {MAX_WEIGHT} at most"


def _of_policy(policy: PluginPolicy) -> Iterator[str]:
    rule = policy.circuit
    yield from _shares(rule, policy)
    times = {
        "slow_call_seconds": rule.slow_call,
        "window_seconds": rule.window,
        "open_seconds": rule.open,
        "max_open_seconds": rule.max_open,
        "permit_lease_seconds": rule.permit_lease,
        "load_memory_seconds": policy.load_memory,
        "slow_start.window_seconds": policy.slow_start.window,
        "hash_bound": policy.hash_bound,
    }
    for operation, own in policy.operations.items():
        times[f"slow_call_seconds of {operation}"] = own.slow_call or 0.0
        times[f"hedge_after_seconds of {operation}"] = own.hedge_after or 0.0
    for name, value in times.items():
        if not (math.isfinite(value) and value >= 0):
            yield f"{name} is {value:g}, and has to be a number from 0"
    if not (math.isfinite(rule.backoff) and rule.backoff >= 1):
        yield f"backoff is {rule.backoff:g}, and has to be a number from 1"
    if rule.permits < 1:
        yield "permits is 0, and has to be at least 1"


def _shares(rule: CircuitRule, policy: PluginPolicy) -> Iterator[str]:
    shares = {
        "failure_rate": rule.failure_rate,
        "slow_call_rate": rule.slow_call_rate,
        "jitter": rule.jitter,
        "panic_threshold": policy.panic_threshold,
        "retry_budget.share": policy.retry_budget.share,
        "slow_start.least": policy.slow_start.least,
    }
    for name, value in shares.items():
        if not 0 <= value <= 1:
            yield f"{name} is {value:g}, and has to be from 0 to 1"
