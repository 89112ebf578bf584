"""A plugin class, checked and made ready: what a host needs to serve it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from forgemesh.plugin.declaration import (
    OperationDeclaration,
    PluginDeclaration,
    operation_declarations,
    plugin_declaration,
)
from forgemesh.plugin.duration import seconds_of
from forgemesh.plugin.failure import PluginDefinitionError
from forgemesh.plugin.parameters import Input, signature_of
from forgemesh.plugin.payload import JSON, Payload

_DOTTED = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SEMVER = re.compile(
    r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_LONGEST_NAME = 128
_MOST_CONCURRENT = 10_000
_MOST_WEIGHT = 10_000

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDefinition:
    """
    One operation: what it is, how its input is read, how its output is written.

    `attribute` is the method's name on the class. `timeout` is in seconds. Schemas are JSON text, empty for anything.
    """

    name: str
    attribute: str
    description: str
    idempotent: bool | None
    cacheable: bool
    timeout: float | None
    asynchronous: bool
    input: Input
    context: str | None
    output_schema: str

    def write(self, value: Any) -> Payload:
        """What the operation returned, as a payload; raises whatever a value that is no JSON raises."""
        return _checked(value) if isinstance(value, Payload) else Payload(_encode(value), JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDefinition:
    """A plugin class without mistakes. `max_concurrency` 0 leaves it to the host; `provides` holds (name, version)."""

    cls: type
    plugin_id: str
    version: str
    description: str
    provides: tuple[tuple[str, str], ...]
    max_concurrency: int
    priority: int
    weight: int
    metadata: Mapping[str, str]
    operations: Mapping[str, OperationDefinition]


def define(cls: type) -> PluginDefinition:
    """Check a class that carries `@plugin`; raises PluginDefinitionError with all mistakes at once."""
    declaration = plugin_declaration(cls)
    if declaration is None:
        raise PluginDefinitionError(cls.__qualname__, ['the class carries no @plugin("id", version="1.0.0")'])
    mistakes: list[str] = []
    provides = _checked_plugin(declaration, mistakes)
    operations = _operations(cls, mistakes)
    if mistakes:
        raise PluginDefinitionError(cls.__qualname__, mistakes)
    return PluginDefinition(
        cls=cls,
        plugin_id=declaration.plugin_id,
        version=declaration.version,
        description=_described(declaration.description, cls),
        provides=provides,
        max_concurrency=declaration.max_concurrency,
        priority=declaration.priority,
        weight=declaration.weight,
        metadata={str(key): str(value) for key, value in declaration.metadata.items()},
        operations=operations,
    )


def _checked_plugin(declaration: PluginDeclaration, mistakes: list[str]) -> tuple[tuple[str, str], ...]:
    plugin_id, version = declaration.plugin_id, declaration.version
    if not _matches(_DOTTED, plugin_id):
        mistakes.append(f'id {plugin_id!r} is not a dotted lower-case name such as "weather.stats"')
    if not _matches(_SEMVER, version):
        mistakes.append(f'version {version!r} is not SemVer such as "1.2.0"')
    if not 0 <= declaration.max_concurrency <= _MOST_CONCURRENT:
        mistakes.append(f"max_concurrency {declaration.max_concurrency} is not between 0 and {_MOST_CONCURRENT}")
    if not 1 <= declaration.weight <= _MOST_WEIGHT:
        mistakes.append(f"weight {declaration.weight} is not between 1 and {_MOST_WEIGHT}")
    for key, value in declaration.metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            mistakes.append(f"metadata {key!r}: {value!r} is not text; names and values are strings")
    return tuple(_interface(text, mistakes) for text in _listed(declaration.provides, mistakes))


def _listed(provides: object, mistakes: list[str]) -> list[str]:
    if isinstance(provides, str) or not isinstance(provides, (list, tuple)):
        mistakes.append(f'provides {provides!r} is not a list such as ["timeseries.summary@1.0.0"]')
        return []
    twice = {text for text in provides if provides.count(text) > 1}
    mistakes.extend(f"provides {text!r} is listed twice" for text in sorted(twice))
    return list(provides)


def _interface(text: object, mistakes: list[str]) -> tuple[str, str]:
    name, _, version = str(text).partition("@")
    if not _matches(_DOTTED, name) or not _matches(_SEMVER, version):
        mistakes.append(f'provides {text!r} is not an interface such as "timeseries.summary@1.0.0"')
    return name, version


def _operations(cls: type, mistakes: list[str]) -> dict[str, OperationDefinition]:
    operations: dict[str, OperationDefinition] = {}
    for attribute, declaration in operation_declarations(cls).items():
        made = _operation(cls, attribute, declaration, mistakes)
        if made.name in operations:
            mistakes.append(
                f"operation {made.name!r} is defined twice, by {operations[made.name].attribute} and {attribute}"
            )
        operations[made.name] = made
    if not operations:
        mistakes.append("it has no operations; put @operation on the methods that can be called")
    return operations


def _operation(
    cls: type, attribute: str, declaration: OperationDeclaration, mistakes: list[str]
) -> OperationDefinition:
    name = attribute if declaration.name is None else declaration.name

    def note(mistake: str) -> None:
        mistakes.append(f"operation {name}: {mistake}")

    function = inspect.getattr_static(cls, attribute)
    if not _matches(_IDENTIFIER, name):
        note('its name is not an identifier such as "temperature"')
    if not inspect.isfunction(function):
        note("it is not a plain method; leave out @staticmethod, @classmethod and the like")
        function = _nothing
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        note("it is a generator; return one value")
    signature = signature_of(function, note)
    return OperationDefinition(
        name=name,
        attribute=attribute,
        description=_described(declaration.description, function),
        idempotent=declaration.idempotent,
        cacheable=declaration.cacheable,
        timeout=_timeout(declaration.timeout, note),
        asynchronous=inspect.iscoroutinefunction(function),
        input=signature.input,
        context=signature.context,
        output_schema=signature.output_schema,
    )


def _nothing(self: object) -> None:
    """Stands in for what is no method, so that its other mistakes are still found."""


def _timeout(timeout: str | float | None, note: Callable[[str], None]) -> float | None:
    if timeout is None:
        return None
    try:
        return seconds_of(timeout)
    except (TypeError, ValueError) as error:
        note(f"timeout: {error}")
        return None


def _described(description: str | None, documented: object) -> str:
    text = description if description is not None else vars(documented).get("__doc__", documented.__doc__)
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def _checked(payload: Payload) -> Payload:
    if not isinstance(payload.data, (bytes, bytearray, memoryview)):
        raise TypeError(f"the data of a Payload is bytes, not {type(payload.data).__name__}")
    metadata = {str(key): str(value) for key, value in payload.metadata.items()}
    return Payload(bytes(payload.data), str(payload.media_type), metadata)


def _matches(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and len(text) <= _LONGEST_NAME and pattern.fullmatch(text) is not None
