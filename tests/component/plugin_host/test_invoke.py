import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from forgemesh.api.plugin.v1 import plugin_service_pb2 as pb
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Code, Fault
from forgemesh.faults.plugin import InstanceDraining, InstanceFull, QueueTooLong, WrongIncarnation
from tests.component.plugin_host.hosts import DEADLINE, Served, eventually, host_at, invocation, invoke


async def refusal(served: Served, operation: str, **others: Any) -> Fault:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await invoke(served, operation, **others)
    return from_rpc_error(refused.value)


async def test_an_operation_gets_its_input_and_returns_its_output(served: Served) -> None:
    result = await invoke(served, "echo", value={"days": [1, 2**70]}, attempt=3)

    assert json.loads(result.output.data) == {"days": [1, 2**70]}
    assert result.output.media_type == "application/json"
    assert result.attempt == 3


async def test_opaque_payloads_pass_through_unread(served: Served) -> None:
    payload = {"media_type": "application/octet-stream", "data": b"\x00\xff", "metadata": {"type_url": "x"}}
    result = await invoke(served, "whole", input=payload)

    assert result.output.data == b"\x00\xff"
    assert result.output.media_type == "application/octet-stream"
    assert dict(result.output.metadata) == {"type_url": "x"}


async def test_the_context_says_whose_call_it_is(served: Served) -> None:
    result = await invoke(
        served,
        "tells",
        execution_id="01J",
        step_path="analyse/wind",
        attempt=2,
        idempotency_key="01J/analyse/wind",
        namespace="prod",
        remaining_millis=5000,
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    )
    told = json.loads(result.output.data)

    assert 0 < told.pop("deadline") <= 5
    assert told.pop("traceparent").startswith(f"00-{'a' * 32}-")
    assert told == {
        "execution_id": "01J",
        "step_path": "analyse/wind",
        "attempt": 2,
        "idempotency_key": "01J/analyse/wind",
        "namespace": "prod",
    }


async def test_describe_gives_the_manifest(served: Served) -> None:
    described = await served.stub.Describe(pb.DescribeRequest(), timeout=DEADLINE)

    assert described.manifest == served.plugin.manifest
    assert described.instance_id == "kit-1"
    assert described.incarnation == 0


@pytest.mark.parametrize(
    ("operation", "arguments", "code", "reason", "retryable"),
    [
        ("nothing", {}, Code.UNIMPLEMENTED, "OPERATION_NOT_FOUND", False),
        ("raises", {}, Code.INVALID_ARGUMENT, "INPUT_INVALID", False),
        ("raises", {"text": "no"}, Code.UNKNOWN, "PLUGIN_EXCEPTION", True),
        ("raises_what_utf8_does_not_know", {}, Code.UNKNOWN, "PLUGIN_EXCEPTION", True),
        ("raises_what_cannot_be_shown", {}, Code.UNKNOWN, "PLUGIN_EXCEPTION", True),
        ("raises_what_cannot_be_shown_in_thread", {}, Code.UNKNOWN, "PLUGIN_EXCEPTION", True),
        ("declares_nonsense", {}, Code.FAILED_PRECONDITION, "LATER", True),
        ("interrupts", {}, Code.UNKNOWN, "PLUGIN_EXCEPTION", True),
        ("exits", {}, Code.UNKNOWN, "PLUGIN_EXCEPTION", True),
        ("cancels_itself", {}, Code.UNKNOWN, "PLUGIN_EXCEPTION", True),
        ("returns_nonsense", {}, Code.INTERNAL, "OUTPUT_INVALID", False),
        ("returns_much", {"size": 5_000_000}, Code.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE", False),
        ("declares", {}, Code.UNAVAILABLE, "FILE_NOT_FOUND", True),
        ("raises_in_thread", {}, Code.FAILED_PRECONDITION, "NO", False),
        ("dawdles", {}, Code.DEADLINE_EXCEEDED, "START_TO_CLOSE_TIMEOUT", True),
    ],
)
async def test_a_failure_of_the_operation_is_data(
    served: Served, operation: str, arguments: dict[str, Any], code: Code, reason: str, retryable: bool
) -> None:
    result = await invoke(served, operation, step_path="analyse/wind", **arguments)
    failure = result.failure

    assert (failure.code, failure.reason, failure.retryable) == (code, reason, retryable)
    assert failure.step_path == "analyse/wind"
    assert failure.message


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"days": [{"high": 1.5}, {"high": "warm"}]}, "$.days[1][...]: expected float, got str"),
        ({"days": [], "years": 3}, "$.years: unknown key"),
        ({}, "$.days: is missing"),
    ],
)
async def test_an_input_that_does_not_fit_names_its_place(
    served: Served, arguments: dict[str, Any], cause: str
) -> None:
    failure = (await invoke(served, "declares_days", **arguments)).failure

    assert (failure.reason, failure.code, failure.retryable) == ("INPUT_INVALID", Code.INVALID_ARGUMENT, False)
    assert failure.metadata["cause"] == cause
    assert failure.message == f"the input does not fit test.kit/declares_days: {cause}"


