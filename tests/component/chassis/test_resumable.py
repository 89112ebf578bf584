import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from forgemesh.chassis.channel import connect
from forgemesh.chassis.resumable import follow
from forgemesh.faults import Fault
from forgemesh.faults.registry import RevisionCompacted
from tests.component.chassis.mill import PATIENCE, SERVICE, running

NEVER = 1000.0


class Stream:
    """A stream of messages that ends, fails with `error`, or falls silent."""

    def __init__(self, *messages: int, error: Exception | None = None, silent: bool = False) -> None:
        self._messages = messages
        self._error = error
        self._silent = silent
        self.cancelled = False

    async def __aiter__(self) -> AsyncIterator[int]:
        for message in self._messages:
            yield message
        if self._error is not None:
            raise self._error
        if self._silent:
            await asyncio.Event().wait()

    def cancel(self) -> None:
        self.cancelled = True


class Source:
    """Gives out the streams one after the other, then one that stays open for ever."""

    def __init__(self, *streams: Stream) -> None:
        self._streams = [*streams, Stream(99, silent=True)]
        self.opened: list[Stream] = []

    def open(self) -> Stream:
        self.opened.append(self._streams[len(self.opened)])
        return self.opened[-1]


async def followed(source: Source, silence: float = NEVER, **arguments: Any) -> list[int]:
    """Everything up to the last stream's message."""
    messages: list[int] = []
    stream = follow("news", source.open, silence=silence, **arguments)
    async with asyncio.timeout(60), contextlib.aclosing(stream) as news:
        async for message in news:
            messages.append(message)
            if message == 99:
                break
    return messages


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest wait of each back-off; none is waited for."""
    longest: list[float] = []

    def draw(shortest: float, limit: float) -> float:
        assert shortest == 0
        longest.append(limit)
        return 0.0

    monkeypatch.setattr(random, "uniform", draw)
    return longest


async def test_messages_pass_in_order_over_all_streams() -> None:
    source = Source(Stream(1, 2, 3), Stream(), Stream(4))

    assert await followed(source) == [1, 2, 3, 4, 99]


async def test_a_stream_that_falls_silent_counts_as_broken() -> None:
    source = Source(Stream(1, silent=True), Stream(silent=True))

    assert await followed(source, silence=0.05) == [1, 99]


async def test_a_stream_that_its_server_ends_tells_why() -> None:
    refusals: list[Fault] = []
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="bye")

    messages = await followed(Source(Stream(1, error=error)), on_refusal=refusals.append)

    assert messages == [1, 99]
    assert [fault.message for fault in refusals] == ["bye"]


async def test_every_break_is_told_before_the_next_stream_is_opened() -> None:
    opened_at_break: list[int] = []
    source = Source(Stream(1), Stream(), Stream(2))

    await followed(source, on_break=lambda: opened_at_break.append(len(source.opened)))

    assert opened_at_break == [1, 2, 3]


async def test_every_stream_is_cancelled_when_it_breaks_or_is_no_longer_read() -> None:
    source = Source(Stream(1), Stream(2, silent=True))

    await followed(source, silence=0.05)

    assert [stream.cancelled for stream in source.opened] == [True, True, True]


async def test_the_back_off_grows_to_two_seconds_and_starts_over_with_a_message(waits: list[float]) -> None:
    await followed(Source(*(Stream() for _ in range(6)), Stream(1), Stream()))

    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 0.2, 0.4])


async def test_only_the_first_of_several_breaks_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="forgemesh.chassis.resumable"):
        await followed(Source(Stream(), Stream(), Stream(1), Stream()))

    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "WARNING", "DEBUG"]
    assert caplog.records[0].getMessage() == "news broke (it ended), opening it again"


async def test_a_bug_in_a_stream_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="garbled"):
        await followed(Source(Stream(1, error=ValueError("garbled"))))


async def test_a_reader_that_is_cancelled_is_cancelled() -> None:
    source = Source()
    reading = asyncio.create_task(_read_all(source.open))
    await asyncio.sleep(0)
    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
    assert source.opened[0].cancelled


async def _read_all(open_stream: Callable[[], Stream]) -> None:
    async with contextlib.aclosing(follow("news", open_stream, silence=NEVER)) as messages:
        async for _ in messages:
            pass


async def test_a_server_that_restarts_is_followed_from_where_it_was() -> None:
    async def count_on(request: bytes, context: Any) -> bytes:
        return b"%d" % (int(request) + 1)

    seen: list[int] = []
    async with contextlib.AsyncExitStack() as second, contextlib.AsyncExitStack() as first:
        mill = await first.enter_async_context(running(count_on))
        address = mill.serving.address
        channel = await second.enter_async_context(connect(address))

        def open_stream() -> Any:
            call: Any = channel.unary_stream(f"/{SERVICE}/UnaryStream")
            return call(b"%d" % (seen[-1] if seen else 0), wait_for_ready=True, timeout=PATIENCE)

        async with asyncio.timeout(60), contextlib.aclosing(follow("news", open_stream, silence=NEVER)) as messages:
            async for message in messages:
                seen.append(int(message))
                if len(seen) == 3:
                    await first.aclose()
                    await second.enter_async_context(running(count_on, address=address))
                if len(seen) == 9:
                    break

    assert seen == [1, 1, 1, 2, 2, 2, 3, 3, 3]


async def test_a_fault_of_the_server_reaches_the_reader_as_its_class() -> None:
    refusals: list[Fault] = []

    async def refuse(request: bytes, context: Any) -> bytes:
        raise RevisionCompacted(1, 2)

    async with running(refuse) as mill:

        def open_stream() -> Any:
            if refusals:
                return Stream(99, silent=True)
            call: Any = mill.channel.unary_stream(f"/{SERVICE}/UnaryStream")
            return call(b"", timeout=PATIENCE)

        stream = follow("news", open_stream, silence=NEVER, on_refusal=refusals.append)
        async with contextlib.aclosing(stream) as messages:
            await anext(messages)

    assert [type(fault) for fault in refusals] == [RevisionCompacted]


async def test_a_message_that_came_while_this_process_stood_still_is_no_silence() -> None:
    loop, came = asyncio.get_running_loop(), asyncio.Event()

    class Late(Stream):
        async def __aiter__(self) -> AsyncIterator[int]:
            await came.wait()
            yield 1

    source = Source(Late())
    loop.call_soon(block, 1.5)
    loop.call_later(1.0, came.set)

    assert await followed(source, silence=0.5) == [1, 99]
    assert len(source.opened) == 2


def block(seconds: float) -> None:
    """Nothing turns in this process meanwhile."""
    time.sleep(seconds)
