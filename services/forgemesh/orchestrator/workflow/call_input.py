"""Whether what a call passes can fit the operation's schema, as far as that is known before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from forgemesh.language.allowance import Allowance, SchemaUnusable
from forgemesh.language.json_value import misfit
from forgemesh.language.nesting import MAX_CHECKED, check_depth
from forgemesh.orchestrator.workflow.expressions.template import Fields, Items, Literal, Template

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

LISTED = 10
"""Mistakes that are told of one call."""
READ_AT_ONCE = 4
"""Bytes of a schema that are read for one unit of the allowance."""


class _Unknown:
    """Stands where a value is computed when the step begins."""


_UNKNOWN = _Unknown()
_BY_KEYS = frozenset({"required", "additionalProperties", "minProperties", "maxProperties"})
"""Rules that need only the names of the fields, and those are known."""


def known_of(template: Template) -> object:
    """What is passed, as far as that stands there; nothing of it if it is nested deeper than a check goes."""
    known = _known(template)
    return known if _depth(known) <= MAX_CHECKED else _UNKNOWN


def _known(template: Template) -> Any:
    match template:
        case Literal(value):
            return value
        case Fields(fields):
            return {key: _known(value) for key, value in fields}
        case Items(items):
            return [_known(item) for item in items]
    return _UNKNOWN


def input_mistakes(known: object, schema: str, allowance: Allowance) -> list[str]:
    """
    What cannot fit of what is `known_of` a template, whatever is computed: fields that are missing or unknown, and
    values that stand there.

    Nothing for a schema (JSON Schema 2020-12) that is empty, cannot be read, or needs another document. Raises
    SchemaTooCostly.
    """
    if not schema:
        return []
    allowance.spend(len(schema) // READ_AT_ONCE)
    validator = _validator(schema)
    if validator is None:
        return []
    from forgemesh.language import json_schema  # noqa: PLC0415 - loads slowly, and no start of the service needs it

    try:
        found = [error for error in json_schema.errors_of(validator, known, allowance) if _counts(error)]
        if found and not json_schema.is_schema(validator.schema, allowance):
            return []
    except SchemaUnusable:
        return []
    return sorted({_told(error) for error in found})[:LISTED]


def _depth(tree: object) -> int:
    """How many lists and objects stand inside one another; one that is empty does not count."""
    depth, level = -1, [tree]
    while level:
        depth, level = depth + 1, [inner for outer in level for inner in _inside(outer)]
    return depth


def _inside(value: object) -> Iterable[Any]:
    if isinstance(value, dict | list):
        return value.values() if isinstance(value, dict) else value
    return ()


@lru_cache(maxsize=256)
def _validator(schema: str) -> Validator | None:
    from forgemesh.language import json_schema  # noqa: PLC0415 - as above

    try:
        check_depth(schema, MAX_CHECKED)
        tree = msgspec.json.decode(schema)
        return json_schema.validator_of(tree) if isinstance(tree, dict) else None
    except ValueError:
        return None


def _counts(error: ValidationError) -> bool:
    if error.instance is _UNKNOWN:
        return False
    return error.validator in _BY_KEYS or not any(value is _UNKNOWN for value in _leaves(error.instance))


def _leaves(tree: object) -> Iterator[object]:
    if isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(value)
    else:
        yield tree


def _told(error: ValidationError) -> str:
    place = "".join(f".{key}" if isinstance(key, str) else f"[{key}]" for key in error.absolute_path)
    return f"input{place}: {misfit(error):.200}"