@pytest.mark.parametrize("depth", [251, 950, 100_000])
async def test_an_input_that_is_nested_too_deep_is_refused(served: Served, depth: int) -> None:
    request = pb.InvokeRequest(invocation=invocation("echo"))
    request.invocation.input.data = b'{"value":' + b"[" * depth + b"]" * depth + b"}"

    failure = (await served.stub.Invoke(request, timeout=DEADLINE)).result.failure

    assert (failure.reason, failure.metadata["cause"]) == ("INPUT_INVALID", "it is nested deeper than 250")


async def test_an_output_that_is_nested_too_deep_is_refused(served: Served) -> None:
    failure = (await invoke(served, "nests", depth=251)).failure

    assert (failure.reason, failure.metadata["cause"]) == ("OUTPUT_INVALID", "it is nested deeper than 250")
    assert not (await invoke(served, "nests", depth=250)).HasField("failure")


async def test_an_output_that_is_not_what_was_declared_names_its_place(served: Served) -> None:
    failure = (await invoke(served, "declares_days", days=[])).failure

    assert (failure.reason, failure.code, failure.retryable) == ("OUTPUT_INVALID", Code.INTERNAL, False)
    assert failure.metadata["cause"] == "$[...][1]: expected int, got str"


async def test_a_declared_failure_keeps_what_the_author_said(served: Served) -> None:
    failure = (await invoke(served, "declares")).failure

    assert failure.message == "no such file"
    assert dict(failure.metadata) == {"path": "a.csv"}
    assert failure.retry_after_millis == 1500


async def test_an_exception_says_its_type_and_at_most_a_kibibyte(served: Served) -> None:
    failure = (await invoke(served, "raises", text="é" * 10_000)).failure

    assert "ValueError: ééé" in failure.message
    assert len(failure.message.encode()) <= 1024


async def test_calls_wait_for_a_place_and_too_many_are_refused(served: Served) -> None:
    calls = [asyncio.create_task(invoke(served, "hold", value=number)) for number in range(6)]
    await eventually(lambda: served.kit.running == 2)
    fault = await refusal(served, "echo", value=1)
    served.kit.open.set()
    results = await asyncio.gather(*calls)

    assert isinstance(fault, InstanceFull)
    assert fault.retry_after is not None
    assert served.kit.most_running == 2
    assert sorted(json.loads(result.output.data) for result in results) == list(range(6))


async def test_a_call_that_would_not_get_its_place_in_time_is_refused_at_once(served: Served) -> None:
    for _ in range(2):
        await invoke(served, "spins", seconds=0.4)
    holding = [asyncio.create_task(invoke(served, "hold")) for _ in range(2)]
    await eventually(lambda: served.kit.running == 2)

    fault = await refusal(served, "echo", value=1, remaining_millis=50)
    waiting = asyncio.create_task(invoke(served, "echo", value=1, remaining_millis=5000))
    await eventually(lambda: served.host.runner.waiting == 1)
    served.kit.open.set()
    await asyncio.gather(*holding)

    assert isinstance(fault, QueueTooLong)
    assert (fault.retry_after or 0) > 0.05
    assert (await waiting).HasField("output")


