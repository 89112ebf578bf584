"""OrchestratorService over gRPC: translate, call, translate back. No decisions here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceServicer
from forgemesh.chassis.channel import MEBIBYTE
from forgemesh.chassis.pages import key_before, size_of, token_after
from forgemesh.chassis.service import VERSION
from forgemesh.chassis.telemetry import parse_traceparent
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest
from forgemesh.orchestrator.application.definitions import Definitions
from forgemesh.orchestrator.application.executions import Caller, Executions, StartRequest
from forgemesh.orchestrator.codec import (
    definition_to_message,
    event_to_message,
    execution_to_message,
    payload_from_message,
    row_to_message,
)
from forgemesh.orchestrator.domain.events import Event
from forgemesh.orchestrator.domain.payload import EMPTY_OBJECT
from forgemesh.orchestrator.domain.state import Status

SERVICE = pb.DESCRIPTOR.services_by_name["OrchestratorService"].full_name
DEFAULT_NAMESPACE = "default"
FRAME_BYTES = MEBIBYTE


class OrchestratorServicer(OrchestratorServiceServicer):
    """`mesh` names the addresses of the mesh's services."""

    def __init__(self, definitions: Definitions, executions: Executions, mesh: Mapping[str, str]) -> None:
        self._definitions = definitions
        self._executions = executions
        self._mesh = mesh

    async def RegisterDefinition(
        self, request: pb.RegisterDefinitionRequest, context: Any
    ) -> pb.RegisterDefinitionResponse:
        stored, created = await self._definitions.register(_namespace(request.namespace), request.source)
        message = definition_to_message(stored.definition, stored.created_at, source=True)
        return pb.RegisterDefinitionResponse(definition=message, created=created)

    async def ListDefinitions(self, request: pb.ListDefinitionsRequest, context: Any) -> pb.ListDefinitionsResponse:
        found = await self._definitions.known(_namespace(request.namespace), request.name)
        after = key_before(request.page_token, 2)
        names = [(kept.definition.name, kept.definition.version) for kept in found]
        start = names.index(after) + 1 if after in names else 0
        end = start + size_of(request.page_size)
        page = found[start:end]
        return pb.ListDefinitionsResponse(
            definitions=[definition_to_message(kept.definition, kept.created_at, source=False) for kept in page],
            next_page_token=token_after(*names[end - 1]) if end < len(found) else "",
        )

    async def StartExecution(self, request: pb.StartExecutionRequest, context: Any) -> pb.StartExecutionResponse:
        start = StartRequest(
            namespace=_namespace(request.namespace),
            workflow=request.workflow,
            version=request.workflow_version,
            execution_id=request.execution_id,
            request_id=request.request_id,
            input=payload_from_message(request.input) if request.HasField("input") else EMPTY_OBJECT,
            wait=max(0, request.wait_millis) / 1000,
            caller=_caller(context),
        )
        state, created = await self._executions.start(start)
        return pb.StartExecutionResponse(execution=execution_to_message(state), created=created)

    async def GetExecution(self, request: pb.GetExecutionRequest, context: Any) -> pb.GetExecutionResponse:
        state = await self._executions.get(_namespace(request.namespace), request.execution_id)
        return pb.GetExecutionResponse(execution=execution_to_message(state))

    async def ListExecutions(self, request: pb.ListExecutionsRequest, context: Any) -> pb.ListExecutionsResponse:
        size = size_of(request.page_size, usual=50)
        before = key_before(request.page_token, 1)
        rows = await self._executions.page(
            _namespace(request.namespace),
            request.workflow,
            _STATUS.get(request.status),
            _key(before[0]) if before is not None else 0,
            size + 1,
        )
        return pb.ListExecutionsResponse(
            executions=[row_to_message(row) for row in rows[:size]],
            next_page_token=token_after(str(rows[size - 1].key)) if len(rows) > size else "",
        )

    async def WatchExecution(
        self, request: pb.WatchExecutionRequest, context: Any
    ) -> AsyncIterator[pb.WatchExecutionResponse]:
        namespace = _namespace(request.namespace)
        async for events in self._executions.watch(namespace, request.execution_id, request.from_sequence):
            for frame in _frames(events):
                yield frame

    async def GetMesh(self, request: pb.GetMeshRequest, context: Any) -> pb.GetMeshResponse:
        services = [pb.MeshService(name=name, address=address) for name, address in sorted(self._mesh.items())]
        return pb.GetMeshResponse(services=services, version=VERSION)


_STATUS = {
    execution_pb2.EXECUTION_STATUS_RUNNING: Status.RUNNING,
    execution_pb2.EXECUTION_STATUS_SUCCEEDED: Status.SUCCEEDED,
    execution_pb2.EXECUTION_STATUS_FAILED: Status.FAILED,
}


def _frames(events: Iterable[Event]) -> Iterator[pb.WatchExecutionResponse]:
    """As many events together as fit into a message of moderate size."""
    frame = pb.WatchExecutionResponse()
    size = 0
    for event in events:
        message = event_to_message(event)
        if size and size + message.ByteSize() > FRAME_BYTES:
            yield frame
            frame, size = pb.WatchExecutionResponse(), 0
        frame.events.append(message)
        size += message.ByteSize()
    if size:
        yield frame


def _key(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise InvalidRequest([Violation("page_token", "must come from an earlier response")])
    return int(text)


def _namespace(given: str) -> str:
    return given or DEFAULT_NAMESPACE


def _caller(context: Any) -> Caller | None:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            parent = parse_traceparent(value if isinstance(value, str) else value.decode("ascii", "replace"))
            return Caller(parent.trace_id, parent.span_id, parent.sampled) if parent is not None else None
    return None
