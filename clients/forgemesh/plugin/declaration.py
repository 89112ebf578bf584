"""The decorators. They only take note; `define` checks everything at once, when the plugin is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from forgemesh.plugin.dependency import Requires
from forgemesh.plugin.limits import Limits

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_PLUGIN = "__forgemesh_plugin__"
_OPERATION = "__forgemesh_operation__"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDeclaration:
    """What the author said about a plugin, unchecked."""

    plugin_id: str
    version: str
    provides: Sequence[str]
    max_concurrency: int
    priority: int
    weight: int
    metadata: Mapping[Any, Any]
    description: str | None
    requires: Sequence[str | Requires] = ()
    limits: Limits | None = None
    config: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDeclaration:
    """What the author said about a method, unchecked."""

    name: str | None
    idempotent: bool | None
    cacheable: bool
    timeout: str | float | None
    description: str | None
    strict: bool = False


class DeclaredPlugin:
    """
    What `plugin(...)` gives: decorates the class that is the plugin, or collects the functions that are.

    As a collection it is what is loaded: "module:name".
    """

    def __init__(self, declaration: PluginDeclaration) -> None:
        self.declaration = declaration
        self.functions: list[tuple[Callable[..., Any], OperationDeclaration]] = []
        self.hooks: dict[str, Callable[..., Any]] = {}

    def __call__(self, cls: C) -> C:
        """Declare the class a plugin."""
        setattr(cls, _PLUGIN, self.declaration)
        return cls

    @overload
    def operation(self, function: F) -> F: ...

    @overload
    def operation(
        self,
        *,
        name: str | None = None,
        idempotent: bool | None = None,
        cacheable: bool = False,
        timeout: str | float | None = None,
        description: str | None = None,
        strict: bool = False,
    ) -> Callable[[F], F]: ...

    def operation(self, function: F | None = None, **said: Any) -> F | Callable[[F], F]:
        """Declare a function an operation, as `operation` does with a method; it stays a function."""
        declaration = _operation_declaration(**said)

        def declare(function: F) -> F:
            self.functions.append((function, declaration))
            return function

        return declare if function is None else declare(function)

    def start(self, function: F) -> F:
        """Run the function before the first call."""
        self.hooks["start"] = function
        return function

    def stop(self, function: F) -> F:
        """Run the function after the last call."""
        self.hooks["stop"] = function
        return function


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
    requires: Sequence[str | Requires] = (),
    limits: Limits | None = None,
    config: Any = None,
) -> DeclaredPlugin:
    """
    Declare a plugin: dotted lower-case id, SemVer version, fulfilled interfaces as "name@version".

    Used as a decorator it declares a class; kept as a module's variable it collects functions:

        words = plugin("text.words", version="1.0.0")

        @words.operation
        async def count(text: str) -> int: ...

    `max_concurrency` calls run at a time (0: the host's default), the rest waits. `description` defaults to the first
    paragraph of the docstring of the class, or of the module. `requires` lists plugins as "id@range", and `Requires`
    for everything else. `config` is the type of the configuration: a class gets it as the argument `config` when it is
    made, a function as its parameter of that type.
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
        requires=requires,
        limits=limits,
        config=config,
    )
    return DeclaredPlugin(declaration)


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
    strict: bool = False,
) -> Callable[[F], F]: ...


def operation(method: F | None = None, **said: Any) -> F | Callable[[F], F]:
    """
    Declare a method an operation; it stays a method that can be called directly.

    Its input is a JSON object with a key for each parameter; keys that it has no parameter for are ignored, or refused
    if it is `strict`. A parameter annotated `Context` gets the call's context, a single one annotated `Payload` the
    unread input. `idempotent`: True if a repeated call is harmless, False if it does harm, None if that is unknown:
    then it may be repeated after a crash. `timeout` ("200ms", "5s", "2m" or seconds) counts when the caller sets none.
    """
    declaration = _operation_declaration(**said)

    def declare(function: F) -> F:
        setattr(function, _OPERATION, declaration)
        return function

    return declare if method is None else declare(method)


def _operation_declaration(
    *,
    name: str | None = None,
    idempotent: bool | None = None,
    cacheable: bool = False,
    timeout: str | float | None = None,
    description: str | None = None,
    strict: bool = False,
) -> OperationDeclaration:
    return OperationDeclaration(
        name=name,
        idempotent=idempotent,
        cacheable=cacheable,
        timeout=timeout,
        description=description,
        strict=strict,
    )


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


def is_operation(member: object) -> bool:
    """Whether `@operation` noted something on it."""
    return isinstance(getattr(member, _OPERATION, None), OperationDeclaration)
