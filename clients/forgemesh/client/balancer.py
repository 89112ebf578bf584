"""What a caller does with the balancer of a mesh: pick instances, see and decide about circuits and policies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal, Self

import grpc

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb, event_pb2
from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceStub
from forgemesh.api.balancer.v1.report_pb2 import CallFailure
from forgemesh.chassis.resumable import follow
from forgemesh.chassis.status import from_rpc_error
from forgemesh.chassis.tasks import watched
from forgemesh.client.control import caller
from forgemesh.client.peer import DEADLINE, Peer
from forgemesh.faults import Code, Fault, reason_of
from forgemesh.faults.routing import EventsCompacted

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import BalancerServiceAsyncStub
    from forgemesh.api.balancer.v1.policy_pb2 import PluginPolicy

CircuitOrder = Literal["open", "close", "observe", "reset"]

_ORDERS: dict[CircuitOrder, pb.CircuitOrder.ValueType] = {
    "open": pb.CIRCUIT_ORDER_FORCE_OPEN,
    "close": pb.CIRCUIT_ORDER_FORCE_CLOSED,
    "observe": pb.CIRCUIT_ORDER_METRICS_ONLY,
    "reset": pb.CIRCUIT_ORDER_RESET,
}
_PAGE = 500
_SILENCE = 5.0
"""Seconds without a word after which a watch of events is opened again."""


class Balancer:
    """
    The balancer of a mesh, for callers without a session of their own, and for operators.

    `async with Client.connect() as mesh, mesh.balancer() as balancer: ...`. Every method raises the Fault
    (forgemesh.faults) with which the balancer refused, or ServiceUnreachable.
    """

    def __init__(self, stub: BalancerServiceAsyncStub, peer: Peer) -> None:
        self._stub = stub
        self._peer = peer
        self._settling: set[asyncio.Task[bool]] = set()

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: str) -> AsyncIterator[Self]:
        """The balancer at `address` (host:port). Nothing is sent before the first call."""
        peer = Peer("balancer", address)
        async with peer.channel() as channel:
            yield cls(BalancerServiceStub(channel), peer)

    @property
    def address(self) -> str:
        """Where the balancer listens, host:port."""
        return self._peer.address

    async def pick(
        self,
        plugin_id: str,
        *,
        version_range: str = "",
        operation: str = "",
        affinity: str = "",
        exclude: Sequence[str] = (),
        lease: float = 60.0,
        explain: bool = False,
        trial: bool = False,
    ) -> pb.PickResponse:
        """
        An instance for one call, which counts as under way until it is settled or `lease` seconds are over.

        `exclude` holds instances that were tried already; say `trial` if the call is safe to repeat. Raises
        NotRegistered, NoneHealthy, CircuitOpen or AllFull if there is none.
        """
        request = pb.PickRequest(
            plugin_id=plugin_id,
            version_range=version_range,
            operation=operation,
            affinity=affinity,
            exclude=exclude,
            caller_id=caller(),
            lease_millis=round(lease * 1000),
            explain=explain,
            trial=trial,
        )
        return await self._peer.call(self._stub.Pick, request)

    async def settle(
        self,
        pick_id: str,
        code: Code = Code.OK,
        *,
        latency: float = 0.0,
        timeout: float = 0.0,
        failure: CallFailure | None = None,
    ) -> bool:
        """
        Say what became of a picked call, and whether that changed anything: a pick is settled once.

        `latency` is how many seconds it took, `timeout` how many it was given (0: not said). CANCELLED says nothing
        about the instance.
        """
        request = pb.SettleRequest(
            pick_id=pick_id,
            code=code,
            latency_micros=round(latency * 1e6),
            timeout_micros=round(timeout * 1e6),
            failure=failure,
        )
        return (await self._peer.call(self._stub.Settle, request)).applied

    @asynccontextmanager
    async def picked(
        self,
        plugin_id: str,
        *,
        version_range: str = "",
        operation: str = "",
        affinity: str = "",
        exclude: Sequence[str] = (),
        lease: float = 60.0,
        trial: bool = False,
    ) -> AsyncIterator[pb.PickResponse]:
        """
        An instance for the one call that is made in the block; its outcome is settled by how the block ends.

        A failed gRPC call counts with its code; any other exception says nothing about the instance.
        """
        picked = await self.pick(
            plugin_id,
            version_range=version_range,
            operation=operation,
            affinity=affinity,
            exclude=exclude,
            lease=lease,
            trial=trial,
        )
        began, code, failure = time.monotonic(), Code.CANCELLED, None
        try:
            yield picked
            code = Code.OK
        except grpc.RpcError as error:
            code, failure = _failure(error)
            raise
        finally:
            settling = self.settle(picked.pick_id, code, latency=time.monotonic() - began, failure=failure)
            told: asyncio.Task[bool] = watched(settling, lambda error: self._settling.discard(told))
            self._settling.add(told)
            with suppress(Fault):  # what nobody settles ends with its lease
                await asyncio.shield(told)

    async def circuits(
        self, plugin_id: str = "", instance_id: str = "", *, tripped_only: bool = False
    ) -> list[pb.InstanceCircuit]:
        """Circuits by plugin and instance; empty is any."""
        found: list[pb.InstanceCircuit] = []
        request = pb.ListCircuitsRequest(
            plugin_id=plugin_id, instance_id=instance_id, tripped_only=tripped_only, page_size=_PAGE
        )
        while True:
            page = await self._peer.call(self._stub.ListCircuits, request)
            found += page.circuits
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def set_circuit(
        self, order: CircuitOrder, plugin_id: str, instance_id: str = "", *, reason: str = "", by: str | None = None
    ) -> list[pb.InstanceCircuit]:
        """Decide about the circuit of an instance, or of every one that the plugin has; where those stand now."""
        author = event_pb2.Author(actor=caller(by), reason=reason)
        request = pb.SetCircuitRequest(
            plugin_id=plugin_id, instance_id=instance_id, order=_ORDERS[order], author=author
        )
        return list((await self._peer.call(self._stub.SetCircuit, request)).circuits)

    async def policies(self) -> list[pb.PolicyRecord]:
        """The policies that differ from the default, by plugin."""
        return list((await self._peer.call(self._stub.ListPolicies, pb.ListPoliciesRequest())).policies)

    async def policy(self, plugin_id: str) -> pb.PolicyRecord:
        """The policy that counts for a plugin, every number spelt out."""
        request = pb.ListPoliciesRequest(plugin_id=plugin_id)
        return (await self._peer.call(self._stub.ListPolicies, request)).policies[0]

    async def set_policy(
        self, policy: PluginPolicy, *, version: int | None = None, reason: str = "", by: str | None = None
    ) -> pb.PolicyRecord:
        """
        Let another policy count for a plugin; what is not set in it means its default.

        Raises PolicyChanged if `version` is given and not the present one.
        """
        author = event_pb2.Author(actor=caller(by), reason=reason)
        request = pb.SetPolicyRequest(policy=policy, expected_version=version, author=author)
        return (await self._peer.call(self._stub.SetPolicy, request)).record

    async def history(self, plugin_id: str = "", instance_id: str = "") -> list[event_pb2.BalancerEvent]:
        """What has happened to circuits, health, load and policies, as far as the balancer remembers it."""
        request = pb.WatchEventsRequest(plugin_id=plugin_id, instance_id=instance_id, history_only=True)
        try:
            stream = self._stub.WatchEvents(request, timeout=DEADLINE)
            return [told.event async for told in stream if told.HasField("event")]
        except grpc.aio.AioRpcError as error:
            raise self._peer.fault(error, DEADLINE) from error

    async def watch(
        self, plugin_id: str = "", instance_id: str = "", *, on_break: Callable[[], None] = lambda: None
    ) -> AsyncIterator[event_pb2.BalancerEvent]:
        """
        The same, and then what happens, for ever: a watch that breaks is opened again where it stopped.

        `on_break` is told when the balancer does not answer any more. One that starts anew begins with its own first
        event.
        """
        request = pb.WatchEventsRequest(plugin_id=plugin_id, instance_id=instance_id)
        answers = True

        def broken() -> None:
            nonlocal answers
            if answers:
                on_break()
            answers = False

        def refused(fault: Fault) -> None:
            if isinstance(fault, EventsCompacted):
                request.ClearField("resume_after")

        stream = follow(
            "the watch of the balancer's events",
            lambda: self._stub.WatchEvents(request),
            silence=_SILENCE,
            on_break=broken,
            on_refusal=refused,
        )
        async with aclosing(stream) as messages:
            async for told in messages:
                answers = True
                request.resume_after.CopyFrom(told.position)
                if told.HasField("event"):
                    yield told.event


def _failure(error: grpc.RpcError) -> tuple[Code, CallFailure | None]:
    """What a failed call says about its instance."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return Code.UNKNOWN, None
    code = Code(error.code().value[0])
    return code, CallFailure(code=code, reason=reason_of(from_rpc_error(error)), message=error.details() or "")
