"""What a host writes: always read, kept in a bounded log file, its last line remembered."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

LONGEST_LINE = 16 * 1024
LARGEST_FILE = 10 * 1024 * 1024
CONTINUED = "…\n".encode()
_LONGEST_REASON = 500
_NO_DISK = (OSError, ValueError)  # the latter once the file could not be opened again


class OutputLog:
    """
    The log file of one instance over its restarts.

    A line longer than LONGEST_LINE is split, each piece but the last ends in "…". A file that has grown to
    LARGEST_FILE becomes `<name>.1` in place of the one before. A disk that takes nothing more costs the log, not the
    host.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")
        self._line = bytearray()
        self._last = b""

    @property
    def last_line(self) -> str:
        """The last line that is not empty, for people: of a log record only what it says."""
        text = self._last.decode(errors="replace").strip()
        with contextlib.suppress(ValueError, TypeError, KeyError):
            text = str(json.loads(text)["message"])
        return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"

    def add(self, chunk: bytes) -> None:
        """Whatever came out of the pipe, lines or parts of lines."""
        self._line += chunk
        *lines, rest = self._line.split(b"\n")
        for line in lines:
            self._write_line(bytes(line))
        while len(rest) > LONGEST_LINE:
            self._write(bytes(rest[:LONGEST_LINE]) + CONTINUED)
            del rest[:LONGEST_LINE]
        self._line = rest
        self._flush()

    def forget(self) -> None:
        """A new process writes from here on: the last line is no longer its own."""
        self._last = b""

    def note(self, text: str) -> None:
        """A line of the supervisor's own; does not count as the host's last one."""
        self._write(f"supervisor: {text}\n".encode())
        self._flush()

    def end(self) -> None:
        """The pipe is closed: what is left is a line."""
        if self._line:
            self._write_line(bytes(self._line))
            self._line = bytearray()
        self._flush()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(*_NO_DISK):
            self._file.close()

    def _write_line(self, line: bytes) -> None:
        if line.strip():
            self._last = line
        while len(line) > LONGEST_LINE:
            self._write(line[:LONGEST_LINE] + CONTINUED)
            line = line[LONGEST_LINE:]
        self._write(line + b"\n")

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(*_NO_DISK):
            self._file.write(data)

    def _flush(self) -> None:
        with contextlib.suppress(*_NO_DISK):
            self._file.flush()
            if self._file.tell() >= LARGEST_FILE:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = self._path.open("ab")
