"""Names that callers choose."""

from __future__ import annotations

import re

from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_RUN_ID = re.compile(r"[0-9a-z]{26}")


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


def check_start(namespace: str, workflow: str, execution_id: str, request_id: str, signal_name: str | None) -> None:
    """The names in a request to start an execution, of which some may be left out; raises InvalidRequest."""
    chosen = {"execution_id": execution_id, "request_id": request_id}
    given = {name: value for name, value in chosen.items() if value}
    if signal_name is not None:
        given["signal.name"] = signal_name
    check_ids(namespace=namespace, workflow=workflow, **given)
