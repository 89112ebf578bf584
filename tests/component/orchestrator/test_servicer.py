from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from forgemesh.api.orchestrator.v1 import control_pb2, execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import (
    OrchestratorServiceStub,
    add_OrchestratorServiceServicer_to_server,
)
from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.chassis.channel import SESSION_LIMIT, connect
from forgemesh.chassis.pages import token_after
from forgemesh.chassis.server import Listen, serving
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Code, Fault, code_of
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.workflow import (
    DefinitionConflict,
    DefinitionInvalid,
    DefinitionNotFound,
    ExecutionExists,
    ExecutionInputInvalid,
    ExecutionNotFound,
    PayloadTooLarge,
    RequestIdReused,
)
from forgemesh.orchestrator.api.servicer import SERVICE, OrchestratorServicer
from forgemesh.orchestrator.values.payload import MAX_INPUT
from forgemesh.orchestrator.workflow.provider import OperationFacts
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.orchestrator.orchestrators import Orchestrator

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

ONE_STEP = """
name: one
version: 1.0.0
input: {n: integer, note: string?}
steps: [{id: a, call: {plugin: p, operation: o}, input: "${input}"}]
output: "${steps.a.output}"
"""
ANYTHING = (
    'name: any\nsteps: [{id: a, call: {plugin: p, operation: o}, input: "${input}"}]\noutput: "${steps.a.output}"'
)


@pytest.fixture
async def stub(orchestrator: Orchestrator) -> AsyncIterator[OrchestratorServiceAsyncStub]:
    servicer = OrchestratorServicer(orchestrator.offered, {"traces": "t:1", "balancer": "b:1"})
    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", receive_limit=SESSION_LIMIT, grace=0.0)
    add = partial(add_OrchestratorServiceServicer_to_server, servicer)
    async with serving(listen, (SERVICE,), add) as server, connect(server.address) as channel:
        yield OrchestratorServiceStub(channel)


async def refusal(call: Awaitable[object]) -> Fault:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async with asyncio.timeout(PATIENCE):
            await call
    return from_rpc_error(refused.value)


def payload(value: object) -> payload_pb2.Payload:
    return payload_pb2.Payload(data=json.dumps(value).encode())


async def registered(stub: OrchestratorServiceAsyncStub, source: str = ONE_STEP, **facts: Any) -> str:
    response = await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=source, **facts))
    return response.definition.version


def start(**facts: Any) -> pb.StartExecutionRequest:
    known: dict[str, Any] = {"workflow": "one", "input": payload({"n": 1})}
    return pb.StartExecutionRequest(**(known | facts))


async def test_a_workflow_is_registered_started_watched_and_shown(
    stub: OrchestratorServiceAsyncStub, orchestrator: Orchestrator
) -> None:
    response = await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=ONE_STEP))
    started = await stub.StartExecution(start(execution_id="e-1"))
    watch = stub.WatchExecution(pb.WatchExecutionRequest(execution_id="e-1"))
    await orchestrator.hosts.answer("a", [1])
    async with asyncio.timeout(PATIENCE):
        events = [event async for frame in watch for event in frame.events]
    shown = (await stub.GetExecution(pb.GetExecutionRequest(execution_id="e-1"))).execution

    assert (response.definition.namespace, response.definition.source, response.created) == ("default", ONE_STEP, True)
    assert len(response.definition.content_hash) == 64
    assert (started.execution.status, started.created) == (execution_pb2.EXECUTION_STATUS_RUNNING, True)
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert [event.WhichOneof("kind") for event in events][-1] == "execution_succeeded"
    assert shown.status == execution_pb2.EXECUTION_STATUS_SUCCEEDED
    assert shown.output.data == b"[1]"
    assert shown.input.data == b'{"n": 1}'
    assert shown.sequence == 4
    assert len(shown.trace_id) == 32
    assert [step.step_path for step in shown.steps] == ["a"]


async def test_a_broken_definition_is_refused_with_every_violation(stub: OrchestratorServiceAsyncStub) -> None:
    source = "name: w\nsteps:\n  - {id: a, call: {plugin: p}, imput: 1}\n  - {id: a, call: {plugin: p, operation: o}}"

    fault = await refusal(stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=source)))

    assert isinstance(fault, DefinitionInvalid)
    assert [(violation.field, violation.message) for violation in fault.violations] == [
        ("steps[0].call.operation", "line 3, column 13: operation is missing"),
        ("steps[0].imput", "line 3, column 39: unknown key, did you mean 'input'?"),
        ("steps[1].id", "line 4, column 10: two steps have the id 'a'"),
    ]


