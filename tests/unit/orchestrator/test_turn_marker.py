from pathlib import Path

from forgemesh.orchestrator.execution.engine.turn_file import turns_beside
from forgemesh.orchestrator.execution.engine.turn_marker import ALLOWED, LENGTH, LONGEST, REMEMBERED, TurnMarker


def next_process(slots: list[int]) -> TurnMarker:
    return TurnMarker(slots)


def test_whoever_is_not_left_as_often_as_allowed_in_a_row_keeps_hanging() -> None:
    slots = [0] * LENGTH
    for times in range(ALLOWED + 1):
        marker = next_process(slots)
        assert marker.keeps_hanging(7) is (times >= ALLOWED)
        marker.enter(7)


def test_a_turn_that_ends_clears_what_was_counted() -> None:
    slots = [0] * LENGTH
    for _ in range(2 * ALLOWED):
        marker = next_process(slots)
        marker.enter(7)
        marker.leave(7)
        marker.enter(7)

    assert not next_process(slots).keeps_hanging(7)


def test_a_process_that_ends_between_turns_blames_nobody() -> None:
    slots = [0] * LENGTH
    for _ in range(3):
        marker = next_process(slots)
        marker.enter(7)
        marker.leave(7)

    assert slots == [0] * LENGTH


def test_a_turn_is_long_once_the_others_have_waited_for_long_enough() -> None:
    moments = iter([10.0, 10.0 + LONGEST, 10.0 + LONGEST + 0.01])
    marker = TurnMarker(clock=lambda: next(moments))
    marker.enter(7)

    assert [marker.is_long(), marker.is_long()] == [False, True]


def test_of_too_many_the_newest_are_remembered() -> None:
    slots = [0] * LENGTH
    for key in range(1, REMEMBERED + 3):
        for _ in range(ALLOWED):
            next_process(slots).enter(key)
    marker = next_process(slots)

    assert marker.keeps_hanging(REMEMBERED + 2)
    assert marker.keeps_hanging(3)
    assert not marker.keeps_hanging(1)


def test_what_is_not_written_yet_is_not_blamed() -> None:
    slots = [0] * LENGTH
    for _ in range(ALLOWED):
        next_process(slots).enter(0)

    assert not next_process(slots).keeps_hanging(0)


def test_the_file_keeps_it_from_process_to_process(tmp_path: Path) -> None:
    for times in range(ALLOWED + 1):
        with turns_beside(tmp_path / "orchestrator.db") as marker:
            assert marker.keeps_hanging(1 << 40) is (times >= ALLOWED)
            marker.enter(1 << 40)


def test_a_file_of_another_size_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.db-turn").write_bytes(b"\xff" * 100)

    with turns_beside(tmp_path / "orchestrator.db") as marker:
        assert not marker.keeps_hanging((1 << 64) - 1)


def test_a_folder_that_takes_no_file_costs_only_this(tmp_path: Path) -> None:
    with turns_beside(tmp_path / "gone" / "orchestrator.db") as marker:
        marker.enter(1)
        marker.leave(1)


def test_the_file_goes_when_there_is_nothing_to_keep(tmp_path: Path) -> None:
    file = tmp_path / "orchestrator.db-turn"
    with turns_beside(tmp_path / "orchestrator.db") as marker:
        assert file.exists()
        marker.enter(7)
        marker.leave(7)
    assert not file.exists()

    with turns_beside(tmp_path / "orchestrator.db") as marker:
        marker.enter(7)
    assert file.exists()