async def test_a_load_report_says_what_runs_and_what_it_takes(served: Served) -> None:
    holding = asyncio.create_task(invoke(served, "hold"))
    await eventually(lambda: served.kit.running == 1)
    report = served.host.load.report()
    served.kit.open.set()
    await holding

    assert report.named_metrics["in_flight"] == 1
    assert report.named_metrics["success_rate"] == 1
    assert report.named_metrics["memory_bytes"] > 10_000_000
    assert 0 <= report.named_metrics["loop_lag_seconds"] < 5
    assert report.application_utilization == 0.5


async def test_the_answer_of_a_unary_call_carries_the_load_report(served: Served) -> None:
    """Looked for on the wire: gRPC keeps this trailer to itself, for its balancing."""
    async with listened_to(served.host.server.address) as (address, answers), connect(address) as channel:
        stub = PluginServiceStub(channel)
        await stub.Invoke(pb.InvokeRequest(invocation=invocation("echo", value=1)), timeout=DEADLINE)

    assert b"endpoint-load-metrics-bin" in answers
    assert b"in_flight" in answers


@contextlib.asynccontextmanager
async def listened_to(address: str) -> AsyncIterator[tuple[str, bytearray]]:
    """An address that leads to `address`, and all that comes back from there."""
    host, _, port = address.rpartition(":")
    answers = bytearray()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: bytearray | None) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(65536):
                if note is not None:
                    note += data
                writer.write(data)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(carry(reader, back, None), carry(there, writer, answers), return_exceptions=True)

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", answers


async def test_a_load_report_counts_failures_by_the_instances_fault(served: Served) -> None:
    for operation, arguments in (("echo", {"value": 1}), ("raises", {"text": "no"}), ("raises", {}), ("dawdles", {})):
        await invoke(served, operation, **arguments)
    report = served.host.load.report()

    assert report.named_metrics["success_rate"] == 0.75
    assert report.named_metrics["latency_p95_seconds"] > 0.04


async def test_waiting_for_a_place_is_told_apart_from_running(served: Served) -> None:
    held = [asyncio.create_task(invoke(served, "hold")) for _ in range(2)]
    await eventually(lambda: served.kit.running == 2)
    waiting = asyncio.create_task(invoke(served, "echo", value=1))
    timed_out = await invoke(served, "dawdles")
    served.kit.open.set()

    assert timed_out.failure.reason == "QUEUE_TOO_LONG", "it was not too slow itself"
    assert timed_out.queued_micros >= 50_000
    assert timed_out.ran_micros == 0
    assert (await waiting).queued_micros > 0
    assert all(result.queued_micros < timed_out.queued_micros for result in await asyncio.gather(*held))


async def test_the_deadline_of_the_call_reaches_the_operation(served: Served) -> None:
    request = pb.InvokeRequest(invocation=invocation("tells", remaining_millis=60_000))
    response = await served.stub.Invoke(request, timeout=30)

    assert json.loads(response.result.output.data)["deadline"] < 31  # gRPC rounds up; far from the call's own 60


async def test_a_caller_that_goes_away_cancels_its_operation(served: Served) -> None:
    call = served.stub.Invoke(pb.InvokeRequest(invocation=invocation("hold")))
    waiting = asyncio.ensure_future(call.code())
    await eventually(lambda: served.kit.running == 1)
    call.cancel()
    await eventually(lambda: served.kit.running == 0)

    assert served.kit.seen == ["cancelled"]
    assert await waiting is grpc.StatusCode.CANCELLED


