"""Brings a plugin into this process: import, check, make, start, stop."""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.chassis.process import CannotStart
from forgemesh.plugin import OperationDefinition, PluginDefinition, PluginDefinitionError, define, manifest_of

_log = logging.getLogger(__name__)


class PluginNotLoaded(CannotStart):
    """The plugin cannot be imported, checked, made or started."""

    def __init__(self, plugin: str, cause: str) -> None:
        super().__init__(f"cannot load plugin {plugin}: {cause}")


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation bound to the plugin's one object."""

    definition: OperationDefinition
    method: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that can be called."""

    definition: PluginDefinition
    manifest: manifest_pb2.Manifest
    operations: Mapping[str, Operation]


@contextlib.asynccontextmanager
async def started(definition: PluginDefinition) -> AsyncIterator[Plugin]:
    """
    The plugin, made and started; stopped when the block ends.

    Raises PluginNotLoaded; the traceback of the author's code goes to the log.
    """
    try:
        made = definition.cls()
        await _call_if_there(made, "start")
    except Exception as error:
        _log.exception("plugin %s does not start", definition.plugin_id)
        raise PluginNotLoaded(definition.plugin_id, f"it does not start: {_said(error)}") from error
    operations = {
        name: Operation(operation, getattr(made, operation.attribute))
        for name, operation in definition.operations.items()
    }
    try:
        yield Plugin(definition, manifest_of(definition), operations)
    finally:
        await _stop(made, definition.plugin_id)


def load_definition(load: str, directories: Sequence[str]) -> PluginDefinition:
    """Import and check the class, without making it; `directories` come first on sys.path. Raises PluginNotLoaded."""
    sys.path[:0] = [directory for directory in directories if directory not in sys.path]
    module, _, name = load.partition(":")
    try:
        found = import_module(module)
    except Exception as error:
        _log.exception("module %s cannot be imported", module)
        raise PluginNotLoaded(load, _said(error)) from error
    cls = getattr(found, name, None)
    if not inspect.isclass(cls):
        raise PluginNotLoaded(load, f"module {module} has no class {name}")
    try:
        return define(cls)
    except PluginDefinitionError as error:
        raise PluginNotLoaded(load, str(error)) from error


async def _stop(made: object, plugin_id: str) -> None:
    """A plugin that fails while stopping does not keep its host from stopping."""
    try:
        await _call_if_there(made, "stop")
    except Exception:  # noqa: BLE001 - the author's code may raise anything
        _log.exception("plugin %s failed while stopping", plugin_id)


async def _call_if_there(made: object, name: str) -> None:
    method = getattr(made, name, None)
    if method is None or hasattr(method, "__forgemesh_operation__"):
        return
    result = method()
    if inspect.isawaitable(result):
        await result


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
