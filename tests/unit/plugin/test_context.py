import asyncio
import math
import time

import pytest

from forgemesh.plugin import Code, Context, OperationCancelled, OperationError, Payload


def test_a_context_says_how_much_time_is_left() -> None:
    assert 0 < Context(expires=time.monotonic() + 60).deadline <= 60
    assert Context(expires=time.monotonic() - 1).deadline == 0
    assert Context().deadline == math.inf


def test_a_cancelled_context_tells_loops_to_end() -> None:
    ctx = Context()
    ctx.raise_if_cancelled()
    ctx.cancel()

    assert ctx.cancelled
    with pytest.raises(OperationCancelled):
        ctx.raise_if_cancelled()


@pytest.mark.parametrize("early", [True, False])
async def test_cancellation_can_be_awaited(early: bool) -> None:
    ctx = Context()
    if early:
        ctx.cancel()
    waiting = asyncio.create_task(ctx.cancellation())
    await asyncio.sleep(0)
    ctx.cancel()

    await asyncio.wait_for(waiting, 5)


async def test_progress_stays_between_nothing_and_all() -> None:
    told: list[tuple[float, str]] = []

    def report(fraction: float, note: str, details: Payload | None) -> None:
        told.append((fraction, note))

    ctx = Context(report=report)
    await ctx.progress(-1)
    await ctx.progress(0.5, note="trend")
    await ctx.progress(7)

    assert told == [(0.0, ""), (0.5, "trend"), (1.0, "")]


async def test_details_are_written_as_json_and_have_a_limit() -> None:
    told: list[Payload | None] = []
    ctx = Context(report=lambda fraction, note, details: told.append(details))
    await ctx.progress(0.5, details={"row": 2**60})
    ctx.report(0.6, details=Payload(b"\x00", "application/octet-stream"))
    with pytest.raises(ValueError, match="at most 65536 are kept"):
        ctx.report(0.7, details="x" * 65536)

    assert told == [Payload(b'{"row":1152921504606846976}'), Payload(b"\x00", "application/octet-stream")]


@pytest.mark.parametrize(
    "details",
    [
        Payload(b"1", metadata={"rows": "x" * 65536}),
        Payload(b"", "x/" + "y" * 65536),
        Payload(b"", "x/y", {str(number): "" for number in range(5000)}),
    ],
)
def test_what_goes_with_details_counts_to_their_limit(details: Payload) -> None:
    with pytest.raises(ValueError, match="at most 65536 are kept"):
        Context().report(0.5, details=details)


@pytest.mark.parametrize("details", [Payload(5), Payload(b"", "x/y", {"\udcff": "1"})])  # type: ignore[arg-type]
def test_details_that_cannot_travel_are_refused_where_they_are_said(details: Payload) -> None:
    with pytest.raises(ValueError, match="Payload"):
        Context().report(0.5, details=details)


def test_details_travel_as_bytes_and_texts() -> None:
    told: list[Payload | None] = []
    ctx = Context(report=lambda fraction, note, details: told.append(details))

    ctx.report(0.5, details=Payload(bytearray(b"1"), "x/y", {"rows": 7}))  # type: ignore[arg-type,dict-item]

    assert told == [Payload(b"1", "x/y", {"rows": "7"})]


def test_what_an_earlier_attempt_said_is_read() -> None:
    opaque = Payload(b"\x00", "application/octet-stream")

    assert Context().heartbeat_details is None
    assert Context(heartbeat_details=Payload(b'{"row":3}')).heartbeat_details == {"row": 3}
    assert Context(heartbeat_details={"row": 3}).heartbeat_details == {"row": 3}
    assert Context(heartbeat_details=opaque).heartbeat_details is opaque


async def test_progress_needs_no_listener() -> None:
    await Context().progress(0.5)


def test_an_operation_error_carries_text_only() -> None:
    error = OperationError("FILE_NOT_FOUND", "no such file", metadata={"line": 7})  # type: ignore[dict-item]

    assert error.metadata == {"line": "7"}
    assert error.code is Code.FAILED_PRECONDITION
    assert not error.retryable


def test_an_operation_error_is_a_failure() -> None:
    with pytest.raises(ValueError, match="other than OK"):
        OperationError("FINE", "all is well", code=Code.OK)


@pytest.mark.parametrize("details", [{"at": math.nan}, {1: 0, "1": 0}, Payload(b"NaN")])
def test_details_that_a_next_attempt_could_not_read_are_refused_with_their_place(details: object) -> None:
    with pytest.raises(ValueError, match=r"\$.at: NaN|are both|is not valid JSON"):
        Context().report(0.5, details=details)


def test_details_that_cannot_be_read_stay_bytes() -> None:
    deep = Payload(b"[" * 100_000)

    assert Context(heartbeat_details=deep).heartbeat_details is deep
