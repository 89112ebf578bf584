"""What the processes of a local mesh wrote, for people."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from forgemesh.language.nesting import check_depth

_LOOKED_AT = 16 * 1024


def last_lines(log: Path, number: int) -> list[str]:
    """The newest lines that are not empty, oldest first; of a log record only its message. No file, no lines."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOOKED_AT))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [_message(line) for line in text.splitlines() if line.strip()][-number:]


def last_error(log: Path) -> str:
    """Why a process has ended, if the last line says so."""
    said = "".join(last_lines(log, 1))
    return said if said.startswith("error: ") else ""


def _message(line: str) -> str:
    with suppress(ValueError):
        check_depth(line)
        record = msgspec.json.decode(line)
        if isinstance(record, dict) and "message" in record:
            return str(record["message"])
    return line
