"""Whether a version lies in a range, as the manifests of plugins write ranges."""

from __future__ import annotations

import functools
import re

import semantic_version

_COMMA = re.compile(r"\s*,\s*")
_AFTER_OPERATOR = re.compile(r"([<>=^~!]=?)\s+")
_EXACTLY_NOT = re.compile(r"!=\s*(\S+)")


@functools.lru_cache(maxsize=4096)
def lies_in(version: str, version_range: str) -> bool:
    """
    True if it does; an empty range holds every version.

    A range is that of npm, a comma means the same as a blank, and "!=1.2.3" takes one version out. Whatever is no
    version or no range lies in nothing: the registry refuses to publish it.
    """
    try:
        found = semantic_version.Version(version)
        if not version_range.strip():
            return True
        return any(_in_part(found, part) for part in version_range.split("||"))
    except ValueError:
        return False


def _in_part(version: semantic_version.Version, part: str) -> bool:
    text = _AFTER_OPERATOR.sub(r"\1", _COMMA.sub(" ", part.strip()))
    excluded = {semantic_version.Version(one) for one in _EXACTLY_NOT.findall(text)}
    rest = _EXACTLY_NOT.sub("", text).strip() or "*"
    return version not in excluded and bool(semantic_version.NpmSpec(rest).match(version))


def range_mistake(version_range: str) -> str:
    """Why a range is none, for people; empty if it is one."""
    try:
        for part in version_range.split("||") if version_range.strip() else ():
            _in_part(semantic_version.Version("1.0.0"), part)
    except ValueError:
        return f'{version_range!r} is not a range of SemVer versions; write e.g. "^1.2", ">=1.2 <3" or "1.x || 2.x"'
    return ""
