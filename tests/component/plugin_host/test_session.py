import asyncio
import json
from typing import Any

import grpc
import pytest

from forgemesh.api.plugin.v1 import session_pb2
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault
from forgemesh.faults.plugin import ProtocolUnsupported, WrongIncarnation
from forgemesh.faults.service import InvalidRequest
from tests.component.plugin_host.hosts import HostCaller, Served, eventually, invocation, invoke, session

POOL = 6  # two run, four wait


async def refusal(caller: HostCaller) -> Fault:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await caller.until(lambda frame: False)
    return from_rpc_error(refused.value)


async def test_the_first_message_introduces_the_host_and_grants_credits(served: Served) -> None:
    served.identity.registered(7)
    async with session(served, incarnation=7) as caller:
        first = caller.frames[0]

    assert first.hello == session_pb2.ServerHello(
        protocol=1, instance_id="kit-1", incarnation=7, tells_begun=True, plugin_id="test.kit"
    )
    assert first.credits == POOL


async def test_a_caller_of_a_wider_range_gets_the_newest_common_protocol(served: Served) -> None:
    async with session(served, protocol_min=0, protocol_max=9) as caller:
        assert caller.frames[0].hello.protocol == 1


async def test_a_caller_of_another_protocol_is_told_both_ranges(served: Served) -> None:
    async with session(served, first=False, protocol_min=2, protocol_max=3) as caller:
        fault = await refusal(caller)

    assert isinstance(fault, ProtocolUnsupported)
    assert fault.metadata == {"host": "1..1", "caller": "2..3"}


async def test_a_caller_that_means_another_process_is_refused(served: Served) -> None:
    served.identity.registered(7)
    async with session(served, first=False, incarnation=6) as caller:
        assert isinstance(await refusal(caller), WrongIncarnation)


async def test_a_session_begins_with_a_hello(served: Served) -> None:
    call = served.stub.Session()
    await call.write(session_pb2.SessionRequest(invocations=[invocation("echo", 1, value=1)]))

    assert isinstance(await refusal(HostCaller(call)), InvalidRequest)


async def test_calls_are_answered_each_once(served: Served) -> None:
    async with session(served) as caller:
        ids = await caller.send(*[invocation("echo", value=number, attempt=2) for number in range(POOL)])
        results = await caller.results(POOL)

    assert ids == sorted(results) == list(range(1, POOL + 1))
    assert [json.loads(results[call_id].output.data) for call_id in ids] == list(range(POOL))
    assert {result.attempt for result in results.values()} == {2}


async def test_short_calls_that_came_together_are_answered_together(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("echo", value=1), invocation("echo", value=2))
        await caller.results(2)

    answers = caller.frames[1:]
    assert [len(frame.results) for frame in answers] == [2]
    assert not answers[0].accepted, "a call whose result is in the same message is not listed"
    assert answers[0].credits == 2


async def test_a_call_that_takes_time_is_said_to_have_begun_first_and_one_that_waits_is_not(served: Served) -> None:
    async with session(served) as caller:
        first, second, _ = await caller.send(*[invocation("hold") for _ in range(3)])
        begun = await caller.read()
        served.kit.open.set()
        await caller.results(3)

    assert begun is not None
    assert list(begun.accepted) == [first, second]
    assert not begun.results


async def test_credits_come_back_as_calls_finish(served: Served) -> None:
    served.kit.open.set()
    async with session(served) as caller:
        for _ in range(5):
            await caller.send(*[invocation("hold") for _ in range(POOL)])
            await caller.results(POOL)
            while caller.credits < POOL:
                await caller.read()

        assert caller.credits == POOL


async def test_a_caller_that_overdraws_its_credits_is_told_so(served: Served) -> None:
    async with session(served) as caller:
        *_, last = await caller.send(*[invocation("hold", value=7) for _ in range(POOL + 1)])
        refused = (await caller.results(1))[last]
        served.kit.open.set()
        results = await caller.results(POOL)

    assert (refused.failure.reason, refused.failure.retryable) == ("INSTANCE_FULL", True)
    assert all(result.output.data == b"7" for result in results.values())
    assert sum(frame.credits for frame in caller.frames) <= 2 * POOL, "the refused call brings no credit"


