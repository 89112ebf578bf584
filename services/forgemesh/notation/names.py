"""How ids, names, versions and ranges of versions are written."""

from __future__ import annotations

import re

_DOTTED = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SEMVER = re.compile(
    r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_BOUND = r"(?:\^|~>?|[<>]=?|!=|==?)?\s*v?(?:[xX*]|\d+(?:\.(?:\d+|[xX*])){0,2})(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
_RANGE = re.compile(rf"\s*{_BOUND}(?:(?:\s*,\s*|\s*\|\|\s*|\s+-\s+|\s+){_BOUND})*\s*")
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


def fits_range(text: object) -> bool:
    """Whether it is written like a range of versions; nothing at all is any version. The registry has the last word."""
    return text == "" or _fits(_RANGE, text)


def _fits(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST_NAME and pattern.fullmatch(text) is not None
