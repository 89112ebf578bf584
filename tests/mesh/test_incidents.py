"""docs/tracing.md: incidents that are staged, and found by the commands that the page types."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests.architecture.repository import ROOT
from tests.mesh.newcomer import Newcomer, empty_place

pytestmark = pytest.mark.mesh

PAGE = (ROOT / "docs" / "tracing.md").read_text(encoding="utf-8")
SEARCH = re.compile(r"^### From symptom to cause\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
MOST_COMMANDS = 3


def test_the_page_does_what_it_says_from_top_to_bottom(tmp_path: Path) -> None:
    with empty_place(tmp_path) as place, contextlib.ExitStack() as mesh:
        newcomer = Newcomer(place, mesh)
        newcomer.follow(PAGE)

    assert len(newcomer.typed) >= 15


def test_no_search_for_a_cause_takes_more_than_three_commands() -> None:
    searches = SEARCH.findall(PAGE)

    assert len(searches) >= 4
    for search in searches:
        commands = [line for block in re.findall(r"```sh\n(.*?)```", search, re.DOTALL) for line in block.splitlines()]
        assert 1 <= len(commands) <= MOST_COMMANDS, commands
