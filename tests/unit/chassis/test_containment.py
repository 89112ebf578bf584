import asyncio

import pytest

from forgemesh.chassis.containment import contained


def test_a_member_that_fails_is_named_and_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    done = []
    for name, divisor in (("first", 1), ("second", 0), ("third", 1)):
        with contained(name):
            done.append(1 / divisor)

    assert done == [1, 1]
    assert "second is passed over" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_cancellation_goes_through() -> None:
    with pytest.raises(asyncio.CancelledError), contained("a member"):
        raise asyncio.CancelledError
