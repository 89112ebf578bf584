import logging

import pytest

from forgemesh.chassis.damages import Damages
from forgemesh.faults.service import DataCorrupted


def read(row: int) -> int:
    if row % 2:
        raise DataCorrupted(f"row {row}", "it is odd")
    return row


def test_what_can_be_read_is_given_and_what_cannot_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    damages = Damages()
    with caplog.at_level(logging.ERROR):
        found = [damages.sound(range(4), read) for _ in range(2)]

    assert found == [[0, 2], [0, 2]]
    assert [said.partition(":")[0] for said in damages.messages] == ["row 1 is damaged", "row 3 is damaged"]
    assert len(caplog.records) == 2


def test_what_is_no_damage_comes_out() -> None:
    with pytest.raises(KeyError):
        Damages().sound(["a"], dict[str, int]().__getitem__)
