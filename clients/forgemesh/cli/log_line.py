"""A line that a process of the mesh wrote, as people read it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from forgemesh.chassis.foreign_text import printable
from forgemesh.language.nesting import check_depth

_LOOKED_AT = ("at", "level", "service", "logger", "message", "exception")
_IDS = ("trace_id", "span_id", "execution_id", "step_path", "instance_id", "attempt")


def record_of(line: str) -> Mapping[str, Any] | None:
    """The log record that a line holds; None if it is plain output."""
    if not line.startswith("{"):
        return None
    with contextlib.suppress(ValueError):
        check_depth(line)
        record = msgspec.json.decode(line)
        if isinstance(record, dict) and isinstance(record.get("message"), str):
            return record
    return None


def readable(line: str) -> list[str]:
    """Time, level, message, and whose call it belongs to; then a traceback. Plain output stays as it is."""
    record = record_of(line)
    if record is None:
        return [printable(line)]
    time = str(record.get("at", "")).partition("T")[2].partition(".")[0]
    level = str(record.get("level", ""))
    step = f"{record['execution_id']} {record.get('step_path', '')}".strip() if record.get("execution_id") else ""
    more = [f"{key}={value}" for key, value in record.items() if key not in _LOOKED_AT and key not in _IDS]
    said = " ".join(filter(None, (record["message"], *more)))
    head = " ".join(filter(None, (time, level if level != "INFO" else "", said, f"({step})" if step else "")))
    return [*map(printable, head.splitlines()), *map(printable, str(record.get("exception", "")).splitlines())]
