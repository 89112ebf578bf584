"""The starts of one caller over one stream, and their answers: as many in a message as there are at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TypeAlias

from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.chassis.channel import MEBIBYTE
from forgemesh.chassis.counting import refuse_excess
from forgemesh.orchestrator.api import requests
from forgemesh.orchestrator.api.started import fill_in
from forgemesh.orchestrator.execution.commands.bulk import StartOutcome
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.state import ExecutionState

MOST = 1_000
"""Starts of one stream that are open at a time."""
FRAME = MEBIBYTE
"""Bytes of answers above which a message takes no further one."""

Start: TypeAlias = Callable[[Callable[[], StartRequest]], Awaitable[StartOutcome]]


class StartStream:
    """
    Each start is answered as soon as its outcome is known, whatever becomes of the others.

    `message` shows an execution as it stands in that moment.
    """

    def __init__(self, start: Start, message: Callable[[ExecutionState], execution_pb2.Execution]) -> None:
        self._start = start
        self._message = message
        self._answers: list[pb.NumberedResult] = []
        self._ready = asyncio.Event()
        self._room = asyncio.Semaphore(MOST)
        self._open = 0
        self._closed = False

    async def run(
        self,
        asked: AsyncIterable[pb.StreamStartsRequest],
        write: Callable[[pb.StreamStartsResponse], Awaitable[None]],
    ) -> None:
        """Until the caller has closed its side and every start is answered."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write(write))
            async for frame in asked:
                for one in frame.starts:
                    await self._room.acquire()
                    self._open += 1
                    tasks.create_task(self._answer(one))
            self._closed = True
            self._ready.set()

    async def _answer(self, one: pb.NumberedStart) -> None:
        outcome = await self._start(lambda: _request(one))
        answer = pb.NumberedResult(number=one.number)
        fill_in(answer.result, outcome, self._message)
        self._answers.append(answer)
        self._open -= 1
        self._room.release()
        self._ready.set()

    async def _write(self, write: Callable[[pb.StreamStartsResponse], Awaitable[None]]) -> None:
        while self._open or self._answers or not self._closed:
            await self._ready.wait()
            self._ready.clear()
            while self._answers:
                await write(self._next_frame())

    def _next_frame(self) -> pb.StreamStartsResponse:
        count = size = 0
        for answer in self._answers:
            size += answer.ByteSize()
            if count and size > FRAME:
                break
            count += 1
        frame = pb.StreamStartsResponse(results=self._answers[:count])
        del self._answers[:count]
        return frame


def _request(one: pb.NumberedStart) -> StartRequest:
    """Raises what refuses it."""
    refuse_excess(one, one.ByteSize())
    return requests.start_of(one.request, requests.caller_named(one.traceparent))
