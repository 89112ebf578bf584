"""Rows of text: aligned columns, in colour on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from forgemesh.chassis.foreign_text import printable

_GAP = 2
_SENTENCE = 24
"""What is at most so long and has spaces is a moment or a state, and stays on one line."""
_GOOD = "green"
_BAD = "red"
_BUSY = "yellow"
STYLES = {
    "serving": _GOOD,
    "ready": _GOOD,
    "succeeded": _GOOD,
    "running": "cyan",
    "starting": _BUSY,
    "draining": _BUSY,
    "waiting": _BUSY,
    "blocked": _BUSY,
    "handshaking": _BUSY,
    "initializing": _BUSY,
    "degraded": _BUSY,
    "suspect": _BUSY,
    "backoff": _BAD,
    "crash loop": _BAD,
    "quarantined": _BAD,
    "disabled": _BAD,
    "stopped": _BAD,
    "not serving": _BAD,
    "unreachable": _BAD,
    "failed": _BAD,
    "done": _GOOD,
    "refused": _BAD,
    "queued": _BUSY,
    "pausing": _BUSY,
    "paused": _BUSY,
    "cancelling": _BUSY,
    "compensating": _BUSY,
    "cancelled": _BAD,
    "terminated": _BAD,
    "timed out": _BAD,
    "compensated": _BAD,
    "compensation failed": _BAD,
    "incident": _BAD,
    "in doubt": _BAD,
    "skipped": "dim",
    "closed": _GOOD,
    "half open": _BUSY,
    "metrics only": _BUSY,
    "forced closed": _BUSY,
    "open": _BAD,
    "forced open": _BAD,
}


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows of cells; an empty cell is shown as "-"."""

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """One more row."""
        self.rows.append(tuple("-" if cell in ("", None) else printable(str(cell)) for cell in cells))

    def lines(self) -> list[str]:
        """The table as plain text; every column but the last is padded."""
        everything = [self.headings, *self.rows]
        widths = [max(len(row[column]) for row in everything) for column in range(len(self.headings))]
        return [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in everything
        ]


def write_table(table: Table, stream: TextIO) -> None:
    """
    Plain off a terminal, so that other programs can read it; in colour and fitted to the width on one.

    Only sentences are fitted, between words: ids stay whole, so that they can be copied. Where that does not fit, each
    row is one line, longer than the screen.
    """
    if not stream.isatty():
        stream.write("".join(printable(line) + "\n" for line in table.lines()))
        return
    from rich.cells import cell_len  # noqa: PLC0415 - takes 70 ms, wanted on a terminal only
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=stream, highlight=False)
    columns = _columns(table, cell_len)
    widths = fitted(columns, console.width - _GAP * (len(columns) - 1))
    if widths is None:
        for row in (table.headings, *table.rows):
            line = Text(style="bold" if row is table.headings else "")
            for cell, (width, _) in zip(row, columns, strict=True):
                line.append(printable(cell), style=STYLES.get(cell, "")).append(" " * (width + _GAP - cell_len(cell)))
            line.rstrip()
            console.print(line, soft_wrap=True)
        return
    drawn = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for heading, column_width in zip(table.headings, widths, strict=True):
        drawn.add_column(heading, width=column_width, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell), style=STYLES.get(cell, "")) for cell in row))
    console.print(drawn)


def fitted(columns: Sequence[tuple[int, int]], room: int) -> list[int] | None:
    """Widths that fit into `room` cells, if there are; of each column how wide it would be, and must be at least."""
    if sum(least for _, least in columns) > room:
        return None
    widths = [max(least, min(width, room)) for width, least in columns]
    while sum(widths) > room:
        able = [place for place, (_, least) in enumerate(columns) if widths[place] > least]
        widths[max(able, key=lambda place: widths[place])] -= 1
    return widths


def _columns(table: Table, width_of: Callable[[str], int]) -> list[tuple[int, int]]:
    """What `fitted` wants: a column with sentences may be as narrow as its longest word, others keep their width."""
    found: list[tuple[int, int]] = []
    for heading, *cells in zip(table.headings, *table.rows, strict=True):
        widest = max(map(width_of, (heading, *cells)))
        words = [word for cell in (heading, *cells) for word in cell.split()]
        sentences = any(" " in cell and width_of(cell) > _SENTENCE for cell in cells)
        found.append((widest, max(map(width_of, words), default=0) if sentences else widest))
    return found


def word(name: str, prefix: str) -> str:
    """An enum value's name for people: HOST_STATE_READY with its prefix is "ready"."""
    return name.removeprefix(prefix).lower().replace("_", " ")


def joined(parts: Sequence[str]) -> str:
    """The parts that say something, with a dot between them."""
    return " · ".join(part for part in parts if part)
