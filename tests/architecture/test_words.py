"""One word for one thing, and the field's where it has one: what words.toml says is gone comes back under no name."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.repository import ROOT, modules, tracked

TABLE = tomllib.loads((ROOT / "tests" / "architecture" / "words.toml").read_text(encoding="utf-8"))
OF_THEIR_TIME = ("docs/decisions/", "CHANGELOG.md")
"""Pages that say what things were called when they were written."""
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
DEFINED = re.compile(r"^[ \t]*(?:class|def|async def) (\w+)", re.MULTILINE)
CLASS = re.compile(r"^[ \t]*class (\w+)", re.MULTILINE)
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True)
class Gone:
    """A word that names nothing any more; `now` is what stands for it."""

    word: str
    now: str
    under: tuple[str, ...]


GONE = {one["word"]: Gone(one["word"], one["now"], tuple(one.get("under", [""]))) for one in TABLE["gone"]}
ANY = re.compile(rf"\b({'|'.join(sorted(GONE, key=len, reverse=True))})s?\b")
"""Finds every one of them, in the singular or the plural, in the words of a name."""


def _defined(text: str) -> Iterator[str]:
    """Classes and functions; the names of tests are sentences, in which words are used as everybody uses them."""
    yield from (name for name in DEFINED.findall(text) if not name.startswith("test_"))


def _headings(page: Path) -> list[str]:
    return HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8")))


def _names() -> Iterator[tuple[str, str]]:
    """Every name that the table speaks of, with the file in which it is: folders, modules, definitions and headings."""
    for path in modules():
        file = path.relative_to(ROOT).as_posix()
        yield from ((part, file) for part in path.relative_to(ROOT).with_suffix("").parts)
        yield from ((name, file) for name in _defined(path.read_text(encoding="utf-8")))
    for path in tracked():
        file = path.relative_to(ROOT).as_posix()
        if path.suffix == ".md" and not file.startswith(OF_THEIR_TIME):
            yield from ((heading, file) for heading in _headings(path))


def _found(names: Iterable[tuple[str, str]]) -> set[str]:
    found = set()
    for name, file in names:
        words = " ".join(WORD.findall(name)).lower()
        for match in ANY.finditer(words):
            gone = GONE[match[1]]
            if file.startswith(gone.under):
                found.add(f"{file}: {name} (now: {gone.now})")
    return found


def test_no_word_that_is_gone_names_anything() -> None:
    assert _found(_names()) == set()


def test_a_word_that_is_gone_would_be_found() -> None:
    written = (
        "class _HostKeeper: ...\ndef open_waiting_rooms(): ...\nasync def local_trip_of(): ...\ndef test_keeper(): ..."
    )
    names = [(name, "services/forgemesh/x.py") for name in _defined(written)]
    other = [
        ("Stage", "plugin_host/x.py"),
        ("stage", "clients/forgemesh/testing/stage.py"),
        ("Rehearsals of a mesh", "a.md"),
    ]

    assert sorted(_found([*names, *other])) == [
        "a.md: Rehearsals of a mesh (now: workflow environment)",
        "clients/forgemesh/testing/stage.py: stage (now: environment)",
        "services/forgemesh/x.py: _HostKeeper (now: host runner, service runner, schedule loop)",
        "services/forgemesh/x.py: local_trip_of (now: local breaker)",
        "services/forgemesh/x.py: open_waiting_rooms (now: pending queue)",
    ]


def test_no_two_classes_share_a_name_that_stood_for_several_things() -> None:
    ours = [path for path in modules() if path.relative_to(ROOT).parts[0] in ("clients", "plugin_host", "services")]
    classes = Counter(name for path in ours for name in CLASS.findall(path.read_text(encoding="utf-8")))

    assert {name: classes[name] for name in TABLE["one"] if classes[name] > 1} == {}
