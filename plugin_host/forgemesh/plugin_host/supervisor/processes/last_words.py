"""What of a process's output says why it ended."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import PurePath

from forgemesh.language.nesting import check_depth

LONGEST = 500
"""Characters; what is longer is cut."""
_FATAL = "Fatal Python error: "
_CURRENT = re.compile(r"Current thread 0x[0-9a-f]+")
_FRAME = re.compile(r'\s+File "(?P<file>[^"]*)", line (?P<line>\d+) in (?P<name>.+)')
_INSTALLED = ("/lib/python3", "/lib64/python3", "/site-packages/", "<frozen ")
_BESIDE_THE_POINT = re.compile(
    r"Extension modules: |(Current thread|Thread) 0x[0-9a-f]+ .*\(most recent call first\):"
    r'|\s+File "[^"]*", line \d+ in '
    r"|\s*(\.\.\.|<no Python frame>)$|\s*$"
)
"""Lines of a dump of stacks."""


def last_words(lines: Sequence[str]) -> str:
    """
    The fault itself: of a fatal error of Python's its name and where it happened, else the last line that is more than
    a part of a dump of stacks, i.e. the exception of a traceback; of a log record what it says. Empty if there is none.
    """
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith(_FATAL):
            return _cut(lines[index].strip() + _place(lines[index + 1 :]))
    for line in reversed(lines):
        if not _BESIDE_THE_POINT.match(line):
            return _cut(_said(line.strip()))
    return ""


def _place(dump: Sequence[str]) -> str:
    """Where the thread stood that failed, and whose code had called that."""
    frames = []
    among = False
    for line in dump:
        frame = _FRAME.match(line)
        if _CURRENT.match(line):
            among = True
        elif among and frame is not None:
            frames.append(frame)
        elif among:
            break
    if not frames:
        return ""
    own = next((frame for frame in frames if not any(part in frame["file"] for part in _INSTALLED)), frames[0])
    called = "" if own is frames[0] else f", called from {_named(own)}"
    return f", at {_named(frames[0])}{called}"


def _named(frame: re.Match[str]) -> str:
    return f"{PurePath(frame['file']).name}:{frame['line']} in {frame['name']}"


def _said(line: str) -> str:
    """Of a log record its message, and the exception that goes with it."""
    try:
        check_depth(line)
        record = json.loads(line)
        message = str(record["message"])
    except (ValueError, TypeError, KeyError):
        return line
    raised = str(record.get("exception") or "").strip().rpartition("\n")[2].strip()
    return message if not raised or raised in message else f"{message}: {raised}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
