"""
The patterns in JSON Schemas that others wrote, as RE2 has them: a search takes as long as its text is and no longer.

Python's own patterns may take for ever on a short text, so that one schema would stop whoever looks at it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import re2

from forgemesh.language.json_value import Place, path_of
from forgemesh.language.nesting import MAX_CHECKED, check_depth

MAX_MEMORY = 1 << 18
"""Bytes that RE2 may take for one pattern."""

DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are no schemas."""
NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
"""Keywords that hold schemas under names of the author's."""


_OTHERWISE = re.compile(r"\\\\|\\u([0-9A-Fa-f]{4})|\\Z")
"""What ECMA-262 and Python write otherwise than RE2."""


class PatternUnreadable(ValueError):
    """RE2 does not know the pattern: look-around, references to groups, or too much repetition."""


def read_schema(text: str) -> Any:
    """The schema; raises ValueError if it is no JSON, no schema at all, or nested too deep."""
    check_depth(text, MAX_CHECKED)
    schema = json.loads(text)
    if not isinstance(schema, dict | bool):
        raise ValueError("it is neither an object nor true or false")
    return schema


def unreadable_pattern(schema: object) -> str:
    """The first pattern that RE2 cannot read, with its place and why; empty if it can read all of them."""
    for place, pattern in patterns_in(schema):
        try:
            compiled(pattern)
        except PatternUnreadable as error:
            return f"{path_of(place)}: {error}"
    return ""


def patterns_in(schema: object, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every pattern with its place."""
    if isinstance(schema, list):
        for index, inner in enumerate(schema):
            yield from patterns_in(inner, (*place, index))
    elif isinstance(schema, dict):
        for key, inner in schema.items():
            if key not in DATA:
                yield from _patterns_under(key, inner, (*place, key))


def _patterns_under(key: str, inner: object, place: Place) -> Iterator[tuple[Place, str]]:
    if key == "pattern" and isinstance(inner, str):
        yield place, inner
    elif key == "patternProperties" and isinstance(inner, dict):
        for pattern, below in inner.items():
            yield (*place, pattern), pattern
            yield from patterns_in(below, (*place, pattern))
    elif key in NAMED and isinstance(inner, dict):
        for name, below in inner.items():
            yield from patterns_in(below, (*place, name))
    else:
        yield from patterns_in(inner, place)


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """The pattern as RE2 has it. Raises PatternUnreadable."""
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(_OTHERWISE.sub(_in_re2, pattern), options)
    except (re2.error, UnicodeEncodeError) as error:
        cause = error.args[0] if error.args else error
        told = cause.decode(errors="replace") if isinstance(cause, bytes) else str(cause)
        raise PatternUnreadable(
            f"the pattern {pattern!r:.80} cannot be read by RE2 ({told}); it has no look-around and no references to"
            " groups, see https://github.com/google/re2/wiki/Syntax"
        ) from error


def _in_re2(found: re.Match[str]) -> str:
    if found[1]:
        return rf"\x{{{found[1]}}}"
    return r"\z" if found[0] == r"\Z" else found[0]


def finds(pattern: str, text: str) -> bool:
    """Anywhere in the text; a pattern that cannot be read forbids nothing."""
    try:
        return compiled(pattern).search(text) is not None
    except (PatternUnreadable, UnicodeEncodeError):
        return True
