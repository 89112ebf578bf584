"""The walk of one step through the files, as docs/architecture.md has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services/forgemesh"
HOST = ROOT / "plugin_host/forgemesh/plugin_host"
MOST = 50
"""Files that a newcomer has to open."""


def walk() -> dict[str, list[str]]:
    """The files that each direction names, in order."""
    _, _, text = (ROOT / "docs/architecture.md").read_text().partition("### Through the files\n")
    _, _, lists = text.partition("\n## ")[0].partition("\nOut:\n")
    out, _, back = lists.partition("\nBack:\n")
    return {"out": re.findall(r"`([\w/]+\.py)`", out), "back": re.findall(r"`([\w/]+\.py)`", back)}


def found(name: str) -> list[Path]:
    """The orchestrator's file of this name, or a service's; a bare name is one of the plugin host's."""
    if "/" not in name:
        return [path for path in HOST.rglob(name) if "supervisor" not in path.parts]
    return [path for path in (SERVICES / "orchestrator" / name, SERVICES / name) if path.is_file()]


@pytest.mark.parametrize("way", ["out", "back"])
def test_each_file_of_the_walk_is_there_and_is_visited_once_a_way(way: str) -> None:
    named = walk()[way]

    assert {name: found(name) for name in named if len(found(name)) != 1} == {}
    assert len(named) == len(set(named)) > 5


def test_the_walk_takes_at_most_fifty_files() -> None:
    out, back = walk().values()

    assert len({*out, *back}) <= MOST
