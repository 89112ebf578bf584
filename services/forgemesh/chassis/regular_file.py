"""Reading files of our own under names at which somebody may have put something else."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_file(path: Path) -> bytes:
    """The content of a regular file. Raises OSError, for a pipe as well: who reads from that may wait for ever."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as opened:
        refuse_irregular(path, file)
        return opened.read()


def refuse_irregular(path: Path, file: int) -> None:
    """Raises OSError if what is open there is no file with a content of its own, such as a named pipe."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
