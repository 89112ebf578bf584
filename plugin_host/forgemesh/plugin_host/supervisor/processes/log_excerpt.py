"""What is remembered of a log record that is too long: still a record, with what people look for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from forgemesh.language.nesting import check_depth

LONGEST_MESSAGE = 300
LONGEST_EXCEPTION = 450
_LONGEST_VALUE = 64
_MOST_VALUES = 12


def excerpt(line: bytes) -> str | None:
    """
    The record on a line with the beginning of its message and the end of its traceback; None if it is no record.

    What is left out is marked by "…". A few KiB at most, whatever the line holds.
    """
    record = _record(line)
    if record is None:
        return None
    kept: dict[str, Any] = {}
    for key, value in record.items():
        if key == "message":
            kept[key] = _beginning(value, LONGEST_MESSAGE)
        elif key == "exception" and isinstance(value, str):
            kept[key] = value if len(value) <= LONGEST_EXCEPTION else f"…{value[-LONGEST_EXCEPTION:]}"
        elif len(kept) < _MOST_VALUES and len(key) <= _LONGEST_VALUE:
            kept[key] = _small(value)
    return json.dumps(kept, ensure_ascii=False)


def _record(line: bytes) -> Mapping[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        text = line.decode(errors="replace")
        check_depth(text)
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("message"), str) else None


def _small(value: object) -> object:
    if isinstance(value, float) or value is None or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    return _beginning(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _LONGEST_VALUE)


def _beginning(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
