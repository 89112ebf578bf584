"""The files by which one supervisor follows another, which one supervisor at a time has."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from forgemesh.chassis.file_lock import Taken, take
from forgemesh.chassis.files_in_place import LOOK_PERIOD
from forgemesh.chassis.private_files import make_private_folder, open_private
from forgemesh.chassis.process import CannotStart
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings
from forgemesh.plugin_host.supervisor.state.journal import Journal
from forgemesh.plugin_host.supervisor.state.owner_key import read_or_make, write_key
from forgemesh.plugin_host.supervisor.state.reattach_store import ReattachStore


class StateFiles:
    """
    The key of the owner tokens, which processes a successor may find again, and what is being changed; see
    SupervisorSettings.

    What is removed while the supervisor runs is written again from what it knows.
    """

    def __init__(self, settings: SupervisorSettings) -> None:
        self._lock_path = settings.state.with_suffix(".lock")
        self._logs = settings.log_directory
        self._key_path = settings.owner_key
        try:
            self._lock = _taken(self._lock_path)
        except OSError as error:
            raise CannotStart(
                f"the lock {self._lock_path} cannot be used: {error.strerror}; delete it, and let this user write to"
                f" {self._lock_path.parent}"
            ) from error
        self.reattach_store = ReattachStore(settings.state, settings.address_file)
        self.journal = Journal(settings.journal)
        try:
            self.key = read_or_make(self._key_path)
        except CannotStart:
            self.close()
            raise

    async def look_after(self, hinder: Callable[[str, str], Awaitable[None]]) -> None:
        """
        Until cancelled: write again what has gone, and tell `hinder` as long as that cannot be done.

        Raises CannotStart if another supervisor has taken the place of this one.
        """
        while True:
            await asyncio.sleep(LOOK_PERIOD)
            try:
                self.restore()
                trouble = ""
            except OSError as error:
                where = self._lock_path.parent
                trouble = (
                    f"the supervisor's files in {where} are gone and cannot be written again: {error.strerror};"
                    f" let this user write to {where}"
                )
            await hinder("state", trouble)

    def restore(self) -> None:
        """Write again what has gone; raises OSError, and CannotStart as `look_after` does."""
        if not self._is_held():
            before, self._lock = self._lock, _taken(self._lock_path)
            os.close(before)
        make_private_folder(self._logs)
        if not self._key_path.exists():
            write_key(self._key_path, self.key)
        self.reattach_store.restore()
        self.journal.restore()

    def close(self) -> None:
        """Let another supervisor have them."""
        if self._is_held():
            self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)

    def _is_held(self) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(self._lock_path.stat(), os.fstat(self._lock))
        return False


@contextlib.contextmanager
def holding_state(settings: SupervisorSettings) -> Iterator[StateFiles]:
    """The files, and a place for the logs, until the block ends; raises CannotStart if another supervisor has them."""
    make_private_folder(settings.log_directory)
    files = StateFiles(settings)
    try:
        yield files
    finally:
        files.close()


def _taken(path: Path) -> int:
    """The descriptor of the lock, which is the file of that name also after it was taken."""
    while True:
        if not path.parent.exists():
            make_private_folder(path.parent)
        lock = open_private(path, os.O_RDWR)
        try:
            take(lock)
            if os.path.samestat(path.stat(), os.fstat(lock)):
                return lock
        except FileNotFoundError:
            pass  # its holder has removed it in the moment between
        except Taken as taken:
            os.close(lock)
            who = f" (pid {taken.pid})" if taken.pid else ""
            state = path.with_suffix(".json")
            raise CannotStart(
                f"another supervisor{who} keeps its processes in {state}; {taken.remedy}, or give this one a file of"
                " its own: FORGEMESH_SUPERVISOR_STATE"
            ) from taken
        os.close(lock)
