"""A caller's connection to a mesh."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from forgemesh.api.orchestrator.v1 import control_pb2 as pb_control, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.api.orchestrator.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from forgemesh.chassis.next_command import unnamed
from forgemesh.client.archive import TRANSFER_DEADLINE, opened, pieces_of
from forgemesh.client.balancer import Balancer
from forgemesh.client.control import Action, Controlled, Signal
from forgemesh.client.execution import ExecutionHandle
from forgemesh.client.execution_filter import EVERYTHING, ExecutionFilter, Order, order_number
from forgemesh.client.failure import refusal
from forgemesh.client.mesh_file import nearest_mesh
from forgemesh.client.peer import DEADLINE, PATIENCE, Peer
from forgemesh.client.schedules import Schedules
from forgemesh.client.start import IdConflict, IdReuse, Start, batches, sendable
from forgemesh.client.start_stream import Starting
from forgemesh.client.tracing import current_traceparent
from forgemesh.faults import Fault

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.definition_pb2 import Definition
    from forgemesh.api.orchestrator.v1.execution_pb2 import Execution
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

DEFAULT_ADDRESS = "127.0.0.1:7401"
CONTROL_DEADLINE = 60.0
MOST = 1000
"""Executions that one call controls."""


class Client:
    """
    What a caller can do with a mesh: `async with Client.connect() as mesh: ...`.

    Every method raises the Fault (forgemesh.faults) with which the mesh refused, or ServiceUnreachable. While the
    orchestrator is away, starts with a request id are repeated for 30 s, and so is what changes something once it has
    answered this client; other calls as long as `connect` says. `schedules` are those of the mesh.
    """

    def __init__(self, stub: OrchestratorServiceAsyncStub, peer: Peer, schedules: Schedules) -> None:
        self._stub = stub
        self._peer = peer
        self._starting = Starting(stub)
        self.schedules = schedules

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: str | None = None, *, patience: float = 0.0) -> AsyncIterator[Self]:
        """
        A client of the orchestrator at `address` (host:port).

        Without one: FORGEMESH_ADDRESS, the mesh whose data directory is nearest to the working directory, or
        127.0.0.1:7401. Nothing is sent before the first call. While the orchestrator is away each call that may be
        repeated waits for it, for `patience` seconds at least.
        """
        peer = Peer("orchestrator", address or find_address(), patience)
        async with peer.channel() as channel:
            client = cls(OrchestratorServiceStub(channel), peer, Schedules(ScheduleServiceStub(channel), peer))
            try:
                yield client
            finally:
                await client._starting.close()

    @property
    def address(self) -> str:
        """Where the orchestrator listens, host:port."""
        return self._peer.address

    async def register(self, source: str, *, namespace: str = "default") -> Definition:
        """Register the YAML or JSON text of a workflow; the same content again is the same definition."""
        request = pb.RegisterDefinitionRequest(namespace=namespace, source=source)
        answer = await self._peer.call(self._stub.RegisterDefinition, request, patience=self._peer.waits)
        return answer.definition

    async def validate(self, source: str, *, namespace: str = "default") -> pb.ValidateDefinitionResponse:
        """
        Check a definition as `register` does, also against the plugins that are published now, and keep nothing.

        Raises DefinitionInvalid with every violation.
        """
        request = pb.ValidateDefinitionRequest(namespace=namespace, source=source)
        return await self._peer.call(self._stub.ValidateDefinition, request)

    async def definition(self, name: str, version: str | None = None, *, namespace: str = "default") -> Definition:
        """One definition with its source; the highest version if none is named."""
        request = pb.GetDefinitionRequest(namespace=namespace, name=name, version=version or "")
        return (await self._peer.call(self._stub.GetDefinition, request)).definition

    async def start(
        self,
        workflow: str,
        input: object = None,  # noqa: A002 - what callers call it
        *,
        execution_id: str | None = None,
        request_id: str | None = None,
        version: str | None = None,
        namespace: str = "default",
        id_reuse: IdReuse = "reject_duplicate",
        id_conflict: IdConflict = "fail",
        priority: int = 0,
        signal: Signal | None = None,
        paused: bool = False,
        traceparent: str | None = None,
        wait: float = 0.0,
        patience: float = PATIENCE,
    ) -> ExecutionHandle:
        """
        Start an execution, see `Start`; once this returns it is durable.

        A repetition with the same `request_id` gets the same execution; with one this waits itself for an orchestrator
        that is away, `patience` seconds from the moment when it does not answer any more. The execution joins the trace
        of `traceparent`, or of the current OpenTelemetry span. With `wait` (seconds) this returns when the execution
        has ended, or that much later: a short execution and its result cost one call. Starts that are asked for while
        others are under way leave together, which costs less; none waits for others.
        """
        start = Start(
            workflow=workflow,
            input=input,
            execution_id=execution_id,
            request_id=request_id,
            version=version,
            namespace=namespace,
            id_reuse=id_reuse,
            id_conflict=id_conflict,
            priority=priority,
            signal=signal,
            paused=paused,
            wait=wait,
        )
        answer = await self._peer.call(
            self._starting.start,
            start.request(),
            deadline=DEADLINE + wait,
            metadata=_caller_trace(traceparent),
            patience=patience if request_id else self._peer.waits,
        )
        return self._handle(answer.execution)

    async def start_many(
        self, starts: Sequence[Start], *, traceparent: str | None = None
    ) -> list[ExecutionHandle | Fault]:
        """
        Start many executions with few calls; for each, in order, its handle or the Fault with which it was refused.

        One that is refused, or that cannot be sent, does not hold up the others; all are looked at before the first
        leaves. Outputs for which one answer has no room are left out of it, and `result` fetches them. If the first
        call fails as a whole, its Fault is raised; a later one's is the outcome of each of its starts. Repeating them
        with the same request ids starts nothing twice.
        """
        deadline, metadata = DEADLINE + max((start.wait for start in starts), default=0.0), _caller_trace(traceparent)
        patience = PATIENCE if all(start.request_id for start in starts) else self._peer.waits
        asked = [sendable(start) for start in starts]
        answers: list[ExecutionHandle | Fault] = []
        for batch in batches(one for one in asked if not isinstance(one, Fault)):
            request = pb.StartExecutionsRequest(requests=batch)
            try:
                answer = await self._peer.call(
                    self._stub.StartExecutions, request, deadline=deadline, metadata=metadata, patience=patience
                )
            except Fault as fault:
                if not answers:
                    raise
                answers += [fault] * len(batch)
                continue
            answers += [
                refusal(result.refused) if result.HasField("refused") else self._handle(result.started.execution)
                for result in answer.results
            ]
        told = iter(answers)
        return [one if isinstance(one, Fault) else next(told) for one in asked]

    async def execution(self, execution_id: str, *, run_id: str = "", namespace: str = "default") -> ExecutionHandle:
        """
        A handle of an execution that was started before: the one that has this id now or, with a run, that one.

        ID@RUN is the same in one word. The handle stays with its run, also if another execution gets the id.
        """
        request = pb.GetExecutionRequest(namespace=namespace, execution_id=execution_id, run_id=run_id)
        return self._handle((await self._peer.call(self._stub.GetExecution, request)).execution)

    async def list_executions(
        self,
        where: ExecutionFilter = EVERYTHING,
        *,
        order: Order = "started_descending",
        limit: int = 50,
        namespace: str = "default",
    ) -> list[Execution]:
        """The first `limit` executions in this order, the newest first if none is named; without inputs and steps."""
        found: list[Execution] = []
        request = pb.ListExecutionsRequest(namespace=namespace, filter=where.message(), order=order_number(order))
        while len(found) < limit:
            request.page_size = min(limit - len(found), 500)
            page = await self._peer.call(self._stub.ListExecutions, request)
            found += page.executions
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return found

    async def control_many(
        self, chosen: Sequence[str] | ExecutionFilter, action: Action, *, namespace: str = "default"
    ) -> Controlled:
        """
        Do the same to many executions, by id, by ID@RUN or by filter; what cannot be done to one does not hold up the
        others.

        A filter takes the oldest 1,000 that fit and tells if there are more.
        """
        if isinstance(chosen, ExecutionFilter):
            request = pb_control.ControlExecutionsRequest(namespace=namespace, filter=chosen.message())
            return _controlled([await self._control(request, action)], ())
        ids = [chosen] if isinstance(chosen, str) else chosen
        parts = [ids[first : first + MOST] for first in range(0, len(ids), MOST)]
        requests = [pb_control.ControlExecutionsRequest(namespace=namespace, execution_ids=part) for part in parts]
        return _controlled([await self._control(request, action) for request in requests], ids)

    async def import_execution(
        self, source: str | Path | bytes, *, execution_id: str | None = None, namespace: str = "default"
    ) -> ExecutionHandle:
        """
        Take over an execution that another mesh has exported, from a file's path or its bytes.

        One that has not ended arrives paused. `execution_id` gives it another id than the one it had.
        """
        with await opened(source if isinstance(source, bytes) else Path(source)) as file:
            requests = _imports(file, namespace, execution_id or "")
            answer = await self._peer.call(self._stub.ImportExecution, requests, deadline=TRANSFER_DEADLINE)
        return self._handle(answer.execution)

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

    async def orchestrator(self) -> pb.GetOrchestratorResponse:
        """How the orchestrator does: what it runs, what it could not, and what its sweeps had to save."""
        return await self._peer.call(self._stub.GetOrchestrator, pb.GetOrchestratorRequest())

    @asynccontextmanager
    async def balancer(self) -> AsyncIterator[Balancer]:
        """The balancer of the mesh: picks for callers of plugins, circuits and policies for operators."""
        address = (await self.mesh()).get("balancer", "")
        if not address:
            raise unnamed("balancer", self.address)
        async with Balancer.connect(address) as balancer:
            yield balancer

    async def mesh(self) -> dict[str, str]:
        """Where the services of the mesh listen (host:port), by name."""
        answer = await self._peer.call(self._stub.GetMesh, pb.GetMeshRequest())
        return {service.name: service.address for service in answer.services}

    async def _control(
        self, request: pb_control.ControlExecutionsRequest, action: Action
    ) -> pb_control.ControlExecutionsResponse:
        getattr(request, action.verb).CopyFrom(action.request())
        repeatable = not isinstance(action, Signal) or bool(action.signal_id)
        return await self._peer.call(
            self._stub.ControlExecutions,
            request,
            deadline=CONTROL_DEADLINE,
            patience=self._peer.waits,
            repeatable=repeatable,
        )

    def _handle(self, execution: Execution) -> ExecutionHandle:
        return ExecutionHandle(self._stub, self._peer, execution)


def _controlled(answers: Sequence[pb_control.ControlExecutionsResponse], asked: Collection[str]) -> Controlled:
    """Each is named as it was asked for: by ID@RUN, or by its id."""
    known = frozenset(asked)
    results = {}
    for one in (result for answer in answers for result in answer.results):
        reference = f"{one.execution_id}@{one.run_id}"
        results[reference if reference in known else one.execution_id] = one
    return Controlled(
        done=tuple(name for name, one in results.items() if not one.HasField("refused")),
        refused={name: refusal(one.refused) for name, one in results.items() if one.HasField("refused")},
        more=any(answer.more for answer in answers),
        runs={name: one.run_id for name, one in results.items() if one.run_id},
    )


async def _imports(
    file: BinaryIO, namespace: str, execution_id: str
) -> AsyncIterator[pb_control.ImportExecutionRequest]:
    request = pb_control.ImportExecutionRequest(namespace=namespace, execution_id=execution_id)
    async for piece in pieces_of(file):
        request.chunk = piece
        yield request
        request = pb_control.ImportExecutionRequest()


def _caller_trace(traceparent: str | None) -> tuple[tuple[str, str], ...]:
    """The trace that a start joins, as metadata."""
    parent = traceparent or current_traceparent()
    return (("traceparent", parent),) if parent else ()


def find_address() -> str:
    """FORGEMESH_ADDRESS, else the nearest local mesh's orchestrator, else 127.0.0.1:7401."""
    named = os.environ.get("FORGEMESH_ADDRESS")
    if named:
        return named
    facts = nearest_mesh(Path.cwd())
    orchestrator = facts.services.get("orchestrator") if facts else None
    return orchestrator.address if orchestrator else DEFAULT_ADDRESS
