"""Calls that go alone, by unary Invoke."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import grpc

from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import ForeignFault, code_of
from forgemesh.faults.workflow import HostLost, PayloadTooLarge
from forgemesh.orchestrator.dispatch.ports import Answer, Invocation
from forgemesh.orchestrator.dispatch.refusals import NOTHING_RAN
from forgemesh.orchestrator.dispatch.session.codec import answer_of, size_of, write_invocation
from forgemesh.orchestrator.dispatch.session.protocol_check import fits_alone
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.orchestrator.values.retry import FAILOVER, RETRYABLE
from forgemesh.routing.endpoint import Endpoint

if TYPE_CHECKING:
    from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceAsyncStub

UNARY_SLACK = 1.0
_ROOMY = SESSION_LIMIT - 256 * 1024
"""Bytes up to which a call fits into a message whatever is around it."""
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What a call gets whose server is cut off or stops, without a word of the server's own."""


class UnaryCalls:
    """
    To one instance over a connection that stands; `breached` is told what no answer may say, and `ending` says how the
    process ended that was lost.
    """

    def __init__(
        self,
        stub: PluginServiceAsyncStub,
        endpoint: Endpoint,
        plugin_id: str,
        breached: Callable[[str], None],
        ending: Callable[[], Awaitable[str]],
    ) -> None:
        self._stub = stub
        self._endpoint = endpoint
        self._plugin_id = plugin_id
        self._breached = breached
        self._ending = ending

    async def invoke(self, call_id: int, invocation: Invocation) -> Answer:
        """What becomes of the call; whoever does not wait for that has to take it as lost."""
        request = plugin_service_pb2.InvokeRequest()
        write_invocation(request.invocation, invocation, call_id, self._endpoint.incarnation)
        if size_of(invocation) > _ROOMY and (size := _size(request)) > SESSION_LIMIT:
            fault = PayloadTooLarge(f"a call of {self._plugin_id}/{invocation.operation}", size, SESSION_LIMIT)
            return Answer(None, failure_of(fault), accepted=False, session=False)
        try:
            response = await self._stub.Invoke(request, timeout=invocation.remaining + UNARY_SLACK)
        except grpc.aio.AioRpcError as error:
            return await self._refusal(error)
        return self._answer_to(call_id, invocation, response)

    def _answer_to(self, call_id: int, invocation: Invocation, response: object) -> Answer:
        """An answer that cannot be read, or is another call's, is as good as one without a result."""
        result = invocation_pb2.InvocationResult()
        if not isinstance(response, plugin_service_pb2.InvokeResponse):
            self._breached("an answer that cannot be read")
        elif not fits_alone(response.result, invocation, call_id):
            said = f"attempt {response.result.attempt} of call {response.result.call_id}"
            self._breached(f"an answer to {said}, where attempt {invocation.attempt} of {call_id} was asked")
        else:
            result = response.result
        return answer_of(result, (self._plugin_id, invocation.operation, self._endpoint.instance_id), session=False)

    async def _refusal(self, error: grpc.aio.AioRpcError) -> Answer:
        """What a status means: that nothing ran only if it says so as the protocol defines it."""
        fault = from_rpc_error(error)
        if isinstance(fault, ForeignFault) and error.code() in _GONE:
            lost = HostLost(self._endpoint.instance_id, accepted=True, ending=await self._ending())
            return Answer(None, failure_of(lost, retryable=True), session=False, told=False)
        retryable = fault.reason in FAILOVER or code_of(fault) in RETRYABLE
        refused = not isinstance(fault, ForeignFault) and fault.reason in NOTHING_RAN
        return Answer(None, failure_of(fault, retryable=retryable), not refused, session=False, told=refused)


def _size(request: plugin_service_pb2.InvokeRequest) -> int:
    """Bytes; what an earlier attempt said stays behind where there is no room for it."""
    if request.ByteSize() > SESSION_LIMIT:
        request.invocation.ClearField("heartbeat_details")
    return request.ByteSize()
