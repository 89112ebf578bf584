"""The starts of one caller over one stream, at a real orchestrator."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.execution_pb2 import ExecutionStatus
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.bounds import BOUNDS
from forgemesh.faults.workflow import ExecutionNotFound
from forgemesh.orchestrator.api.executions import execution_to_message
from forgemesh.orchestrator.api.start_stream import MOST, StartStream
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.orchestrator.orchestrators import Orchestrator

WAITING = "name: waiting\nversion: 1.0.0\nsteps: [{id: a, wait: {signal: go}}]\n"
TOO_MUCH = BOUNDS["forgemesh.api.payload.v1.Payload.metadata"] + 1


class Caller:
    """Asks for what is put into it, and keeps what it is answered."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.results: dict[int, pb.StartExecutionsResult] = {}
        self.frames: list[int] = []
        self.changed = asyncio.Event()
        self._asked: asyncio.Queue[pb.StreamStartsRequest | None] = asyncio.Queue()
        stream = StartStream(orchestrator.offered.bulk.start_one, execution_to_message)
        self.running = asyncio.ensure_future(stream.run(self._frames(), self._take))

    def ask(self, *starts: pb.NumberedStart) -> None:
        self._asked.put_nowait(pb.StreamStartsRequest(starts=starts))

    def close(self) -> None:
        self._asked.put_nowait(None)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.results) < count:
                self.changed.clear()
                await self.changed.wait()

    async def _frames(self) -> AsyncIterator[pb.StreamStartsRequest]:
        while (frame := await self._asked.get()) is not None:
            yield frame

    async def _take(self, frame: pb.StreamStartsResponse) -> None:
        self.frames.append(len(frame.results))
        for one in frame.results:
            assert one.number not in self.results
            self.results[one.number] = one.result
        self.changed.set()


def start(number: int, execution_id: str = "", *, wait: int = 0, **named: str) -> pb.NumberedStart:
    request = pb.StartExecutionRequest(workflow="waiting", execution_id=execution_id, wait_millis=wait, **named)  # type: ignore[arg-type]
    return pb.NumberedStart(number=number, request=request)


@pytest.fixture
async def caller(orchestrator: Orchestrator) -> AsyncIterator[Caller]:
    await orchestrator.definitions.register("default", WAITING)
    caller = Caller(orchestrator)
    yield caller
    caller.running.cancel()
    await asyncio.gather(caller.running, return_exceptions=True)


async def begun(orchestrator: Orchestrator, execution_id: str) -> None:
    """Return once the execution waits for its signal."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(ExecutionNotFound):
                await orchestrator.until(lambda state: bool(state.waits), execution_id)
                return


async def test_each_is_answered_when_it_is_known_whatever_the_others_wait_for(
    orchestrator: Orchestrator, caller: Caller
) -> None:
    caller.ask(start(7, "patient", wait=600_000), start(8, "quick"))
    await caller.until(1)
    caller.ask(start(9, "late"))
    await caller.until(2)
    before = set(caller.results)
    await orchestrator.offered.controls.terminate("default", "patient", "me", "")
    await caller.until(3)

    assert before == {8, 9}
    assert caller.results[7].started.execution.status == ExecutionStatus.EXECUTION_STATUS_TERMINATED
    assert len(await orchestrator.history("late")) > 0


async def test_what_is_refused_is_refused_alone(caller: Caller) -> None:
    large = start(3)
    large.request.input.CopyFrom(Payload(data=b"{}", metadata={str(key): "" for key in range(TOO_MUCH)}))

    caller.ask(start(1, "no id"), start(2), large, start(4))
    await caller.until(4)

    kinds = {number: result.WhichOneof("outcome") for number, result in caller.results.items()}
    assert kinds == {1: "refused", 2: "started", 3: "refused", 4: "started"}
    assert "request.input.metadata" in str(caller.results[3].refused.metadata)


async def test_the_same_request_id_is_the_same_execution(caller: Caller) -> None:
    caller.ask(start(1, request_id="r"), start(2, request_id="r"))
    await caller.until(2)

    ids = {result.started.execution.execution_id for result in caller.results.values()}
    assert len(ids) == 1
    assert sorted(result.started.created for result in caller.results.values()) == [False, True]


async def test_a_caller_of_a_sampled_trace_has_it_adopted(caller: Caller) -> None:
    one = start(1)
    one.traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    caller.ask(one, start(2))
    await caller.until(2)

    assert caller.results[1].started.execution.trace_id == "ab" * 16
    assert caller.results[2].started.execution.trace_id != "ab" * 16


async def test_it_ends_once_its_caller_has_closed_it_and_everything_is_answered(
    orchestrator: Orchestrator, caller: Caller
) -> None:
    caller.ask(start(1, "patient", wait=600_000))
    caller.close()
    await begun(orchestrator, "patient")
    still_open = not caller.running.done()
    await orchestrator.offered.controls.terminate("default", "patient", "me", "")
    async with asyncio.timeout(PATIENCE):
        await caller.running

    assert still_open
    assert set(caller.results) == {1}


async def test_no_more_are_open_than_may_be_and_the_next_one_begins_when_one_ends(
    orchestrator: Orchestrator, caller: Caller
) -> None:
    caller.ask(*(start(number, f"w{number}", wait=600_000) for number in range(MOST)))
    caller.ask(start(MOST, "next"))
    await begun(orchestrator, f"w{MOST - 1}")
    before = {running.name[1] for running in orchestrator.engine.all_running()}
    await orchestrator.offered.controls.terminate("default", "w0", "me", "")
    await caller.until(2)

    assert "next" not in before
    assert set(caller.results) == {0, MOST}
