import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from forgemesh.faults import Code
from forgemesh.faults.plugin import InstanceFull
from forgemesh.plugin import OperationError, Payload
from forgemesh.plugin_host.host.calls.codec import (
    LONGEST,
    MAX_OUTPUT,
    MAX_TEXT,
    cut,
    declared_failure,
    failure_of,
    fitting,
)


@given(st.text(st.characters(), max_size=3000))
def test_text_is_cut_to_what_a_message_carries(text: str) -> None:
    found = cut(text)

    assert len(found.encode()) <= MAX_TEXT
    assert found == text or len(text.encode(errors="replace")) > MAX_TEXT or "?" in found


@pytest.mark.parametrize("text", ["", "plain", "\N{SNOWMAN}" * 100])
def test_what_fits_stays_as_it_is(text: str) -> None:
    assert cut(text) == text


def test_a_fault_becomes_data_with_everything_it_said() -> None:
    failure = failure_of(InstanceFull("stats-1", 8), "analyse/wind", retryable=True)

    assert (failure.code, failure.reason, failure.step_path) == (8, "INSTANCE_FULL", "analyse/wind")
    assert dict(failure.metadata) == {"instance_id": "stats-1", "running": "8"}
    assert (failure.retryable, failure.retry_after_millis) == (True, 100)


def test_nothing_an_author_says_breaks_the_message() -> None:
    error = OperationError("\ud800", "\ud800" * 5000, metadata={"\ud800": "\ud800"}, code=Code.ABORTED)
    failure = declared_failure(error, "")

    assert failure.reason == "?"
    assert dict(failure.metadata) == {"?": "?"}


@pytest.mark.parametrize(
    ("said", "millis"),
    [
        (None, 0),
        (1.5, 1500),
        (0, 1),
        (-1, 0),
        (math.inf, 0),
        (math.nan, 0),
        ("5s", 0),
        (1e300, round(LONGEST * 1000)),
    ],
)
def test_a_wish_for_no_length_of_time_costs_the_wish_and_not_the_reason(said: Any, millis: int) -> None:
    failure = declared_failure(OperationError("LATER", "not now", retry_after=said), "")

    assert (failure.reason, failure.message, failure.retry_after_millis) == ("LATER", "not now", millis)


def test_an_output_beyond_what_a_message_carries_is_a_failure() -> None:
    assert isinstance(fitting(Payload(bytes(MAX_OUTPUT)), "read", ""), Payload)
    assert not isinstance(fitting(Payload(bytes(MAX_OUTPUT + 1)), "read", ""), Payload)
