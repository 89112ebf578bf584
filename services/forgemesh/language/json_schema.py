"""JSON Schema 2020-12 that others wrote: as jsonschema checks it, but for how patterns are searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry

from forgemesh.language.schema_patterns import finds, patterns_in


def _pattern(validator: Any, pattern: object, instance: object, schema: object) -> Iterator[ValidationError]:
    if isinstance(instance, str) and isinstance(pattern, str) and not finds(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, object], instance: object, schema: object
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, below in patterns.items():
        for key, value in instance.items():
            if finds(pattern, key):
                yield from validator.descend(value, below, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, below: object, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = [key for key in instance if key not in known and not any(finds(pattern, key) for pattern in patterns)]
    if isinstance(below, dict):
        for key in others:
            yield from validator.descend(instance[key], below, path=key)
    elif below is False and others:
        listed = ", ".join(repr(key) for key in others)
        verb = "was" if len(others) == 1 else "were"
        yield ValidationError(f"Additional properties are not allowed ({listed} {verb} unexpected)")


def _whatever(validator: Any, below: object, instance: object, schema: object) -> Iterator[ValidationError]:
    yield from ()


_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"pattern": _pattern, "patternProperties": _pattern_properties, "additionalProperties": _additional_properties},
)
_Forgiving: Any = extend(_Validator, {"unevaluatedProperties": _whatever})  # type: ignore[no-untyped-call]
"""jsonschema finds out by Python's patterns which properties are not evaluated."""


def validator_of(schema: Any) -> Validator:
    """
    As jsonschema's Draft202012Validator, but for how patterns are searched; one that cannot be read forbids nothing,
    and beside `patternProperties` `unevaluatedProperties` does not either.
    """
    forgiving = any("patternProperties" in place for place, _ in patterns_in(schema))
    validator: Validator = (_Forgiving if forgiving else _Validator)(schema, registry=Registry())
    return validator
