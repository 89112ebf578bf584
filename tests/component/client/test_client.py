"""The client against an orchestrator that breaks off and refuses on cue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from opentelemetry import trace

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1 import event_pb2 as events, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.definition_pb2 import Definition
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import (
    OrchestratorServiceServicer,
    add_OrchestratorServiceServicer_to_server,
)
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.chassis.server import Listen, serving
from forgemesh.client import Client, ExecutionFailed
from forgemesh.faults import Code, Violation
from forgemesh.faults.service import ServiceUnreachable, ShuttingDown
from forgemesh.faults.workflow import DefinitionInvalid, ExecutionNotFound

SERVICE = "forgemesh.api.orchestrator.v1.OrchestratorService"
RUNNING, SUCCEEDED, FAILED = (
    ExecutionStatus.EXECUTION_STATUS_RUNNING,
    ExecutionStatus.EXECUTION_STATUS_SUCCEEDED,
    ExecutionStatus.EXECUTION_STATUS_FAILED,
)


@dataclass
class Script(OrchestratorServiceServicer):
    """One execution, `x1`, of `length` events; the watch stream is refused once after each number in `breaks`."""

    length: int = 5
    breaks: list[int] = field(default_factory=list)
    status: ExecutionStatus.ValueType = SUCCEEDED
    failure: Failure | None = None
    output: Payload = field(default_factory=lambda: Payload(data=b'{"rows": 3}'))
    requests: list[Any] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    def execution(self) -> Execution:
        return Execution(
            namespace="default",
            execution_id="x1",
            trace_id="ab" * 16,
            status=self.status,
            sequence=1 if self.status == RUNNING else self.length,
            output=self.output,
            failure=self.failure,
        )

    async def RegisterDefinition(self, request: Any, context: Any) -> pb.RegisterDefinitionResponse:
        if not request.source:
            raise DefinitionInvalid("etl", [Violation("name", "is missing (line 1, column 1)")])
        return pb.RegisterDefinitionResponse(definition=Definition(name="etl", version="1.0.0"))

    async def StartExecution(self, request: Any, context: Any) -> pb.StartExecutionResponse:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        return pb.StartExecutionResponse(execution=self.execution(), created=True)

    async def GetExecution(self, request: Any, context: Any) -> pb.GetExecutionResponse:
        if request.execution_id != "x1":
            raise ExecutionNotFound(request.execution_id)
        return pb.GetExecutionResponse(execution=self.execution())

    async def WatchExecution(self, request: Any, context: Any) -> AsyncIterator[pb.WatchExecutionResponse]:
        self.requests.append(request.from_sequence)
        for number in range(request.from_sequence, self.length + 1):
            yield pb.WatchExecutionResponse(events=[events.ExecutionEvent(sequence=number)])
            if number in self.breaks:
                self.breaks.remove(number)
                raise ShuttingDown("orchestrator")
        self.status = self.status if self.status != RUNNING else SUCCEEDED

    async def ListExecutions(self, request: Any, context: Any) -> pb.ListExecutionsResponse:
        """Seven executions in pages of at most three."""
        first = int(request.page_token or 0)
        last = min(first + min(request.page_size, 3), 7)
        found = [Execution(execution_id=f"x{number}") for number in range(first, last)]
        return pb.ListExecutionsResponse(executions=found, next_page_token=str(last) if last < 7 else "")

    async def ListDefinitions(self, request: Any, context: Any) -> pb.ListDefinitionsResponse:
        return pb.ListDefinitionsResponse(definitions=[Definition(name="etl", version="1.0.0")])

    async def GetMesh(self, request: Any, context: Any) -> pb.GetMeshResponse:
        return pb.GetMeshResponse(services=[pb.MeshService(name="traces", address="t:1")])


@asynccontextmanager
async def served(script: Script, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    def add(server: grpc.aio.Server) -> None:
        add_OrchestratorServiceServicer_to_server(script, server)

    listen = Listen(address=address, health_address="127.0.0.1:0", grace=0.0)
    async with serving(listen, [SERVICE], add) as server:
        await server.health.ready()
        yield server.address


@pytest.fixture
def script() -> Script:
    return Script()  # type: ignore[abstract] # no test here calls the rest


@pytest.fixture
async def mesh(script: Script) -> AsyncIterator[Client]:
    async with served(script) as address, Client.connect(address) as client:
        yield client


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

    stalling = Stalling(status=RUNNING)  # type: ignore[abstract] # no test here calls the rest
    async with served(stalling) as address, Client.connect(address) as mesh:
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
