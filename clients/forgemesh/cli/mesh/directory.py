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

from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from forgemesh.client.mesh_file import FILE_NAME, MeshFacts, read_mesh


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A data directory that is held by this process."""

    path: Path

    def log(self, service: str) -> Path:
        """Where a service's output goes."""
        return self.path / "logs" / f"{service}.log"

    def publish(self, facts: MeshFacts) -> None:
        """Say where the mesh listens; readers see the old file or the new one, never a part."""
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
        (self.path / FILE_NAME).unlink(missing_ok=True)


@contextmanager
def holding(path: Path) -> Iterator[DataDirectory]:
    """
    Hold a data directory, which is made if it is missing, until the block or the process ends.

    Raises Problem if another mesh holds it or it cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _occupied(path) from error
        directory = DataDirectory(path)
        try:
            directory.withdraw()
            (path / "logs").mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            yield directory
        finally:
            with suppress(OSError):
                directory.withdraw()
    finally:
        os.close(held)


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


def _occupied(path: Path) -> Problem:
    facts = read_mesh(path)
    if facts is None:
        what = f"another mesh is starting or stopping in {path}"
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
    return Problem(
        ExitCode.FAILED,
        f"the data directory {path} cannot be used: {error.strerror}",
        reason="DATA_DIRECTORY_UNUSABLE",
        hint="make it a folder that you may write to, or take another --data-dir",
    )