async def test_what_the_registry_does_not_know_is_refused_with_its_place(
    stub: OrchestratorServiceAsyncStub, orchestrator: Orchestrator
) -> None:
    orchestrator.catalogue.known |= {
        "gone": None,
        "p": {"1.2.0": {"read": OperationFacts(), "write": OperationFacts()}},
    }
    source = (
        "name: w\nsteps:\n  - id: a\n    call: {plugin: gone, operation: o}\n"
        "  - {id: g, parallel: {branches: {x: [{id: b, call: {plugin: p, operation: raed}}]}}}\n"
        "  - {id: c, call: {plugin: p@^2, operation: read}}\n"
        "  - {id: d, call: {plugin: p@^1, operation: read}}"
    )

    fault = await refusal(stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=source)))

    assert isinstance(fault, DefinitionInvalid)
    assert [(violation.field, violation.message) for violation in fault.violations] == [
        ("a", "line 4, column 20: no plugin 'gone' was ever published; see `forgemesh plugin list`"),
        ("g/x/b", "line 5, column 62: 'p' has no operation 'raed', did you mean 'read'?"),
        ("c", "line 6, column 28: no version of 'p' fits '^2'; published: 1.2.0"),
    ]


async def test_a_definition_never_changes(stub: OrchestratorServiceAsyncStub) -> None:
    await registered(stub)

    again = await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=f"# again\n{ONE_STEP}"))
    other = ONE_STEP.replace("operation: o", "operation: o, ").replace('"${input}"', "{}")
    fault = await refusal(stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=other)))

    assert not again.created
    assert again.definition.source == ONE_STEP
    assert isinstance(fault, DefinitionConflict)
    assert fault.metadata["next_version"] == "1.1.0"


async def test_the_newest_of_unversioned_definitions_is_the_one_that_starts(
    stub: OrchestratorServiceAsyncStub,
) -> None:
    versions = [await registered(stub, ANYTHING.replace("id: a", f"id: {name}").replace("steps.a", f"steps.{name}"))
                for name in ("x", "a", "m", "b")]  # fmt: skip

    started = await stub.StartExecution(start(workflow="any"))

    assert started.execution.workflow_version == versions[-1]


@pytest.mark.parametrize("name", ["execution_id", "request_id", "workflow", "namespace"])
@pytest.mark.parametrize("value", ["a b", "-a", "a/b", "é", "a" * 201])
async def test_names_are_checked(stub: OrchestratorServiceAsyncStub, name: str, value: str) -> None:
    fault = await refusal(stub.StartExecution(start(**{name: value})))

    assert isinstance(fault, InvalidRequest)
    assert [violation.field for violation in fault.violations] == [name]


async def test_all_wrong_names_are_said_at_once(stub: OrchestratorServiceAsyncStub) -> None:
    fault = await refusal(stub.StartExecution(start(workflow="", execution_id="?", request_id="?", namespace="?")))

    assert isinstance(fault, InvalidRequest)
    assert [violation.field for violation in fault.violations] == [
        "namespace",
        "workflow",
        "execution_id",
        "request_id",
    ]


async def test_a_definition_lives_in_a_namespace_with_a_name(stub: OrchestratorServiceAsyncStub) -> None:
    fault = await refusal(stub.RegisterDefinition(pb.RegisterDefinitionRequest(namespace="a/b", source=ONE_STEP)))

    assert isinstance(fault, InvalidRequest)
    await registered(stub, namespace="elsewhere")
    assert isinstance(await refusal(stub.StartExecution(start())), DefinitionNotFound)
    assert (await stub.StartExecution(start(namespace="elsewhere"))).created


async def test_what_is_not_there_is_named(stub: OrchestratorServiceAsyncStub) -> None:
    await registered(stub)

    unknown_workflow = await refusal(stub.StartExecution(start(workflow="none")))
    unknown_version = await refusal(stub.StartExecution(start(workflow_version="9.9.9")))
    unknown_execution = await refusal(stub.GetExecution(pb.GetExecutionRequest(execution_id="none")))
    unwatchable = await refusal(stub.WatchExecution(pb.WatchExecutionRequest(execution_id="none")).read())

    assert isinstance(unknown_workflow, DefinitionNotFound)
    assert unknown_workflow.metadata["known"] == "one"
    assert isinstance(unknown_version, DefinitionNotFound)
    assert unknown_version.metadata["version"] == "9.9.9"
    assert isinstance(unknown_execution, ExecutionNotFound)
    assert isinstance(unwatchable, ExecutionNotFound)


