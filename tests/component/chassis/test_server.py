import asyncio
import contextlib
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from forgemesh.chassis.channel import SESSION_LIMIT, channel_options, connect
from forgemesh.chassis.health import PortInUse
from forgemesh.chassis.server import CONTROL_LIMIT, Listen, server_options
from tests.component.chassis.mill import PATIENCE, SERVICE, Mill, outlived, running
from tests.free_ports import free_addresses


@pytest.mark.parametrize("port", ["address", "health_address"])
async def test_a_port_that_another_server_has_is_refused_in_a_sentence(port: str) -> None:
    async with running() as first:
        taken = getattr(first.serving, port)

        with pytest.raises(PortInUse, match=f"cannot listen on {taken}: the port is in use") as refused:
            async with running(**{port: taken}):
                pass

    assert refused.value.listen == taken


async def test_a_server_that_could_not_start_leaves_no_port_behind() -> None:
    (address,) = free_addresses(1)
    async with running() as first:
        with pytest.raises(PortInUse):
            async with running(address=address, health_address=first.serving.health_address):
                pass

    async with running(address=address) as second:
        assert second.serving.address == address


async def test_a_port_is_free_again_once_its_server_has_stopped() -> None:
    async with running() as first:
        address, health_address = first.serving.address, first.serving.health_address

    async with running(address=address, health_address=health_address) as second:
        answers = await second.call("UnaryUnary")

    assert answers == [b"GRAIN"]


@pytest.mark.parametrize(("name", "setting"), [("address", "listen"), ("health_address", "health_listen")])
def test_a_listener_beyond_this_machine_is_refused_without_a_word(name: str, setting: str) -> None:
    at = {"address": "127.0.0.1:0", "health_address": "127.0.0.1:0", name: "0.0.0.0:0"}

    with pytest.raises(ValueError, match=f"^{setting} = '0.0.0.0:0' listens beyond this machine without TLS"):
        Listen(address=at["address"], health_address=at["health_address"])


async def test_insecure_is_such_a_word() -> None:
    async with running(address="0.0.0.0:0", insecure=True) as mill:
        port = mill.serving.address.rpartition(":")[2]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            answers = await Mill(mill.serving, channel).call("UnaryUnary")

    assert answers == [b"GRAIN"]


async def test_a_call_that_runs_is_let_finish() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def act(request: bytes, context: Any) -> bytes:
        began.set()
        await go_on.wait()
        return b"done"

    async with outlived(act) as (mill, stop):
        call = asyncio.create_task(mill.call("UnaryUnary"))
        await began.wait()
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        await stop()
        answers = await call

    assert answers == [b"done"]


async def test_a_call_that_does_not_end_is_cut_after_the_grace() -> None:
    began = asyncio.Event()

    async def act(request: bytes, context: Any) -> bytes:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with outlived(act, grace=0.1) as (mill, stop):
        call = asyncio.create_task(mill.call("UnaryUnary"))
        await began.wait()
        await stop()

        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await call

    assert cut.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@pytest.mark.parametrize(("limit", "size"), [(CONTROL_LIMIT, CONTROL_LIMIT), (SESSION_LIMIT, SESSION_LIMIT)])
async def test_a_request_may_be_as_large_as_the_limit_and_no_larger(limit: int, size: int) -> None:
    async def act(request: bytes, context: Any) -> bytes:
        return b"%d" % len(request)

    async with running(act, receive_limit=limit) as mill:
        answers = await mill.call("UnaryUnary", bytes(size))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await mill.call("UnaryUnary", bytes(size + 1))

    assert answers == [b"%d" % size]
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_burst_of_calls_is_served_without_loss() -> None:
    async with running() as mill, contextlib.AsyncExitStack() as channels:
        clients = [
            Mill(mill.serving, await channels.enter_async_context(connect(mill.serving.address))) for _ in range(8)
        ]
        answers = await asyncio.gather(
            *(client.call("UnaryUnary", timeout=60) for client in clients for _ in range(400))
        )

    assert answers == [[b"GRAIN"]] * 3200


async def _services(mill: Mill) -> list[str]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(mill.channel)
    call = stub.ServerReflectionInfo(timeout=PATIENCE)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    await call.done_writing()
    return sorted(service.name for service in answer.list_services_response.service)


async def test_reflection_is_served_when_asked_for() -> None:
    async with running(reflection=True) as mill:
        services = await _services(mill)

    assert SERVICE in services


async def test_reflection_is_not_served_unasked() -> None:
    async with running() as mill:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _services(mill)

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_grpc_knows_every_option_by_its_name() -> None:
    """It takes a misspelt one without a word: once that cost every quiet session its connection, after 15 s."""
    core = Path(str(import_module("grpc._cython.cygrpc").__file__)).read_bytes()
    listen = Listen(address="127.0.0.1:0", health_address="127.0.0.1:0", connection_age=1.0)
    names = [name for name, _ in (*server_options(listen), *channel_options(keepalive=True))]

    assert len(names) > 20
    assert [name for name in names if f"{name}\0".encode() not in core] == []


async def test_more_calls_at_once_than_a_connection_carries_wait_and_none_is_refused() -> None:
    async def act(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0)
        return request

    async with running(act) as mill:
        answers = await asyncio.gather(*(mill.call("UnaryUnary") for _ in range(3000)))

    assert answers == [[b"grain"]] * 3000


async def test_one_connection_has_so_many_calls_under_way_and_the_others_wait_at_its_end() -> None:
    under_way, most = 0, 0

    async def act(request: bytes, context: Any) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(50):
            await asyncio.sleep(0)
        under_way -= 1
        return request

    async with running(act, streams=10) as mill:
        answers = await asyncio.gather(*(mill.call("UnaryUnary") for _ in range(300)))

    assert answers == [[b"grain"]] * 300
    assert most <= 10
