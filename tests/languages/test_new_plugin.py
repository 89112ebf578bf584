"""From nothing to the first result of a plugin in another language: three commands, and no file edited."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgemesh.cli.language_skeleton import LANGUAGES
from tests.languages.languages import BUILD_PATIENCE
from tests.mesh.up_process import Workplace, going_up

pytestmark = pytest.mark.mesh


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path, empty=True)
    yield workplace
    assert workplace.left_behind() == []


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_a_new_plugin_answers_after_three_commands(
    place: Workplace, language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing := [program for program in LANGUAGES[language].programs if shutil.which(program) is None]:
        pytest.skip(f"there is no {missing[0]}")
    began = time.monotonic()

    made = place.forgemesh("plugin", "new", "--language", language, "demo", deadline=BUILD_PATIENCE)
    assert made.returncode == 0, made.stderr
    up, call = [line.strip().partition("   ")[0] for line in made.stderr.partition("Next:\n")[2].splitlines()]
    assert up == "forgemesh up"
    with going_up(place) as mesh:
        called = place.forgemesh(*shlex.split(call)[1:])
        took = time.monotonic() - began

        assert mesh.said["ready"] == ["demo-1"]
        assert (called.returncode, called.stdout) == (0, '{"text":"Hello, Ada!"}\n'), called.stderr
    assert "published nowhere" in made.stderr
    with capsys.disabled():
        print(f"\n{language}: from `plugin new` to the first result in {took:.0f} s")
