"""A plugin, checked and made ready: what a host needs to serve it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from forgemesh.language.json_value import NotJson, read_json, write_json
from forgemesh.notation.duration import seconds_of
from forgemesh.notation.names import fits_dotted, fits_identifier, fits_version
from forgemesh.plugin.configuration import Configuration, configuration_of
from forgemesh.plugin.declaration import (
    DeclaredPlugin,
    OperationDeclaration,
    PluginDeclaration,
    is_operation,
    operation_declarations,
    plugin_declaration,
)
from forgemesh.plugin.dependency import Requires, requirements
from forgemesh.plugin.failure import PluginDefinitionError
from forgemesh.plugin.functions import Function, Functions, hook_functions
from forgemesh.plugin.limits import Limits, checked_limits
from forgemesh.plugin.parameters import Input, signature_of
from forgemesh.plugin.payload import JSON, Payload, checked_payload
from forgemesh.plugin.violation import Misfit, violation_of

_MOST_CONCURRENT = 10_000
_MOST_WEIGHT = 10_000
_HIGHEST_PRIORITY = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDefinition:
    """
    One operation: what it is, how its input is read, how its output is written.

    `attribute` is the method's name on what `PluginDefinition.make` gives. `timeout` is in seconds. Schemas are JSON
    text, empty for anything.
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
    output: msgspec.json.Decoder[Any] | None
    output_schema: str

    def write(self, value: Any) -> Payload:
        """
        What the operation returned, as a payload.

        Raises Misfit if that is not what was declared or JSON cannot say it, and whatever a value raises that msgspec
        does not know.
        """
        if isinstance(value, Payload):
            return checked_payload(value)
        read = self.output.decode if self.output is not None else read_json
        try:
            return Payload(write_json(value, read), JSON)
        except NotJson as error:
            raise Misfit(str(error)) from error
        except msgspec.MsgspecError as error:
            raise Misfit(violation_of(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDefinition:
    """A plugin without mistakes. `max_concurrency` 0 leaves it to the host; `provides` holds (name, version)."""

    plugin_id: str
    version: str
    description: str
    provides: tuple[tuple[str, str], ...]
    requires: tuple[Requires, ...]
    max_concurrency: int
    priority: int
    weight: int
    metadata: Mapping[str, str]
    limits: Limits
    configuration: Configuration | None
    operations: Mapping[str, OperationDefinition]
    make: Callable[[Any], Any]
    """Makes the plugin's one object, with a configuration if it takes one."""


def define(subject: type | DeclaredPlugin) -> PluginDefinition:
    """Check a class that carries `@plugin`, or functions; raises PluginDefinitionError with all mistakes at once."""
    declaration = subject.declaration if isinstance(subject, DeclaredPlugin) else plugin_declaration(subject)
    if declaration is None:
        raise PluginDefinitionError(_named(subject), ['the class carries no @plugin("id", version="1.0.0")'])
    mistakes: list[str] = []
    provides = check_plugin(declaration, mistakes)
    required = requirements(declaration.requires, mistakes.append)
    limits = checked_limits(declaration.limits, mistakes.append)
    configuration = configuration_of(declaration.config, mistakes.append)
    if isinstance(subject, DeclaredPlugin):
        operations, make = _of_functions(subject, mistakes)
    else:
        operations, make = _of_class(subject, configuration, mistakes)
    if any(one.plugin == declaration.plugin_id for one in required):
        mistakes.append(f"requires {declaration.plugin_id!r}, which is the plugin itself")
    if mistakes:
        raise PluginDefinitionError(_named(subject), mistakes)
    return PluginDefinition(
        plugin_id=declaration.plugin_id,
        version=declaration.version,
        description=_described(declaration.description, _documented(subject)),
        provides=provides,
        requires=required,
        max_concurrency=declaration.max_concurrency,
        priority=declaration.priority,
        weight=declaration.weight,
        metadata={str(key): str(value) for key, value in declaration.metadata.items()},
        limits=limits,
        configuration=configuration,
        operations=operations,
        make=make,
    )


def check_plugin(declaration: PluginDeclaration, mistakes: list[str]) -> tuple[tuple[str, str], ...]:
    """The interfaces, as (name, version); notes everything that is wrong with what stands beside the operations."""
    plugin_id, version = declaration.plugin_id, declaration.version
    if not fits_dotted(plugin_id):
        mistakes.append(f'id {plugin_id!r} is not a dotted lower-case name such as "weather.stats"')
    if not fits_version(version):
        mistakes.append(f'version {version!r} is not SemVer such as "1.2.0"')
    if not 0 <= declaration.max_concurrency <= _MOST_CONCURRENT:
        mistakes.append(f"max_concurrency {declaration.max_concurrency} is not between 0 and {_MOST_CONCURRENT}")
    if not 1 <= declaration.weight <= _MOST_WEIGHT:
        mistakes.append(f"weight {declaration.weight} is not between 1 and {_MOST_WEIGHT}")
    if not -_HIGHEST_PRIORITY <= declaration.priority <= _HIGHEST_PRIORITY:
        mistakes.append(f"priority {declaration.priority} does not fit into 32 bits")
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
    if not fits_dotted(name) or not fits_version(version):
        mistakes.append(f'provides {text!r} is not an interface such as "timeseries.summary@1.0.0"')
    return name, version


_Found = tuple[dict[str, OperationDefinition], Callable[[Any], Any]]


def _of_class(cls: type, configuration: Configuration | None, mistakes: list[str]) -> _Found:
    operations: dict[str, OperationDefinition] = {}
    for attribute, declaration in operation_declarations(cls).items():
        function = inspect.getattr_static(cls, attribute)
        made, _ = _operation(attribute, declaration, function, mistakes)
        _add(operations, made, mistakes)
    if not operations:
        mistakes.append("it has no operations; put @operation on the methods that can be called")
    mistakes.extend(_wrong_with_hooks(cls, configured=configuration is not None))
    return operations, (lambda config: cls(config=config)) if configuration else (lambda config: cls())


def _of_functions(declared: DeclaredPlugin, mistakes: list[str]) -> _Found:
    operations: dict[str, OperationDefinition] = {}
    config = declared.declaration.config
    functions = hook_functions(declared, config, mistakes.append)
    for number, (function, declaration) in enumerate(declared.functions):
        attribute = f"{number}:{getattr(function, '__name__', 'operation')}"
        made, parameter = _operation(attribute, declaration, function, mistakes, method=False, config=config)
        _add(operations, made, mistakes)
        functions.append(Function(attribute, function, parameter))
    if not operations:
        mistakes.append("it has no operations; put @<name>.operation on the functions that can be called")
    return operations, partial(Functions, functions)


def _add(operations: dict[str, OperationDefinition], made: OperationDefinition, mistakes: list[str]) -> None:
    if made.name in operations:
        other = operations[made.name]
        mistakes.append(f"operation {made.name!r} is defined twice, by {_said(other)} and {_said(made)}")
    operations[made.name] = made


def _said(operation: OperationDefinition) -> str:
    return operation.attribute.rpartition(":")[2]


def _operation(
    attribute: str,
    declaration: OperationDeclaration,
    function: Any,
    mistakes: list[str],
    *,
    method: bool = True,
    config: object = None,
) -> tuple[OperationDefinition, str | None]:
    """The operation, and its parameter for the configuration."""
    name = attribute.rpartition(":")[2] if declaration.name is None else declaration.name

    def note(mistake: str) -> None:
        mistakes.append(f"operation {name}: {mistake}")

    if not fits_identifier(name):
        note('its name is not an identifier such as "temperature"')
    if not inspect.isfunction(function):
        plain = "method" if method else "function"
        note(f"it is not a plain {plain}; leave out @staticmethod, @classmethod and the like")
        function = _nothing
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        note("it is a generator; return one value")
    signature = signature_of(function, note, method=method, strict=declaration.strict, config=config)
    definition = OperationDefinition(
        name=name,
        attribute=attribute,
        description=_described(declaration.description, function),
        idempotent=declaration.idempotent,
        cacheable=declaration.cacheable,
        timeout=_timeout(declaration.timeout, note),
        asynchronous=inspect.iscoroutinefunction(function),
        input=signature.input,
        context=signature.context,
        output=signature.output,
        output_schema=signature.output_schema,
    )
    return definition, signature.config


def _nothing(self: object) -> None:
    """Stands in for what is no method, so that its other mistakes are still found."""


_HOOKS = {"configure": ("config",), "restore_state": ("state", "version"), "save_state": ()}


def _wrong_with_hooks(cls: type, *, configured: bool) -> Iterator[str]:
    made_with = inspect.signature(cls).parameters if "__init__" in vars(cls) else {}
    if configured and "config" not in made_with:
        yield "it takes a configuration and has no __init__ with a parameter config"
    for name, wanted in _HOOKS.items():
        hook = getattr(cls, name, None)
        if hook is None or is_operation(hook) or not inspect.isfunction(hook):
            continue
        taken = list(inspect.signature(hook).parameters.values())[1:]
        needed = [one.name for one in taken if one.default is inspect.Parameter.empty]
        if len(taken) < len(wanted) or len(needed) > len(wanted):
            listed = ", ".join(("self", *wanted))
            yield f"{name} is called as {name}({listed}); give it these parameters, or another name"
        if name == "configure" and not configured:
            yield "it has a method configure and declares no config; say @plugin(..., config=Type)"


def _timeout(timeout: str | float | None, note: Callable[[str], None]) -> float | None:
    if timeout is None:
        return None
    try:
        return seconds_of(timeout)
    except (TypeError, ValueError) as error:
        note(f"timeout: {error}")
        return None


def _named(subject: type | DeclaredPlugin) -> str:
    return subject.declaration.plugin_id if isinstance(subject, DeclaredPlugin) else subject.__qualname__


def _documented(subject: type | DeclaredPlugin) -> object:
    """The class, or the module of the first function."""
    if not isinstance(subject, DeclaredPlugin):
        return subject
    return sys.modules.get(subject.functions[0][0].__module__) if subject.functions else None


def _described(description: str | None, documented: object) -> str:
    text = description
    if text is None and documented is not None:
        text = vars(documented).get("__doc__", documented.__doc__)
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())
