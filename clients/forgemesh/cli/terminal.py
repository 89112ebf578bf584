"""
Where a command speaks: data on stdout, talk on stderr, and a question to whoever sits there.

This is the only door to the streams. Much of what commands say was written by others: by plugins, callers, peers and
files. So everything that leaves here is printable; what looks like a sequence of control characters is our own.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from forgemesh.chassis.foreign_text import printable, printable_json
from forgemesh.cli.table import Table, write_table

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from forgemesh.cli.problem import Problem

_COLOURS = {"where": "36", "time": "2", "bar": "34", "error": "31", "aside": "2"}
_END = "\x1b[0m"
_OWN = re.compile(
    "(" + "|".join(re.escape(f"\x1b[{number}m") for number in ("0", *sorted(set(_COLOURS.values())))) + ")"
)


@dataclass(frozen=True, slots=True)
class Terminal:
    """The streams, and whether programs read them (`json`) or people."""

    out: TextIO
    err: TextIO
    json: bool = False
    keyboard: TextIO | None = None

    def is_seen(self) -> bool:
        """Whether data goes to a screen, and not into a file or to another program."""
        return self.out.isatty()

    @property
    def encoding(self) -> str | None:
        """In which characters become bytes; None if nobody says."""
        return self.out.encoding

    def is_coloured(self) -> bool:
        """Whether data may have colours: on a terminal, unless NO_COLOR is set."""
        return self.out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def can_ask(self) -> bool:
        """Whether somebody sits there who could answer."""
        return not self.json and self.err.isatty() and self.keyboard is not None and self.keyboard.isatty()

    def ask(self, question: str) -> bool:
        """Whether the answer is yes; anything but that is no. Ctrl-C ends the command."""
        assert self.keyboard is not None
        self.err.write(printable(question) + " ")
        self.err.flush()
        asyncios = signal.signal(signal.SIGINT, signal.default_int_handler)  # would only cancel what waits here
        try:
            return self.keyboard.readline().strip().lower() in ("y", "yes")
        finally:
            signal.signal(signal.SIGINT, asyncios)

    def data(self, *lines: str) -> None:
        """Lines of what was asked for."""
        _write(self.out, map(printable, lines))

    def talk(self, *lines: str) -> None:
        """Tell people what happens; programs get nothing but data and errors."""
        if not self.json:
            self.report(*lines)

    def report(self, *lines: str) -> None:
        """Lines beside the data, for programs as well: logs, and what a process of the command has written."""
        _write(self.err, map(printable, lines))

    def dress(self, text: str, role: str) -> str:
        """A part of a line for `drawn`, in the colour of its role: name, where, time, bar, error or aside."""
        colour = _COLOURS.get(role) if self.is_coloured() else None
        return f"\x1b[{colour}m{printable(text)}{_END}" if colour else printable(text)

    def drawn(self, lines: Iterable[str]) -> None:
        """Lines of data whose parts are dressed; no sequence passes but those of `dress`."""
        _write(self.out, ("".join(_undressed(part) for part in _OWN.split(line)) for line in lines))

    def table(self, table: Table) -> None:
        """A table as data."""
        write_table(table, self.out)

    def encoded(self, text: str) -> None:
        """JSON as data, on one line or on several."""
        _write(self.out, (printable_json(text),))

    def value(self, value: object) -> None:
        """A value as one line of JSON."""
        self.encoded(json.dumps(value, ensure_ascii=False))

    def message(self, message: Message) -> None:
        """A message of the API as proto3 JSON with the original field names, on one line."""
        self.value(as_value(message))

    def problem(self, problem: Problem) -> None:
        """Why the command ends."""
        if self.json:
            _write(self.err, (printable_json(problem.as_json().rstrip("\n")),))
        else:
            self.report(*problem.as_lines())

    def traceback(self, error: BaseException) -> None:
        """Where an error came from."""
        self.report(*(line for text in traceback.format_exception(error) for line in text.splitlines()))

    async def raw(self, pieces: AsyncIterator[bytes]) -> None:
        """What is no text, as data for another program. On a screen it would be obeyed: look at `is_seen` before."""
        async for piece in pieces:
            self.out.buffer.write(piece)
        self.out.buffer.flush()

    @contextmanager
    def progress(self) -> Iterator[tuple[Callable[[str, str], None], Callable[[str], None]]]:
        """
        How to tell a line and how to tell what is under way; the latter is shown on a terminal only.

        The line comes with the colour of its mark, which is its third character.
        """
        if self.json or not self.err.isatty():
            yield lambda line, colour: self.talk(line), lambda under_way: None
            return
        from rich.console import Console  # noqa: PLC0415 - takes 70 ms, wanted on a terminal only
        from rich.text import Text  # noqa: PLC0415

        console = Console(file=self.err, highlight=False)
        with console.status("") as status:

            def tell(line: str, colour: str) -> None:
                text = Text(printable(line))
                text.stylize(colour, 2, 3)
                console.print(text, soft_wrap=True)

            yield tell, lambda under_way: status.update(Text(printable(under_way), style="dim"))


class LogHandler(logging.Handler):
    """Lets records out through the terminal."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal
        self.setFormatter(logging.Formatter(logging.BASIC_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Each line of the record."""
        try:
            self._terminal.report(*self.format(record).splitlines())
        except Exception:  # noqa: BLE001 - `handleError` would show what came, as it came
            self._terminal.report(f"a log record of {record.name} cannot be shown")


def _write(stream: TextIO, lines: Iterable[str]) -> None:
    stream.write("".join(line + "\n" for line in lines))
    stream.flush()


def _undressed(part: str) -> str:
    return part if _OWN.fullmatch(part) else printable(part)


def as_value(message: Message) -> dict[str, Any]:
    """A message of the API as the value of its proto3 JSON, with the original field names."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - wanted for -o json only

    return MessageToDict(message, preserving_proto_field_name=True)


def as_values(messages: Mapping[str, Sequence[Message]]) -> dict[str, Any]:
    """Named lists of messages as one value."""
    return {name: [as_value(message) for message in found] for name, found in messages.items()}
