from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Code
from forgemesh.faults.plugin import InstanceFull, PermitRefused
from tests.component.plugin_host.hosts import HostCaller, Served, eventually, host_at, invocation, invoke, session


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with host_at() as served:
        yield served


def trial(permit_id: str, generation: int = 2, **others: Any) -> invocation_pb2.Invocation:
    permit = invocation_pb2.Permit(permit_id=permit_id, generation=generation)
    return invocation("counts", permit=permit, **others)


async def refusal(caller: HostCaller, wanted: invocation_pb2.Invocation) -> failure_pb2.Failure:
    [call_id] = await caller.send(wanted)
    result = (await caller.results(1))[call_id]
    assert not any(call_id in frame.accepted for frame in caller.frames)
    return result.failure


async def made(caller: HostCaller, wanted: invocation_pb2.Invocation) -> bool:
    [call_id] = await caller.send(wanted)
    return (await caller.results(1))[call_id].HasField("output")


async def unary(served: Served, wanted: invocation_pb2.Invocation) -> PermitRefused:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await invoke(served, wanted.operation, permit=wanted.permit)
    fault = from_rpc_error(refused.value)
    assert isinstance(fault, PermitRefused)
    return fault


async def test_a_permit_makes_one_call_over_all_sessions_and_unary_calls(served: Served) -> None:
    async with session(served) as one, session(served) as other:
        assert await made(one, trial("p"))

        again = await refusal(one, trial("p"))
        elsewhere = await refusal(other, trial("p"))
        alone = await unary(served, trial("p"))

    assert (again.code, again.reason, again.retryable) == (Code.FAILED_PRECONDITION, "PERMIT_REFUSED", True)
    assert "a call was made for it already" in again.message
    assert elsewhere.reason == alone.reason == "PERMIT_REFUSED"
    assert alone.metadata["permit_id"] == "p"
    assert served.kit.counted == 1


async def test_a_permit_that_a_unary_call_has_used_is_used_on_a_session(served: Served) -> None:
    await invoke(served, "counts", permit=trial("p").permit)

    async with session(served) as caller:
        assert (await refusal(caller, trial("p"))).reason == "PERMIT_REFUSED"
        assert await made(caller, trial("q"))

    assert served.kit.counted == 2


async def test_a_permit_of_an_older_generation_makes_no_call(served: Served) -> None:
    async with session(served) as caller:
        assert await made(caller, trial("new", generation=4))
        late = await refusal(caller, trial("old", generation=2))

    assert "generation 4" in late.message
    assert served.kit.counted == 1


async def test_calls_without_a_permit_need_none(served: Served) -> None:
    async with session(served) as caller:
        assert await made(caller, trial("p"))
        assert await made(caller, invocation("counts"))


async def test_a_permit_whose_call_was_refused_for_want_of_room_is_still_good(served: Served) -> None:
    async with session(served) as caller:
        held = await caller.send(*[invocation("hold") for _ in range(served.host.runner.capacity)])
        await eventually(lambda: served.host.runner.running + served.host.runner.waiting == len(held))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await invoke(served, "counts", permit=trial("p").permit)
        served.kit.open.set()
        await caller.results(len(held))

    assert isinstance(from_rpc_error(refused.value), InstanceFull)
    assert (await invoke(served, "counts", permit=trial("p").permit)).HasField("output")
