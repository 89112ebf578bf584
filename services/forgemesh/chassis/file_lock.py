"""A file that one process at a time has, and which process that is."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

_LOCKS = Path("/proc/locks")


class Taken(Exception):
    """Another process has the file; `pid` is its id, or None if the system does not say."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"process {pid} has it" if pid else "another process has it")
        self.pid = pid

    @property
    def remedy(self) -> str:
        """What to type next."""
        return f"stop it with: kill {self.pid}" if self.pid else "stop that one"


def take(file: int) -> None:
    """Have the open file until it is closed or this process ends; raises Taken."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Taken(holder_of(file)) from error


def holder_of(file: int) -> int | None:
    """The id of the process that has the file, as far as the system says it."""
    found = os.fstat(file)
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    by_file: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for line in _LOCKS.read_text().splitlines():
            words = line.split()
            if "FLOCK" in words and words[1] != "->":
                by_file[words[5]] = int(words[4])
    inode = f":{found.st_ino}"
    exact = by_file.get(device + inode)  # some file systems show another device there
    pid = exact or next((one for name, one in by_file.items() if name.endswith(inode)), None)
    return pid if pid is not None and pid > 0 else None