async def test_an_input_that_does_not_fit_is_refused_with_everything_that_is_wrong(
    stub: OrchestratorServiceAsyncStub,
) -> None:
    await registered(stub)

    fault = await refusal(stub.StartExecution(start(input=payload({"n": 1.5, "nose": "x", "note": 1}))))

    assert isinstance(fault, ExecutionInputInvalid)
    assert [(violation.field, violation.message) for violation in fault.violations] == [
        ("input.n", "must be of type integer, not 1.5"),
        ("input.note", "must be of type string, not 1"),
        ("input.nose", "is not declared, did you mean 'note'?"),
    ]
    assert isinstance(await refusal(stub.StartExecution(start(input=payload({})))), ExecutionInputInvalid)
    assert isinstance(await refusal(stub.StartExecution(start(input=payload(True)))), ExecutionInputInvalid)


@pytest.mark.parametrize("data", [b"{", b"\xff", b'"\xff"', b"[" * 100_000, b"{} {}", b"nul", b"1" * 5000, b"NaN"])
async def test_an_input_that_is_no_json_is_refused(stub: OrchestratorServiceAsyncStub, data: bytes) -> None:
    await registered(stub, ANYTHING)

    fault = await refusal(stub.StartExecution(start(workflow="any", input=payload_pb2.Payload(data=data))))

    assert isinstance(fault, ExecutionInputInvalid)


async def test_an_input_that_the_mesh_cannot_carry_is_refused(stub: OrchestratorServiceAsyncStub) -> None:
    await registered(stub, ANYTHING)
    data = payload_pb2.Payload(media_type="x/y", data=b"x" * (MAX_INPUT + 1))
    facts = payload_pb2.Payload(media_type="x/y", metadata={"k": "x" * MAX_INPUT})

    assert isinstance(await refusal(stub.StartExecution(start(workflow="any", input=data))), PayloadTooLarge)
    assert isinstance(await refusal(stub.StartExecution(start(workflow="any", input=facts))), PayloadTooLarge)


async def test_the_same_request_id_gets_the_same_answer(stub: OrchestratorServiceAsyncStub) -> None:
    await registered(stub)
    first = await stub.StartExecution(start(request_id="r"))

    again = await stub.StartExecution(start(request_id="r"))
    reused = await refusal(stub.StartExecution(start(request_id="r", input=payload({"n": 2}))))
    other_facts = payload_pb2.Payload(data=payload({"n": 1}).data, metadata={"k": "v"})
    reused_too = await refusal(stub.StartExecution(start(request_id="r", input=other_facts)))
    exists = await refusal(stub.StartExecution(start(execution_id=first.execution.execution_id)))

    assert (first.created, again.created) == (True, False)
    assert again.execution.execution_id == first.execution.execution_id
    assert isinstance(reused, RequestIdReused)
    assert isinstance(reused_too, RequestIdReused)
    assert isinstance(exists, ExecutionExists)


async def test_a_sampled_callers_trace_is_adopted_and_any_other_is_linked(
    stub: OrchestratorServiceAsyncStub, orchestrator: Orchestrator
) -> None:
    await registered(stub)
    trace, span = "ab" * 16, "cd" * 8
    traces = []
    for name, value in (("e-1", f"00-{trace}-{span}-01"), ("e-2", f"00-{trace}-{span}-00"), ("e-3", "nonsense")):
        response = await stub.StartExecution(start(execution_id=name), metadata=(("traceparent", value),))
        traces.append(response.execution.trace_id)

    started = [(await orchestrator.executions.get("default", name)).started for name in ("e-1", "e-2", "e-3")]

    assert [found == trace for found in traces] == [True, False, False]
    assert [facts.parent_span_id.hex() for facts in started if facts] == [span, "", ""]
    assert [facts.linked_span for facts in started if facts] == ["", f"{trace}-{span}", ""]


