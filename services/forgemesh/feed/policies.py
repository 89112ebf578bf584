"""Policies as messages: what is not set means its default."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from forgemesh.api.balancer.v1 import policy_pb2 as pb
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.outlier import OutlierRule
from forgemesh.routing.policy import DEFAULT, OperationPolicy, PluginPolicy, Policy
from forgemesh.routing.retry_budget import RetryBudget
from forgemesh.routing.slow_start import SlowStart

POLICY = {policy: pb.Policy.Value(f"POLICY_{policy.name}") for policy in Policy}
_POLICY_READ = {number: policy for policy, number in POLICY.items()}

_CIRCUIT = {
    "consecutive_failures": "consecutive_failures",
    "failure_rate": "failure_rate",
    "slow_call_rate": "slow_call_rate",
    "slow_call_seconds": "slow_call",
    "minimum_calls": "minimum_calls",
    "window_seconds": "window",
    "window_calls": "window_calls",
    "open_seconds": "open",
    "backoff": "backoff",
    "max_open_seconds": "max_open",
    "jitter": "jitter",
    "permits": "permits",
    "permit_lease_seconds": "permit_lease",
    "count_exceptions": "count_exceptions",
}
_OUTLIERS = {
    "interval_seconds": "interval",
    "base_ejection_seconds": "base_ejection",
    "max_ejection_seconds": "max_ejection",
    "max_ejected": "max_ejected",
    "success_rate_factor": "success_rate_factor",
    "failure_share": "failure_share",
    "minimum_instances": "minimum_instances",
    "minimum_calls": "minimum_calls",
}
_SLOW_START = {"least": "least", "aggression": "aggression"}
_RETRY_BUDGET = {"share": "share", "least": "least"}
_OPERATION = {"slow_call_seconds": "slow_call", "hedge_after_seconds": "hedge_after"}


def policy_to_message(policy: PluginPolicy, plugin_id: str) -> pb.PluginPolicy:
    """The policy with every number spelt out."""
    message = pb.PluginPolicy(
        plugin_id=plugin_id,
        pick=POLICY[policy.pick],
        panic_threshold=policy.panic_threshold,
        load_memory_seconds=policy.load_memory,
        hash_bound=policy.hash_bound,
    )
    _write(message.circuit, policy.circuit, _CIRCUIT)
    _write(message.retry_budget, policy.retry_budget, _RETRY_BUDGET)
    if policy.outliers is not None:
        _write(message.outliers, policy.outliers, _OUTLIERS)
    if policy.slow_start.window:
        message.slow_start.window_seconds = policy.slow_start.window
        _write(message.slow_start, policy.slow_start, _SLOW_START)
    for operation, own in policy.operations.items():
        target = message.operations[operation]
        if own.pick is not None:
            target.pick = POLICY[own.pick]
        _write(target, own, _OPERATION)
    return message


def policy_from_message(message: pb.PluginPolicy) -> PluginPolicy:
    """The policy with the defaults put in; a way to choose that this release does not know is round robin."""
    slow_start = SlowStart()
    if message.HasField("slow_start"):
        slow_start = SlowStart(window=message.slow_start.window_seconds, **_read(message.slow_start, _SLOW_START))
    memory = message.load_memory_seconds if message.HasField("load_memory_seconds") else DEFAULT.load_memory
    return PluginPolicy(
        pick=_POLICY_READ.get(message.pick, Policy.ROUND_ROBIN),
        operations={name: _operation(own) for name, own in sorted(message.operations.items())},
        circuit=CircuitRule(**_read(message.circuit, _CIRCUIT)),
        outliers=OutlierRule(**_read(message.outliers, _OUTLIERS)) if message.HasField("outliers") else None,
        slow_start=slow_start,
        panic_threshold=message.panic_threshold,
        retry_budget=RetryBudget(**_read(message.retry_budget, _RETRY_BUDGET)),
        load_memory=memory,
        hash_bound=message.hash_bound,
    )


def _operation(message: pb.OperationPolicy) -> OperationPolicy:
    pick = None if message.pick == pb.POLICY_UNSPECIFIED else _POLICY_READ.get(message.pick)
    return OperationPolicy(pick=pick, **_read(message, _OPERATION))


def _write(message: Message, rule: object, names: dict[str, str]) -> None:
    for name, attribute in names.items():
        value = getattr(rule, attribute)
        if value is not None:
            setattr(message, name, value)


def _read(message: Message, names: dict[str, str]) -> dict[str, Any]:
    return {attribute: getattr(message, name) for name, attribute in names.items() if message.HasField(name)}
