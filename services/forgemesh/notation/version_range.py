"""Ranges of SemVer versions: the grammar of npm, with `!=` and commas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from semantic_version import NpmSpec, Version
from semantic_version.base import Range

LONGEST = 200
"""Characters in a range that people write."""

_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")
_OPERATOR = re.compile(r"(!=|<=|>=|<|>|=|\^|~)\s+(?=[^\s<>=!^~])")
_BARE = re.compile(r"v?(([0-9]+)(?:\.[0-9]+){0,2}(?:-[0-9A-Za-z.-]+)?)")


class InvalidRange(ValueError):
    """The text is no range; says why."""


@dataclass(frozen=True, slots=True)
class _Alternative:
    """Holds a version that every comparator accepts and that none of `excluded` describes."""

    wanted: Sequence[Range]
    excluded: Sequence[Sequence[Range]]

    def accepts(self, version: Any) -> bool:
        if not _all_hold(self.wanted, version) or any(_all_hold(one, version) for one in self.excluded):
            return False
        return not version.prerelease or any(
            one.target.prerelease and one.target.truncate() == version.truncate() for one in self.wanted
        )


@dataclass(frozen=True, slots=True)
class VersionRange:
    """
    A set of versions.

    A prerelease is in it only if the range names a prerelease of the same major.minor.patch. Operators are those of
    npm (`=`, `<`, `<=`, `>`, `>=`, `^`, `~`, `1.2.x`, `1.2 - 1.8`), and `!=`; a space or a comma means and, `||` or.
    """

    text: str
    _alternatives: Sequence[_Alternative]

    @classmethod
    def of(cls, text: str) -> VersionRange:
        """The range that the text describes, an empty one every version but prereleases; raises InvalidRange."""
        if len(text) > 2 * LONGEST:
            raise InvalidRange(f"a range has at most {LONGEST} characters, this one {len(text)}")
        alternatives = text.split("||")
        if len(alternatives) > 1 and not all(part.strip() for part in alternatives):
            raise InvalidRange(f"{text!r} has nothing on one side of ||")
        try:
            return cls(text, [_alternative(part) for part in alternatives])
        except ValueError as error:
            raise InvalidRange(f"{text!r} is not a version range such as ^1.2 or >=1.0.0 <2.0.0") from error

    @classmethod
    def of_interface(cls, text: str) -> VersionRange:
        """
        The same for the version of an interface, where a bare version stands for all that its users can work with.

        `1.2.3` then means the same major version, and at least that minor and patch; `=1.2.3` means exactly that.
        """
        given = cls.of(text)
        bare = _BARE.fullmatch(text.strip())
        return given if bare is None else cls.of(f">={bare[1]} <{int(bare[2]) + 1}")

    def accepts(self, version: Any) -> bool:
        """Whether a `semantic_version.Version` lies in the range."""
        return any(alternative.accepts(version) for alternative in self._alternatives)


def fits_range(text: object) -> bool:
    """Whether it is a range that people may write; nothing at all is any version."""
    try:
        return isinstance(text, str) and len(text) <= LONGEST and bool(VersionRange.of(text))
    except InvalidRange:
        return False


def any_version(version: str) -> bool:
    """Every version is wanted."""
    return True


@lru_cache(maxsize=1024)
def wanted_by(version_range: str) -> Callable[[str], bool]:
    """
    Whether a plugin version lies in a range, for many questions about few versions.

    Of what is there every version, also a prerelease, lies in an empty range. Whatever is no version or no range lies
    in nothing: both are refused where they come in.
    """
    return _accepting(VersionRange.of, version_range) if version_range.strip() else any_version


@lru_cache(maxsize=1024)
def wanted_of_interface(version_range: str) -> Callable[[str], bool]:
    """The same for the version of an interface; see VersionRange.of_interface."""
    return _accepting(VersionRange.of_interface, version_range) if version_range.strip() else any_version


def _accepting(read: Callable[[str], VersionRange], text: str) -> Callable[[str], bool]:
    try:
        found = read(text)
    except InvalidRange:
        return _no_version

    @lru_cache(maxsize=256)
    def accepts(version: str) -> bool:
        try:
            return found.accepts(Version(version))
        except ValueError:
            return False

    return accepts


def _no_version(version: str) -> bool:
    return False


def _alternative(text: str) -> _Alternative:
    if "," in text and not all(part.strip() for part in text.split(",")):
        raise ValueError("nothing on one side of a comma")
    wanted: list[Range] = []
    excluded: list[Sequence[Range]] = []
    for part in text.split(","):
        for comparator in _comparators(part):
            if comparator.startswith("!="):
                excluded.append(_simple(comparator.removeprefix("!=")))
            else:
                wanted.extend(_simple(comparator))
    return _Alternative(wanted, excluded)


def _comparators(text: str) -> Iterator[str]:
    """One operator with its version each."""
    rest = text.strip()
    hyphen = _HYPHEN.fullmatch(rest)
    if hyphen:
        yield from (">=" + hyphen[1], "<=" + hyphen[2])
        return
    yield from _OPERATOR.sub(r"\1", rest).split()


def _simple(comparator: str) -> Sequence[Range]:
    """What the library makes of one comparator; prereleases are looked at by precedence alone."""
    if not NpmSpec.Parser.NPM_SPEC_BLOCK.match(comparator):
        raise ValueError(comparator)
    ranges = NpmSpec.Parser.parse_simple(comparator)
    for one in ranges:
        Version(str(one.target))  # the library takes an empty part of a prerelease here, but nowhere else
    return [Range(one.operator, one.target, prerelease_policy=Range.PRERELEASE_ALWAYS) for one in ranges]


def _all_hold(ranges: Sequence[Range], version: Any) -> bool:
    return all(one.match(version) for one in ranges)
