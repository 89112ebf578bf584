"""Where a command speaks: data on stdout, talk on stderr, and a question to whoever sits there."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from forgemesh.cli.table import Table, write_table

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from forgemesh.cli.problem import Problem


@dataclass(frozen=True, slots=True)
class Terminal:
    """The streams, and whether programs read them (`json`) or people."""

    out: TextIO
    err: TextIO
    json: bool = False
    keyboard: TextIO | None = None

    def is_coloured(self) -> bool:
        """Whether data may have colours: on a terminal, unless NO_COLOR is set."""
        return self.out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def can_ask(self) -> bool:
        """Whether somebody sits there who could answer."""
        return not self.json and self.err.isatty() and self.keyboard is not None and self.keyboard.isatty()

    def ask(self, question: str) -> bool:
        """Whether the answer is yes; anything but that is no. Ctrl-C ends the command."""
        assert self.keyboard is not None
        self.err.write(question)
        self.err.flush()
        asyncios = signal.signal(signal.SIGINT, signal.default_int_handler)  # would only cancel what waits here
        try:
            return self.keyboard.readline().strip().lower() in ("y", "yes")
        finally:
            signal.signal(signal.SIGINT, asyncios)

    def data(self, text: str) -> None:
        """One line, or several, of what was asked for."""
        self.out.write(text + "\n")
        self.out.flush()

    def talk(self, text: str) -> None:
        """Tell people what happens; programs get nothing but data and errors."""
        if not self.json:
            self.err.write(text + "\n")
            self.err.flush()

    def table(self, table: Table) -> None:
        """A table as data."""
        write_table(table, self.out)

    def value(self, value: object) -> None:
        """A value as one line of JSON."""
        self.data(json.dumps(value, ensure_ascii=False))

    def message(self, message: Message) -> None:
        """A message of the API as proto3 JSON with the original field names, on one line."""
        self.value(as_value(message))

    def problem(self, problem: Problem) -> None:
        """Why the command ends."""
        self.err.write(problem.as_json() if self.json else problem.as_text())
        self.err.flush()


def as_value(message: Message) -> dict[str, Any]:
    """A message of the API as the value of its proto3 JSON, with the original field names."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - wanted for -o json only

    return MessageToDict(message, preserving_proto_field_name=True)


def as_values(messages: Mapping[str, Sequence[Message]]) -> dict[str, Any]:
    """Named lists of messages as one value."""
    return {name: [as_value(message) for message in found] for name, found in messages.items()}
