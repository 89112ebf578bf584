"""A process of the mesh as its caller sees it: every call has a deadline, every refusal is a Fault."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.status import from_rpc_error
from forgemesh.client.lanes import Lanes
from forgemesh.faults import Code, Fault, ForeignFault
from forgemesh.faults.service import ServiceUnreachable
from forgemesh.faults.workflow import PayloadTooLarge

Answer = TypeVar("Answer")

DEADLINE = 10.0

# Every refusal of the mesh carries a reason of its own; these codes without one come from the connection.
_BROKEN = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN})
_PLAIN_CAUSES = (
    ("connection refused", "connection refused"),
    ("dns resolution failed", "the host name is not known"),
    ("timed out", "the connection timed out"),
    ("timeout occurred", "the connection timed out"),
    ("no route to host", "no route to the host"),
    ("network is unreachable", "the network is unreachable"),
    ("connection reset", "the connection broke"),
    ("socket closed", "the connection broke"),
    ("keepalive", "it stopped answering"),
    ("http1.x server", "what listens there does not speak gRPC"),
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is called: the service's name for people, and where it listens (host:port)."""

    service: str
    address: str

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel to it that takes any number of calls; nothing is sent before the first one."""
        async with Lanes(self.address) as channel:
            yield channel

    async def call(
        self,
        method: Callable[..., Awaitable[Answer]],
        request: Any,
        *,
        deadline: float = DEADLINE,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """
        The answer to one request, within `deadline` seconds.

        Raises the Fault with which the peer refused, ServiceUnreachable if it did not answer, or PayloadTooLarge for
        what no message carries.
        """
        if isinstance(request, Message):
            check_size(request)
        try:
            return await method(request, timeout=deadline, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self.fault(error, deadline) from error

    def fault(self, error: grpc.aio.AioRpcError, deadline: float | None = None) -> Fault:
        """What a failed call means: the peer's own Fault, or ServiceUnreachable if the connection failed."""
        fault = from_rpc_error(error)
        if isinstance(fault, ForeignFault) and fault.foreign_code is Code.UNIMPLEMENTED:
            return ServiceUnreachable(self.service, self.address, f"what listens there is no {self.service}")
        if isinstance(fault, ForeignFault) and fault.foreign_code in _BROKEN:
            return ServiceUnreachable(self.service, self.address, _cause(error, deadline))
        return fault


def check_size(request: Message, most: int = SESSION_LIMIT) -> None:
    """Raises PayloadTooLarge for a request that no message carries."""
    size = request.ByteSize()
    if size > most:
        raise PayloadTooLarge(f"the request ({request.DESCRIPTOR.name})", size, most)


def _cause(error: grpc.aio.AioRpcError, deadline: float | None) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and deadline is not None:
        return f"no answer within {deadline:g} s"
    details = error.details() or error.code().name
    for sign, cause in _PLAIN_CAUSES:
        if sign in details.lower():
            return cause
    return re.sub(r"\s*[;\n]\s*", ", ", details)
