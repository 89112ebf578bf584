"""A command as people or programs type it, against an orchestrator that does what a test tells it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from forgemesh.cli.command_line import CommandLine
from forgemesh.cli.terminal import Terminal
from tests.component.client.script import Script, served


class Keyboard(io.StringIO):
    """Somebody sits there and types this."""

    def isatty(self) -> bool:
        return True


class Screen(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


@dataclass
class Typed:
    """Where the command's data and talk go; `line` is what it gets of the command line."""

    address: str
    out: io.StringIO = field(default_factory=io.StringIO)
    err: io.StringIO = field(default_factory=io.StringIO)

    def line(self, *, json: bool = False) -> CommandLine:
        """Nobody is there to answer a question."""
        return CommandLine(terminal=Terminal(self.out, self.err, json), address=self.address)

    def answering(self, answer: str) -> CommandLine:
        """Somebody is there, and answers."""
        self.err = Screen()
        return CommandLine(terminal=Terminal(self.out, self.err, keyboard=Keyboard(answer)), address=self.address)

    @property
    def rows(self) -> list[list[str]]:
        """The lines of data, as words."""
        return [line.split() for line in self.out.getvalue().splitlines()]

    @property
    def value(self) -> Any:
        """The data, if it is JSON."""
        return json.loads(self.out.getvalue())

    @property
    def talk(self) -> list[str]:
        """The lines on stderr."""
        return self.err.getvalue().splitlines()


@asynccontextmanager
async def typing(script: Script) -> AsyncIterator[Typed]:
    """A command line that leads to the script."""
    async with served(script) as address:
        yield Typed(address)
