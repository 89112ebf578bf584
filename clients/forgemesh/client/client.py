"""A caller's connection to a mesh."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.definition_pb2 import Definition
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.client.execution import JSON, ExecutionHandle
from forgemesh.client.mesh_file import nearest_mesh
from forgemesh.client.peer import DEADLINE, Peer
from forgemesh.client.tracing import current_traceparent
from forgemesh.faults.workflow import PayloadTooLarge

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

DEFAULT_ADDRESS = "127.0.0.1:7401"


class Client:
    """
    What a caller can do with a mesh: `async with Client.connect() as mesh: ...`.

    Every method raises the Fault (forgemesh.faults) with which the mesh refused, or ServiceUnreachable.
    """

    def __init__(self, stub: OrchestratorServiceAsyncStub, peer: Peer) -> None:
        self._stub = stub
        self._peer = peer

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: str | None = None) -> AsyncIterator[Self]:
        """
        A client of the orchestrator at `address` (host:port).

        Without one: FORGEMESH_ADDRESS, the mesh whose data directory is nearest to the working directory, or
        127.0.0.1:7401. Nothing is sent before the first call.
        """
        peer = Peer("orchestrator", address or find_address())
        async with peer.channel() as channel:
            yield cls(OrchestratorServiceStub(channel), peer)

    @property
    def address(self) -> str:
        """Where the orchestrator listens, host:port."""
        return self._peer.address

    async def register(self, source: str, *, namespace: str = "default") -> Definition:
        """Register the YAML or JSON text of a workflow; the same content again is the same definition."""
        request = pb.RegisterDefinitionRequest(namespace=namespace, source=source)
        return (await self._peer.call(self._stub.RegisterDefinition, request)).definition

    async def start(
        self,
        workflow: str,
        input: object = None,  # noqa: A002 - what callers call it
        *,
        execution_id: str | None = None,
        request_id: str | None = None,
        version: str | None = None,
        namespace: str = "default",
        traceparent: str | None = None,
        wait: float = 0.0,
    ) -> ExecutionHandle:
        """
        Start an execution; once this returns it is durable. `input` is anything msgspec encodes as JSON.

        A repetition with the same `request_id` gets the same execution. The execution joins the trace of
        `traceparent`, or of the current OpenTelemetry span. With `wait` (seconds) this returns when the execution has
        ended, or that much later: a short execution and its result cost one call.
        """
        request = pb.StartExecutionRequest(
            namespace=namespace,
            workflow=workflow,
            workflow_version=version or "",
            execution_id=execution_id or "",
            request_id=request_id or secrets.token_hex(16),
            input=None if input is None else _payload(input),
            wait_millis=int(wait * 1000),
        )
        parent = traceparent or current_traceparent()
        metadata = (("traceparent", parent),) if parent else ()
        answer = await self._peer.call(self._stub.StartExecution, request, deadline=DEADLINE + wait, metadata=metadata)
        return self._handle(answer.execution)

    async def execution(self, execution_id: str, *, namespace: str = "default") -> ExecutionHandle:
        """A handle of an execution that was started before."""
        request = pb.GetExecutionRequest(namespace=namespace, execution_id=execution_id)
        return self._handle((await self._peer.call(self._stub.GetExecution, request)).execution)

    async def list_executions(
        self,
        *,
        workflow: str = "",
        status: ExecutionStatus.ValueType = ExecutionStatus.EXECUTION_STATUS_UNSPECIFIED,
        limit: int = 50,
        namespace: str = "default",
    ) -> list[Execution]:
        """The newest `limit` executions, newest first, without inputs, outputs and steps."""
        found: list[Execution] = []
        request = pb.ListExecutionsRequest(namespace=namespace, workflow=workflow, status=status)
        while len(found) < limit:
            request.page_size = min(limit - len(found), 500)
            page = await self._peer.call(self._stub.ListExecutions, request)
            found += page.executions
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return found

    async def list_definitions(self, *, name: str = "", namespace: str = "default") -> list[Definition]:
        """All definitions, or all versions of one, by name and newest version first, without sources."""
        found: list[Definition] = []
        request = pb.ListDefinitionsRequest(namespace=namespace, name=name, page_size=500)
        while True:
            page = await self._peer.call(self._stub.ListDefinitions, request)
            found += page.definitions
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def mesh(self) -> dict[str, str]:
        """Where the services of the mesh listen (host:port), by name."""
        answer = await self._peer.call(self._stub.GetMesh, pb.GetMeshRequest())
        return {service.name: service.address for service in answer.services}

    def _handle(self, execution: Execution) -> ExecutionHandle:
        return ExecutionHandle(self._stub, self._peer, execution)


def _payload(value: object) -> Payload:
    """The value as JSON; raises PayloadTooLarge for what no message carries."""
    data = msgspec.json.encode(value)
    if len(data) > SESSION_LIMIT:
        raise PayloadTooLarge("the input", len(data), SESSION_LIMIT)
    return Payload(media_type=JSON, data=data)


def find_address() -> str:
    """FORGEMESH_ADDRESS, else the nearest local mesh's orchestrator, else 127.0.0.1:7401."""
    named = os.environ.get("FORGEMESH_ADDRESS")
    if named:
        return named
    facts = nearest_mesh(Path.cwd())
    orchestrator = facts.services.get("orchestrator") if facts else None
    return orchestrator.address if orchestrator else DEFAULT_ADDRESS
