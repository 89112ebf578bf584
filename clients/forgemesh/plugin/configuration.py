"""A plugin's configuration: its type, its schema, and reading it with everything wrong said at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from forgemesh.faults.portable import PortableError
from forgemesh.language.allowance import Allowance, SchemaTooCostly, SchemaUnusable
from forgemesh.language.json_value import misfit, read_document
from forgemesh.language.nesting import MAX_CHECKED
from forgemesh.plugin.violation import violation_of

CHECKED = 2_000_000
"""Work that a configuration is checked with, in units of about a microsecond."""


class ConfigurationError(PortableError):
    """A configuration does not fit; `violations` names every place with what is wrong there."""

    def __init__(self, violations: list[str]) -> None:
        super().__init__("; ".join(violations))
        self.violations = tuple(violations)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What configurations of a plugin are made to; `schema` is JSON Schema as JSON text."""

    type: type
    schema: str

    def read(self, text: str) -> Any:
        """The object that the JSON text describes, nothing being an empty one; raises ConfigurationError."""
        try:
            found = read_document((text or "{}").encode(), MAX_CHECKED)
        except ValueError as error:
            raise ConfigurationError([f"it is no JSON: {error}"]) from error
        violations = violations_of(self.schema, found)
        if violations:
            raise ConfigurationError(violations)
        try:
            return msgspec.convert(found, self.type)
        except (ValueError, TypeError) as error:  # what the author's own __post_init__ refuses, above all
            raise ConfigurationError([violation_of(error)]) from error


def configuration_of(wanted: Any, note: Callable[[str], None]) -> Configuration | None:
    """How the type `wanted` is configured; everything wrong with it is told to `note`."""
    if wanted is None:
        return None
    try:
        schema = msgspec.json.schema(wanted)
        schema_of_object = "properties" in _resolved(schema)
    except (TypeError, ValueError, NameError) as error:
        note(
            f"config: {str(error).strip().splitlines()[0]}; use a dataclass or msgspec.Struct of types that JSON knows"
        )
        return None
    if not schema_of_object:
        note(f"config: {wanted!r} is no dataclass or msgspec.Struct")
        return None
    _close(schema)
    return Configuration(wanted, json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def violations_of(schema: str, value: Any) -> list[str]:
    """Everything in which `value` does not fit a JSON Schema, in order of its place."""
    from forgemesh.language import json_schema  # noqa: PLC0415 - few need it, and it loads slowly

    try:
        validator = json_schema.validator_of(json.loads(schema))
        errors = json_schema.errors_of(validator, value, Allowance(CHECKED))
    except (SchemaTooCostly, SchemaUnusable) as error:
        return [f"$: the schema does not serve: {error}"]
    found = sorted(errors, key=lambda error: [str(step) for step in error.absolute_path])
    return [f"{error.json_path}: {misfit(error)}" for error in found]


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    resolved: dict[str, Any] = schema.get("$defs", {}).get(reference.rpartition("/")[2], schema)
    return resolved


def _close(schema: Any) -> None:
    """Keys that no type knows are mistakes in a configuration."""
    if isinstance(schema, list):
        for one in schema:
            _close(one)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            _close(value)
