"""Where the characters of a YAML scalar's value stand in the text that it was written in."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
_ESCAPES = {"x": 4, "u": 6, "U": 10}


def lines_of(source: str) -> list[str]:
    """The lines of a text, as YAML counts them."""
    return _BREAK.split(source)


@dataclass(frozen=True, slots=True)
class Scalar:
    """Where a scalar starts (line and column from 0), and its style: empty for plain, else one of ' " | >"""

    line: int
    column: int
    style: str

    def position(self, lines: list[str], offset: int) -> tuple[int, int]:
        """Line and column (from 1) of what stands `offset` characters into the value."""
        if self.style in ("|", ">"):
            line, column = _in_block(lines, self.line, offset, folded=self.style == ">")
        else:
            line, column = _in_flow(lines, self.line, self.column + bool(self.style), offset, self.style)
        return line + 1, column + 1


def _in_block(lines: list[str], header: int, offset: int, *, folded: bool) -> tuple[int, int]:
    """Every line of a block gives its characters and what becomes of the breaks behind them."""
    indent = _indent(lines, header)
    line, left = header + 1, offset
    while line + 1 < len(lines):
        text = lines[line][indent:]
        following, width = _folded_block(lines, line, indent) if folded and text.strip() else (line + 1, 1)
        if left < len(text) + width:
            break
        left -= len(text) + width
        line = following
    return line, indent + left


def _folded_block(lines: list[str], line: int, indent: int) -> tuple[int, int]:
    """As _folded; lines that are indented further keep their breaks, also those around them."""
    following, _, width = _folded(lines, line)
    kept = any(lines[at][indent:].startswith((" ", "\t")) for at in (line, following))
    return following, following - line if kept else width


def _indent(lines: list[str], header: int) -> int:
    for line in lines[header + 1 :]:
        if line.strip():
            return len(line) - len(line.lstrip(" "))
    return 0


def _in_flow(lines: list[str], line: int, column: int, offset: int, style: str) -> tuple[int, int]:
    """Plain and quoted scalars: escapes are longer than what they mean, breaks fold to a blank."""
    left = offset
    while True:
        text = lines[line]
        if style == '"' and text[column:] == "\\" and line + 1 < len(lines):
            line, column = line + 1, _first(lines[line + 1])
            continue
        if left <= 0:
            return line, column
        if not text[column:].strip() and line + 1 < len(lines):
            line, column, width = _folded(lines, line)
        elif style == '"' and text.startswith("\\", column):
            column, width = column + _ESCAPES.get(text[column + 1 : column + 2], 2), 1
        else:
            column, width = column + (2 if style == "'" and text.startswith("''", column) else 1), 1
        left -= width


def _folded(lines: list[str], line: int) -> tuple[int, int, int]:
    """The next line with something in it, its first column there, and how many characters the breaks have become."""
    following = line + 1
    while following + 1 < len(lines) and not lines[following].strip():
        following += 1
    return following, _first(lines[following]), max(1, following - line - 1)


def _first(text: str) -> int:
    return len(text) - len(text.lstrip(" \t"))
