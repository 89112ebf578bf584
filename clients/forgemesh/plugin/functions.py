"""The one object of a plugin that is made of functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from forgemesh.plugin.declaration import DeclaredPlugin


@dataclass(frozen=True, slots=True)
class Function:
    """A function under the name of its attribute; `config` is the parameter that takes the configuration."""

    attribute: str
    function: Callable[..., Any]
    config: str | None


class Functions:
    """Has a method for each function; those that want the configuration get the one that counts at the call."""

    def __init__(self, functions: Iterable[Function], config: Any) -> None:
        self.config = config
        for one in functions:
            setattr(self, one.attribute, self._bound(one))

    def configure(self, config: Any) -> None:
        """Calls that start from now on get this configuration."""
        self.config = config

    def _bound(self, one: Function) -> Callable[..., Any]:
        function, parameter = one.function, one.config
        if parameter is None:
            return function
        return lambda **arguments: function(**arguments, **{parameter: self.config})


def hook_functions(declared: DeclaredPlugin, config: object, note: Callable[[str], None]) -> list[Function]:
    """`start` and `stop`, which take the configuration or nothing; everything wrong is told to `note`."""
    found = []
    for name, function in declared.hooks.items():
        parameters = list(inspect.signature(function).parameters)
        if len(parameters) > (config is not None):
            note(f"{name}: {function.__name__} takes more than the configuration")
        found.append(Function(name, function, parameters[0] if parameters else None))
    return found
