"""What is being changed, and which configurations count, in a file for the supervisor that comes after."""

from __future__ import annotations

import logging
from collections.abc import Container
from pathlib import Path

import msgspec

from forgemesh.chassis.regular_file import read_file
from forgemesh.plugin_host.supervisor.state.change import Change, Configuration
from forgemesh.plugin_host.supervisor.state.reattach_store import write_atomically

_log = logging.getLogger(__name__)


class _Noted(msgspec.Struct):
    changes: dict[str, Change] = {}
    configurations: dict[str, Configuration] = {}


class Journal:
    """
    The file at `path`, for its owner's eyes only; `changes` and `configurations` are by the name of the plugin.

    It holds what an earlier supervisor left, until that is noted anew. A disk that takes nothing costs a change its
    end by another supervisor, not by this one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted = self._read()

    def change(self, name: str) -> Change | None:
        """The change of a plugin that has not come to its end."""
        return self._noted.changes.get(name)

    def configuration(self, name: str) -> Configuration | None:
        """The configuration of a plugin that was noted last."""
        return self._noted.configurations.get(name)

    def forget_all_but(self, names: Container[str]) -> None:
        """Plugins that are no longer there."""
        for noted in (self._noted.changes, self._noted.configurations):
            for name in [name for name in noted if name not in names]:
                del noted[name]

    def note(self, change: Change) -> None:
        """It has come so far."""
        self._noted.changes[change.name] = change
        self._write()

    def settle(self, name: str, configuration: Configuration) -> None:
        """Nothing is being changed about the plugin, and this is its configuration."""
        changed = self._noted.changes.pop(name, None) is not None
        if changed or self._noted.configurations.get(name) != configuration:
            self._noted.configurations[name] = configuration
            self._write()

    def restore(self) -> None:
        """Write it again if it has gone; raises OSError."""
        if (self._noted.changes or self._noted.configurations) and not self._path.exists():
            write_atomically(self._path, msgspec.json.encode(self._noted))

    def _read(self) -> _Noted:
        if not self._path.exists():
            return _Noted()
        try:
            return msgspec.json.decode(read_file(self._path), type=_Noted)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            _log.warning("cannot read what an earlier supervisor was changing in %s: %s", self._path, error)
            return _Noted()

    def _write(self) -> None:
        try:
            write_atomically(self._path, msgspec.json.encode(self._noted))
        except OSError as error:
            _log.warning("cannot note in %s what is being changed: %s", self._path, error)
