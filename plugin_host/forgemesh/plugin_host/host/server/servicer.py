"""PluginService over gRPC: translate, hand over, translate back. No decisions here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from forgemesh.api.plugin.v1 import plugin_service_pb2 as pb, session_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceServicer
from forgemesh.faults import Violation
from forgemesh.faults.plugin import OperationNotFound, ProtocolUnsupported
from forgemesh.faults.service import InvalidRequest
from forgemesh.plugin import Payload
from forgemesh.plugin_host.host.calls.call import Call
from forgemesh.plugin_host.host.calls.call_runner import CallRunner
from forgemesh.plugin_host.host.calls.codec import failure_of
from forgemesh.plugin_host.host.plugin.loader import Plugin
from forgemesh.plugin_host.host.session.session import Session, Sessions
from forgemesh.plugin_host.registration.identity import Identity

PROTOCOL_MIN, PROTOCOL_MAX = 1, 1
HELLO_DEADLINE = 10.0
LOAD_TRAILER = "endpoint-load-metrics-bin"


class PluginServicer(PluginServiceServicer):
    """
    Serves one plugin; `load` is the report that goes with each answer of a unary call. `end_is_told`: see ServerHello.
    """

    def __init__(
        self,
        plugin: Plugin,
        identity: Identity,
        runner: CallRunner,
        sessions: Sessions,
        load: Callable[[], bytes],
        *,
        end_is_told: bool = False,
    ) -> None:
        self._plugin = plugin
        self._identity = identity
        self._runner = runner
        self._sessions = sessions
        self._load = load
        self._end_is_told = end_is_told

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        return pb.DescribeResponse(
            manifest=self._plugin.manifest,
            instance_id=self._identity.instance_id,
            incarnation=self._identity.incarnation,
        )

    async def Invoke(self, request: pb.InvokeRequest, context: Any) -> pb.InvokeResponse:
        response = pb.InvokeResponse()
        answer = _Answer()
        try:
            call = self._runner.take(request.invocation, answer, credited=False, time_left=context.time_remaining())
        except OperationNotFound as fault:
            failure = failure_of(fault, request.invocation.step_path, retryable=False)
            response.result.attempt = request.invocation.attempt
            response.result.failure.CopyFrom(failure)
            return response
        try:
            await answer.future
        finally:
            self._runner.cancel(call)
        call.write(response.result)
        context.set_trailing_metadata(((LOAD_TRAILER, self._load()),))
        return response

    async def Session(  # type: ignore[override] # writes to the context instead of yielding
        self, request_iterator: AsyncIterator[session_pb2.SessionRequest], context: Any
    ) -> None:
        requests = aiter(request_iterator)
        first = await _first(requests)
        self._identity.refuse_others(first.hello.incarnation)
        hello = session_pb2.ServerHello(
            protocol=_negotiated(first.hello),
            instance_id=self._identity.instance_id,
            incarnation=self._identity.incarnation,
            tells_begun=True,
            plugin_id=self._plugin.manifest.plugin_id,
            refuses_poison=self._runner.refuses_poison,
            end_is_told=self._end_is_told,
        )
        session = Session(self._runner, self._sessions, self._identity.instance_id)
        await session.run(hello, requests, first, context.write)


class _Answer:
    """Waits for the answer of one unary call."""

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begun(self, call: Call) -> None:
        """A unary call has no place for it."""

    def answered(self, call: Call) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def released(self, call: Call) -> None:
        """Nothing is shared that could be given back."""

    def progressed(self, call: Call, fraction: float, note: str, details: Payload | None) -> None:
        """A unary call has no place for it."""


async def _first(requests: AsyncIterator[session_pb2.SessionRequest]) -> session_pb2.SessionRequest:
    try:
        async with asyncio.timeout(HELLO_DEADLINE):
            first = await anext(requests, None)
    except TimeoutError:
        first = None
    if first is None or not first.HasField("hello"):
        raise InvalidRequest([Violation("hello", "is the first message of a session, and must come at once")])
    return first


def _negotiated(hello: session_pb2.ClientHello) -> int:
    newest = min(PROTOCOL_MAX, hello.protocol_max)
    if newest < max(PROTOCOL_MIN, hello.protocol_min):
        raise ProtocolUnsupported((PROTOCOL_MIN, PROTOCOL_MAX), (hello.protocol_min, hello.protocol_max))
    return newest
