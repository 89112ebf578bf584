"""Faults of routing: why no instance can take a call now."""

from __future__ import annotations

from collections.abc import Sequence

from forgemesh.faults.fault import Code, Fault


class BalancerWarming(Fault):
    code = Code.UNAVAILABLE
    reason = "BALANCER_WARMING"

    def __init__(self) -> None:
        super().__init__("the balancer has not finished its first sync; keep the last snapshots", retry_after=0.2)


class BalancerFull(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "BALANCER_FULL"

    def __init__(self, streams: int, where: str) -> None:
        super().__init__(
            f"{streams} xDS streams are open {where}, as many as may be; close some, or raise xds_streams",
            {"streams": str(streams), "where": where},
            retry_after=1.0,
        )


class NotRegistered(Fault):
    code = Code.UNAVAILABLE
    reason = "NOT_REGISTERED"

    def __init__(self, plugin: str, unwanted: Sequence[str] = ()) -> None:
        listed = ", ".join(unwanted)
        version = f" in a wanted version is registered, only {listed}" if unwanted else " is registered"
        super().__init__(
            f"no instance of {plugin!r}{version}; start one, or see `forgemesh status`",
            {"plugin": plugin, "unwanted": listed},
        )


class NoneHealthy(Fault):
    code = Code.UNAVAILABLE
    reason = "NONE_HEALTHY"

    def __init__(self, plugin: str, instances: int) -> None:
        super().__init__(
            f"none of the {instances} instances of {plugin!r} is healthy; see `forgemesh status`",
            {"plugin": plugin, "instances": str(instances)},
        )


class CircuitOpen(Fault):
    code = Code.UNAVAILABLE
    reason = "CIRCUIT_OPEN"

    def __init__(self, plugin: str, retry_after: float | None, *, forced: bool = False) -> None:
        """`retry_after` (seconds) is when the next trial call is due, if known; `forced`: people opened them all."""
        due = "" if retry_after is None else f"{retry_after:.1f}"
        rest = f"the next trial call is due in {due} s" if due else "see `forgemesh circuit list`"
        how = "a circuit that was forced open" if forced else "an open circuit"
        if forced:
            rest = (
                "see who did it and why with `forgemesh circuit list`, and take it back with `forgemesh circuit reset`"
            )
        super().__init__(
            f"every healthy instance of {plugin!r} has {how}; {rest}",
            {"plugin": plugin, "retry_after": due, "forced": "yes" if forced else ""},
            retry_after=retry_after,
        )


class AllFull(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "ALL_FULL"

    def __init__(self, plugin: str, instances: int) -> None:
        super().__init__(
            f"all {instances} healthy instances of {plugin!r} are full; start more or wait",
            {"plugin": plugin, "instances": str(instances)},
        )


class InstanceNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "INSTANCE_NOT_FOUND"

    def __init__(self, plugin: str, instance: str) -> None:
        named = f"instance {instance!r} of {plugin!r}" if instance else f"instance of {plugin!r}"
        super().__init__(
            f"the balancer knows no {named}; `forgemesh circuit list` shows those that there are",
            {"plugin": plugin, "instance": instance},
        )


class PolicyChanged(Fault):
    code = Code.ABORTED
    reason = "POLICY_CHANGED"

    def __init__(self, plugin: str, expected: int, version: int) -> None:
        super().__init__(
            f"the policy of {plugin!r} is at version {version} and not at {expected}: somebody changed it;"
            f" see `forgemesh policy show {plugin}` and set it again",
            {"plugin": plugin, "expected": str(expected), "version": str(version)},
        )


class EventsCompacted(Fault):
    code = Code.OUT_OF_RANGE
    reason = "EVENTS_COMPACTED"

    def __init__(self, epoch: int, number: int) -> None:
        super().__init__(
            f"events after {epoch}.{number} are not kept any more, or come from before the balancer's last start;"
            " watch from the oldest one",
            {"epoch": str(epoch), "number": str(number)},
        )
