"""What engine and host of the bare way tell one another: lists of calls one way, lists of results the other."""

from __future__ import annotations

import msgspec

SESSION = "/baseline.Host/Session"


class Call(msgspec.Struct, array_like=True):
    """One attempt at a step."""

    number: int
    operation: str
    execution: str
    step: str
    attempt: int
    key: str
    trace: bytes
    span: bytes
    remaining: float
    input: bytes


class Result(msgspec.Struct, array_like=True):
    """What became of it."""

    number: int
    output: bytes
