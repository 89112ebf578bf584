"""Brings a plugin into this process: import, check, make, start, configure, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgemesh import plugin as sdk
from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.supervisor.v1 import attach_pb2, host_pb2
from forgemesh.plugin import (
    ConfigurationError,
    OperationDefinition,
    PluginDefinition,
    PluginDefinitionError,
    PluginImportError,
    manifest_of,
)
from forgemesh.plugin_host.host.plugin.authors_code import AuthorsCodeEnded, authors_code, called, said_of
from forgemesh.plugin_host.host.plugin.hook_time import TookTooLong, at_most
from forgemesh.plugin_host.host.plugin.start_failure import PluginNotLoaded, StartFailed
from forgemesh.plugin_host.host.plugin.state import restored_arguments, saved_state
from forgemesh.plugin_host.scope import EndedEarly, interrupted_by

_log = logging.getLogger(__name__)

LONGEST_CHANGE = 30.0
"""Seconds that a plugin has to stop, and, unless its supervisor says otherwise, to be configured or save its state."""
_TAKES_NONE = "the plugin takes no configuration"
_HEARD_TOO_LATE = "it heard of it too late: the process was busy with something else"


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


class Plugin:
    """A plugin that can be called."""

    def __init__(self, definition: PluginDefinition, made: Any, config: Any, config_revision: int = 0) -> None:
        self.definition = definition
        self.manifest: manifest_pb2.Manifest = manifest_of(definition)
        self.operations: Mapping[str, Operation] = {
            name: Operation(operation, getattr(made, operation.attribute))
            for name, operation in definition.operations.items()
        }
        self.config_revision = config_revision
        self._made = made
        self._config = config

    async def configure(self, config: str, revision: int, within: float = LONGEST_CHANGE) -> attach_pb2.ConfigureResult:
        """
        Take another configuration on, within `within` seconds.

        One that the plugin refuses, or takes longer for, is undone by giving it the one before again, for which it has
        as long; one that it does not take back either leaves it `unsettled`.
        """
        result = attach_pb2.ConfigureResult(revision=revision)
        try:
            wanted = _read_config(self.definition, config)
        except ConfigurationError as error:
            result.refusal = str(error)
            return result
        if _hook(self._made, "configure") is None:
            result.needs_restart = True
            return result
        if within <= 0:
            result.refusal = _HEARD_TOO_LATE
            return result
        try:
            async with at_most(within):
                await _call_if_there(self._made, "configure", wanted)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            _log.exception("plugin %s refuses configuration %d", self.definition.plugin_id, revision)
            result.refusal = _cause(error)
            result.unsettled = not await self._rolled_back(within)
            return result
        self._config, self.config_revision = wanted, revision
        return result

    async def save_state(self, within: float = LONGEST_CHANGE) -> attach_pb2.SavedState:
        """What a successor begins with; one that takes more than `within` seconds is a failure, and no state."""
        hook = _hook(self._made, "save_state")
        state = attach_pb2.SavedState(plugin_version=self.definition.version)
        if hook is None:
            return state
        if within <= 0:
            state.failure = _HEARD_TOO_LATE
            return state
        try:
            async with at_most(within):
                with authors_code():
                    saved = saved_state(await called(hook))
            state.payload.CopyFrom(saved)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            _log.exception("plugin %s cannot save its state", self.definition.plugin_id)
            state.failure = _cause(error)
        return state

    async def _rolled_back(self, within: float) -> bool:
        try:
            async with at_most(within):
                await _call_if_there(self._made, "configure", self._config)
        except Exception:  # noqa: BLE001 - the author's code may raise anything
            _log.exception("plugin %s does not take its old configuration back either", self.definition.plugin_id)
            return False
        return True


_NOTHING = Beginning()


@contextlib.asynccontextmanager
async def started(
    definition: PluginDefinition,
    beginning: Beginning = _NOTHING,
    *,
    timeout: float = 0,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[Plugin]:
    """
    The plugin, made, started and given the state of its predecessor; stopped when the block ends.

    Raises StartFailed, also if that takes more than `timeout` seconds (0: as long as it takes), and EndedEarly if
    `stop` is set meanwhile; the traceback of the author's code goes to the log.
    """
    plugin_id = definition.plugin_id
    try:
        config = _read_config(definition, beginning.config)
    except ConfigurationError as error:
        raise StartFailed(host_pb2.HOST_PHASE_CONFIG, f"cannot configure plugin {plugin_id}: {error}") from error
    try:
        async with asyncio.timeout(timeout or None) as patience, interrupted_by(stop or asyncio.Event()):
            with authors_code():
                made = definition.make(config)
            await _call_if_there(made, "start")
            await _restore(made, beginning.state)
    except EndedEarly:
        raise
    except Exception as error:
        late = isinstance(error, TimeoutError) and patience.expired()
        said = f"it has not started within {timeout:g} s" if late else f"it does not start: {said_of(error)}"
        _log.exception("plugin %s does not start", plugin_id)
        raise PluginNotLoaded(plugin_id, said, host_pb2.HOST_PHASE_INIT, error=error) from error
    try:
        yield Plugin(definition, made, config, beginning.config_revision)
    finally:
        await _stop(made, plugin_id)


def load_definition(load: str, directories: Sequence[str]) -> PluginDefinition:
    """Import and check the plugin, without making it; `directories` come first on sys.path. Raises PluginNotLoaded."""
    try:
        with authors_code():
            return sdk.load_definition(load, directories)
    except PluginImportError as error:
        if error.__cause__ is not None:
            _log.error("%s cannot be imported", load, exc_info=error.__cause__)
        raise PluginNotLoaded(load, str(error), error=error.__cause__) from error
    except (PluginDefinitionError, AuthorsCodeEnded) as error:
        raise PluginNotLoaded(load, str(error)) from error


def _cause(error: Exception) -> str:
    """What went wrong in a hook, for people."""
    return str(error) if isinstance(error, TookTooLong) else said_of(error)


def _read_config(definition: PluginDefinition, text: str) -> Any:
    if definition.configuration is not None:
        try:
            with authors_code():
                return definition.configuration.read(text)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError([said_of(error)]) from error
    if text and text.strip() != "{}":
        raise ConfigurationError([_TAKES_NONE])
    return None


async def _restore(made: object, state: attach_pb2.SavedState | None) -> None:
    hook = _hook(made, "restore_state")
    if hook is not None and state is not None and state.HasField("payload"):
        with authors_code():
            arguments = restored_arguments(hook, state)
        await called(hook, *arguments)


async def _stop(made: object, plugin_id: str) -> None:
    """A plugin that fails while stopping does not keep its host from stopping."""
    try:
        async with asyncio.timeout(LONGEST_CHANGE):
            await _call_if_there(made, "stop")
    except Exception:  # noqa: BLE001 - the author's code may raise anything
        _log.exception("plugin %s failed while stopping", plugin_id)


async def _call_if_there(made: object, name: str, *arguments: Any) -> None:
    hook = _hook(made, name)
    if hook is not None:
        await called(hook, *arguments)


def _hook(made: object, name: str) -> Callable[..., Any] | None:
    """The method of that name, unless it is an operation."""
    method = getattr(made, name, None)
    return None if method is None or hasattr(method, "__forgemesh_operation__") else method
