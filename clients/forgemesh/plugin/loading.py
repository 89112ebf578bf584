"""Imports a plugin by its name: "module:attribute", or "entry:NAME" for one that is announced."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from functools import reduce
from importlib import import_module
from typing import Any

from forgemesh.plugin.bytecode import import_current_source
from forgemesh.plugin.declaration import DeclaredPlugin
from forgemesh.plugin.definition import PluginDefinition, define
from forgemesh.plugin.discovery import ENTRY, target_of


class PluginImportError(Exception):
    """What was to be loaded cannot be imported, or is no plugin; its cause is what the author's code raised, if any."""


def load_definition(load: str, directories: Sequence[str] = ()) -> PluginDefinition:
    """
    Import and check a plugin, without making it; `directories` come first on sys.path.

    Raises PluginImportError and PluginDefinitionError.
    """
    import_current_source()
    sys.path[:0] = [directory for directory in directories if directory not in sys.path]
    return define(_imported(*_target(load)))


def _target(load: str) -> tuple[str, str]:
    module, _, name = load.partition(":")
    if module == ENTRY:
        try:
            target = target_of(name)
        except LookupError as error:
            raise PluginImportError(str(error.args[0])) from error
        module, _, name = target.partition(":")
        if not name:
            raise PluginImportError(
                f"entry point {target!r} names a module and no plugin in it; write module:attribute"
            )
    return module.strip(), name.partition("[")[0].strip()


def _imported(module: str, name: str) -> type | DeclaredPlugin:
    try:
        found: Any = import_module(module)
    except (Exception, SystemExit) as error:
        raise PluginImportError(f"{type(error).__name__}: {error}") from error
    try:
        found = reduce(getattr, name.split("."), found)
    except AttributeError:
        raise PluginImportError(f"module {module} has no class {name}") from None
    if not inspect.isclass(found) and not isinstance(found, DeclaredPlugin):
        raise PluginImportError(f"{name} in module {module} is no class and no plugin(...), but {type(found).__name__}")
    return found
