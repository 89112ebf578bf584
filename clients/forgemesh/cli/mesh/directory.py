"""The data directory of a local mesh: one mesh at a time, its databases, its logs, and where it listens."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from forgemesh.chassis.file_lock import Taken, take
from forgemesh.chassis.private_files import make_private_folder
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from forgemesh.client.mesh_file import FILE_NAME, MeshFacts, read_mesh


@dataclass(slots=True)
class DataDirectory:
    """A data directory that is held by this process, by its open descriptor."""

    path: Path
    _held: int
    _facts: MeshFacts | None = None

    @property
    def logs(self) -> Path:
        """Where the output of all processes goes."""
        return self.path / "logs"

    def log(self, service: str) -> Path:
        """Where a service's output goes."""
        return self.logs / f"{service}.log"

    def publish(self, facts: MeshFacts) -> None:
        """Say where the mesh listens; readers see the old file or the new one, never a part."""
        self._facts = facts
        text = msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n"
        handle, name = tempfile.mkstemp(prefix=".mesh-", dir=self.path)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
            Path(name).rename(self.path / FILE_NAME)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def withdraw(self) -> None:
        """Nothing listens any more."""
        self._facts = None
        if self._is_in_place():
            (self.path / FILE_NAME).unlink(missing_ok=True)

    def restore(self) -> bool:
        """
        Make anew, and hold, what was removed or replaced; whether that was the folder itself.

        Raises Problem if it cannot be made, or if another mesh holds what has taken its place.
        """
        gone = not self._is_in_place()
        if gone:
            before, self._held = self._held, _hold(self.path)
            os.close(before)
        try:
            self.make_logs()
            if self._facts is not None and not (self.path / FILE_NAME).exists():
                self.publish(self._facts)
        except OSError as error:
            raise _unusable(self.path, error) from error
        return gone

    def make_logs(self) -> None:
        """The folder for the logs; raises OSError."""
        make_private_folder(self.logs)

    def _is_in_place(self) -> bool:
        with suppress(OSError):
            return os.path.samestat(self.path.stat(), os.fstat(self._held))
        return False

    def release(self) -> None:
        """Let another mesh have it."""
        with suppress(OSError):
            self.withdraw()
        os.close(self._held)


@contextmanager
def holding(path: Path) -> Iterator[DataDirectory]:
    """
    Hold a data directory, which is made if it is missing, until the block or the process ends; nobody else can read it.

    Raises Problem if another mesh holds it or it cannot be written to.
    """
    directory = DataDirectory(path, _hold(path))
    try:
        try:
            directory.withdraw()
            directory.make_logs()
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise _unusable(path, error) from error
        yield directory
    finally:
        directory.release()


def _hold(path: Path) -> int:
    """The descriptor of the folder, which no other mesh holds then."""
    try:
        make_private_folder(path)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        take(held)
    except Taken as taken:
        os.close(held)
        raise _occupied(path, taken.pid) from taken
    return held


def is_held(path: Path) -> bool:
    """Whether a process holds the data directory now."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _occupied(path: Path, pid: int | None) -> Problem:
    facts = read_mesh(path)
    if facts is None:
        what = f"another mesh{f' (pid {pid})' if pid else ''} is starting or stopping in {path}"
    else:
        orchestrator = facts.services.get("orchestrator")
        place = f", orchestrator at {orchestrator.address}" if orchestrator else ""
        what = f"a mesh runs in {path} already (pid {facts.pid}{place})"
    return Problem(
        ExitCode.REFUSED,
        what,
        reason="MESH_RUNNING",
        hint=f"stop it with: forgemesh down --data-dir {path}       or take another --data-dir",
    )


def _unusable(path: Path, error: OSError) -> Problem:
    inside = f"{error.filename}: " if error.filename and Path(error.filename) != path else ""
    return Problem(
        ExitCode.FAILED,
        f"the data directory {path} cannot be used: {inside}{error.strerror}",
        reason="DATA_DIRECTORY_UNUSABLE",
        hint="make it a folder that you may write to, or take another --data-dir",
    )
