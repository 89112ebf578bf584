"""Manifests written as TOML, for plugins in other languages."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.language.json_value import misfit
from forgemesh.notation.duration import seconds_of
from forgemesh.notation.names import fits_identifier
from forgemesh.plugin.declaration import PluginDeclaration
from forgemesh.plugin.definition import check_plugin
from forgemesh.plugin.dependency import OnLoss, Requires, requirements
from forgemesh.plugin.failure import PluginDefinitionError
from forgemesh.plugin.limits import Limits, checked_limits
from forgemesh.plugin.manifest import dependency_of, idempotency_of, limits_of
from forgemesh.plugin.violation import violation_of

Note = Callable[[str], None]


class _Document(msgspec.Struct, kw_only=True):
    id: str
    version: str
    description: str = ""
    provides: list[str] = []
    requires: list[str | dict[str, Any]] = []
    max_concurrency: int = 0
    priority: int = 0
    weight: int = 1
    metadata: dict[str, str] = {}
    limits: dict[str, Any] = {}
    config: dict[str, Any] | str = ""
    operations: dict[str, dict[str, Any]]


class _Operation(msgspec.Struct, kw_only=True):
    description: str = ""
    idempotent: bool | None = None
    cacheable: bool = False
    timeout: str | float | None = None
    input: dict[str, Any] | str = ""
    output: dict[str, Any] | str = ""


class _Needed(msgspec.Struct, kw_only=True):
    plugin: str = ""
    interface: str = ""
    range: str = ""
    optional: bool = False
    on_loss: OnLoss = "degrade"


class _Bounds(msgspec.Struct, kw_only=True):
    memory_bytes: int = 0
    cpu: float = 0.0
    open_files: int = 0


def manifest_from_toml(text: str, name: str = "the manifest") -> manifest_pb2.Manifest:
    """
    The manifest that the TOML text describes; raises PluginDefinitionError with all mistakes at once.

    Keys are those of `plugin` and `operation`: `id`, `version`, and a table [operations.NAME] for each operation, whose
    `input` and `output` are JSON Schemas, as tables or as JSON text; so is `config`.
    """
    mistakes: list[str] = []
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PluginDefinitionError(name, [f"it is no TOML: {error}"]) from error
    found = _table(document, _Document, "", mistakes.append)
    manifest = _manifest(found, mistakes)
    if mistakes:
        raise PluginDefinitionError(name, mistakes)
    return manifest


def _manifest(found: Mapping[str, Any], mistakes: list[str]) -> manifest_pb2.Manifest:
    note = mistakes.append
    declaration = PluginDeclaration(
        plugin_id=found.get("id", "unnamed"),
        version=found.get("version", "0.0.0"),
        provides=found["provides"],
        max_concurrency=found["max_concurrency"],
        priority=found["priority"],
        weight=found["weight"],
        metadata=found["metadata"],
        description=found["description"],
    )
    provides = check_plugin(declaration, mistakes)
    needed = requirements([_required(one, note) for one in found["requires"]], note)
    limits = checked_limits(Limits(**_table(found["limits"], _Bounds, "limits: ", note)), note)
    if not found.get("operations", True):
        note("it has no operations; write a table [operations.NAME] for each")
    return manifest_pb2.Manifest(
        plugin_id=declaration.plugin_id,
        version=declaration.version,
        description=found["description"],
        provides=[manifest_pb2.Interface(name=name, version=version) for name, version in provides],
        dependencies=[dependency_of(one) for one in needed],
        operations=[_operation(name, table, note) for name, table in found.get("operations", {}).items()],
        priority=_bounded(declaration.priority),
        weight=_bounded(max(0, declaration.weight)),
        max_concurrency=_bounded(max(0, declaration.max_concurrency)),
        metadata=declaration.metadata,
        limits=limits_of(limits) if not mistakes else None,
        config_schema=_schema(found["config"], "config", note),
    )


def _required(one: object, note: Note) -> str | Requires:
    if isinstance(one, str):
        return one
    return Requires(**_table(one, _Needed, "requires: ", note))


def _operation(name: str, table: Any, note: Note) -> manifest_pb2.Operation:
    place = f"operation {name}: "

    def noted(mistake: str) -> None:
        note(place + mistake)

    if not fits_identifier(name):
        noted('its name is not an identifier such as "temperature"')
    found = _table(table, _Operation, place, note)
    message = manifest_pb2.Operation(
        name=name,
        description=found["description"],
        idempotency=idempotency_of(found["idempotent"]),
        cacheable=found["cacheable"],
        input_schema=_schema(found["input"], "input", noted),
        output_schema=_schema(found["output"], "output", noted),
    )
    if found["timeout"] is not None:
        try:
            message.timeout.FromMilliseconds(round(seconds_of(found["timeout"]) * 1000))
        except (TypeError, ValueError, OverflowError) as error:
            noted(f"timeout: {error}")
    return message


def _table(table: Any, wanted: type[msgspec.Struct], place: str, note: Note) -> dict[str, Any]:
    """The values of a table by key, each checked by itself; what is wrong or left out gets its default, if any."""
    fields = {field.name: field for field in msgspec.structs.fields(wanted)}
    values = {field.name: _default(field) for field in fields.values() if not field.required}
    for key, value in table.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f", did you mean {close[0]!r}?" if close else f"; known: {', '.join(fields)}"
            note(f"{place}unknown key {key!r}{hint}")
            continue
        try:
            values[key] = msgspec.convert(value, fields[key].type)
        except msgspec.ValidationError as error:
            note(f"{place}{violation_of(error).replace('$', key, 1)}")
    for field in fields.values():
        if field.required and field.name not in table:
            note(f"{place}{field.name} is missing")
    return values


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def _schema(given: Any, what: str, note: Note) -> str:
    """A JSON Schema as compact JSON text; empty if there is none."""
    if given in ("", {}):
        return ""
    import jsonschema  # noqa: PLC0415 - loads slowly, and hosts of Python plugins do not need it

    from forgemesh.language.schema_patterns import read_schema, unreadable_pattern  # noqa: PLC0415 - the same

    try:
        text = given if isinstance(given, str) else json.dumps(given)
        schema = read_schema(text)
        jsonschema.Draft202012Validator.check_schema(schema)
    except (TypeError, ValueError) as error:
        note(f"{what} is no JSON: {error}")
        return ""
    except jsonschema.SchemaError as error:
        note(f"{what} is no JSON Schema: {error.json_path}: {misfit(error)}")
        return ""
    cause = unreadable_pattern(schema)
    if cause:
        note(f"{what}: {cause}")
    return json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _bounded(number: int) -> int:
    """What a message can hold; anything else was noted before."""
    return min(max(number, -(2**31)), 2**31 - 1)