async def test_a_newcomer_gets_its_share_and_the_first_gives_back_as_it_works(served: Served) -> None:
    async with session(served) as first, session(served) as second:
        assert (first.credits, second.credits) == (POOL, POOL // 2)

        await first.send(*[invocation("echo", value=number) for number in range(POOL)])
        await first.results(POOL)
        await invoke(served, "echo", value=1)

        assert first.credits == POOL // 2


async def test_the_credits_of_a_session_that_ends_go_to_the_others(served: Served) -> None:
    async with session(served), session(served) as second:
        pass
    async with session(served) as first, session(served) as second:
        first.cancel()
        await second.until(lambda frame: frame.credits > 0)

        assert second.credits == POOL


async def test_a_refused_call_gives_its_credit_back(served: Served) -> None:
    served.identity.registered(7)
    async with session(served) as caller:
        await caller.send(invocation("nothing"), invocation("echo", value=1, incarnation=5))
        results = await caller.results(2)
        while caller.credits < POOL:
            await caller.read()

    assert (results[1].failure.reason, results[1].failure.retryable) == ("OPERATION_NOT_FOUND", False)
    assert (results[2].failure.reason, results[2].failure.retryable) == ("WRONG_INCARNATION", True)


async def test_a_cancelled_call_hears_it_and_is_answered(served: Served) -> None:
    async with session(served) as caller:
        first, second = await caller.send(invocation("hold"), invocation("hold", value=2))
        await eventually(lambda: served.kit.running == 2)
        await caller.send(cancels=[first, 99])
        cancelled = (await caller.results(1))[first]
        served.kit.open.set()
        other = (await caller.results(1))[second]

    assert (cancelled.failure.code, cancelled.failure.reason) == (1, "CANCELLED")
    assert not cancelled.failure.retryable
    assert served.kit.seen == ["cancelled"]
    assert other.output.data == b"2"


async def test_a_call_that_waits_can_be_cancelled(served: Served) -> None:
    async with session(served) as caller:
        *_, waiting = await caller.send(*[invocation("hold") for _ in range(3)])
        await caller.send(cancels=[waiting])
        cancelled = (await caller.results(1))[waiting]
        served.kit.open.set()
        await caller.results(2)

    assert cancelled.failure.reason == "CANCELLED"
    assert served.kit.most_running == 2


async def test_a_call_that_is_cancelled_with_its_message_does_not_run(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("hold"), cancels=[1])
        cancelled = (await caller.results(1))[1]
        served.kit.open.set()
        await caller.send(*[invocation("echo", value=1) for _ in range(2)])
        await caller.results(2)

    assert cancelled.failure.reason == "CANCELLED"
    assert served.kit.most_running == 0


async def test_a_result_that_was_there_before_the_cancel_stays(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("echo", value=1))
        results = await caller.results(1)
        await caller.send(cancels=[1])
        await caller.send(invocation("echo", value=2))
        results |= await caller.results(1)

    assert [result.output.data for result in results.values()] == [b"1", b"2"]


async def test_the_loss_of_the_stream_cancels_what_runs_on_it(served: Served) -> None:
    async with session(served) as other:
        async with session(served) as lost:
            await lost.send(*[invocation("hold") for _ in range(3)])
            await eventually(lambda: served.kit.running == 2)
        await eventually(lambda: served.kit.running == 0)
        await other.send(invocation("echo", value=1))

        assert (await other.results(1))[1].HasField("output")
    assert served.kit.seen == ["cancelled", "cancelled"]


async def test_a_caller_that_is_done_still_gets_its_results(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("hold", value=7))
        await caller.done()
        await eventually(lambda: served.kit.running == 1)
        served.kit.open.set()
        results = await caller.results(1)

        assert results[1].output.data == b"7"
        assert await caller.read() is None


async def test_a_caller_that_reads_nothing_loses_its_session_and_no_place_in_the_host(served: Served) -> None:
    served.host.sessions.patience = 0.1
    async with session(served) as deaf:
        await deaf.send(*[invocation("returns_much", size=1_000_000) for _ in range(POOL)])
        async with session(served) as other:
            await other.until(lambda frame: frame.credits > 0)

            assert other.credits == POOL


async def test_call_ids_only_grow(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("echo", value=1))
        await caller.results(1)
        await caller.write(session_pb2.SessionRequest(invocations=[invocation("echo", 1, value=1)]))
        fault = await refusal(caller)

    assert isinstance(fault, InvalidRequest)
    assert "call_id" in fault.message


async def test_who_greets_a_second_time_loses_its_session(served: Served) -> None:
    async with session(served) as caller:
        await caller.write(session_pb2.SessionRequest(hello=session_pb2.ClientHello(protocol_min=1, protocol_max=1)))
        fault = await refusal(caller)

    assert isinstance(fault, InvalidRequest)
    assert "hello" in fault.message


async def test_progress_arrives_and_only_its_newest_word(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("progresses"))
        frame = await caller.until(lambda frame: bool(frame.progress))
        served.kit.open.set()
        await caller.results(1)

    assert list(frame.progress) == [session_pb2.Progress(call_id=1, fraction=0.5, note="second")]


@pytest.mark.parametrize(
    ("operation", "details"), [("continues", {"row": 2**60, "file": "a.csv"}), ("continues_in_thread", [1, 2])]
)
async def test_details_of_progress_travel_and_reach_the_next_attempt(
    served: Served, operation: str, details: Any
) -> None:
    async with session(served) as caller:
        await caller.send(invocation(operation))
        frame = await caller.until(lambda frame: bool(frame.progress) and frame.progress[0].HasField("details"))
        said = frame.progress[0].details
        (second,) = await caller.send(invocation(operation, attempt=2, heartbeat_details=said))
        served.kit.open.set()
        served.kit.unblock.set()
        results = await caller.results(2)

    assert json.loads(said.data) == details
    assert json.loads(results[second].output.data) == details
    assert json.loads(results[1].output.data) is None


async def test_what_a_call_said_at_last_comes_before_its_failure(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("gives_up"))
        frame = await caller.until(lambda frame: bool(frame.results))

    (progress,) = frame.progress
    assert json.loads(progress.details.data) == {"row": 7}
    assert frame.results[0].failure.reason == "ENOUGH"


async def test_details_that_are_no_json_are_given_back_as_they_are(served: Served) -> None:
    served.kit.open.set()
    opaque = {"media_type": "application/octet-stream", "data": b"\x00"}
    async with session(served) as caller:
        await caller.send(invocation("continues", heartbeat_details=opaque))
        results = await caller.results(1)

    output = results[1].output
    assert (output.media_type, output.data) == ("application/octet-stream", b"\x00")


async def test_details_larger_than_they_may_be_fail_the_call(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("says_too_much"))
        results = await caller.results(1)

    assert "70002 bytes, at most 65536" in results[1].failure.message


async def test_large_results_are_spread_over_messages(served: Served) -> None:
    size = 400_000
    async with session(served) as caller:
        await caller.send(*[invocation("returns_much", size=size) for _ in range(POOL)])
        results = await caller.results(POOL)

    assert all(len(result.output.data) == size for result in results.values())
    assert max(frame.ByteSize() for frame in caller.frames) <= 1_100_000


async def test_a_result_larger_than_a_message_fails_alone(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("returns_much", size=5_000_000), invocation("echo", value=1))
        results = await caller.results(2)

    assert results[1].failure.reason == "PAYLOAD_TOO_LARGE"
    assert results[2].output.data == b"1"


async def test_nothing_a_call_sets_reaches_the_one_that_starts_in_its_place(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(*[invocation("marks", mark=f"of {number}") for number in range(POOL)])
        results = await caller.results(POOL)

    assert {result.output.data for result in results.values()} == {b'""'}


async def test_a_draining_host_says_so_ends_what_it_has_and_closes(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(invocation("hold", value=7))
        await eventually(lambda: served.kit.running == 1)
        draining = asyncio.create_task(served.host.drain(0.0, 10.0))
        drain = await caller.until(lambda frame: frame.HasField("drain"))
        late = await caller.send(invocation("echo", value=1))
        refused = (await caller.results(1))[late[0]]
        served.kit.open.set()
        results = await caller.results(1)
        end = await caller.read()
        await draining

    assert drain.drain.reason == "shutdown"
    assert (refused.failure.reason, refused.failure.retryable) == ("INSTANCE_DRAINING", True)
    assert results[1].output.data == b"7"
    assert end is None


async def test_sessions_and_unary_calls_share_the_places(served: Served) -> None:
    async with session(served) as caller:
        await caller.send(*[invocation("hold") for _ in range(POOL)])
        await eventually(lambda: served.kit.running == 2)

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await invoke(served, "echo", value=1)
        assert from_rpc_error(refused.value).reason == "INSTANCE_FULL"
        served.kit.open.set()
        await caller.results(POOL)

    assert served.kit.most_running == 2
