"""What a host writes: always read, kept in a bounded log file, its last lines remembered and told to who follows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from forgemesh.chassis.private_files import make_private_folder, open_private
from forgemesh.plugin_host.supervisor.processes.last_words import last_words
from forgemesh.plugin_host.supervisor.processes.log_excerpt import excerpt

LONGEST_LINE = 16 * 1024
LONGEST_RECORD = 128 * 1024
"""Bytes of a log record whose end is waited for; what is longer is no record, but pieces."""
LARGEST_FILE = 10 * 1024 * 1024
CONTINUED = "…\n".encode()
REMEMBERED = 1000
LONGEST_REMEMBERED = 1024
"""Bytes of a line that are remembered, unless it is a log record; the file holds all of it."""
FOLLOWED = 1000
_OWN = "supervisor: "
"""How lines of the supervisor's own begin."""
_NO_DISK = (OSError, ValueError)  # the latter once the file could not be opened again


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line as it came, and how many before it were left out because their reader was too slow."""

    source: str
    at: float
    text: str
    dropped: int = 0


class Follower:
    """A bounded queue of lines: who reads too slowly loses some, and is told how many."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque()
        self._dropped = 0
        self._came = asyncio.Event()
        self._over = False

    def end(self) -> None:
        """No line will come any more."""
        self._over = True
        self._came.set()

    def skip(self, number: int) -> None:
        """So many lines have come that nobody remembers."""
        self._dropped += number

    def tell(self, line: LogLine) -> None:
        """A line has come."""
        if len(self._lines) >= FOLLOWED:
            self._lines.popleft()
            self._dropped += 1
        self._lines.append(line)
        self._came.set()

    async def lines(self) -> AsyncIterator[LogLine]:
        """Each line as it comes, until `end`."""
        while self._lines or not self._over:
            while self._lines:
                line = self._lines.popleft()
                dropped, self._dropped = self._dropped, 0
                yield LogLine(line.source, line.at, line.text, dropped)
            if not self._over:
                self._came.clear()
                await self._came.wait()


class OutputLog:
    """
    The log file of one instance over its restarts.

    What comes at once is written at once, and no more lines of it are looked at than are remembered: short lines cost
    little however many they are. A line longer than LONGEST_LINE is split, each piece but the last ends in "…". Of a
    long log record an excerpt is remembered that is a record too. A file that has grown to LARGEST_FILE becomes
    `<name>.1` in place of the one before. A file that was removed or replaced is opened anew. A disk that takes nothing
    more costs the log, not the host.
    """

    def __init__(self, path: Path, *, source: str = "", clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._source = source
        self._clock = clock
        self._file = _opened(path)
        self._closed = False
        self._line = bytearray()
        self._said = 0
        self._unwritten: list[bytes] = []
        self._untold: list[bytes | str] = []
        self._remembered: deque[LogLine] = deque(maxlen=REMEMBERED)
        self._followers: set[Follower] = set()

    @property
    def last_words(self) -> str:
        """What the newest process has said that tells why it ended, for people."""
        said = list(self._remembered)[-self._said :] if self._said else []
        return last_words([line.text for line in said if not line.text.startswith(_OWN)])

    def tail(self, count: int) -> list[LogLine]:
        """The last lines that are remembered."""
        return list(self._remembered)[-count:] if count > 0 else []

    def follow(self, follower: Follower) -> None:
        """It gets every line from now on."""
        self._followers.add(follower)

    def unfollow(self, follower: Follower) -> None:
        """It gets no more."""
        self._followers.discard(follower)

    def add(self, chunk: bytes) -> None:
        """Whatever came out of the pipe, lines or parts of lines."""
        self._line += chunk
        *lines, rest = self._line.split(b"\n")
        for line in lines:
            self._write_line(bytes(line))
        while len(rest) > (LONGEST_RECORD if rest.startswith(b"{") else LONGEST_LINE):
            self._write_piece(bytes(rest[:LONGEST_LINE]))
            del rest[:LONGEST_LINE]
        self._line = rest
        self._flush()

    def forget(self) -> None:
        """A new process writes from here on: the lines before are no longer its own."""
        self._said = 0

    def note(self, text: str) -> None:
        """A line of the supervisor's own; does not count as one of the host's."""
        line = f"{_OWN}{text}"
        self._unwritten.append(f"{line}\n".encode())
        self._untold.append(line)
        self._flush()

    def end(self) -> None:
        """The pipe is closed: what is left is a line."""
        if self._line:
            self._write_line(bytes(self._line))
            self._line = bytearray()
        self._flush()

    def close(self) -> None:
        """Close the file, for good."""
        self._closed = True
        with contextlib.suppress(*_NO_DISK):
            self._file.close()

    def _write_line(self, line: bytes) -> None:
        record = excerpt(line) if len(line) > LONGEST_REMEMBERED else None
        while len(line) > LONGEST_LINE:
            self._write_piece(line[:LONGEST_LINE], remembered=record is None)
            line = line[LONGEST_LINE:]
        self._unwritten.append(line + b"\n")
        self._untold.append(line if record is None else record)

    def _write_piece(self, piece: bytes, *, remembered: bool = True) -> None:
        self._unwritten.append(piece + CONTINUED)
        if remembered:
            self._untold.append(piece if len(piece) > LONGEST_REMEMBERED else piece.decode(errors="replace") + "…")

    def _flush(self) -> None:
        """Write what has come, and tell the newest lines of it."""
        if self._unwritten:
            self._write(b"".join(self._unwritten))
            self._unwritten.clear()
        untold, self._untold = self._untold, []
        self._said += len(untold)
        newest, moment = untold[-REMEMBERED:], self._clock()
        lines = [LogLine(self._source, moment, one if isinstance(one, str) else _cut(one)) for one in newest]
        self._remembered.extend(lines)
        for follower in self._followers:
            follower.skip(len(untold) - len(newest))
            for line in lines:
                follower.tell(line)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(*_NO_DISK):
            if not self._closed and not self._is_in_place():
                self._file.close()
                self._file = _opened(self._path)
            self._file.write(data)
        with contextlib.suppress(*_NO_DISK):
            self._file.flush()
            if self._file.tell() >= LARGEST_FILE:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = _opened(self._path)

    def _is_in_place(self) -> bool:
        with contextlib.suppress(*_NO_DISK):
            return os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        return False


def _opened(path: Path) -> BinaryIO:
    """For its owner's eyes only, as is the folder if that has to be made; raises OSError."""
    if not path.parent.exists():
        make_private_folder(path.parent)
    return os.fdopen(open_private(path, os.O_WRONLY | os.O_APPEND), "ab")


def _cut(line: bytes) -> str:
    text = line[:LONGEST_REMEMBERED].decode(errors="replace").rstrip("\r")
    return text if len(line) <= LONGEST_REMEMBERED else text + "…"
