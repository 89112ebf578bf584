"""Hosts and callers that a test starts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2 as pb, session_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.telemetry import SpanSink
from forgemesh.plugin import define
from forgemesh.plugin_host.host.calls.suspects import Suspects
from forgemesh.plugin_host.host.plugin.loader import Plugin, started
from forgemesh.plugin_host.host.server.hosting import Host, hosting
from forgemesh.plugin_host.registration.identity import Identity
from forgemesh.plugin_host.settings import HostSettings
from tests.component.plugin_host.kit import Kit

if TYPE_CHECKING:
    from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceAsyncStub

DEADLINE = 180.0


@dataclass(frozen=True, slots=True)
class Served:
    """A host in this process."""

    host: Host
    plugin: Plugin
    identity: Identity
    kit: Kit
    stub: PluginServiceAsyncStub
    channel: grpc.aio.Channel


def settings_of(**others: Any) -> HostSettings:
    given: dict[str, Any] = {"load": "tests.component.plugin_host.kit:Kit", "grace": 1.0, "queue_limit": 4}
    return HostSettings(**(given | others))


@contextlib.asynccontextmanager
async def host_at(
    sink: SpanSink | None = None, *, suspects: Suspects | None = None, **others: Any
) -> AsyncIterator[Served]:
    """A host of the test plugin, and a stub for it."""
    identity = Identity("kit-1")
    async with (
        started(define(Kit)) as plugin,
        hosting(plugin, identity, sink or SpanSink(Resource(), []), settings_of(**others), suspects=suspects) as host,
        connect(host.server.address) as channel,
    ):
        kit = plugin.operations["echo"].method.__self__  # type: ignore[attr-defined]
        try:
            yield Served(host, plugin, identity, kit, PluginServiceStub(channel), channel)
        finally:
            kit.open.set()
            kit.unblock.set()


def invocation(operation: str, call_id: int = 0, **others: Any) -> invocation_pb2.Invocation:
    """Keyword arguments that are no fields of an invocation become its input."""
    fields = {
        name: others.pop(name) for name in list(others) if name in invocation_pb2.Invocation.DESCRIPTOR.fields_by_name
    }
    message = invocation_pb2.Invocation(call_id=call_id, operation=operation, **fields)
    if not message.HasField("input"):
        message.input.data = json.dumps(others).encode()
    return message


async def invoke(served: Served, operation: str, **others: Any) -> invocation_pb2.InvocationResult:
    """The result of a unary call."""
    request = pb.InvokeRequest(invocation=invocation(operation, **others))
    response = await served.stub.Invoke(request, timeout=DEADLINE)
    return response.result


class HostCaller:
    """The caller's side of one session."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._ids = itertools.count(1)
        self.frames: list[session_pb2.SessionResponse] = []
        self.credits = 0

    async def read(self) -> session_pb2.SessionResponse | None:
        """The next message; None at the end of the stream."""
        async with asyncio.timeout(DEADLINE):
            frame = await self._call.read()
        if not isinstance(frame, session_pb2.SessionResponse):
            return None
        self.frames.append(frame)
        self.credits += frame.credits
        return frame

    async def send(self, *invocations: invocation_pb2.Invocation, cancels: Iterable[int] = ()) -> list[int]:
        """Send as one message; each invocation gets the next call id."""
        for message in invocations:
            message.call_id = next(self._ids)
        cancelled = [session_pb2.Cancel(call_id=call_id) for call_id in cancels]
        await self._call.write(session_pb2.SessionRequest(invocations=invocations, cancels=cancelled))
        self.credits -= len(invocations)
        return [message.call_id for message in invocations]

    async def results(self, count: int) -> dict[int, invocation_pb2.InvocationResult]:
        """The next `count` results, by call id."""
        found: dict[int, invocation_pb2.InvocationResult] = {}
        while len(found) < count:
            frame = await self.read()
            assert frame is not None, "the stream has ended"
            found |= {result.call_id: result for result in frame.results}
        return found

    async def until(self, condition: Callable[[session_pb2.SessionResponse], bool]) -> session_pb2.SessionResponse:
        """The next message that fulfils the condition."""
        while True:
            frame = await self.read()
            assert frame is not None, "the stream has ended"
            if condition(frame):
                return frame

    async def write(self, request: session_pb2.SessionRequest) -> None:
        """Send a message as it is."""
        await self._call.write(request)

    async def done(self) -> None:
        """No more calls."""
        await self._call.done_writing()

    def cancel(self) -> None:
        """Break the stream."""
        self._call.cancel()


@contextlib.asynccontextmanager
async def session(served: Served, *, first: bool = True, **hello: Any) -> AsyncIterator[HostCaller]:
    """An open session; its hello, and with `first` the host's, are behind it."""
    call = served.stub.Session()
    greeting: dict[str, Any] = {"protocol_min": 1, "protocol_max": 1, "caller_id": "test"} | hello
    await call.write(session_pb2.SessionRequest(hello=session_pb2.ClientHello(**greeting)))
    caller = HostCaller(call)
    try:
        if first:
            await caller.read()
        yield caller
    finally:
        call.cancel()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait, turn by turn of the loop, until the condition holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)
