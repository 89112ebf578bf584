"""What a caller asks about many: starts, bulk actions, lists, definitions."""

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1 import control_pb2 as control, orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.client import (
    Cancel,
    Client,
    Delete,
    ExecutionFilter,
    ExecutionHandle,
    Pause,
    Resolve,
    Resume,
    Signal,
    Start,
    Status,
    Terminate,
)
from forgemesh.client.failure import refusal
from forgemesh.faults import ForeignFault
from forgemesh.faults.control import ExecutionState
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.workflow import DefinitionNotFound, PayloadTooLarge
from tests.component.client.script import FAILED, RUNNING, Script


async def test_a_start_says_its_policies_priority_and_signal(mesh: Client, script: Script) -> None:
    await mesh.start(
        "etl",
        request_id="r1",
        id_reuse="allow_duplicate_failed_only",
        id_conflict="use_existing",
        priority=-3,
        signal=Signal(name="go", signal_id="s1"),
        paused=True,
    )

    assert script.requests == [
        pb.StartExecutionRequest(
            namespace="default",
            workflow="etl",
            request_id="r1",
            id_reuse_policy=pb.ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
            id_conflict_policy=pb.ID_CONFLICT_POLICY_USE_EXISTING,
            priority=-3,
            signal=control.Signal(name="go", signal_id="s1"),
            paused=True,
        )
    ]


async def test_many_starts_are_handles_and_refusals_in_order(mesh: Client, script: Script) -> None:
    first, second, third = await mesh.start_many(
        [Start(workflow="etl", execution_id="a"), Start(workflow="elt"), Start(workflow="etl", execution_id="c")],
        traceparent="00-x",
    )

    assert isinstance(first, ExecutionHandle)
    assert isinstance(third, ExecutionHandle)
    assert (first.id, third.id) == ("a", "c")
    assert isinstance(second, DefinitionNotFound)
    assert second.metadata == {"name": "elt", "version": "", "known": "etl"}
    assert script.metadata["traceparent"] == "00-x"


async def test_more_starts_than_a_call_carries_are_several_calls(mesh: Client, script: Script) -> None:
    large = "z" * 1_500_000
    many = await mesh.start_many([Start(workflow="etl") for _ in range(1001)])
    heavy = await mesh.start_many([Start(workflow="etl", input=large) for _ in range(3)])

    assert (len(many), len(heavy)) == (1001, 3)
    assert [len(request.requests) for request in script.requests] == [1000, 1, 2, 1]


async def test_many_are_controlled_by_filter(mesh: Client, script: Script) -> None:
    script.refused = ("x2",)
    where = ExecutionFilter(workflows=["etl"], statuses=[Status.RUNNING])
    outcome = await mesh.control_many(where, Pause(reason="bank down", by="ana"), namespace="lab")

    [request] = script.requests
    assert request == control.ControlExecutionsRequest(
        namespace="lab",
        filter=control.ExecutionFilter(workflows=["etl"], statuses=[RUNNING]),
        pause=control.PauseExecutionRequest(mode=control.PAUSE_MODE_DRAIN, by="ana", reason="bank down"),
    )
    assert outcome.done == ("x0", "x1", "x3", "x4", "x5", "x6")
    assert [type(fault) for fault in outcome.refused.values()] == [ExecutionState]
    assert outcome.more


async def test_many_are_controlled_by_id_in_as_many_calls_as_it_takes(mesh: Client, script: Script) -> None:
    outcome = await mesh.control_many([f"x{number}" for number in range(2001)], Cancel())

    assert [len(request.execution_ids) for request in script.requests] == [1000, 1000, 1]
    assert (len(outcome.done), outcome.more) == (2001, False)


async def test_an_id_alone_is_not_taken_for_its_letters(mesh: Client, script: Script) -> None:
    await mesh.control_many("x1", Terminate())

    assert script.requests[0].execution_ids == ["x1"]


@pytest.mark.parametrize(
    "action",
    [
        Pause(),
        Resume(),
        Cancel(),
        Terminate(),
        Signal(name="go"),
        Resolve(step_path="charge", action="complete"),
        Delete(),
    ],
    ids=lambda action: action.verb,
)
async def test_each_action_can_be_done_to_many(
    mesh: Client,
    script: Script,
    action: Pause | Resume | Cancel | Terminate | Signal | Resolve | Delete,
) -> None:
    await mesh.control_many(["x1"], action)

    assert script.requests[0].WhichOneof("action") == action.verb


