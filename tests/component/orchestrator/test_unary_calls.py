from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from forgemesh.api.plugin.v1 import plugin_service_pb2 as pb
from forgemesh.chassis.status import rpc_status_of
from forgemesh.faults import Fault
from forgemesh.faults.plugin import InstanceFull, OperationNotFound, WrongIncarnation
from forgemesh.orchestrator.dispatch.session.codec import MAX_INLINE
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.plugins import Link, ScriptedPlugin, linked, output, serving_plugin
from tests.free_ports import free_port


@pytest.fixture
async def plugin() -> ScriptedPlugin:
    return ScriptedPlugin()


@pytest.fixture
async def address(plugin: ScriptedPlugin) -> AsyncIterator[str]:
    async with serving_plugin(plugin) as at:
        yield at


@pytest.fixture
async def link(address: str) -> AsyncIterator[Link]:
    async with linked(address) as opened:
        yield opened


async def test_a_plugin_without_sessions_is_called_alone(plugin: ScriptedPlugin, address: str) -> None:
    plugin.refuse = grpc.StatusCode.UNIMPLEMENTED
    async with linked(address) as link:
        link.invoke(1)
        invocation, answer = await plugin.call_alone()
        answer.set_result(pb.InvokeResponse(result=output(0, b"[1]")))

        first = await link.answer(1)
        link.invoke(2)
        await plugin.call_alone(2)

    assert (invocation.step_path, invocation.incarnation) == ("s1", 7)
    assert (first.output, first.session) == (Payload(b"[1]"), False)


async def test_an_endpoint_that_says_it_has_no_sessions_is_not_even_asked(plugin: ScriptedPlugin, address: str) -> None:
    async with linked(address, session=False, max_in_flight=1) as link:
        link.invoke(1)
        _, answer = await plugin.call_alone()

        rooms, before = [link.link.has_room], link.changes
        answer.set_result(pb.InvokeResponse(result=output(0)))
        await link.answer(1)
        rooms.append(link.link.has_room)

        assert rooms == [False, True]
        assert link.changes > before
        assert plugin.sessions == []


@pytest.mark.parametrize(
    "large", [Payload(b"x" * (MAX_INLINE + 1)), Payload(b"", "x/y", {"k": "x" * (MAX_INLINE + 1)})]
)
async def test_a_large_payload_does_not_hold_up_the_session(plugin: ScriptedPlugin, link: Link, large: Payload) -> None:
    session = await plugin.session()

    link.invoke(1, input=large)
    invocation, answer = await plugin.call_alone()
    answer.set_result(pb.InvokeResponse(result=output(0)))

    assert (await link.answer(1)).session is False
    assert invocation.input.ByteSize() > MAX_INLINE
    assert session.calls == []


async def test_a_call_alone_is_cancelled_with_its_rpc(plugin: ScriptedPlugin, address: str) -> None:
    async with linked(address, session=False) as link:
        name = link.invoke(1)
        await plugin.call_alone()

        link.link.cancel(name)

        assert await link.failure(1) == ("CANCELLED", False, True)
        await plugin.until(lambda: plugin.cancelled_alone == 1)
        assert link.link.in_flight == 0


async def test_a_connection_that_was_never_there_has_taken_no_call() -> None:
    async with linked(f"127.0.0.1:{free_port()}", session=False) as link:
        link.invoke(1)

        assert await link.failure(1) == ("HOST_LOST", True, False)
        assert not link.answers[1].sent
        assert not link.link.usable


async def test_an_instance_without_sessions_is_found_again_at_its_address(
    plugin: ScriptedPlugin,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with linked(address, session=False) as link:
        await link.until(lambda: not link.link.usable)
        async with serving_plugin(plugin, address):
            await link.until(lambda: link.link.usable)
            link.invoke(1)
            _, answer = await plugin.call_alone()
            answer.set_result(pb.InvokeResponse(result=output(0)))

            assert (await link.answer(1)).output == Payload(b"1")


@pytest.mark.parametrize(("call_id", "attempt"), [(2, 1), (0, 2), (1, 9)])
async def test_an_answer_to_another_call_is_no_answer(
    plugin: ScriptedPlugin, address: str, call_id: int, attempt: int
) -> None:
    async with linked(address, session=False) as link:
        link.invoke(1)
        _, answer = await plugin.call_alone()
        said = output(call_id)
        said.attempt = attempt
        answer.set_result(pb.InvokeResponse(result=said))

        assert (await link.failure(1))[0] == "OUTPUT_INVALID"
        assert len(link.breaches) == 1


async def test_a_call_alone_that_is_cancelled_before_it_left_frees_its_place(address: str) -> None:
    async with linked(address, session=False) as link:
        link.link.cancel(link.invoke(1))

        assert (await link.failure(1))[0] == "HOST_LOST"
        assert link.link.in_flight == 0


async def test_a_call_alone_is_lost_with_its_host(plugin: ScriptedPlugin) -> None:
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving_plugin(plugin))
        async with linked(address, session=False) as link:
            link.invoke(1)
            await plugin.call_alone()

            await stack.aclose()

            assert await link.failure(1) == ("HOST_LOST", True, True)
            assert link.answers[1].sent
            await link.until(lambda: not link.link.usable)
            link.invoke(2)
            assert await link.failure(2) == ("HOST_LOST", True, False)
            assert not link.answers[2].sent


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (WrongIncarnation("i-1", 7, 8), ("WRONG_INCARNATION", True, False)),
        (InstanceFull("i-1", 3), ("INSTANCE_FULL", True, False)),
        (OperationNotFound("p", "o", ()), ("OPERATION_NOT_FOUND", False, False)),
    ],
)
async def test_a_refusal_by_the_host_keeps_its_reason(
    plugin: ScriptedPlugin, address: str, fault: Fault, expected: tuple[str, bool, bool]
) -> None:
    async def refuse(request: object, context: Any) -> None:
        await context.abort_with_status(rpc_status_of(fault))

    plugin.Invoke = refuse  # type: ignore[assignment, method-assign]
    async with serving_plugin(plugin) as refusing, linked(refusing, session=False) as link:
        link.invoke(1)

        assert await link.failure(1) == expected
        assert link.answers[1].told


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_a_bare_status_says_nothing_about_what_ran(
    plugin: ScriptedPlugin, address: str, code: grpc.StatusCode
) -> None:
    async def refuse(request: object, context: Any) -> None:
        await context.abort(code, "sorry")

    plugin.Invoke = refuse  # type: ignore[assignment, method-assign]
    async with serving_plugin(plugin) as refusing, linked(refusing, session=False) as link:
        link.invoke(1)
        answer = await link.answer(1)

        assert (answer.sent, answer.told) == (True, False)


@pytest.mark.parametrize(
    ("reason", "domain"), [("INSTANCE_DRAINING", "acme.example"), ("NOTHING_RAN", "forgemesh.dev")]
)
async def test_a_refusal_that_the_protocol_does_not_define_says_nothing_about_what_ran(
    plugin: ScriptedPlugin, reason: str, domain: str
) -> None:
    async def refuse(request: object, context: Any) -> None:
        status = status_pb2.Status(code=14, message="sorry")
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
        await context.abort_with_status(rpc_status.to_status(status))

    plugin.Invoke = refuse  # type: ignore[assignment, method-assign]
    async with serving_plugin(plugin) as refusing, linked(refusing, session=False) as link:
        link.invoke(1)

        assert not (await link.answer(1)).told
