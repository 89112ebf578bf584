"""Processes that outlive their supervisor, noted in a file for the one that comes after."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from forgemesh.plugin_host.supervisor.process import start_time_of

_log = logging.getLogger(__name__)


class Survivor(msgspec.Struct, frozen=True, kw_only=True):
    """A process by its id and the time of its start, which together never mean another one, and its secret."""

    instance_id: str
    name: str
    pid: int
    started: str
    token: str

    @property
    def runs(self) -> bool:
        """Whether this very process still runs."""
        return bool(self.started) and start_time_of(self.pid) == self.started


class Survivors:
    """The file; for its owner's eyes only, as it holds secrets. Without a path nothing is noted."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._noted: dict[str, Survivor] = {}

    def left(self) -> list[Survivor]:
        """Those of an earlier supervisor that still run; a file that cannot be read names none."""
        if self._path is None or not self._path.exists():
            return []
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=list[Survivor])
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            _log.warning("cannot read which processes an earlier supervisor left in %s: %s", self._path, error)
            return []
        return [one for one in found if one.runs]

    def note(self, survivor: Survivor) -> None:
        """It may be found again."""
        self._noted[survivor.instance_id] = survivor
        self._write()

    def forget(self, instance_id: str) -> None:
        """Its process has ended."""
        if self._noted.pop(instance_id, None) is not None:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        write_atomically(self._path, msgspec.json.encode(list(self._noted.values())))


def write_atomically(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, never a part; only its owner can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def end(survivors: Iterable[Survivor]) -> None:
    """Kill processes that nobody has a place for any more, with their groups; never another process."""
    for survivor in survivors:
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(survivor.pid)
            try:
                if survivor.runs:  # looked at while the descriptor holds the process: the id is not another's now
                    _log.warning("ending process %d of %s, left by an earlier supervisor", survivor.pid, survivor.name)
                    os.killpg(survivor.pid, signal.SIGKILL)
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)
