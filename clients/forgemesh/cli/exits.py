"""What the exit codes of `forgemesh` mean, and which fault ends in which."""

from __future__ import annotations

from enum import IntEnum

from forgemesh.faults import Code


class ExitCode(IntEnum):
    """Documented in `forgemesh --help`; never given another meaning."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5
    TIMED_OUT = 6
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "it worked",
    ExitCode.FAILED: "the thing itself failed: an execution, a part of the mesh, a data directory that cannot be used",
    ExitCode.USAGE: "wrong usage, or a definition, input or configuration that is not valid",
    ExitCode.NOT_FOUND: "no such execution, workflow, plugin, trace or mesh",
    ExitCode.REFUSED: "refused by the state of things, e.g. the id is taken or another mesh runs there",
    ExitCode.UNREACHABLE: "a service does not answer, or its port is taken",
    ExitCode.TIMED_OUT: "--timeout ran out; the execution goes on",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C; the execution goes on",
}

BY_CODE = {
    Code.OK: ExitCode.OK,
    Code.CANCELLED: ExitCode.FAILED,
    Code.UNKNOWN: ExitCode.FAILED,
    Code.INVALID_ARGUMENT: ExitCode.USAGE,
    Code.DEADLINE_EXCEEDED: ExitCode.UNREACHABLE,
    Code.NOT_FOUND: ExitCode.NOT_FOUND,
    Code.ALREADY_EXISTS: ExitCode.REFUSED,
    Code.PERMISSION_DENIED: ExitCode.REFUSED,
    Code.RESOURCE_EXHAUSTED: ExitCode.REFUSED,
    Code.FAILED_PRECONDITION: ExitCode.REFUSED,
    Code.ABORTED: ExitCode.REFUSED,
    Code.OUT_OF_RANGE: ExitCode.USAGE,
    Code.UNIMPLEMENTED: ExitCode.FAILED,
    Code.INTERNAL: ExitCode.FAILED,
    Code.UNAVAILABLE: ExitCode.UNREACHABLE,
    Code.DATA_LOSS: ExitCode.FAILED,
    Code.UNAUTHENTICATED: ExitCode.REFUSED,
}

BY_REASON = {
    "NOT_REGISTERED": ExitCode.NOT_FOUND,
    "NONE_HEALTHY": ExitCode.REFUSED,
    "CIRCUIT_OPEN": ExitCode.REFUSED,
}
"""Services that do answer, and say that there is nobody to call."""
