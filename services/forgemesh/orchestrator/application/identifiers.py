"""Names that callers choose."""

from __future__ import annotations

import os
import re
import time

from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest
from forgemesh.orchestrator.domain.events import SignalReceived

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_RUN_ID = re.compile(r"[0-9a-z]{26}")
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
"""Ten bits as two digits of Crockford's base 32."""
_SHIFTS = range(120, -1, -10)


def new_ulid() -> str:
    """
    A ULID in lower case: 48 bits of Unix time in milliseconds and 80 of chance. Every start needs one, so it is put
    together here: the library takes several times as long to write one.
    """
    number = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def new_run_id() -> str:
    """What tells a new execution from every other one that has had, or will have, its id."""
    return new_ulid()


def id_before_renaming(execution_id: str) -> str:
    """
    The id that an execution had before another one got it, and by which its spans and its children call it; its own if
    it still has that.
    """
    return execution_id.partition("~")[0]


def is_run_id(text: str) -> bool:
    """Whether it can be what `new_run_id` gives, or what an execution of an older release got."""
    return _RUN_ID.fullmatch(text) is not None


def check_ids(**given: str) -> None:
    """Raises InvalidRequest with every one that is no identifier."""
    violations = [
        Violation(
            name, f"{value!r:.80} is not 1 to 200 letters, digits, '.', '_' or '-', beginning with one of the first two"
        )
        for name, value in given.items()
        if not _ID.fullmatch(value)
    ]
    if violations:
        raise InvalidRequest(violations)


def check_start(
    namespace: str, workflow: str, execution_id: str, request_id: str, signal: SignalReceived | None
) -> None:
    """The names in a request to start an execution, of which some may be left out; raises InvalidRequest."""
    chosen = {"execution_id": execution_id, "request_id": request_id}
    given = {name: value for name, value in chosen.items() if value}
    if signal is not None:
        given["signal.name"] = signal.name
    check_ids(namespace=namespace, workflow=workflow, **given)