async def test_a_list_is_narrowed_and_ordered(mesh: Client, script: Script) -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    await mesh.list_executions(
        ExecutionFilter(
            workflows=["etl", "elt"],
            workflow_version="1.0.0",
            statuses={Status.TIMED_OUT, Status.FAILED},
            open_only=True,
            incidents_only=True,
            id_prefix="x",
            started_from=noon - timedelta(hours=1),
            started_before=noon,
            parent_execution_id="p",
            schedule_id="nightly",
            concurrency_key="k",
        ),
        order="ended_ascending",
        limit=1,
    )

    [request] = script.requests
    assert request.order == pb.EXECUTION_ORDER_ENDED_ASCENDING
    assert request.filter == control.ExecutionFilter(
        workflows=["etl", "elt"],
        workflow_version="1.0.0",
        statuses=[FAILED, ExecutionStatus.EXECUTION_STATUS_TIMED_OUT],
        open_only=True,
        incidents_only=True,
        id_prefix="x",
        started_from=Timestamp(seconds=1_795_431_600),
        started_before=Timestamp(seconds=1_795_435_200),
        parent_execution_id="p",
        schedule_id="nightly",
        concurrency_key="k",
    )


async def test_a_moment_without_a_zone_is_refused(mesh: Client) -> None:
    naive = datetime.fromisoformat("2026-11-23T12:00:00")

    with pytest.raises(ValueError, match="2026-11-23T12:00:00 has no time zone"):
        await mesh.list_executions(ExecutionFilter(started_from=naive))


async def test_a_definition_is_checked_and_read(mesh: Client) -> None:
    checked, read = await asyncio.gather(mesh.validate("name: etl"), mesh.definition("etl", "1.2.0"))

    assert checked.warnings == ["step 'a' has no timeout"]
    assert (read.version, read.source) == ("1.2.0", "name: etl\n")


async def test_the_orchestrator_says_how_it_does(mesh: Client) -> None:
    assert (await mesh.orchestrator()).running == 3


def test_every_status_of_the_api_has_its_own() -> None:
    known = [ExecutionStatus.Name(number) for number in ExecutionStatus.values() if number]

    assert sorted(f"EXECUTION_STATUS_{status.name}" for status in Status) == sorted(known)
    assert all(isinstance(one, Status) for one in map(Status.of, (Execution(status=s.number) for s in Status)))


def test_a_refusal_that_this_release_does_not_know_keeps_its_words() -> None:
    fault = refusal(Failure(code=9, reason="FROM_TOMORROW", message="not yet", retry_after_millis=1500))

    assert isinstance(fault, ForeignFault)
    assert (fault.foreign_reason, fault.message, fault.retry_after) == ("FROM_TOMORROW", "not yet", 1.5)


async def test_a_start_that_cannot_be_sent_is_named_before_any_is_and_does_not_hold_up_the_others(
    mesh: Client, script: Script
) -> None:
    outcomes = await mesh.start_many(
        [
            Start(workflow="etl", execution_id="a"),
            Start(workflow="etl", input={"v": math.nan}),
            Start(workflow="etl", input="x" * SESSION_LIMIT),
            Start(workflow="etl", input="x" * 3_000_000, signal=Signal(name="go", payload="x" * 3_000_000)),
            Start(workflow="etl", execution_id="e"),
        ]
    )

    handles = [one.id if isinstance(one, ExecutionHandle) else type(one) for one in outcomes]
    assert handles == ["a", InvalidRequest, PayloadTooLarge, PayloadTooLarge, "e"]
    assert [[one.execution_id for one in request.requests] for request in script.requests] == [["a", "e"]]


async def test_nothing_is_started_if_one_of_them_is_no_value_at_all(mesh: Client, script: Script) -> None:
    with pytest.raises(TypeError):
        await mesh.start_many([Start(workflow="etl"), Start(workflow="etl", input=object())])

    assert script.requests == []


async def test_an_output_that_was_left_out_is_fetched_when_it_is_asked_for(mesh: Client, script: Script) -> None:
    script.left_out = True
    [execution] = await mesh.start_many([Start(workflow="etl", execution_id="x1")])

    assert isinstance(execution, ExecutionHandle)
    assert await execution.result() == {"rows": 3}


async def test_a_request_that_no_message_carries_does_not_leave(mesh: Client, script: Script) -> None:
    with pytest.raises(PayloadTooLarge, match="the request"):
        await mesh.start("etl", "x" * 3_000_000, signal=Signal(name="go", payload="x" * 3_000_000))

    assert script.requests == []
