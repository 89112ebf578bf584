"""docs/getting-started.md, typed from top to bottom by somebody new: every command, every file, every output."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.architecture.repository import ROOT
from tests.mesh.newcomer import Newcomer, empty_place

pytestmark = pytest.mark.mesh


def test_the_page_does_what_it_says_from_top_to_bottom(tmp_path: Path) -> None:
    with empty_place(tmp_path) as place, contextlib.ExitStack() as mesh:
        newcomer = Newcomer(place, mesh)
        newcomer.follow((ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8"))

        assert len(newcomer.typed) >= 20
