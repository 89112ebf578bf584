"""The text of a concurrency key: equal for equal values, and for no others."""

from __future__ import annotations

import math

import msgspec

from forgemesh.faults.control import ConcurrencyKeyInvalid
from forgemesh.language.nesting import check_depth
from forgemesh.orchestrator.values.payload import Payload

LONGEST = 200
"""Characters."""


def concurrency_key(workflow: str, value: Payload) -> str:
    """
    A text that reads as JSON stands in quotes, any other text for itself, and what is no text as JSON with its keys in
    order: so the number 1 and the text "1" are two keys. Numbers are equal that have the same value.

    Raises ConcurrencyKeyInvalid for null, for what is empty or no JSON, and for more than `LONGEST` characters.
    """
    try:
        decoded = value.value()
    except ValueError as error:
        raise ConcurrencyKeyInvalid(workflow, str(error)) from error
    if decoded is None:
        raise ConcurrencyKeyInvalid(workflow, "it is null")
    if decoded in ("", [], {}):
        raise ConcurrencyKeyInvalid(workflow, "it is empty")
    key = _written(decoded)
    if len(key) > LONGEST:
        raise ConcurrencyKeyInvalid(workflow, f"it has {len(key)} characters, and at most {LONGEST} are allowed")
    return key


def _written(decoded: object) -> str:
    if isinstance(decoded, str) and not _reads_as_json(decoded):
        return decoded
    return msgspec.json.encode(_with_whole_numbers(decoded), order="sorted").decode()


def _reads_as_json(text: str) -> bool:
    try:
        check_depth(text)
        msgspec.json.decode(text)
    except ValueError:
        return False
    return True


def _with_whole_numbers(value: object) -> object:
    """1.0 and 1 are one number."""
    match value:
        case float() if math.isfinite(value) and value.is_integer():
            return int(value)
        case list():
            return [_with_whole_numbers(item) for item in value]
        case dict():
            return {name: _with_whole_numbers(item) for name, item in value.items()}
        case _:
            return value
