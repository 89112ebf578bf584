"""
Starts that are asked for at the same time leave together: over one stream, in one message for each moment.

A start by itself costs an orchestrator as much as all three steps of a short execution; one of many in a message costs
a third of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import grpc

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.chassis.channel import MEBIBYTE
from forgemesh.chassis.tasks import watched
from forgemesh.client.failure import refusal

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

MOST = 1_000
"""Starts that are open on one stream, as many as an orchestrator takes; one more opens another stream."""
MOST_BYTES = MEBIBYTE
"""Of the starts in one message; a larger start goes by itself."""
IDLE = 1.0
"""Seconds for which a stream without an open start is kept."""
LONGEST = 30.0
"""Seconds after which the next start opens a new stream: a connection that is to end has not to wait for this one."""

_Call: TypeAlias = grpc.aio.StreamStreamCall[pb.StreamStartsRequest, pb.StreamStartsResponse]
_Answer: TypeAlias = asyncio.Future[pb.StartExecutionsResult]


class Starting:
    """
    Makes the starts of one client. One that is alone goes at once, as a call of its own; those that are asked for while
    it is under way share a stream.
    """

    def __init__(self, stub: OrchestratorServiceAsyncStub) -> None:
        self._stub = stub
        self._under_way = 0
        self._newest: _Stream | None = None
        self._streams: set[_Stream] = set()
        self._has_streams = True

    async def start(
        self, request: pb.StartExecutionRequest, *, timeout: float, metadata: tuple[tuple[str, str], ...] = ()
    ) -> pb.StartExecutionResponse:
        """The answer, however it comes; raises AioRpcError, or the Fault with which it was refused."""
        stream = self._stream_for(request)
        self._under_way += 1
        try:
            if stream is not None:
                try:
                    result = await stream.start(request, timeout, dict(metadata).get("traceparent", ""))
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                        raise
                    self._has_streams = False  # an older release, which has taken nothing
                else:
                    if result.HasField("refused"):
                        raise refusal(result.refused)
                    return result.started
            alone: pb.StartExecutionResponse = await self._stub.StartExecution(
                request, timeout=timeout, metadata=metadata
            )
            return alone
        finally:
            self._under_way -= 1

    async def close(self) -> None:
        """End what is under way."""
        for stream in list(self._streams):
            await stream.close()

    def _stream_for(self, request: pb.StartExecutionRequest) -> _Stream | None:
        """None: it goes alone."""
        newest = self._newest
        if newest is not None and newest.takes:
            return newest if request.ByteSize() <= MOST_BYTES // 2 else None
        if not self._under_way or not self._has_streams or request.ByteSize() > MOST_BYTES // 2:
            return None
        newest = self._newest = _Stream(self._stub.StreamStarts(), self._streams.discard)
        self._streams.add(newest)
        return newest


class _Stream:
    """Starts under way on one stream, by number; `ended` is told once nothing comes from it any more."""

    def __init__(self, call: _Call, ended: Callable[[_Stream], object]) -> None:
        self._call = call
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, tuple[_Answer, asyncio.TimerHandle]] = {}
        self._number = 0
        self._out: list[pb.NumberedStart] = []
        self._wake = asyncio.Event()
        self._until = self._loop.time() + LONGEST
        self._closing = False
        self._looking = False
        self._tasks = (watched(self._write(), self._written), watched(self._read(), self._over))

    @property
    def takes(self) -> bool:
        """Whether one more start may go on it."""
        return not self._closing and len(self._open) < MOST and self._loop.time() < self._until

    async def start(
        self, request: pb.StartExecutionRequest, timeout: float, traceparent: str
    ) -> pb.StartExecutionsResult:
        """What became of it; raises AioRpcError."""
        self._number += 1
        number = self._number
        answer: _Answer = self._loop.create_future()
        alarm = self._loop.call_later(timeout, self._too_late, number)
        self._open[number] = answer, alarm
        self._out.append(pb.NumberedStart(number=number, request=request, traceparent=traceparent))
        self._wake.set()
        try:
            return await answer
        finally:
            alarm.cancel()
            if self._open.pop(number, None) is not None:
                self._look_whether_idle()

    async def close(self) -> None:
        """Nobody waits for anything on it any more."""
        self._call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look_whether_idle(self) -> None:
        if not self._open and not self._looking:
            self._looking = True
            self._loop.call_later(0.0 if self._loop.time() >= self._until else IDLE, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self._looking = False
        if not self._open:
            self._closing = True
            self._wake.set()

    def _too_late(self, number: int) -> None:
        answer, _ = self._open[number]
        if not answer.done():
            answer.set_exception(_broken(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    async def _write(self) -> None:
        while not (self._closing and not self._out):
            await self._wake.wait()
            self._wake.clear()
            out, self._out = self._out, []
            for batch in _frames(out):
                await self._call.write(pb.StreamStartsRequest(starts=batch))
        await self._call.done_writing()

    def _written(self, error: Exception | None) -> None:
        """What has gone wrong the reader hears, too."""

    async def _read(self) -> None:
        while isinstance(frame := await self._call.read(), pb.StreamStartsResponse):
            for result in frame.results:
                waiting = self._open.get(result.number)
                if waiting is not None and not waiting[0].done():
                    waiting[0].set_result(result.result)

    def _over(self, error: Exception | None) -> None:
        """It has ended, and whoever still waits hears why."""
        self._closing = True
        self._wake.set()
        self._tasks[0].cancel()
        self._ended(self)
        why = error if isinstance(error, grpc.aio.AioRpcError) else None
        for answer, _ in self._open.values():
            if not answer.done():
                answer.set_exception(why or _broken(grpc.StatusCode.UNAVAILABLE, "the stream of starts has ended"))


def _frames(starts: list[pb.NumberedStart]) -> Iterator[list[pb.NumberedStart]]:
    """In lists that one message carries, in number and in bytes."""
    batch: list[pb.NumberedStart] = []
    size = 0
    for start in starts:
        more = start.ByteSize()
        if batch and (len(batch) == MOST or size + more > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(start)
        size += more
    if batch:
        yield batch


def _broken(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
