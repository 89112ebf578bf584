"""An author's first minutes, every command typed as it is printed and every process real."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.up_process import Workplace, going_up

pytestmark = pytest.mark.mesh


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path, empty=True)
    yield workplace
    assert workplace.left_behind() == []


def printed_commands(talk: str) -> list[str]:
    """The commands below "Next:", without what is said about them."""
    following = talk.partition("Next:\n")[2].splitlines()
    return [line.strip().partition("   ")[0] for line in following]


def pytest_in(place: Workplace) -> subprocess.CompletedProcess[str]:
    environment = place.environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=place.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_new_project_does_what_its_printed_next_steps_say(place: Workplace) -> None:
    made = place.forgemesh("init", "shop")
    change, test, up, run = printed_commands(made.stderr)

    assert made.returncode == 0, made.stderr
    assert (test, up) == ("pytest", "forgemesh up")
    place.folder /= shlex.split(change)[1]
    tested = pytest_in(place)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "3 passed" in tested.stdout
    with going_up(place) as mesh:
        ran = place.forgemesh(*shlex.split(run)[1:])

        assert mesh.said["ready"] == ["greeter-1"]
        assert (ran.returncode, ran.stdout) == (0, '"Hello, Ada!"\n'), ran.stderr


def test_a_second_plugin_of_a_project_is_tested_and_served_as_well(place: Workplace) -> None:
    place.forgemesh("init")
    added = place.forgemesh("plugin", "new", "shop.word-count")

    assert added.returncode == 0, added.stderr
    tested = pytest_in(place)
    assert "5 passed" in tested.stdout, tested.stdout + tested.stderr
    with going_up(place) as mesh:
        assert mesh.said["ready"] == ["greeter-1", "word-count-1"]
