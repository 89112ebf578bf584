"""Starts of one client that are under way at the same time share a stream; what its orchestrator does is the test's."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
from forgemesh.client import Client
from forgemesh.client.start_stream import MOST_BYTES
from forgemesh.faults.service import ServiceUnreachable, ShuttingDown
from forgemesh.faults.workflow import DefinitionNotFound
from tests.component.client.script import RUNNING, Script, failure_of, served

PATIENCE = 30.0


@dataclass
class Streaming(Script):
    """
    Keeps whoever is asked for `held` waiting by unary call until `release`. On a stream it answers each start with the
    name of its workflow as the id, in reverse order, and breaks off once for each of `breaks`.
    """

    release: asyncio.Event = field(default_factory=asyncio.Event)
    frames: list[list[pb.NumberedStart]] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    broken: int = 0
    silent: bool = False
    stopping: bool = False
    streams: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    got: asyncio.Event = field(default_factory=asyncio.Event)

    async def StartExecution(self, request: Any, context: Any) -> pb.StartExecutionResponse:
        self.alone.append(request.workflow)
        self.got.set()
        if request.workflow == "held":
            await self.release.wait()
        return started(request.workflow)

    async def StreamStarts(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.StreamStartsResponse]:
        self.streams += 1
        async for frame in request_iterator:
            self.frames.append(list(frame.starts))
            self.got.set()
            if self.broken:
                self.broken -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "it is away")
            if not self.silent:
                yield pb.StreamStartsResponse(results=[self._numbered(one) for one in reversed(frame.starts)])
        self.closed.set()

    def _numbered(self, one: pb.NumberedStart) -> pb.NumberedResult:
        workflow = one.request.workflow
        if self.stopping:
            self.stopping = False
            result = pb.StartExecutionsResult(refused=failure_of(ShuttingDown("orchestrator")))
        elif workflow == "unknown":
            result = pb.StartExecutionsResult(refused=failure_of(DefinitionNotFound(workflow, "", ["etl"])))
        else:
            result = pb.StartExecutionsResult(started=started(workflow))
        return pb.NumberedResult(number=one.number, result=result)


def started(workflow: str) -> pb.StartExecutionResponse:
    return pb.StartExecutionResponse(execution=Execution(execution_id=workflow, status=RUNNING), created=True)


@pytest.fixture
def script() -> Streaming:
    return Streaming()


@pytest.fixture
async def held(mesh: Client, script: Streaming) -> AsyncIterator[asyncio.Task[Any]]:
    """A start that is under way, so that no other one is alone."""
    start = asyncio.ensure_future(mesh.start("held", wait=20.0))
    await script.got.wait()
    script.got.clear()
    yield start
    script.release.set()
    await start


async def test_starts_one_after_the_other_are_calls_of_their_own(mesh: Client, script: Streaming) -> None:
    for name in ("a", "b"):
        await mesh.start(name)

    assert (script.alone, script.streams) == (["a", "b"], 0)


async def test_starts_of_one_moment_leave_as_one_message_and_each_gets_its_own_answer(
    mesh: Client, script: Streaming, held: asyncio.Task[Any]
) -> None:
    names = [f"w{number}" for number in range(50)]

    handles = await asyncio.gather(*(mesh.start(name, traceparent=f"trace of {name}") for name in names))

    assert [handle.id for handle in handles] == names
    assert [[one.request.workflow for one in frame] for frame in script.frames] == [names]
    assert {one.traceparent for one in script.frames[0]} == {f"trace of {name}" for name in names}
    assert script.alone == ["held"]


async def test_a_start_that_is_refused_raises_its_own_fault_and_holds_up_no_other(
    mesh: Client, held: asyncio.Task[Any]
) -> None:
    answers = await asyncio.gather(mesh.start("a"), mesh.start("unknown"), mesh.start("b"), return_exceptions=True)

    assert [type(answer).__name__ for answer in answers] == ["ExecutionHandle", "DefinitionNotFound", "ExecutionHandle"]


@pytest.mark.parametrize("fails", ["the stream", "the orchestrator, which is about to stop"])
async def test_a_start_that_came_to_nothing_is_repeated_with_its_request_id(
    mesh: Client, script: Streaming, held: asyncio.Task[Any], fails: str
) -> None:
    script.broken, script.stopping = int(fails == "the stream"), fails != "the stream"

    handle = await mesh.start("a", request_id="r")

    asked = [one.request for frame in script.frames for one in frame]
    assert handle.id == "a"
    assert [(one.workflow, one.request_id) for one in asked] == [("a", "r"), ("a", "r")]


async def test_an_orchestrator_that_does_not_know_the_stream_gets_calls() -> None:
    @dataclass
    class Older(Streaming):
        async def StreamStarts(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.StreamStartsResponse]:
            self.streams += 1
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            yield pb.StreamStartsResponse()

    script = Older()
    async with served(script) as address, Client.connect(address) as mesh:
        starting = asyncio.gather(*(mesh.start(name) for name in ("held", "a", "b")))
        while len(script.alone) < 3:
            await asyncio.wait_for(script.got.wait(), PATIENCE)
            script.got.clear()
        tried = script.streams
        again = asyncio.gather(*(mesh.start(name) for name in ("c", "d")))
        await again
        script.release.set()
        handles = await starting

    assert [handle.id for handle in handles] == ["held", "a", "b"]
    assert script.streams == tried > 0, "once it is known, nobody tries again"


async def test_what_is_too_large_to_share_a_message_goes_alone(
    mesh: Client, script: Streaming, held: asyncio.Task[Any]
) -> None:
    await mesh.start("large", "x" * MOST_BYTES)

    assert script.alone == ["held", "large"]


async def test_many_bytes_leave_in_several_messages(mesh: Client, script: Streaming, held: asyncio.Task[Any]) -> None:
    await asyncio.gather(*(mesh.start(f"w{number}", "x" * (MOST_BYTES // 3)) for number in range(6)))

    assert [len(frame) for frame in script.frames] == [2, 2, 2]


async def test_a_start_that_is_not_answered_in_its_time_says_so(
    mesh: Client, script: Streaming, held: asyncio.Task[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forgemesh.client.client.DEADLINE", 0.05)
    script.silent = True

    with pytest.raises(ServiceUnreachable, match=r"no answer within 0\.05 s"):
        await mesh.start("a", request_id="r", patience=0.0)


async def test_a_caller_that_gives_up_takes_nothing_from_the_others(
    mesh: Client, script: Streaming, held: asyncio.Task[Any]
) -> None:
    script.silent = True
    given_up = asyncio.ensure_future(mesh.start("a"))
    await script.got.wait()
    given_up.cancel()
    script.silent = False

    handle = await mesh.start("b")

    assert handle.id == "b"
    assert given_up.cancelled() or (await asyncio.wait([given_up]))[0]


async def test_a_stream_that_nobody_needs_is_closed(mesh: Client, script: Streaming, held: asyncio.Task[Any]) -> None:
    await mesh.start("a")
    await asyncio.wait_for(script.closed.wait(), PATIENCE)
    script.closed.clear()

    await mesh.start("b")

    assert script.streams == 2
