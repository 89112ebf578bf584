"""What the domain asks of an expression language."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol


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


class Program(Protocol):
    """A compiled expression."""

    @property
    def source(self) -> str: ...

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        """Its value over `bindings` (variable name to JSON-like value); raises faults.workflow.ExpressionError."""


class Compiler(Protocol):
    """Compiles expressions over a fixed set of variables."""

    def compile(self, source: str, variables: Collection[str], *, boolean: bool = False) -> Program:
        """Raises ExpressionMistake; with `boolean`, also if the result can never be true or false."""
