"""An orchestrator that does what a test tells it: answers, refuses and breaks off on cue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1 import control_pb2 as control, event_pb2 as events, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.definition_pb2 import Definition
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus, StepStatus
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import (
    OrchestratorServiceServicer,
    add_OrchestratorServiceServicer_to_server,
)
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.server import Listen, serving
from forgemesh.faults import Fault, Violation
from forgemesh.faults.control import ExecutionState
from forgemesh.faults.service import ShuttingDown
from forgemesh.faults.workflow import DefinitionInvalid, DefinitionNotFound, ExecutionNotFound

SERVICE = "forgemesh.api.orchestrator.v1.OrchestratorService"
RUNNING = ExecutionStatus.EXECUTION_STATUS_RUNNING
PAUSED = ExecutionStatus.EXECUTION_STATUS_PAUSED
SUCCEEDED = ExecutionStatus.EXECUTION_STATUS_SUCCEEDED
FAILED = ExecutionStatus.EXECUTION_STATUS_FAILED
CANCELLING = ExecutionStatus.EXECUTION_STATUS_CANCELLING
TERMINATED = ExecutionStatus.EXECUTION_STATUS_TERMINATED
OPEN = (RUNNING, PAUSED, CANCELLING)


@dataclass
class Script(OrchestratorServiceServicer):
    """
    One execution, `x1`, of `length` events; the watch stream is refused once after each number in `breaks`.

    `refused` are ids to which nothing can be done, `listed` the executions that a list has, `turns` kinds of events.
    """

    length: int = 5
    breaks: list[int] = field(default_factory=list)
    status: ExecutionStatus.ValueType = SUCCEEDED
    failure: Failure | None = None
    output: Payload = field(default_factory=lambda: Payload(data=b'{"rows": 3}'))
    left_to_do: tuple[str, ...] = ()
    trace_id: str = "ab" * 16
    turns: dict[int, dict[str, Any]] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    listed: list[Execution] = field(default_factory=lambda: [Execution(execution_id=f"x{one}") for one in range(7)])
    explanation: control.ExplainExecutionResponse = field(default_factory=control.ExplainExecutionResponse)
    imported: bytes = b""
    services: dict[str, str] = field(default_factory=lambda: {"traces": "t:1"})
    left_out: bool = False
    requests: list[Any] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    def execution(self) -> Execution:
        return Execution(
            namespace="default",
            execution_id="x1",
            trace_id=self.trace_id,
            status=self.status,
            sequence=1 if self.status in OPEN else self.length,
            output=self.output if self.status == SUCCEEDED else None,
            failure=self.failure,
            left_to_do=self.left_to_do,
        )

    async def RegisterDefinition(self, request: Any, context: Any) -> pb.RegisterDefinitionResponse:
        if not request.source:
            raise DefinitionInvalid("etl", [Violation("name", "is missing (line 1, column 1)")])
        return pb.RegisterDefinitionResponse(definition=Definition(name="etl", version="1.0.0"))

    async def StartExecution(self, request: Any, context: Any) -> pb.StartExecutionResponse:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        return pb.StartExecutionResponse(execution=self.execution(), created=True)

    async def StreamStarts(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.StreamStartsResponse]:
        async for frame in request_iterator:
            self.requests += [one.request for one in frame.starts]
            started = pb.StartExecutionResponse(execution=self.execution(), created=True)
            result = pb.StartExecutionsResult(started=started)
            answers = [pb.NumberedResult(number=one.number, result=result) for one in frame.starts]
            yield pb.StreamStartsResponse(results=answers)

    async def GetExecution(self, request: Any, context: Any) -> pb.GetExecutionResponse:
        self.named.append(request.execution_id)
        if request.execution_id.partition("@")[0] != "x1":
            raise ExecutionNotFound(request.execution_id)
        return pb.GetExecutionResponse(execution=self.execution())

    async def WatchExecution(self, request: Any, context: Any) -> AsyncIterator[pb.WatchExecutionResponse]:
        self.requests.append(request.from_sequence)
        for number in range(request.from_sequence, self.length + 1):
            event = events.ExecutionEvent(sequence=number, **self.turns.get(number, {}))
            if event.HasField("execution_paused"):
                self.status = PAUSED
            yield pb.WatchExecutionResponse(events=[event])
            if number in self.breaks:
                self.breaks.remove(number)
                raise ShuttingDown("orchestrator")
        self.status = SUCCEEDED if self.status == RUNNING else self.status

    async def ListExecutions(self, request: Any, context: Any) -> pb.ListExecutionsResponse:
        """In pages of at most three; of the filter only the beginning of the id counts."""
        self.requests.append(request)
        fitting = [one for one in self.listed if one.execution_id.startswith(request.filter.id_prefix)]
        first = int(request.page_token or 0)
        last = min(first + min(request.page_size, 3), len(fitting))
        token = str(last) if last < len(fitting) else ""
        return pb.ListExecutionsResponse(executions=fitting[first:last], next_page_token=token)

    async def ListDefinitions(self, request: Any, context: Any) -> pb.ListDefinitionsResponse:
        return pb.ListDefinitionsResponse(definitions=[Definition(name="etl", version="1.0.0")])

    async def ValidateDefinition(self, request: Any, context: Any) -> pb.ValidateDefinitionResponse:
        definition = Definition(name="etl", version="1.0.0")
        return pb.ValidateDefinitionResponse(definition=definition, warnings=["step 'a' has no timeout"])

    async def GetDefinition(self, request: Any, context: Any) -> pb.GetDefinitionResponse:
        if request.name != "etl":
            raise DefinitionNotFound(request.name, request.version, ["etl"])
        version = request.version or "1.0.0"
        return pb.GetDefinitionResponse(definition=Definition(name="etl", version=version, source="name: etl\n"))

    async def StartExecutions(self, request: Any, context: Any) -> pb.StartExecutionsResponse:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        return pb.StartExecutionsResponse(results=[self._started(one) for one in request.requests])

    def _started(self, request: Any) -> pb.StartExecutionsResult:
        if request.workflow != "etl":
            return pb.StartExecutionsResult(refused=failure_of(DefinitionNotFound(request.workflow, "", ["etl"])))
        status = SUCCEEDED if self.left_out else RUNNING
        started = Execution(
            execution_id=request.execution_id, trace_id=self.trace_id, status=status, left_out=self.left_out
        )
        return pb.StartExecutionsResult(started=pb.StartExecutionResponse(execution=started, created=True))

    async def PauseExecution(self, request: Any, context: Any) -> control.PauseExecutionResponse:
        return control.PauseExecutionResponse(execution=self._moved(request, "paused", PAUSED))

    async def ResumeExecution(self, request: Any, context: Any) -> control.ResumeExecutionResponse:
        return control.ResumeExecutionResponse(execution=self._moved(request, "resumed", RUNNING))

    async def CancelExecution(self, request: Any, context: Any) -> control.CancelExecutionResponse:
        return control.CancelExecutionResponse(execution=self._moved(request, "cancelled", CANCELLING))

    async def TerminateExecution(self, request: Any, context: Any) -> control.TerminateExecutionResponse:
        return control.TerminateExecutionResponse(execution=self._moved(request, "terminated", TERMINATED))

    async def ResolveIncident(self, request: Any, context: Any) -> control.ResolveIncidentResponse:
        return control.ResolveIncidentResponse(execution=self._moved(request, "resolved", RUNNING))

    async def SignalExecution(self, request: Any, context: Any) -> control.SignalExecutionResponse:
        """A signal with an id has come before."""
        self._moved(request, "signalled", self.status)
        return control.SignalExecutionResponse(received=not request.signal.signal_id, sequence=3)

    async def DeleteExecution(self, request: Any, context: Any) -> control.DeleteExecutionResponse:
        self._moved(request, "deleted", self.status)
        return control.DeleteExecutionResponse()

    async def ForkExecution(self, request: Any, context: Any) -> control.ForkExecutionResponse:
        self.requests.append(request)
        fork = Execution(execution_id=request.new_execution_id or "fork-1", trace_id="cd" * 16, status=RUNNING)
        return control.ForkExecutionResponse(execution=fork, created=True)

    async def ControlExecutions(self, request: Any, context: Any) -> control.ControlExecutionsResponse:
        self.requests.append(request)
        ids = request.execution_ids or [one.execution_id for one in self.listed]
        named = [one.partition("@") for one in ids]
        results = [
            control.ControlExecutionsResult(execution_id=one, run_id=run, refused=self._refusal(one))
            for one, _, run in named
        ]
        self.status = _AFTER.get(request.WhichOneof("action"), self.status)
        return control.ControlExecutionsResponse(results=results, more=not request.execution_ids)

    def _refusal(self, execution_id: str) -> Failure | None:
        return failure_of(_illegal(execution_id, "paused")) if execution_id in self.refused else None

    def _moved(self, request: Any, action: str, status: ExecutionStatus.ValueType) -> Execution:
        self.requests.append(request)
        if request.execution_id in self.refused:
            raise _illegal(request.execution_id, action)
        self.status = status
        return self.execution()

    async def ExplainExecution(self, request: Any, context: Any) -> control.ExplainExecutionResponse:
        return self.explanation

    async def ListCheckpoints(self, request: Any, context: Any) -> control.ListCheckpointsResponse:
        """Two pages of one."""
        number = int(request.page_token or 1)
        found = control.Checkpoint(
            checkpoint_id=f"{number}-0000000{number}",
            sequence=number,
            step_path="read",
            attempt=1,
            status=StepStatus.STEP_STATUS_SUCCEEDED,
            time=Timestamp(seconds=1_700_000_000),
            execution_status=RUNNING,
        )
        return control.ListCheckpointsResponse(checkpoints=[found], next_page_token="2" if number == 1 else "")

    async def ExportExecution(self, request: Any, context: Any) -> AsyncIterator[control.ExportExecutionResponse]:
        if request.execution_id in self.refused:
            yield control.ExportExecutionResponse(chunk=b"half of ")
            raise ShuttingDown("orchestrator")
        for chunk in (b"half of ", b"the archive"):
            yield control.ExportExecutionResponse(chunk=chunk)

    async def ImportExecution(self, request_iterator: Any, context: Any) -> control.ImportExecutionResponse:
        async for request in request_iterator:
            self.requests.append((request.namespace, request.execution_id, len(request.chunk)))
            self.imported += request.chunk
        self.status = PAUSED
        return control.ImportExecutionResponse(execution=self.execution())

    async def GetOrchestrator(self, request: Any, context: Any) -> pb.GetOrchestratorResponse:
        return pb.GetOrchestratorResponse(orchestrator_id="o-1", epoch=7, running=3)

    async def GetMesh(self, request: Any, context: Any) -> pb.GetMeshResponse:
        return pb.GetMeshResponse(
            services=[pb.MeshService(name=name, address=address) for name, address in self.services.items()]
        )


@asynccontextmanager
async def served(script: Script, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    def add(server: grpc.aio.Server) -> None:
        add_OrchestratorServiceServicer_to_server(script, server)

    listen = Listen(address=address, health_address="127.0.0.1:0", grace=0.0, receive_limit=SESSION_LIMIT)
    async with serving(listen, [SERVICE], add) as server:
        await server.health.ready()
        yield server.address


_AFTER = {"pause": PAUSED, "resume": RUNNING, "cancel": CANCELLING, "terminate": TERMINATED, "resolve": RUNNING}


def _illegal(execution_id: str, action: str) -> ExecutionState:
    return ExecutionState(execution_id, action, "SUCCEEDED", f"see it with `forgemesh execution show {execution_id}`")


def failure_of(fault: Fault) -> Failure:
    return Failure(code=fault.code, reason=fault.reason, message=fault.message, metadata=fault.metadata)
