"""Faults of a plugin host: why it did not take a call on."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from forgemesh.faults.fault import Code, Fault


class OperationNotFound(Fault):
    code = Code.UNIMPLEMENTED
    reason = "OPERATION_NOT_FOUND"

    def __init__(self, plugin_id: str, operation: str, known: Sequence[str]) -> None:
        listed = ", ".join(known)
        super().__init__(
            f"plugin {plugin_id!r} has no operation {operation!r}; it has: {listed}",
            {"plugin_id": plugin_id, "operation": operation, "known": listed},
        )


class InputInvalid(Fault):
    code = Code.INVALID_ARGUMENT
    reason = "INPUT_INVALID"

    def __init__(self, plugin_id: str, operation: str, cause: str) -> None:
        super().__init__(
            f"the input does not fit {plugin_id}/{operation}: {cause}",
            {"plugin_id": plugin_id, "operation": operation, "cause": cause},
        )


class InstanceFull(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "INSTANCE_FULL"

    def __init__(self, instance_id: str, running: int) -> None:
        super().__init__(
            f"instance {instance_id!r} runs {running} calls and its queue is full; try another one",
            {"instance_id": instance_id, "running": str(running)},
            retry_after=0.1,
        )


class PluginException(Fault):
    code = Code.UNKNOWN
    reason = "PLUGIN_EXCEPTION"

    def __init__(self, plugin_id: str, operation: str, error: str) -> None:
        super().__init__(
            f"{plugin_id}/{operation} raised {error}; the traceback is in the instance's log",
            {"plugin_id": plugin_id, "operation": operation, "error": error},
        )


class OutputInvalid(Fault):
    code = Code.INTERNAL
    reason = "OUTPUT_INVALID"

    def __init__(self, plugin_id: str, operation: str, cause: str, instance_id: str = "") -> None:
        told = f"from instance {instance_id!r} cannot be read" if instance_id else "cannot be sent"
        super().__init__(
            f"what {plugin_id}/{operation} returned {told}: {cause}; mend the plugin",
            {"plugin_id": plugin_id, "operation": operation, "cause": cause}
            | ({"instance_id": instance_id} if instance_id else {}),
        )


class Poison(Fault):
    """`last_words` are those of the last process that the call ended."""

    code = Code.FAILED_PRECONDITION
    reason = "POISON"

    def __init__(self, plugin_id: str, operation: str, crashes: int, last_words: str) -> None:
        times = "once" if crashes == 1 else f"{crashes} times"
        super().__init__(
            f"this call of {plugin_id}/{operation} ended its process {times} and is not run again: {last_words};"
            " mend the plugin or the input; after `forgemesh plugin reload` it may be tried again",
            {"plugin_id": plugin_id, "operation": operation, "crashes": str(crashes), "last_words": last_words},
        )


class InstanceReserved(Fault):
    code = Code.UNAVAILABLE
    reason = "INSTANCE_RESERVED"

    def __init__(self, instance_id: str) -> None:
        super().__init__(
            f"instance {instance_id!r} runs one call alone, because processes ended while that ran; try another one,"
            " or this one again in a moment",
            {"instance_id": instance_id},
            retry_after=0.1,
        )


class InstanceDraining(Fault):
    code = Code.UNAVAILABLE
    reason = "INSTANCE_DRAINING"

    def __init__(self, instance_id: str) -> None:
        super().__init__(
            f"instance {instance_id!r} drains and takes no new calls; try another one", {"instance_id": instance_id}
        )


class WrongIncarnation(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "WRONG_INCARNATION"

    def __init__(self, instance_id: str, wanted: int, current: int) -> None:
        super().__init__(
            f"instance {instance_id!r} is at incarnation {current}, the call was meant for {wanted}",
            {"instance_id": instance_id, "wanted": str(wanted), "current": str(current)},
        )


class ProtocolUnsupported(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "PROTOCOL_UNSUPPORTED"

    def __init__(self, ours: tuple[int, int], theirs: tuple[int, int]) -> None:
        spoken, asked = f"{ours[0]}..{ours[1]}", f"{theirs[0]}..{theirs[1]}"
        super().__init__(
            f"this host speaks session protocols {spoken}, the caller {asked}; bring the older side up to date",
            {"host": spoken, "caller": asked},
        )


class QueueTooLong(Fault):
    code = Code.RESOURCE_EXHAUSTED
    reason = "QUEUE_TOO_LONG"

    def __init__(self, instance_id: str, wait: float, left: float) -> None:
        """`wait` may be infinite: none of those that are before the call seems to come to an end."""
        ends = isfinite(wait)
        when = f"in about {wait:.3g} s" if ends else "at no time that anybody knows"
        super().__init__(
            f"instance {instance_id!r} would come to the call {when}, its caller waits {left:.3g} s; "
            "try another one, or later",
            {"instance_id": instance_id, "wait": f"{wait:.3g}", "left": f"{left:.3g}"},
            retry_after=wait if ends else None,
        )


class PluginCrashLoop(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "PLUGIN_CRASH_LOOP"

    def __init__(self, plugin_id: str, instance_id: str, cause: str) -> None:
        super().__init__(
            f"every instance of {plugin_id!r} has crashed too often, {instance_id!r} last: {cause}; mend the plugin, "
            f"then: forgemesh plugin reset {instance_id}",
            {"plugin_id": plugin_id, "instance_id": instance_id, "cause": cause},
        )


class PermitRefused(Fault):
    code = Code.FAILED_PRECONDITION
    reason = "PERMIT_REFUSED"

    def __init__(self, instance_id: str, permit_id: str, why: str) -> None:
        super().__init__(
            f"instance {instance_id!r} makes no trial call for permit {permit_id!r}: {why}; pick an instance anew",
            {"instance_id": instance_id, "permit_id": permit_id, "why": why},
        )


class ProtocolBroken(Fault):
    code = Code.INTERNAL
    reason = "PROTOCOL_BROKEN"

    def __init__(self, instance_id: str, what: str) -> None:
        super().__init__(
            f"instance {instance_id!r} broke the session protocol: {what}; what it said is not taken, and it needs a"
            " plugin host that keeps to the protocol",
            {"instance_id": instance_id, "what": what},
        )
