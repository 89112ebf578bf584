"""The options that say how calls of a plugin are spread, and when an instance is cut off."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Group, Parameter

from forgemesh.api.balancer.v1 import policy_pb2 as pb
from forgemesh.cli.arguments import seconds
from forgemesh.cli.problem import usage

if TYPE_CHECKING:
    from google.protobuf.message import Message

_PICKS = {
    name.removeprefix("POLICY_").replace("_", "-").lower(): number for name, number in pb.Policy.items() if number
}
"""As the API numbers them, by the words of the option."""
if TYPE_CHECKING:
    PickOption: TypeAlias = str
else:
    PickOption = Literal[tuple(_PICKS)]
_DURATIONS = {
    "slow": "circuit.slow_call_seconds",
    "window": "circuit.window_seconds",
    "open": "circuit.open_seconds",
    "max_open": "circuit.max_open_seconds",
    "permit_lease": "circuit.permit_lease_seconds",
    "slow_start": "slow_start.window_seconds",
    "load_memory": "load_memory_seconds",
    "eject_interval": "outliers.interval_seconds",
    "eject_for": "outliers.base_ejection_seconds",
    "eject_at_most_for": "outliers.max_ejection_seconds",
}
_NUMBERS = {
    "failures": "circuit.consecutive_failures",
    "failure_rate": "circuit.failure_rate",
    "slow_rate": "circuit.slow_call_rate",
    "minimum_calls": "circuit.minimum_calls",
    "window_calls": "circuit.window_calls",
    "backoff": "circuit.backoff",
    "jitter": "circuit.jitter",
    "permits": "circuit.permits",
    "slow_start_least": "slow_start.least",
    "slow_start_aggression": "slow_start.aggression",
    "panic": "panic_threshold",
    "hash_bound": "hash_bound",
    "retry_share": "retry_budget.share",
    "retry_least": "retry_budget.least",
    "max_ejected": "outliers.max_ejected",
    "eject_factor": "outliers.success_rate_factor",
    "eject_share": "outliers.failure_share",
    "eject_instances": "outliers.minimum_instances",
    "eject_calls": "outliers.minimum_calls",
}
_OF_OPERATIONS = {"slow": "slow_call_seconds", "hedge_after": "hedge_after_seconds"}


@Parameter(name="*", group=Group("Policy", sort_key=8))
@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOptions:
    """
    A change of a policy as it is typed; what is not said stays as it is.

    Parameters
    ----------
    pick
        How to choose among eligible instances.
    failures
        The circuit opens after so many failures in a row; 0: not for that. Default 5.
    failure_rate
        The circuit opens if such a share of the calls of the window fails, from 0 to 1; 0: not for that. Default 0.5.
    slow_rate
        The circuit opens if such a share of them is slow, from 0 to 1. Default 0: not for that.
    slow
        From when on a call is slow. Default 1s.
    minimum_calls
        The two rates count from so many calls in the window. Default 10.
    window
        How far back the rates look. Default 30s.
    window_calls
        And at most at so many calls. Default 0: any number.
    open
        How long the circuit is open the first time. Default 30s.
    backoff
        So many times longer each time that it opens again. Default 1.5.
    max_open
        And at most this long. Default 60s.
    jitter
        Share by which that is drawn longer or shorter. Default 0.1.
    permits
        Trial calls at a time while it is half open. Default 1.
    permit_lease
        How long a trial call may take to begin, and one that was picked to be settled. Default 10s.
    exceptions
        Whether what an operation raises without declaring it speaks against its instance. Default ignore.
    slow_start
        How long an instance that is new, or back, gets less than its share. Default 0s: not at all.
    slow_start_least
        The least part of it, to 1. Default 0.1.
    slow_start_aggression
        It grows with time to the power of 1 by this. Default 1.
    panic
        Share of eligible instances, to 1, below which ejection is disregarded. Default 0: never.
    load_memory
        How long reports of other callers' load are believed. Default 250ms.
    hash_bound
        From so many times the mean load on an instance passes keys on; 0: never, which is the default.
    retry_share
        Share of the calls under way that may be retries, to 1. Default 0.2.
    retry_least
        But at least so many, and one in any case. Default 3.
    eject
        Whether instances that do much worse than their siblings are left out for a while. Default off.
    eject_interval
        How often they are compared. Default 10s.
    eject_for
        How long one is left out, times how often it was. Default 30s.
    eject_at_most_for
        And at most this long. Default 5m.
    max_ejected
        The largest share of instances that is left out, to 1; one always may be. Default 0.5.
    eject_factor
        Left out is who succeeds less than the mean, less so many standard deviations; 0: not for that. Default 1.9.
    eject_share
        And of whose calls such a share fails; 0: not for that. Default 0.85.
    eject_instances
        Instances with enough calls that a comparison takes. Default 3.
    eject_calls
        What enough calls are. Default 20.
    hedge_after
        With --operation: an idempotent call is made a second time, elsewhere, if not answered by then; 0s: never.
    """

    pick: PickOption | None = None
    failures: int | None = None
    failure_rate: float | None = None
    slow_rate: float | None = None
    slow: str | None = None
    minimum_calls: int | None = None
    window: str | None = None
    window_calls: int | None = None
    open: str | None = None
    backoff: float | None = None
    max_open: str | None = None
    jitter: float | None = None
    permits: int | None = None
    permit_lease: str | None = None
    exceptions: Annotated[Literal["count", "ignore"] | None, Parameter(negative=())] = None
    slow_start: str | None = None
    slow_start_least: float | None = None
    slow_start_aggression: float | None = None
    panic: float | None = None
    load_memory: str | None = None
    hash_bound: float | None = None
    retry_share: float | None = None
    retry_least: int | None = None
    eject: Annotated[Literal["on", "off"] | None, Parameter(negative=())] = None
    eject_interval: str | None = None
    eject_for: str | None = None
    eject_at_most_for: str | None = None
    max_ejected: float | None = None
    eject_factor: float | None = None
    eject_share: float | None = None
    eject_instances: int | None = None
    eject_calls: int | None = None
    hedge_after: str | None = None

    def said(self) -> dict[str, Any]:
        """What is to be changed, by option."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def change(self, policy: pb.PluginPolicy) -> None:
        """Write it into a policy; raises Problem for what cannot be read."""
        said = self.said()
        if "hedge_after" in said:
            raise usage("--hedge-after is for one operation", hint="name it with --operation")
        if self.eject == "off":
            policy.ClearField("outliers")
        elif self.eject == "on":
            policy.outliers.SetInParent()
        if self.exceptions is not None:
            policy.circuit.count_exceptions = self.exceptions == "count"
        if self.pick is not None:
            policy.pick = policy_number(self.pick)
        _write(policy, said, _DURATIONS | _NUMBERS)

    def change_operation(self, operation: pb.OperationPolicy) -> None:
        """Write it into what is different for one operation; raises Problem for what cannot be."""
        said = self.said()
        foreign = sorted(_option(name) for name in said.keys() - {"pick", *_OF_OPERATIONS})
        if foreign:
            raise usage(
                f"{', '.join(foreign)} cannot differ by operation",
                hint="with --operation go --pick, --slow and --hedge-after; set the rest without it",
            )
        if self.pick is not None:
            operation.pick = policy_number(self.pick)
        _write(operation, said, _OF_OPERATIONS)


UNCHANGED = PolicyOptions()


def policy_number(option: PickOption) -> pb.Policy.ValueType:
    """As the API numbers it."""
    return _PICKS[option]


def _write(message: Message, said: dict[str, Any], places: dict[str, str]) -> None:
    for name, value in said.items():
        if name not in places:
            continue
        number = seconds(value, _option(name)) if isinstance(value, str) else value
        *inside, field = places[name].split(".")
        target: Any = message
        for part in inside:
            target = getattr(target, part)
        try:
            setattr(target, field, number)
        except ValueError as error:
            raise usage(f"{_option(name)} {value} is out of range", hint="take a number from 0 on") from error


def in_options(field: str) -> str:
    """What the API calls `field` of a policy, as it is typed; a field that no option writes stays as it is."""
    where = field.removeprefix("policy.")
    place, operation = (where.rpartition(".")[2], True) if where.startswith("operations[") else (where, False)
    for name, written in (_OF_OPERATIONS if operation else _DURATIONS | _NUMBERS).items():
        if written == place:
            return _option(name)
    return field


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