async def test_lists_come_in_pages(stub: OrchestratorServiceAsyncStub) -> None:
    for number in range(5):
        await registered(stub, ONE_STEP.replace("1.0.0", f"1.{number}.0"))
        await stub.StartExecution(start(execution_id=f"e-{number}"))

    definitions, executions = [], []
    token = ""
    while True:
        page = await stub.ListDefinitions(pb.ListDefinitionsRequest(page_size=2, page_token=token))
        definitions += [definition.version for definition in page.definitions]
        if not (token := page.next_page_token):
            break
    while True:
        rows = await stub.ListExecutions(pb.ListExecutionsRequest(page_size=2, page_token=token))
        executions += [execution.execution_id for execution in rows.executions]
        if not (token := rows.next_page_token):
            break

    assert definitions == [f"1.{number}.0" for number in (4, 3, 2, 1, 0)]
    assert executions == [f"e-{number}" for number in (4, 3, 2, 1, 0)]
    running = pb.ListExecutionsRequest(status=execution_pb2.EXECUTION_STATUS_RUNNING, workflow="one")
    assert len((await stub.ListExecutions(running)).executions) == 5
    ended = pb.ListExecutionsRequest(status=execution_pb2.EXECUTION_STATUS_FAILED)
    assert len((await stub.ListExecutions(ended)).executions) == 0


@pytest.mark.parametrize(
    "token", ["x", "9" * 30, token_after("x"), token_after("9" * 5000), token_after("1", "2", "3")]
)
async def test_a_foreign_page_token_is_refused(stub: OrchestratorServiceAsyncStub, token: str) -> None:
    fault = await refusal(stub.ListExecutions(pb.ListExecutionsRequest(page_token=token)))

    assert isinstance(fault, InvalidRequest)
    assert [violation.field for violation in fault.violations] == ["page_token"]


async def test_a_watch_of_large_events_comes_in_messages_that_fit(
    stub: OrchestratorServiceAsyncStub, orchestrator: Orchestrator
) -> None:
    await registered(stub, ANYTHING)
    text = payload("x" * (MAX_INPUT - 100))
    await stub.StartExecution(start(workflow="any", execution_id="e", input=text))
    (await orchestrator.hosts.call("a")).succeed("y" * (MAX_INPUT - 100))

    async with asyncio.timeout(PATIENCE):
        watch = stub.WatchExecution(pb.WatchExecutionRequest(execution_id="e"))
        frames = [frame async for frame in watch]
    shown = (await stub.GetExecution(pb.GetExecutionRequest(execution_id="e"))).execution

    assert [event.sequence for frame in frames for event in frame.events] == [1, 2, 3, 4]
    assert len(frames) == 4
    assert len(shown.output.data) == MAX_INPUT - 98
    assert not shown.HasField("input")


async def test_a_start_may_wait_for_the_end(stub: OrchestratorServiceAsyncStub, orchestrator: Orchestrator) -> None:
    await registered(stub)
    starting = asyncio.ensure_future(stub.StartExecution(start(wait_millis=5000)))
    await orchestrator.hosts.answer("a", 1)

    response = await starting

    assert response.execution.status == execution_pb2.EXECUTION_STATUS_SUCCEEDED
    assert (await stub.StartExecution(start(wait_millis=-5))).created


async def test_the_mesh_is_named_in_order(stub: OrchestratorServiceAsyncStub) -> None:
    mesh = await stub.GetMesh(pb.GetMeshRequest())

    assert [(service.name, service.address) for service in mesh.services] == [("balancer", "b:1"), ("traces", "t:1")]
    assert mesh.version


BAD = payload_pb2.Payload(media_type="application/json; v=1", data=b'{"v": NaN}')


async def test_whatever_says_that_it_is_json_and_is_none_is_refused_with_its_field(
    stub: OrchestratorServiceAsyncStub,
) -> None:
    await registered(stub, ANYTHING)
    key: dict[str, Any] = {"execution_id": "nowhere"}
    asked: dict[str, Awaitable[object]] = {
        "signal.payload": stub.SignalExecution(
            control_pb2.SignalExecutionRequest(**key, signal=control_pb2.Signal(name="go", payload=BAD))
        ),
        "payload": stub.ResolveIncident(
            control_pb2.ResolveIncidentRequest(
                **key, step_path="a", action=control_pb2.INCIDENT_ACTION_COMPLETE, payload=BAD
            )
        ),
        "input_patch": stub.ForkExecution(control_pb2.ForkExecutionRequest(**key, input_patch=BAD)),
        "input": stub.StartExecution(start(workflow="any", input=BAD)),
    }

    for field, call in asked.items():
        fault = await refusal(call)
        assert isinstance(fault, InvalidRequest | ExecutionInputInvalid)
        assert code_of(fault) is Code.INVALID_ARGUMENT
        assert [violation.field for violation in fault.violations] == [field]
