"""Processes that outlive their supervisor, noted in a file for the one that comes after."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import msgspec

from forgemesh.chassis.private_files import make_private_folder
from forgemesh.chassis.regular_file import read_file
from forgemesh.plugin_host.supervisor.processes.runner import ProcessIdentity

_log = logging.getLogger(__name__)


class ReattachRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A process by its id and the time of its start, which together never mean another one, and its secret.

    `mark` is that of all that it has started, 0 if that does not end with it; `tenure` that of its host.
    """

    instance_id: str
    name: str
    pid: int
    started: str
    token: str
    mark: int = 0
    tenure: str = ""

    @property
    def identity(self) -> ProcessIdentity:
        """The process."""
        return ProcessIdentity(pid=self.pid, started=self.started, mark=self.mark)


class ReattachStore:
    """
    The file at `path`, for its owner's eyes only, as it holds secrets; beside it, at `address_path`, where the
    supervisor listens that noted them last. Neither is there unless there was something to note.
    """

    def __init__(self, path: Path, address_path: Path) -> None:
        self._path = path
        self._address_path = address_path
        self._noted: dict[str, ReattachRecord] = {}
        self._address = ""

    def left(self) -> list[ReattachRecord]:
        """Those that an earlier supervisor has noted, running or not; a file that cannot be read names none."""
        if not self._path.exists():
            return []
        try:
            found = msgspec.json.decode(read_file(self._path), type=list[ReattachRecord])
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            _log.warning("cannot read which processes an earlier supervisor left in %s: %s", self._path, error)
            return []
        return found

    def note(self, reattach_record: ReattachRecord, address: str) -> None:
        """It may be found again; until then it finds its supervisor at `address`."""
        self._noted[reattach_record.instance_id] = reattach_record
        self._address = address
        self._write(self._address_path, address.encode())
        self._write_noted()

    def restore(self) -> None:
        """Write again what has gone of it; raises OSError."""
        if self._noted and not (self._path.exists() and self._address_path.exists()):
            write_atomically(self._address_path, self._address.encode())
            write_atomically(self._path, self._encoded())

    def forget(self, instance_id: str) -> None:
        """Its process has ended."""
        if self._noted.pop(instance_id, None) is not None:
            self._write_noted()

    def _write_noted(self) -> None:
        self._write(self._path, self._encoded())

    def _encoded(self) -> bytes:
        return msgspec.json.encode(list(self._noted.values()))

    def _write(self, path: Path, content: bytes) -> None:
        """A disk that takes nothing costs what is to be reattached its successor, not the host its start."""
        try:
            write_atomically(path, content)
        except OSError as error:
            _log.warning("cannot note in %s which processes may be found again: %s", path, error)


def write_atomically(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, never a part; only its owner can read it."""
    if not path.parent.exists():
        make_private_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
