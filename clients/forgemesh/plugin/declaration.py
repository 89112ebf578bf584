"""The decorators. They only take note; `define` checks everything at once, when the plugin is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_PLUGIN = "__forgemesh_plugin__"
_OPERATION = "__forgemesh_operation__"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDeclaration:
    """What the author said about a class, unchecked."""

    plugin_id: str
    version: str
    provides: Sequence[str]
    max_concurrency: int
    priority: int
    weight: int
    metadata: Mapping[Any, Any]
    description: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDeclaration:
    """What the author said about a method, unchecked."""

    name: str | None
    idempotent: bool | None
    cacheable: bool
    timeout: str | float | None
    description: str | None


def plugin(
    plugin_id: str,
    *,
    version: str,
    provides: Sequence[str] = (),
    max_concurrency: int = 0,
    priority: int = 0,
    weight: int = 1,
    metadata: Mapping[str, str] | None = None,
    description: str | None = None,
) -> Callable[[C], C]:
    """
    Declare a class a plugin: dotted lower-case id, SemVer version, fulfilled interfaces as "name@version".

    `max_concurrency` calls run at a time (0: the host's default), the rest waits. `description` defaults to the first
    paragraph of the docstring. The class is made once, without arguments; methods `start` and `stop`, if it has them,
    run before the first call and after the last.
    """
    declaration = PluginDeclaration(
        plugin_id=plugin_id,
        version=version,
        provides=provides,
        max_concurrency=max_concurrency,
        priority=priority,
        weight=weight,
        metadata=metadata or {},
        description=description,
    )

    def declare(cls: C) -> C:
        setattr(cls, _PLUGIN, declaration)
        return cls

    return declare


@overload
def operation(method: F) -> F: ...


@overload
def operation(
    *,
    name: str | None = None,
    idempotent: bool | None = None,
    cacheable: bool = False,
    timeout: str | float | None = None,
    description: str | None = None,
) -> Callable[[F], F]: ...


def operation(
    method: F | None = None,
    *,
    name: str | None = None,
    idempotent: bool | None = None,
    cacheable: bool = False,
    timeout: str | float | None = None,
    description: str | None = None,
) -> F | Callable[[F], F]:
    """
    Declare a method an operation; it stays a method that can be called directly.

    Its input is a JSON object with a key for each parameter; keys that it has no parameter for are ignored. A
    parameter annotated `Context` gets the call's context, a single one annotated `Payload` the unread input.
    `idempotent`: True if a repeated call is harmless, False if it does harm, None if that is unknown: then it may be
    repeated after a crash. `timeout` ("200ms", "5s", "2m" or seconds) counts when the caller sets none.
    """
    declaration = OperationDeclaration(
        name=name, idempotent=idempotent, cacheable=cacheable, timeout=timeout, description=description
    )

    def declare(function: F) -> F:
        setattr(function, _OPERATION, declaration)
        return function

    return declare if method is None else declare(method)


def plugin_declaration(cls: type) -> PluginDeclaration | None:
    """What `@plugin` noted on this very class; a subclass has to say it anew."""
    declaration = vars(cls).get(_PLUGIN)
    return declaration if isinstance(declaration, PluginDeclaration) else None


def operation_declarations(cls: type) -> dict[str, OperationDeclaration]:
    """What `@operation` noted, by attribute name, inherited methods first, then in the order of the class."""
    found: dict[str, OperationDeclaration] = {}
    for owner in reversed(cls.__mro__):
        for attribute, member in vars(owner).items():
            declaration = getattr(member, _OPERATION, None)
            if isinstance(declaration, OperationDeclaration):
                found[attribute] = declaration
            else:
                found.pop(attribute, None)
    return found
