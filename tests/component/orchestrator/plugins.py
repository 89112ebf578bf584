"""A plugin that speaks the real protocol over a real channel, word by word as a test tells it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2 as pb, session_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceServicer, add_PluginServiceServicer_to_server
from forgemesh.orchestrator.dispatch.ports import Answer, Invocation
from forgemesh.orchestrator.dispatch.session.endings import Endings
from forgemesh.orchestrator.dispatch.session.link import SessionLink
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.hosts import PATIENCE, endpoint


class ScriptedSession:
    """One session as its host sees it."""

    def __init__(self, hello: session_pb2.ClientHello) -> None:
        self.hello = hello
        self.frames: list[session_pb2.SessionRequest] = []
        self.outgoing: asyncio.Queue[session_pb2.SessionResponse | None] = asyncio.Queue()
        self.over = asyncio.Event()

    def say(self, **facts: Any) -> None:
        self.outgoing.put_nowait(session_pb2.SessionResponse(**facts))

    def end(self) -> None:
        self.outgoing.put_nowait(None)

    @property
    def calls(self) -> list[invocation_pb2.Invocation]:
        return [call for frame in self.frames for call in frame.invocations]


class ScriptedPlugin(PluginServiceServicer):
    """Greets with `credits`, or refuses with `refuse`, and leaves the rest to the test."""

    def __init__(self) -> None:
        self.credits = 10
        self.refuse: grpc.StatusCode | None = None
        self.greets = True
        self.greeting: session_pb2.SessionResponse | None = None
        self.sessions: list[ScriptedSession] = []
        self.alone: list[tuple[invocation_pb2.Invocation, asyncio.Future[pb.InvokeResponse]]] = []
        self.moved = asyncio.Event()
        self.cancelled_alone = 0

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        return pb.DescribeResponse(instance_id="i-1", incarnation=7)

    async def Session(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        if self.refuse is not None:
            await context.abort(self.refuse, "not here")
        requests = aiter(request_iterator)
        session = ScriptedSession((await anext(requests)).hello)
        if not self.greets:
            await asyncio.Event().wait()
        hello = session_pb2.ServerHello(protocol=1)
        await context.write(self.greeting or session_pb2.SessionResponse(hello=hello, credits=self.credits))
        self.sessions.append(session)
        self.moved.set()
        reading = asyncio.create_task(self._read(session, requests))
        try:
            while (message := await session.outgoing.get()) is not None:
                await context.write(message)
        finally:
            reading.cancel()
            session.over.set()
            self.moved.set()

    async def _read(self, session: ScriptedSession, requests: AsyncIterator[session_pb2.SessionRequest]) -> None:
        async for frame in requests:
            session.frames.append(frame)
            self.moved.set()

    async def Invoke(self, request: pb.InvokeRequest, context: Any) -> pb.InvokeResponse:
        answer: asyncio.Future[pb.InvokeResponse] = asyncio.get_running_loop().create_future()
        self.alone.append((request.invocation, answer))
        self.moved.set()
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancelled_alone += 1
            self.moved.set()
            raise

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self.moved.clear()
                await self.moved.wait()

    async def session(self, number: int = 1) -> ScriptedSession:
        await self.until(lambda: len(self.sessions) >= number)
        return self.sessions[number - 1]

    async def call_alone(self, number: int = 1) -> tuple[invocation_pb2.Invocation, asyncio.Future[pb.InvokeResponse]]:
        await self.until(lambda: len(self.alone) >= number)
        return self.alone[number - 1]


class KeptAnswers:
    """The caller of one call of a link: keeps what it is told under a number."""

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._number = number

    def answered(self, answer: Answer) -> None:
        assert self._number not in self._link.answers, "answered twice"
        self._link.answers[self._number] = answer
        self._link.moved.set()

    def progressed(self, fraction: float, note: str, details: Payload | None) -> None:
        self._link.progress.append((self._number, fraction, note, details))
        self._link.moved.set()


class Link:
    """A link, and what it said."""

    def __init__(self, address: str, endings: Endings | None = None, **facts: Any) -> None:
        where = endpoint("i-1", address=address, incarnation=7, **facts)
        self.breaches: list[str] = []
        self.link = SessionLink(
            where, "caller", self._changed, plugin_id="p", on_breach=self._breached, endings=endings
        )
        self.answers: dict[int, Answer] = {}
        self.progress: list[tuple[int, float, str, Payload | None]] = []
        self.changes = 0
        self.moved = asyncio.Event()

    def _breached(self, what: str) -> None:
        self.breaches.append(what)
        self.moved.set()

    def _changed(self) -> None:
        self.changes += 1
        self.moved.set()

    def invoke(self, number: int = 1, **facts: Any) -> int:
        """Call; the answer is kept under `number`."""
        known: dict[str, Any] = {
            "operation": "o",
            "input": Payload(b"{}"),
            "namespace": "default",
            "execution_id": "e",
            "step_path": f"s{number}",
            "attempt": 1,
            "traceparent": "",
            "remaining": 30.0,
        }

        return self.link.invoke(Invocation(**(known | facts)), KeptAnswers(self, number))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self.moved.clear()
                await self.moved.wait()

    async def answer(self, number: int = 1) -> Answer:
        await self.until(lambda: number in self.answers)
        return self.answers[number]

    async def failure(self, number: int = 1) -> tuple[str, bool, bool]:
        """Reason, whether it may be tried again, and whether the host had taken it on."""
        answer = await self.answer(number)
        assert answer.failure is not None
        return answer.failure.reason, answer.failure.retryable, answer.accepted


@contextlib.asynccontextmanager
async def serving_plugin(plugin: ScriptedPlugin, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_PluginServiceServicer_to_server(plugin, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def linked(address: str, **facts: Any) -> AsyncIterator[Link]:
    link = Link(address, **facts)
    running = asyncio.create_task(link.link.run())
    try:
        yield link
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def output(call_id: int, data: bytes = b"1") -> invocation_pb2.InvocationResult:
    return invocation_pb2.InvocationResult(call_id=call_id, attempt=1, output=payload_pb2.Payload(data=data))
