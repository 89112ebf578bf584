"""Calls to an orchestrator that is away for a moment: what may be repeated is, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from forgemesh.client import Client, ExecutionHandle
from forgemesh.client.control import Cancel, Signal
from forgemesh.client.start import Start
from forgemesh.faults.service import ServiceUnreachable
from tests.component.client.script import Script, served

Call = Callable[[Client, ExecutionHandle], Awaitable[Any]]
NAMED: dict[str, Call] = {
    "start": lambda mesh, _: mesh.start("etl", request_id="r"),
    "start_many": lambda mesh, _: mesh.start_many([Start(workflow="etl", request_id="r")]),
}
NAMED_BY_HANDLE: dict[str, Call] = {
    "signal": lambda _, execution: execution.signal("go", signal_id="s"),
    "fork": lambda _, execution: execution.fork(request_id="r"),
}
CHANGES: dict[str, Call] = {
    "register": lambda mesh, _: mesh.register("name: etl"),
    "start without an id": lambda mesh, _: mesh.start("etl"),
    "fork without an id": lambda _, execution: execution.fork(),
    "pause": lambda _, execution: execution.pause(),
    "resume": lambda _, execution: execution.resume(),
    "cancel": lambda _, execution: execution.cancel(),
    "terminate": lambda _, execution: execution.terminate(),
    "resolve": lambda _, execution: execution.resolve("a", "retry"),
    "delete": lambda _, execution: execution.delete(),
    "cancel many": lambda mesh, _: mesh.control_many(["x1"], Cancel()),
    "signal without an id": lambda _, execution: execution.signal("go"),
    "signal many without an id": lambda mesh, _: mesh.control_many(["x1"], Signal(name="go")),
}


@pytest.fixture
async def address(script: Script) -> str:
    """Where an orchestrator listened a moment ago."""
    async with served(script) as address:
        pass
    return address


async def refused(address: str) -> None:
    """Return once a call that was made now would have been refused: so that one that began before has been."""
    async with Client.connect(address) as other:
        with pytest.raises(ServiceUnreachable):
            await other.mesh()


@pytest.mark.parametrize("name", list(NAMED))
async def test_a_call_with_an_id_waits_for_an_orchestrator_that_was_never_seen(
    script: Script, address: str, name: str
) -> None:
    async with Client.connect(address) as mesh:
        calling = asyncio.ensure_future(NAMED[name](mesh, None))  # type: ignore[arg-type]  # it has no use for one
        await refused(address)
        assert not calling.done()
        async with served(script, address):
            await calling


@pytest.mark.parametrize("name", [*NAMED, *NAMED_BY_HANDLE, *CHANGES])
async def test_what_may_be_repeated_waits_for_an_orchestrator_that_was_there(script: Script, name: str) -> None:
    call = (NAMED | NAMED_BY_HANDLE | CHANGES)[name]
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(served(script))
        async with Client.connect(address) as mesh:
            execution = await mesh.execution("x1")
            await stack.aclose()
            calling = asyncio.ensure_future(call(mesh, execution))
            await refused(address)
            assert not calling.done()
            async with served(script, address):
                await calling


@pytest.mark.parametrize("name", ["register", "start without an id", "cancel many"])
async def test_without_an_id_a_mesh_that_was_never_seen_is_not_waited_for(address: str, name: str) -> None:
    async with Client.connect(address) as mesh:
        with pytest.raises(ServiceUnreachable):
            await CHANGES[name](mesh, None)  # type: ignore[arg-type]


async def test_a_patient_client_waits_with_all_that_may_be_repeated(script: Script, address: str) -> None:
    async with Client.connect(address, patience=60.0) as mesh:
        calling = asyncio.ensure_future(mesh.mesh())
        await refused(address)
        assert not calling.done()
        async with served(script, address):
            assert await calling == {"traces": "t:1"}


async def test_a_start_gives_up_when_nobody_answers_for_its_patience(address: str) -> None:
    async with Client.connect(address) as mesh:
        with pytest.raises(ServiceUnreachable, match="connection refused"):
            await mesh.start("etl", request_id="r", patience=0.3)


class Forgetful(Script):
    """Does what it is asked for and does not get round to the answer, the first time."""

    async def SignalExecution(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        if len(self.requests) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return await super().SignalExecution(request, context)

    async def StartExecution(self, request: Any, context: Any) -> Any:
        if not self.requests:
            self.requests.append(request)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return await super().StartExecution(request, context)


@pytest.fixture
async def forgetful() -> AsyncIterator[tuple[Script, Client]]:
    script = Forgetful()
    async with served(script) as address, Client.connect(address) as mesh:
        yield script, mesh


async def test_a_signal_without_an_id_that_may_have_been_taken_is_not_sent_again(
    forgetful: tuple[Script, Client],
) -> None:
    script, mesh = forgetful
    execution = await mesh.execution("x1")

    with pytest.raises(ServiceUnreachable, match="the connection broke"):
        await execution.signal("go")

    assert len(script.requests) == 1


@pytest.mark.parametrize("request_id", ["r", None])
async def test_a_start_whose_answer_was_lost_is_asked_for_again_with_the_same_id(
    forgetful: tuple[Script, Client], request_id: str | None
) -> None:
    script, mesh = forgetful
    await mesh.mesh()

    await mesh.start("etl", request_id=request_id)

    first, second = script.requests
    assert first == second
    assert first.request_id


async def test_what_listens_there_and_is_no_orchestrator_is_not_waited_for() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client.connect(f"127.0.0.1:{port}") as mesh:
            with pytest.raises(ServiceUnreachable, match="what listens there is no orchestrator"):
                await mesh.start("etl", request_id="r", patience=3600)
    finally:
        await server.stop(0)
