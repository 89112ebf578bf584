"""Files and folders for their owner's eyes only: whatever the umask says, and those from before as well."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from forgemesh.chassis.regular_file import refuse_irregular

_FILE, _FOLDER = 0o600, 0o700


def make_private_folder(path: Path) -> None:
    """
    Make the folder if it is missing, with those above it, and close it to others. Raises OSError.

    A folder that belongs to another user, or that is shared as /tmp is, stays as it is.
    """
    path.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
    keep_private(path, _FOLDER)


def open_private(path: Path, flags: int) -> int:
    """The descriptor of a regular file, which is made if it is missing and closed to others. Raises OSError."""
    file = os.open(path, flags | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, _FILE)
    try:
        refuse_irregular(path, file)
        keep_private(file)
    except OSError:
        os.close(file)
        raise
    return file


def write_once(path: Path, text: str) -> None:
    """
    Put the text into a file that is not there yet, closed to others; it is there whole or not at all.

    Raises OSError, FileExistsError if the file is there by now.
    """
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE)
    try:
        with os.fdopen(file, "w", encoding="ascii") as made:
            keep_private(file)
            made.write(text)
            made.flush()
            os.fsync(file)
        path.hardlink_to(unfinished)
    finally:
        unfinished.unlink()


def keep_private(target: int | Path, mode: int = _FILE) -> None:
    """Close what belongs to this user to all others, be it a file or a folder; a device stays as it is."""
    found = os.stat(target)  # noqa: PTH116 - of a descriptor, too
    ours = found.st_uid == os.geteuid() and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))
    if ours and not found.st_mode & stat.S_ISVTX and stat.S_IMODE(found.st_mode) != mode:
        os.chmod(target, mode)  # noqa: PTH101
