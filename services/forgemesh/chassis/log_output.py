"""Where a process writes its log: what repeats itself is counted, and a file does not grow for ever."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from forgemesh.chassis.private_files import open_private
from forgemesh.chassis.threads import start_thread

LOG_FILE = "FORGEMESH_LOG_FILE"
"""
Names the file to which standard error goes, if this process is to keep it from growing for ever, and to go on in a new
one when it is removed or replaced.
"""
LARGEST_FILE = 10 * 1024 * 1024
"""Bytes; a file that is as large becomes `<name>.1`, in place of the one before."""
WINDOW = 10.0
SAME = 10
"""Records that are the same but for their moment, written within WINDOW seconds; more are counted."""
ALIKE = 500
"""Records of our own that say the same of different things, written within WINDOW seconds; more are counted."""
_PERIOD = 1.0
_REMEMBERED = 1000
_MOMENT = len('{"at": "2026-11-23T02:59:23.837Z"')
_OURS = "forgemesh."
_SHOWN = 300


@dataclass(slots=True)
class _Kind:
    """Records of one kind since the first of them; `left_out` of them were not written."""

    until: float
    level: int
    logger: str
    message: str
    written: int = 0
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not written."""

    level: int
    logger: str
    message: str
    number: int


class Repetitions:
    """Counts records by kind; `clock` is in seconds. Of more kinds than are remembered the oldest is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[object, _Kind] = {}

    def admits(self, key: object, most: int, record: logging.LogRecord) -> bool:
        """Whether one more record of this kind is written."""
        kind = self._kinds.get(key)
        if kind is None:
            message = record.getMessage()[:_SHOWN]
            kind = self._kinds[key] = _Kind(self._clock() + WINDOW, record.levelno, record.name, message)
        if kind.written < most:
            kind.written += 1
            return True
        kind.left_out += 1
        return False

    def over(self) -> Iterator[LeftOut]:
        """What was left out of the kinds whose window has ended, which begin anew."""
        now = self._clock()
        for key, kind in list(self._kinds.items()):
            if kind.until > now and len(self._kinds) <= _REMEMBERED:
                return  # they are in the order of their beginnings
            del self._kinds[key]
            if kind.left_out:
                yield LeftOut(kind.level, kind.logger, kind.message, kind.left_out)


class LogOutput(logging.StreamHandler[TextIO]):
    """Writes records to a stream; `clock` is in seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._same, self._alike = Repetitions(clock), Repetitions(clock)
        self._closed = threading.Event()
        self._file = Path(named).absolute() if (named := os.environ.pop(LOG_FILE, "")) else None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless there were too many of its kind."""
        try:
            self._tell()
            text = self.format(record)
            ours = record.name.startswith(_OURS) and record.args
            if not self._same.admits(text[_MOMENT:], SAME, record):
                return
            if ours and not self._alike.admits((record.name, record.levelno, record.msg), ALIKE, record):
                return
            self._write(text)
        except Exception:  # noqa: BLE001 - as logging has it: a log never ends what it is about
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - it is logging's name
        """Say on stderr that a record could not be written; that may fail as well."""
        with contextlib.suppress(Exception):
            super().handleError(record)

    def look_after(self) -> None:
        """Tell what was left out lately, and begin another file if this one is large."""
        with self.lock or contextlib.nullcontext():
            self._tell()
            if self._file is not None:
                self._rotate(self._file)

    def keep(self) -> None:
        """Look after it, in a thread, until it is closed."""
        start_thread("log-output", self._keep)

    def close(self) -> None:
        """Look after it no more."""
        self._closed.set()
        super().close()

    def _keep(self) -> None:
        while not self._closed.wait(_PERIOD):
            with contextlib.suppress(Exception):
                self.look_after()

    def _tell(self) -> None:
        for left_out in (*self._same.over(), *self._alike.over()):
            record = logging.LogRecord(
                left_out.logger,
                left_out.level,
                "",
                0,
                "%d more like this were left out in %d s: %s",
                (left_out.number, WINDOW, left_out.message),
                None,
            )
            record.left_out = left_out.number
            self._write(self.format(record))

    def _write(self, text: str) -> None:
        self.stream.write(text + self.terminator)
        self.flush()

    def _rotate(self, file: Path) -> None:
        """
        Let the standard streams go to a new file of this name if theirs is large, or no longer has that name.

        The large one is moved aside; one that somebody else has removed or replaced is left alone.
        """
        error = self.stream.fileno()
        written = os.fstat(error)
        if not stat.S_ISREG(written.st_mode):
            return
        if _is_at(file, written):
            if written.st_size < LARGEST_FILE:
                return
            file.replace(f"{file}.1")
        fresh = open_private(file, os.O_WRONLY | os.O_APPEND)
        try:
            for descriptor in {1, 2, error}:
                with contextlib.suppress(OSError):
                    one = os.fstat(descriptor)
                    if (one.st_dev, one.st_ino) == (written.st_dev, written.st_ino):
                        os.dup2(fresh, descriptor)
        finally:
            os.close(fresh)


def _is_at(path: Path, file: os.stat_result) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), file)
    return False
