"""OrchestratorService over gRPC: translate, call, translate back. No decisions here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from forgemesh.api.orchestrator.v1 import control_pb2, execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceServicer
from forgemesh.chassis.channel import MEBIBYTE
from forgemesh.chassis.pages import fitting, key_before, size_of, token_after
from forgemesh.chassis.version import VERSION
from forgemesh.orchestrator.api import requests
from forgemesh.orchestrator.api.executions import (
    checkpoint_to_message,
    definition_to_message,
    execution_to_message,
    explanation_to_message,
    row_to_message,
)
from forgemesh.orchestrator.api.start_stream import StartStream
from forgemesh.orchestrator.api.started import REFUSAL_BYTES, StartedAnswer
from forgemesh.orchestrator.api.workflows import workflow_from_message, workflow_to_message
from forgemesh.orchestrator.execution.commands.use_cases import UseCases
from forgemesh.orchestrator.execution.facts import Event
from forgemesh.orchestrator.execution.state import ExecutionState
from forgemesh.orchestrator.store.events import event_to_message
from forgemesh.orchestrator.wire.payloads import failure_to_message, timestamp

SERVICE = pb.DESCRIPTOR.services_by_name["OrchestratorService"].full_name
APART = (f"/{SERVICE}/StartExecution", f"/{SERVICE}/WatchExecution")
"""Of which there may be thousands: those of one wait neither behind the other nor before anything else."""
FRAME_BYTES = MEBIBYTE


class OrchestratorServicer(OrchestratorServiceServicer):
    """`mesh` names the addresses of the mesh's services."""

    def __init__(self, use_cases: UseCases, mesh: Mapping[str, str]) -> None:
        self._definitions = use_cases.definitions
        self._executions = use_cases.executions
        self._starts = use_cases.starts
        self._controls = use_cases.controls
        self._bulk = use_cases.bulk
        self._archives = use_cases.archives
        self._sweep = use_cases.sweep
        self._engine = use_cases.engine
        self._mesh = mesh

    async def RegisterDefinition(
        self, request: pb.RegisterDefinitionRequest, context: Any
    ) -> pb.RegisterDefinitionResponse:
        stored, created = await self._definitions.register(requests.namespace_of(request), _source(request))
        message = definition_to_message(stored.definition, stored.created_at, source=True)
        return pb.RegisterDefinitionResponse(definition=message, created=created)

    async def ValidateDefinition(
        self, request: pb.ValidateDefinitionRequest, context: Any
    ) -> pb.ValidateDefinitionResponse:
        namespace = requests.namespace_of(request)
        definition, warnings, registered = await self._definitions.validate(namespace, _source(request))
        message = definition_to_message(definition, 0, source=False)
        return pb.ValidateDefinitionResponse(definition=message, warnings=warnings, registered=registered)

    async def GetDefinition(self, request: pb.GetDefinitionRequest, context: Any) -> pb.GetDefinitionResponse:
        stored = await self._definitions.find(requests.namespace_of(request), request.name, request.version)
        workflow = await asyncio.to_thread(workflow_to_message, stored.definition.source)  # a large one takes a while
        return pb.GetDefinitionResponse(
            definition=definition_to_message(stored.definition, stored.created_at, source=True), workflow=workflow
        )

    async def ListDefinitions(self, request: pb.ListDefinitionsRequest, context: Any) -> pb.ListDefinitionsResponse:
        found = await self._definitions.known(requests.namespace_of(request), request.name)
        after = key_before(request.page_token, 2)
        names = [(kept.definition.name, kept.definition.version) for kept in found]
        start = names.index(after) + 1 if after in names else 0
        end = start + size_of(request.page_size)
        page = fitting(
            definition_to_message(kept.definition, kept.created_at, source=False) for kept in found[start:end]
        )
        end = start + len(page)
        return pb.ListDefinitionsResponse(
            definitions=page, next_page_token=token_after(*names[end - 1]) if end < len(found) else ""
        )

    async def StartExecution(self, request: pb.StartExecutionRequest, context: Any) -> pb.StartExecutionResponse:
        state, created = await self._starts.start(requests.start_of(request, requests.caller_of(context)))
        return pb.StartExecutionResponse(execution=self._message(state), created=created)

    async def StartExecutions(self, request: pb.StartExecutionsRequest, context: Any) -> pb.StartExecutionsResponse:
        caller = requests.caller_of(context)
        asked = [(lambda one=one: requests.start_of(one, caller)) for one in request.requests]
        answer = StartedAnswer(len(asked), self._message)
        await self._bulk.start(asked, answer.tell)
        return answer.response

    async def StreamStarts(  # type: ignore[override]  # it writes by itself, and so is no generator
        self, request_iterator: AsyncIterator[pb.StreamStartsRequest], context: Any
    ) -> None:
        await StartStream(self._bulk.start_one, self._message).run(request_iterator, context.write)

    async def GetExecution(self, request: pb.GetExecutionRequest, context: Any) -> pb.GetExecutionResponse:
        state = await self._executions.get(*requests.named(request))
        return pb.GetExecutionResponse(execution=self._message(state))

    async def ListExecutions(self, request: pb.ListExecutionsRequest, context: Any) -> pb.ListExecutionsResponse:
        namespace = requests.namespace_of(request)
        wanted = requests.filter_of(namespace, request.filter, request.workflow, request.status)
        order, size = requests.order_of(request.order), size_of(request.page_size, usual=50)
        page = await self._executions.page(wanted, order, request.page_token, size)
        return pb.ListExecutionsResponse(
            executions=[row_to_message(row) for row in page.rows], next_page_token=page.next_token
        )

    async def WatchExecution(
        self, request: pb.WatchExecutionRequest, context: Any
    ) -> AsyncIterator[pb.WatchExecutionResponse]:
        row = await self._executions.row(*requests.named(request))
        following = request.from_sequence
        async for events in self._executions.watch(row.namespace, row.execution_id, following, row.run_id):
            for frame in _frames(row.run_id, events):
                yield frame

    async def ExplainExecution(
        self, request: control_pb2.ExplainExecutionRequest, context: Any
    ) -> control_pb2.ExplainExecutionResponse:
        row = await self._executions.row(*requests.named(request))
        found = await self._executions.explain(row.namespace, row.execution_id, row.run_id)
        return explanation_to_message(row.run_id, found)

    async def ListCheckpoints(
        self, request: control_pb2.ListCheckpointsRequest, context: Any
    ) -> control_pb2.ListCheckpointsResponse:
        (after, run_before), size = requests.point_before(request.page_token), size_of(request.page_size)
        namespace, execution_id, run_id = requests.named(request)
        which = run_id or run_before
        row, found = await self._executions.checkpoints(namespace, execution_id, after, size + 1, which)
        stored = await self._definitions.find(namespace, row.workflow, row.workflow_version)
        content_hash = stored.definition.content_hash
        page = fitting(checkpoint_to_message(one, row, content_hash) for one in found[:size])
        return control_pb2.ListCheckpointsResponse(
            checkpoints=page,
            next_page_token=token_after(str(page[-1].sequence), row.run_id) if len(found) > len(page) else "",
            run_id=row.run_id,
        )

    async def PauseExecution(
        self, request: control_pb2.PauseExecutionRequest, context: Any
    ) -> control_pb2.PauseExecutionResponse:
        namespace, execution_id, run_id = requests.named(request)
        state = await self._controls.pause(namespace, execution_id, requests.pause_of(request), run_id=run_id)
        return control_pb2.PauseExecutionResponse(execution=self._message(state))

    async def ResumeExecution(
        self, request: control_pb2.ResumeExecutionRequest, context: Any
    ) -> control_pb2.ResumeExecutionResponse:
        namespace, execution_id, run_id = requests.named(request)
        by = requests.text_of(request.by)
        state = await self._controls.resume(namespace, execution_id, request.checkpoint_id, by, run_id=run_id)
        return control_pb2.ResumeExecutionResponse(execution=self._message(state))

    async def CancelExecution(
        self, request: control_pb2.CancelExecutionRequest, context: Any
    ) -> control_pb2.CancelExecutionResponse:
        by, reason = requests.text_of(request.by), requests.text_of(request.reason)
        namespace, execution_id, run_id = requests.named(request)
        state = await self._controls.cancel(namespace, execution_id, by, reason, run_id=run_id)
        return control_pb2.CancelExecutionResponse(execution=self._message(state))

    async def TerminateExecution(
        self, request: control_pb2.TerminateExecutionRequest, context: Any
    ) -> control_pb2.TerminateExecutionResponse:
        by, reason = requests.text_of(request.by), requests.text_of(request.reason)
        namespace, execution_id, run_id = requests.named(request)
        state = await self._controls.terminate(namespace, execution_id, by, reason, run_id=run_id)
        return control_pb2.TerminateExecutionResponse(execution=self._message(state))

    async def SignalExecution(
        self, request: control_pb2.SignalExecutionRequest, context: Any
    ) -> control_pb2.SignalExecutionResponse:
        signal = requests.signal_of(request.signal, request.by)
        namespace, execution_id, run_id = requests.named(request)
        received, sequence, met = await self._controls.signal(namespace, execution_id, signal, run_id=run_id)
        return control_pb2.SignalExecutionResponse(received=received, sequence=sequence, run_id=met)

    async def ResolveIncident(
        self, request: control_pb2.ResolveIncidentRequest, context: Any
    ) -> control_pb2.ResolveIncidentResponse:
        namespace, execution_id, run_id = requests.named(request)
        state = await self._controls.resolve(
            namespace,
            execution_id,
            request.step_path,
            requests.incident_action_of(request.action),
            requests.payload_of(request, "payload", None),
            requests.text_of(request.by),
            requests.text_of(request.reason),
            run_id=run_id,
        )
        return control_pb2.ResolveIncidentResponse(execution=self._message(state))

    async def ForkExecution(
        self, request: control_pb2.ForkExecutionRequest, context: Any
    ) -> control_pb2.ForkExecutionResponse:
        _, origin_id, origin_run = requests.named(request)
        state, created = await self._controls.fork(
            requests.fork_of(request, requests.caller_of(context)),
            origin_id,
            request.checkpoint_id,
            requests.payload_of(request, "input_patch", None),
            list(request.rerun_steps),
            keep_signals=request.keep_signals,
            run_id=origin_run,
        )
        return control_pb2.ForkExecutionResponse(execution=self._message(state), created=created)

    async def ControlExecutions(
        self, request: control_pb2.ControlExecutionsRequest, context: Any
    ) -> control_pb2.ControlExecutionsResponse:
        namespace = requests.namespace_of(request)
        wanted = requests.filter_of(namespace, request.filter, "", 0) if request.HasField("filter") else None
        chosen, more = await self._bulk.chosen(namespace, requests.which_of(request.execution_ids), wanted)
        outcomes = await self._bulk.control(chosen, partial(self._control, namespace, request))
        results = [
            control_pb2.ControlExecutionsResult(
                execution_id=one.execution_id,
                run_id=one.run_id,
                refused=failure_to_message(one.refused.brief(REFUSAL_BYTES)) if one.refused is not None else None,
            )
            for one in outcomes
        ]
        return control_pb2.ControlExecutionsResponse(results=results, more=more)

    async def _control(
        self, namespace: str, request: control_pb2.ControlExecutionsRequest, execution_id: str, run_id: str
    ) -> str:
        """The same request as for one, to each; the run that it met."""
        kind = request.WhichOneof("action")
        one = getattr(request, kind) if kind is not None else None
        calls: dict[str | None, Callable[[Any, Any], Awaitable[Any]]] = {
            "pause": self.PauseExecution,
            "resume": self.ResumeExecution,
            "cancel": self.CancelExecution,
            "terminate": self.TerminateExecution,
            "signal": self.SignalExecution,
            "resolve": self.ResolveIncident,
            "delete": self.DeleteExecution,
        }
        copy = requests.addressed(one, kind, namespace, execution_id, run_id)
        answer = await calls[kind](copy, None)
        met = answer.run_id if kind in ("signal", "delete") else answer.execution.run_id
        return str(met)

    async def DeleteExecution(
        self, request: control_pb2.DeleteExecutionRequest, context: Any
    ) -> control_pb2.DeleteExecutionResponse:
        namespace, execution_id, run_id = requests.named(request)
        met = await self._controls.delete(namespace, execution_id, run_id=run_id)
        return control_pb2.DeleteExecutionResponse(run_id=met)

    async def ExportExecution(
        self, request: control_pb2.ExportExecutionRequest, context: Any
    ) -> AsyncIterator[control_pb2.ExportExecutionResponse]:
        row = await self._executions.row(*requests.named(request))
        async for chunk in self._archives.export(row.namespace, row.execution_id, row.run_id):
            yield control_pb2.ExportExecutionResponse(chunk=chunk, run_id=row.run_id)

    async def ImportExecution(
        self, request_iterator: AsyncIterator[control_pb2.ImportExecutionRequest], context: Any
    ) -> control_pb2.ImportExecutionResponse:
        namespace, execution_id, pieces = await requests.gathered(request_iterator)
        state = await self._archives.take_over(namespace, execution_id, pieces)
        return control_pb2.ImportExecutionResponse(execution=self._message(state))

    async def GetOrchestrator(self, request: pb.GetOrchestratorRequest, context: Any) -> pb.GetOrchestratorResponse:
        sweep, engine, owner = self._sweep, self._engine, self._engine.owner
        return pb.GetOrchestratorResponse(
            orchestrator_id=owner.orchestrator_id,
            epoch=owner.shard.epoch,
            running=engine.count,
            suspended=engine.suspended_count(),
            store_trouble=engine.trouble,
            saved_by_sweep=sweep.saved,
            leaked_slots=sweep.leaked,
            swept_at=timestamp(sweep.swept_at),
            started_at=timestamp(engine.started_at),
            damaged=sweep.damaged(),
        )

    async def GetMesh(self, request: pb.GetMeshRequest, context: Any) -> pb.GetMeshResponse:
        services = [pb.MeshService(name=name, address=address) for name, address in sorted(self._mesh.items())]
        return pb.GetMeshResponse(services=services, version=VERSION)

    def _message(self, state: ExecutionState) -> execution_pb2.Execution:
        view = self._executions.view(state)
        return execution_to_message(
            state,
            progress=view.progress,
            expected_end=view.expected_end,
            suspended=view.suspended,
            said=view.said,
        )


def _source(request: pb.RegisterDefinitionRequest | pb.ValidateDefinitionRequest) -> str:
    """The text, or that of the message if there is none."""
    if request.source or not request.HasField("workflow"):
        return request.source
    return workflow_from_message(request.workflow)


def _frames(run_id: str, events: Iterable[Event]) -> Iterator[pb.WatchExecutionResponse]:
    """As many events together as fit into a message of moderate size."""
    frame = pb.WatchExecutionResponse(run_id=run_id)
    size = 0
    for event in events:
        message = event_to_message(event)
        if size and size + message.ByteSize() > FRAME_BYTES:
            yield frame
            frame, size = pb.WatchExecutionResponse(run_id=run_id), 0
        frame.events.append(message)
        size += message.ByteSize()
    if size:
        yield frame
