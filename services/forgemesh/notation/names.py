"""How ids, names and versions are written."""

from __future__ import annotations

import re

_DOTTED = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SEMVER = re.compile(
    r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
LONGEST_NAME = 128
"""Characters."""


def fits_dotted(text: object) -> bool:
    """Whether it is an id such as "weather.stats"."""
    return _fits(_DOTTED, text)


def fits_identifier(text: object) -> bool:
    """Whether it is a name such as "temperature"."""
    return _fits(_IDENTIFIER, text)


def fits_version(text: object) -> bool:
    """Whether it is SemVer 2.0."""
    return _fits(_SEMVER, text)


def _fits(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST_NAME and pattern.fullmatch(text) is not None
