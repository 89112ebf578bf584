"""Brings a plugin into this process: import, check, make, start, stop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.supervisor.v1 import attach_pb2, host_pb2
from forgemesh.plugin import OperationDefinition, PluginDefinition, PluginDefinitionError, define, manifest_of
from forgemesh.plugin_host.start_failure import PluginNotLoaded, StartFailed

_log = logging.getLogger(__name__)

_TAKES_NONE = "the plugin takes no configuration"


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation bound to the plugin's one object."""

    definition: OperationDefinition
    method: Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a plugin starts with: its configuration as JSON text, and what its predecessor left for it."""

    config: str = ""
    config_revision: int = 0
    state: attach_pb2.SavedState | None = None


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that can be called."""

    definition: PluginDefinition
    manifest: manifest_pb2.Manifest
    operations: Mapping[str, Operation]

    async def configure(self, config: str, revision: int) -> attach_pb2.ConfigureResult:
        """Take another configuration on, or say why not."""
        return attach_pb2.ConfigureResult(revision=revision, refusal=_TAKES_NONE)

    async def save_state(self) -> attach_pb2.SavedState:
        """What a successor begins with."""
        return attach_pb2.SavedState(plugin_version=self.definition.version)


_NOTHING = Beginning()


@contextlib.asynccontextmanager
async def started(
    definition: PluginDefinition, beginning: Beginning = _NOTHING, *, timeout: float = 0
) -> AsyncIterator[Plugin]:
    """
    The plugin, made and started; stopped when the block ends.

    Raises StartFailed, also if starting takes more than `timeout` seconds (0: as long as it takes); the traceback of
    the author's code goes to the log.
    """
    if beginning.config:
        raise StartFailed(host_pb2.HOST_PHASE_CONFIG, f"cannot configure plugin {definition.plugin_id}: {_TAKES_NONE}")
    try:
        async with asyncio.timeout(timeout or None) as patience:
            made = definition.cls()
            await _call_if_there(made, "start")
    except (Exception, SystemExit) as error:
        late = isinstance(error, TimeoutError) and patience.expired()
        said = f"it has not started within {timeout:g} s" if late else f"it does not start: {_said(error)}"
        _log.exception("plugin %s does not start", definition.plugin_id)
        raise PluginNotLoaded(definition.plugin_id, said, host_pb2.HOST_PHASE_INIT) from error
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
    except (Exception, SystemExit) as error:
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


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
