"""How the suite is spread over processes: what is made once for several tests is made in one of them."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests import once, seeds
from tests.workers import begin_with_the_long_ones, group_of, number_of_workers, sendable


@pytest.fixture(scope="module")
def made_once() -> str:
    return "for this module"


@pytest.fixture
def built_on_it(made_once: str) -> str:
    return made_once


def test_those_who_share_what_a_module_makes_are_together(built_on_it: str, request: pytest.FixtureRequest) -> None:
    assert group_of(request.node) == "tests/architecture/test_workers.py"


def test_who_shares_nothing_may_run_anywhere(tmp_path: object, request: pytest.FixtureRequest) -> None:
    assert group_of(request.node) is None


@pytest.mark.parametrize(
    ("cores", "said", "workers"), [(1, None, 2), (2, None, 4), (64, None, 8), (2, "1", 1), (2, "all", 4)]
)
def test_there_are_two_for_each_core_unless_somebody_says_otherwise(cores: int, said: str | None, workers: int) -> None:
    environment = {} if said is None else {"PYTEST_XDIST_AUTO_NUM_WORKERS": said}

    assert number_of_workers(cores, environment) == workers


def test_what_takes_long_begins_first_and_the_rest_keeps_its_order(request: pytest.FixtureRequest) -> None:
    def item(name: str, *marks: pytest.MarkDecorator) -> pytest.Item:
        made = pytest.Function.from_parent(request.node.parent, name=name, callobj=lambda: None)
        for mark in marks:
            made.add_marker(mark)
        return made

    items = [item("a"), item("b"), item("c", pytest.mark.mesh), item("d", pytest.mark.timeout(0))]
    begin_with_the_long_ones(items)

    assert [made.name for made in items] == ["d", "c", "a", "b"]


def test_what_a_worker_hands_on_can_be_written_as_utf8() -> None:
    handed = sendable({"caf\udce9": ["a\ud800", ("b", None, 3)]})

    assert handed == {"caf\\udce9": ["a\\ud800", ("b", None, 3)]}


def _make_while_others_ask(folder: Path, made: Path) -> list[str]:
    def make(unfinished: Path) -> None:
        with made.open("a") as ledger:
            ledger.write("made\n")
        (unfinished / "first").touch()
        os.sched_yield()
        (unfinished / "last").touch()

    return sorted(entry.name for entry in once.made_once(folder, make).iterdir())


def test_what_several_processes_ask_for_at_once_is_made_by_one_and_seen_whole(tmp_path: Path) -> None:
    folder, made = tmp_path / "modules", tmp_path / "made"

    with ProcessPoolExecutor(8) as processes:
        seen = list(processes.map(_make_while_others_ask, [folder] * 16, [made] * 16))

    assert seen == [["first", "last"]] * 16
    assert made.read_text() == "made\n"


def test_what_could_not_be_made_is_tried_again_by_the_next(tmp_path: Path) -> None:
    def fail(unfinished: Path) -> None:
        (unfinished / "half").touch()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        once.made_once(tmp_path / "modules", fail)
    folder = once.made_once(tmp_path / "modules", lambda unfinished: (unfinished / "all").touch())

    assert [entry.name for entry in folder.iterdir()] == ["all"]


def test_the_parts_of_a_simulation_have_each_seed_once() -> None:
    found = sorted(seed for part in range(seeds.PARTS) for seed in seeds.seeds_of(part))

    assert found == list(range(seeds.FIRST, seeds.FIRST + seeds.SEEDS))


def test_whichever_part_ends_last_hears_what_all_have_shown(tmp_path: Path) -> None:
    heard = [seeds.together(tmp_path, part, {"ends": {"FAILED": part}}) for part in reversed(range(seeds.PARTS))]

    assert heard == [*[None] * (seeds.PARTS - 1), {"ends": {"FAILED": sum(range(seeds.PARTS))}}]
