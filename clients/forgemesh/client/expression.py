"""Expressions of the workflow language, written in Python."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn

import msgspec

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "null", "package", "return", "true", "var", "void", "while"}
)


class Expression:
    """
    A CEL expression, evaluated when the workflow runs.

    Arithmetic and comparisons make larger ones; `&`, `|` and `~` stand for and, or and not, and need parentheses around
    comparisons as everywhere in Python. In an f-string it becomes a part of the text.
    """

    __slots__ = ("_firm", "_source")

    def __init__(self, source: str, *, firm: bool = False) -> None:
        """`firm`: it needs no parentheses as a part of a larger one."""
        self._source = source
        self._firm = firm

    def __str__(self) -> str:
        return f"${{{self._source}}}"

    def __repr__(self) -> str:
        return f"<{self._source}>"

    def __format__(self, specification: str) -> str:
        if specification:
            raise TypeError(f"{self!r} has no value yet that could be written as {specification!r}")
        return str(self)

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return _binary(self, "==", other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return _binary(self, "!=", other)

    def __lt__(self, other: object) -> Expression:
        return _binary(self, "<", other)

    def __le__(self, other: object) -> Expression:
        return _binary(self, "<=", other)

    def __gt__(self, other: object) -> Expression:
        return _binary(self, ">", other)

    def __ge__(self, other: object) -> Expression:
        return _binary(self, ">=", other)

    def __add__(self, other: object) -> Expression:
        return _binary(self, "+", other)

    def __radd__(self, other: object) -> Expression:
        return _binary(other, "+", self)

    def __sub__(self, other: object) -> Expression:
        return _binary(self, "-", other)

    def __rsub__(self, other: object) -> Expression:
        return _binary(other, "-", self)

    def __mul__(self, other: object) -> Expression:
        return _binary(self, "*", other)

    def __rmul__(self, other: object) -> Expression:
        return _binary(other, "*", self)

    def __truediv__(self, other: object) -> Expression:
        return _binary(self, "/", other)

    def __rtruediv__(self, other: object) -> Expression:
        return _binary(other, "/", self)

    def __mod__(self, other: object) -> Expression:
        return _binary(self, "%", other)

    def __and__(self, other: object) -> Expression:
        return _binary(self, "&&", other)

    def __or__(self, other: object) -> Expression:
        return _binary(self, "||", other)

    def __invert__(self) -> Expression:
        return Expression(f"!{_operand(self)}", firm=True)

    def __neg__(self) -> Expression:
        return Expression(f"-{_operand(self)}", firm=True)

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} is neither true nor false before the workflow runs; use &, | and ~, or a switch")

    def __iter__(self) -> Iterator[NoReturn]:
        raise TypeError(f"{self!r} has no items before the workflow runs; use a map")


class Path(Expression):
    """
    A path into what a workflow knows: `flow.input.order.lines[0]`; keys that Python cannot say stand in brackets.

    Called, its last word is one of CEL's functions: `flow.input.name.startsWith("A")`.
    """

    __slots__ = ()

    def __init__(self, source: str) -> None:
        super().__init__(source, firm=True)

    def __getattr__(self, key: str) -> Path:
        if key.startswith("__"):
            raise AttributeError(key)
        return self[key]

    def __getitem__(self, key: str | int | Expression) -> Path:
        if isinstance(key, str) and _IDENTIFIER.fullmatch(key) and key not in _RESERVED:
            return Path(f"{self._source}.{key}")
        return Path(f"{self._source}[{_written(key)}]")

    def __call__(self, *arguments: object) -> Expression:
        return Expression(f"{self._source}({', '.join(map(_written, arguments))})", firm=True)


def cel(source: str) -> Expression:
    """An expression as CEL text."""
    return Expression(source)


def has(path: Path) -> Expression:
    """Whether there is such a key."""
    return Expression(f"has({source_of(path)})", firm=True)


def size(value: Expression) -> Expression:
    """How many items, keys or characters."""
    return Expression(f"size({source_of(value)})", firm=True)


def literal(text: str) -> str:
    """A text in which `${` has no meaning."""
    return text.replace("${", "$${")


def source_of(expression: Expression | str) -> str:
    """Its CEL text, as conditions take it."""
    return expression if isinstance(expression, str) else expression._source


def template(value: object) -> object:
    """A JSON tree with expressions in it as its text says them. Raises TypeError for what JSON cannot say."""
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, Mapping):
        return {_key(key): template(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [template(inner) for inner in value]
    if _is_plain(value):
        return value
    raise TypeError(f"{value!r:.100} cannot stand in a template; of a step, take its output")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{key!r:.100} cannot be a key; JSON's are texts")
    return key


def _is_plain(value: object) -> bool:
    """Whether JSON can say it."""
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _binary(left: object, operator: str, right: object) -> Expression:
    return Expression(f"{_operand(left)} {operator} {_operand(right)}")


def _operand(value: object) -> str:
    if isinstance(value, Expression) and not value._firm:
        return f"({value._source})"
    return _written(value)


def _written(value: object) -> str:
    """A value as CEL text."""
    if isinstance(value, Expression):
        return value._source
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_written(key)}: {_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    if _is_plain(value):
        return msgspec.json.encode(value).decode()
    raise TypeError(f"{value!r:.100} cannot stand in an expression; of a step, take its output")
