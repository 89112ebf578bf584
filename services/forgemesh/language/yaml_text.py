"""A workflow's tree as YAML that people like to read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from forgemesh.language.json_text import json_text
from forgemesh.notation.duration import WRITTEN

WIDTH = 100

_PLAIN = re.compile(
    r"[A-Za-z_][\w.@^~+/-]*(?: [\w.@^~+/-]+)*"
    rf"|{WRITTEN.pattern}"
    r"|[0-9]+\.[0-9]+\.[0-9]+(?:[-+][\w.+-]*)?",
    re.ASCII,
)
"""Words, lengths of time and versions."""
_NO_TEXTS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""What one YAML or another does not read as text."""


def yaml_text(tree: Mapping[str, object]) -> str:
    """Short values stand on one line each, steps on lines of their own; texts that are no plain words in quotes."""
    return "".join(f"{line}\n" for line in _mapping(tree, ""))


def _mapping(tree: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, value in tree.items():
        name = f"{indent}{_text(key)}:"
        line = f"{name} {_flow(value)}"
        if not isinstance(value, dict | list) or (len(line) <= WIDTH and not _holds_steps(value)):
            yield line
        elif isinstance(value, dict):
            yield name
            yield from _mapping(value, indent + "  ")
        else:
            yield name
            yield from _list(value, indent + "  ")


def _list(items: list[object], indent: str) -> Iterator[str]:
    for item in items:
        line = f"{indent}- {_flow(item)}"
        if not isinstance(item, dict | list) or (len(line) <= WIDTH and not _holds_steps(item)):
            yield line
            continue
        inner = _mapping(item, indent + "  ") if isinstance(item, dict) else _list(item, indent + "  ")
        for number, below in enumerate(inner):
            yield below if number else f"{indent}- {below.lstrip()}"


def _holds_steps(value: object) -> bool:
    if isinstance(value, dict):
        return any(_holds_steps(inner) for inner in value.values())
    return isinstance(value, list) and any(
        _holds_steps(item) or (isinstance(item, dict) and "id" in item) for item in value
    )


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _text(value) if isinstance(value, str) else json_text(value)


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXTS:
        return value
    return json_text(value)