async def test_a_call_for_another_process_is_refused(served: Served) -> None:
    served.identity.registered(4)
    served.identity.registered(7)
    fault = await refusal(served, "echo", value=1, incarnation=5)

    assert isinstance(fault, WrongIncarnation)
    assert fault.metadata == {"instance_id": "kit-1", "wanted": "5", "current": "7"}


@pytest.mark.parametrize("incarnation", [0, 4, 7])
async def test_a_process_answers_to_all_its_incarnations(served: Served, incarnation: int) -> None:
    served.identity.registered(4)
    served.identity.registered(7)

    assert (await invoke(served, "echo", value=1, incarnation=incarnation)).HasField("output")


async def test_a_synchronous_operation_runs_beside_the_loop(served: Served) -> None:
    blocked = asyncio.create_task(invoke(served, "blocks"))
    await eventually(lambda: served.kit.running == 1)
    beside = await invoke(served, "echo", value=1)
    served.kit.unblock.set()

    assert beside.HasField("output")
    assert json.loads((await blocked).output.data).startswith("operation-")


async def test_no_more_synchronous_operations_run_than_the_concurrency(served: Served) -> None:
    calls = [asyncio.create_task(invoke(served, "blocks")) for _ in range(5)]
    await eventually(lambda: served.kit.running == 2)
    served.kit.unblock.set()
    await asyncio.gather(*calls)

    assert served.kit.most_running == 2


async def test_a_synchronous_operation_hears_that_its_time_is_over(served: Served) -> None:
    result = await invoke(served, "blocks", remaining_millis=50)

    assert result.failure.reason == "START_TO_CLOSE_TIMEOUT"
    assert served.kit.seen == ["cancelled"]


@pytest.mark.parametrize("operation", ["deaf", "stubborn"])
async def test_an_operation_that_hears_nothing_is_answered_without_and_keeps_its_place(
    served: Served, operation: str
) -> None:
    result = await invoke(served, operation, remaining_millis=20)
    held = asyncio.create_task(invoke(served, "hold"))
    await eventually(lambda: served.kit.running == 1)
    refused = await invoke(served, "dawdles")
    served.kit.open.set()
    served.kit.unblock.set()

    assert result.failure.reason == "START_TO_CLOSE_TIMEOUT"
    assert refused.ran_micros == 0, "there was no place"
    assert (await held).HasField("output")
    assert (await invoke(served, "echo", value=1)).HasField("output")


async def test_a_draining_host_refuses_calls_and_ends_those_it_has(served: Served) -> None:
    held = asyncio.create_task(invoke(served, "hold", value=7))
    await eventually(lambda: served.kit.running == 1)
    draining = asyncio.create_task(served.host.drain(0.0, DEADLINE))
    await eventually(lambda: served.host.sessions.draining)
    fault = await refusal(served, "echo", value=1)
    served.kit.open.set()
    await draining

    assert isinstance(fault, InstanceDraining)
    assert (await held).output.data == b"7"


async def test_a_drain_does_not_wait_beyond_its_grace(served: Served) -> None:
    call = asyncio.ensure_future(invoke(served, "hold"))
    await eventually(lambda: served.kit.running == 1)
    await served.host.drain(0.0, 0.01)

    assert not call.done()
    call.cancel()


async def test_a_plugin_is_started_before_the_first_call_and_stopped_after_the_last() -> None:
    async with host_at() as served:
        assert served.kit.process_run == ["started"]
        await invoke(served, "echo", value=1)

    assert served.kit.process_run == ["started", "stopped"]


async def test_the_grace_of_a_host_counts_from_the_signal_on_and_not_from_the_end_of_the_drain_delay(
    served: Served,
) -> None:
    holding = asyncio.create_task(invoke(served, "hold"))
    await eventually(lambda: served.host.runner.running == 1)

    async with asyncio.timeout(DEADLINE):
        drained = await served.host.drain(delay=3600.0, grace=0.05)
    served.kit.open.set()

    assert not drained
    assert (await holding).HasField("output")
