"""Faults of the trace store."""

from __future__ import annotations

from forgemesh.faults.fault import Code, Fault


class TraceNotFound(Fault):
    code = Code.NOT_FOUND
    reason = "TRACE_NOT_FOUND"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"no trace of {key!r} is stored; spans arrive within a second of the work, then see `forgemesh trace show`",
            {"key": key},
        )
