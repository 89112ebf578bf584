"""The client against an orchestrator that breaks off and refuses on cue."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from opentelemetry import trace

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.client import Client, ExecutionFailed
from forgemesh.faults import Code, Violation
from forgemesh.faults.service import InvalidRequest, ServiceUnreachable
from forgemesh.faults.workflow import DefinitionInvalid, ExecutionNotFound, PayloadUnreadable
from tests.component.client.script import FAILED, RUNNING, Script, served


async def test_a_watch_brings_every_event_once_and_in_order(mesh: Client) -> None:
    execution = await mesh.start("etl")

    assert [event.sequence async for event in execution.watch()] == [1, 2, 3, 4, 5]


async def test_a_watch_can_begin_later(mesh: Client) -> None:
    execution = await mesh.start("etl")

    assert [event.sequence async for event in execution.watch(4)] == [4, 5]


async def test_a_broken_watch_goes_on_where_it_broke(mesh: Client, script: Script) -> None:
    script.breaks = [2, 3]
    execution = await mesh.execution("x1")

    assert [event.sequence async for event in execution.watch()] == [1, 2, 3, 4, 5]
    assert script.requests == [1, 3, 4]


async def test_a_watch_survives_the_death_of_the_server(script: Script) -> None:
    script.breaks = [3]
    seen: list[int] = []
    async with AsyncExitStack() as first:
        address = await first.enter_async_context(served(script))
        async with Client.connect(address) as mesh:
            execution = await mesh.execution("x1")
            watching = execution.watch()
            seen.append((await anext(watching)).sequence)
            await first.aclose()
            async with served(script, address):
                seen += [event.sequence async for event in watching]

    assert seen == [1, 2, 3, 4, 5]


async def test_a_watch_gives_up_when_nobody_answers_for_its_patience(script: Script) -> None:
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(served(script))
        async with Client.connect(address) as mesh:
            execution = await mesh.execution("x1")
            await stack.aclose()

            with pytest.raises(ServiceUnreachable) as unreachable:
                _ = [event async for event in execution.watch(patience=0.3)]

    assert unreachable.value.metadata == {
        "service": "orchestrator",
        "address": address,
        "cause": "connection refused",
    }


async def test_a_result_is_decoded(mesh: Client) -> None:
    execution = await mesh.start("etl")

    assert await execution.result() == {"rows": 3}


async def test_a_result_is_waited_for(mesh: Client, script: Script) -> None:
    script.status = RUNNING
    script.breaks = [3]
    execution = await mesh.start("etl")

    assert await execution.result() == {"rows": 3}


async def test_a_result_that_came_with_the_start_is_not_asked_for_again(script: Script) -> None:
    async with served(script) as address, Client.connect(address) as mesh:
        execution = await mesh.start("etl", wait=5)

    assert await execution.result() == {"rows": 3}
    assert script.requests[0].wait_millis == 5000


async def test_a_result_that_is_no_json_stays_a_payload(mesh: Client, script: Script) -> None:
    script.output = Payload(media_type="image/png", data=b"\x89PNG")
    execution = await mesh.start("etl")

    assert await execution.result() == script.output


async def test_a_failed_execution_raises_its_failure(mesh: Client, script: Script) -> None:
    script.status = FAILED
    script.failure = Failure(code=3, reason="CSV_EMPTY", message="the file is empty", step_path="read")
    execution = await mesh.start("etl")

    with pytest.raises(ExecutionFailed, match="execution 'x1' failed at 'read': the file is empty") as failed:
        await execution.result()

    error = failed.value
    assert (error.code, error.reason, error.message, error.step_path) == (
        Code.INVALID_ARGUMENT,
        "CSV_EMPTY",
        "the file is empty",
        "read",
    )


async def test_waiting_for_a_result_can_be_bounded(script: Script) -> None:
    script.status = RUNNING
    forever = asyncio.Event()

    class Stalling(Script):
        async def WatchExecution(self, request: Any, context: Any) -> AsyncIterator[pb.WatchExecutionResponse]:
            await forever.wait()
            yield pb.WatchExecutionResponse()

    async with served(Stalling(status=RUNNING)) as address, Client.connect(address) as mesh:
        execution = await mesh.start("etl")

        with pytest.raises(TimeoutError):
            await execution.result(timeout=0.1)


async def test_a_start_says_everything_it_was_told(mesh: Client, script: Script) -> None:
    await mesh.start(
        "etl", {"n": 2**80}, execution_id="mine", request_id="r1", version="1.2.0", namespace="lab", traceparent="00-x"
    )

    [request] = script.requests
    assert request == pb.StartExecutionRequest(
        namespace="lab",
        workflow="etl",
        workflow_version="1.2.0",
        execution_id="mine",
        request_id="r1",
        input=Payload(media_type="application/json", data=b'{"n":1208925819614629174706176}'),
    )
    assert script.metadata["traceparent"] == "00-x"


async def test_two_starts_are_two_requests(mesh: Client, script: Script) -> None:
    await mesh.start("etl")
    await mesh.start("etl")

    assert script.requests[0].request_id != script.requests[1].request_id


async def test_a_start_joins_the_callers_own_trace(mesh: Client, script: Script) -> None:
    context = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        await mesh.start("etl")

    assert script.metadata["traceparent"] == "00-00000000000000000000000000000abc-0000000000000def-01"


async def test_a_refusal_is_the_fault_that_the_service_raised(mesh: Client) -> None:
    with pytest.raises(ExecutionNotFound):
        await mesh.execution("nowhere")
    with pytest.raises(DefinitionInvalid) as refused:
        await mesh.register("")

    assert refused.value.violations == (Violation("name", "is missing (line 1, column 1)"),)


async def test_pages_are_turned_up_to_the_limit(mesh: Client) -> None:
    assert [one.execution_id for one in await mesh.list_executions()] == [f"x{number}" for number in range(7)]
    assert [one.execution_id for one in await mesh.list_executions(limit=4)] == ["x0", "x1", "x2", "x3"]


async def test_one_address_leads_to_the_others(mesh: Client) -> None:
    assert await mesh.mesh() == {"traces": "t:1"}


async def test_nobody_at_the_address_is_an_unreachable_service(unused_address: str) -> None:
    async with Client.connect(unused_address) as mesh:
        with pytest.raises(ServiceUnreachable, match=f"cannot reach the orchestrator at {unused_address}"):
            await mesh.list_definitions()


@pytest.fixture
async def unused_address(script: Script) -> str:
    """Where something listened a moment ago."""
    async with served(script) as address:
        pass
    return address


@pytest.mark.parametrize("data", [b'{"v": NaN}', b"no json", b"[" * 100_000, b'"\xff"', b"1e400"])
@pytest.mark.parametrize("media_type", ["", "application/json; charset=utf-8", "a/b+json"])
async def test_a_result_that_cannot_be_read_is_a_fault_and_its_bytes_are_there(
    mesh: Client, script: Script, media_type: str, data: bytes
) -> None:
    script.output = Payload(media_type=media_type, data=data)
    execution = await mesh.start("etl")

    with pytest.raises(PayloadUnreadable, match="the output of execution 'x1' says that it is"):
        await execution.result()

    assert execution.last_seen.output.data == data


@pytest.mark.parametrize(
    ("value", "place"),
    [({"rows": [math.nan]}, "input.rows[0]"), ({1: "a", "1": "b"}, "input"), (Payload(data=b"NaN"), "input")],
)
async def test_an_input_that_would_not_arrive_as_it_is_does_not_leave(
    mesh: Client, script: Script, value: object, place: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await mesh.start("etl", value)

    assert [violation.field for violation in refused.value.violations] == [place]
    assert script.requests == []


async def test_signals_decisions_and_patches_are_held_to_the_same(mesh: Client) -> None:
    execution = await mesh.start("etl")
    refused = []
    for asked in (
        lambda: execution.signal("go", {"v": math.nan}),
        lambda: execution.resolve("a", "complete", [math.inf]),
        lambda: execution.fork(input_patch={"v": -math.inf}),
    ):
        with pytest.raises(InvalidRequest) as fault:
            await asked()
        refused += [violation.field for violation in fault.value.violations]

    assert refused == ["signal.payload.v", "payload[0]", "input_patch.v"]
