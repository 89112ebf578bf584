"""What the domain asks of an expression language."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from forgemesh.faults.workflow import ExpressionError, PayloadTooLarge
from forgemesh.orchestrator.values.payload import MAX_INPUT

MAX_COST = 250_000.0
"""Microseconds of a slow machine, near enough, that one expression may take; it holds the interpreter meanwhile."""
MAX_TOGETHER = 4 * MAX_COST
"""The same of all expressions of one template."""


class ExpressionMistake(Exception):
    """An expression that can never be evaluated; `line` and `column` count from 1 within its source."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column

    def offset_in(self, source: str) -> int:
        """How many characters of `source` stand before the mistake."""
        lines = source.split("\n")[: self.line - 1]
        return sum(len(line) + 1 for line in lines) + self.column - 1


@dataclass(slots=True)
class Allowance:
    """What is left to one evaluation of a template: `time` as in MAX_COST, and `size`, the bytes that it may give."""

    time: float = MAX_TOGETHER
    size: int = MAX_INPUT

    def spend_time(self, source: str, time: float) -> None:
        """Before anything is done: what has begun cannot be stopped. Raises ExpressionError."""
        most = min(MAX_COST, self.time)
        if time > most:
            raise ExpressionError(
                source,
                f"it may take {time / MAX_COST:.3g} times as long as an expression may, on values of this size"
                f"{', with those before it' if time <= MAX_COST else ''}; let a plugin do this",
            )
        self.time -= time

    def spend_size(self, size: int) -> None:
        """Before anything is copied. Raises PayloadTooLarge."""
        self.size -= size
        if self.size < 0:
            raise PayloadTooLarge("what a template puts together", MAX_INPUT - self.size, MAX_INPUT)


class Program(Protocol):
    """A compiled expression."""

    @property
    def source(self) -> str: ...

    def evaluate(self, bindings: Mapping[str, object], allowance: Allowance | None = None) -> object:
        """
        Its value over `bindings` (variable name to JSON-like value), at the cost of what is allowed; raises
        faults.workflow.ExpressionError.
        """


class Compiler(Protocol):
    """Compiles expressions over a fixed set of variables."""

    def compile(self, source: str, variables: Collection[str], *, boolean: bool = False) -> Program:
        """Raises ExpressionMistake; with `boolean`, also if the result can never be true or false."""
