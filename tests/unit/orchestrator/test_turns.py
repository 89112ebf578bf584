from pathlib import Path

from forgemesh.orchestrator.execution.engine.turn_file import turns_beside
from forgemesh.orchestrator.execution.engine.turns import ALLOWED, LENGTH, LONGEST, REMEMBERED, Turns


def next_process(slots: list[int]) -> Turns:
    return Turns(slots)


def test_whoever_is_not_left_as_often_as_allowed_in_a_row_is_set_aside() -> None:
    slots = [0] * LENGTH
    for times in range(ALLOWED + 1):
        turns = next_process(slots)
        assert turns.is_set_aside(7) is (times >= ALLOWED)
        turns.enter(7)


def test_a_turn_that_ends_clears_what_was_counted() -> None:
    slots = [0] * LENGTH
    for _ in range(2 * ALLOWED):
        turns = next_process(slots)
        turns.enter(7)
        turns.leave(7)
        turns.enter(7)

    assert not next_process(slots).is_set_aside(7)


def test_a_process_that_ends_between_turns_blames_nobody() -> None:
    slots = [0] * LENGTH
    for _ in range(3):
        turns = next_process(slots)
        turns.enter(7)
        turns.leave(7)

    assert slots == [0] * LENGTH


def test_a_turn_is_long_once_the_others_have_waited_for_long_enough() -> None:
    moments = iter([10.0, 10.0 + LONGEST, 10.0 + LONGEST + 0.01])
    turns = Turns(clock=lambda: next(moments))
    turns.enter(7)

    assert [turns.is_long(), turns.is_long()] == [False, True]


def test_of_too_many_the_newest_are_remembered() -> None:
    slots = [0] * LENGTH
    for key in range(1, REMEMBERED + 3):
        for _ in range(ALLOWED):
            next_process(slots).enter(key)
    turns = next_process(slots)

    assert turns.is_set_aside(REMEMBERED + 2)
    assert turns.is_set_aside(3)
    assert not turns.is_set_aside(1)


def test_what_is_not_written_yet_is_not_blamed() -> None:
    slots = [0] * LENGTH
    for _ in range(ALLOWED):
        next_process(slots).enter(0)

    assert not next_process(slots).is_set_aside(0)


def test_the_file_keeps_it_from_process_to_process(tmp_path: Path) -> None:
    for times in range(ALLOWED + 1):
        with turns_beside(tmp_path / "orchestrator.db") as turns:
            assert turns.is_set_aside(1 << 40) is (times >= ALLOWED)
            turns.enter(1 << 40)


def test_a_file_of_another_size_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.db-turn").write_bytes(b"\xff" * 100)

    with turns_beside(tmp_path / "orchestrator.db") as turns:
        assert not turns.is_set_aside((1 << 64) - 1)


def test_a_folder_that_takes_no_file_costs_only_this(tmp_path: Path) -> None:
    with turns_beside(tmp_path / "gone" / "orchestrator.db") as turns:
        turns.enter(1)
        turns.leave(1)


def test_the_file_goes_when_there_is_nothing_to_keep(tmp_path: Path) -> None:
    file = tmp_path / "orchestrator.db-turn"
    with turns_beside(tmp_path / "orchestrator.db") as turns:
        assert file.exists()
        turns.enter(7)
        turns.leave(7)
    assert not file.exists()

    with turns_beside(tmp_path / "orchestrator.db") as turns:
        turns.enter(7)
    assert file.exists()
