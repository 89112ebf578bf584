import logging

import pytest

from forgemesh.chassis.subscribers import Subscribers


def test_each_subscriber_is_told_in_the_order_in_which_they_came() -> None:
    told: list[tuple[str, int]] = []
    changes: Subscribers[[int]] = Subscribers("a change", lambda number: told.append(("first", number)))
    changes.add(lambda number: told.append(("second", number)))

    changes.tell(7)

    assert told == [("first", 7), ("second", 7)]


def test_a_subscriber_that_raises_is_named_and_keeps_no_other_one_from_hearing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[int] = []

    def deaf(number: int) -> None:
        raise ValueError(number)

    changes: Subscribers[[int]] = Subscribers("a change of policy", deaf, told.append)
    with caplog.at_level(logging.ERROR):
        changes.tell(7)

    assert told == [7]
    assert "deaf could not be told of a change of policy" in caplog.text


def test_whoever_comes_or_goes_while_an_event_is_told_counts_from_the_next_one_on() -> None:
    told: list[str] = []
    changes: Subscribers[[]] = Subscribers("a change")

    def once() -> None:
        told.append("once")
        changes.remove(once)
        changes.add(late)

    def late() -> None:
        told.append("late")

    changes.add(once)
    changes.add(lambda: told.append("always"))
    changes.tell()
    assert told == ["once", "always"]

    changes.tell()

    assert told == ["once", "always", "always", "late"]


def test_what_is_no_exception_of_work_passes() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Subscribers("a change", stop).tell()
