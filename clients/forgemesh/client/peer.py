"""A process of the mesh as its caller sees it: every call has a deadline, every refusal is a Fault."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from forgemesh.chassis.backoff import drawn_pause
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.next_command import Unreached, unreachable
from forgemesh.chassis.status import from_rpc_error
from forgemesh.client.connection_pool import ConnectionPool
from forgemesh.faults import Code, Fault, ForeignFault, code_of
from forgemesh.faults.service import ShuttingDown
from forgemesh.faults.workflow import PayloadTooLarge

Answer = TypeVar("Answer")

DEADLINE = 10.0
PATIENCE = 30.0
"""Seconds for which a peer that was there, or has to be there, is waited for."""
_INITIAL_BACKOFF = 0.05
_MAX_BACKOFF = 1.0

# Every refusal of the mesh carries a reason of its own; these codes without one come from the connection.
_BROKEN = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN})
_PLAIN_CAUSES = (
    ("connection refused", "connection refused"),
    ("dns resolution failed", "the host name is not known"),
    ("errors resolving", "the host name is not known"),
    ("timed out", "the connection timed out"),
    ("timeout occurred", "the connection timed out"),
    ("no route to host", "no route to the host"),
    ("network is unreachable", "the network is unreachable"),
    ("connection reset", "the connection broke"),
    ("socket closed", "the connection broke"),
    ("keepalive", "it stopped answering"),
    ("http1.x server", "what listens there does not speak gRPC"),
)
_SILENCE = ("timed out", "timeout occurred", "keepalive")
_NEVER_LEFT = ("failed to connect", "dns resolution failed", "errors resolving")
"""In the words of grpc: nobody has got the request."""


@dataclass(slots=True)
class Peer:
    """
    Who is called: the service's name for people, and where it listens (host:port).

    `patience` is for how many seconds it is waited for while it is away, if nobody says otherwise. `met` is whether it
    has ever answered.
    """

    service: str
    address: str
    patience: float = 0.0
    met: bool = field(default=False, init=False, compare=False)

    @property
    def waits(self) -> float:
        """Seconds for a call that changes something and may be repeated: who was there before comes back."""
        return max(self.patience, PATIENCE if self.met else 0.0)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel to it that takes any number of calls; nothing is sent before the first one."""
        async with ConnectionPool(self.address) as channel:
            yield channel

    async def call(
        self,
        method: Callable[..., Awaitable[Answer]],
        request: Any,
        *,
        deadline: float = DEADLINE,
        metadata: tuple[tuple[str, str], ...] = (),
        patience: float | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """
        The answer to one request, within `deadline` seconds once the peer takes it.

        While it is away, is stopping or is without its store, the call is repeated for `patience` seconds (None: those
        of this peer); one that is not `repeatable`, only where it is known that nobody has taken it. Raises the Fault
        with which the peer refused, ServiceUnreachable if it did not answer, or PayloadTooLarge for what no message
        carries.
        """
        if isinstance(request, Message):
            check_size(request)
        else:
            repeatable = False  # a stream, of which a part is gone
        patience = self.patience if patience is None else patience
        until, failures = math.inf, 0
        while True:
            try:
                answer = await method(request, timeout=deadline, metadata=metadata)
            except (grpc.aio.AioRpcError, Fault) as error:
                fault = error if isinstance(error, Fault) else self.fault(error, deadline)
                self.met |= fault is error
                now = time.monotonic()
                until = min(until, now + patience)
                again = repeatable or was_not_taken(error, fault)
                if not again or now >= until or not passes(fault) or _is_foreign(error):
                    raise fault from (None if fault is error else error)
            else:
                self.met = True
                return answer
            await asyncio.sleep(backoff(failures))
            failures += 1

    def fault(self, error: grpc.aio.AioRpcError, deadline: float | None = None) -> Fault:
        """What a failed call means: the peer's own Fault, or ServiceUnreachable if the connection failed."""
        fault = from_rpc_error(error)
        self.met |= not isinstance(fault, ForeignFault)
        if isinstance(fault, ForeignFault) and fault.foreign_code is Code.UNIMPLEMENTED:
            return unreachable(
                self.service, self.address, f"what listens there is no {self.service}", unreached=Unreached.OTHER
            )
        if isinstance(fault, ForeignFault) and fault.foreign_code in _BROKEN:
            return unreachable(self.service, self.address, _cause(error, deadline), unreached=_unreached(error))
        return fault


def check_size(request: Message, most: int = SESSION_LIMIT) -> None:
    """Raises PayloadTooLarge for a request that no message carries."""
    size = request.ByteSize()
    if size > most:
        raise PayloadTooLarge(f"the request ({request.DESCRIPTOR.name})", size, most)


def passes(fault: Fault) -> bool:
    """Whether waiting may help: the service is away, stopping, or without its store."""
    return code_of(fault) is Code.UNAVAILABLE


def was_not_taken(error: grpc.aio.AioRpcError | Fault, fault: Fault) -> bool:
    """Whether it is known that the request had no effect."""
    if isinstance(fault, ShuttingDown) or isinstance(error, Fault):
        return isinstance(fault, ShuttingDown)
    details = (error.details() or "").lower()
    return error.code() is grpc.StatusCode.UNAVAILABLE and any(sign in details for sign in _NEVER_LEFT)


def _is_foreign(error: grpc.aio.AioRpcError | Fault) -> bool:
    """Whether something else answers there."""
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNIMPLEMENTED


def backoff(failures: int) -> float:
    """Seconds until the next try."""
    return drawn_pause(failures, first=_INITIAL_BACKOFF, most=_MAX_BACKOFF, least=0.5)


def _unreached(error: grpc.aio.AioRpcError) -> Unreached:
    """What takes connections and says nothing on them is there."""
    details = (error.details() or "").lower()
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED or any(sign in details for sign in _SILENCE):
        return Unreached.SILENT
    return Unreached.OTHER if "http1.x server" in details else Unreached.NOBODY


def _cause(error: grpc.aio.AioRpcError, deadline: float | None) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and deadline is not None:
        return f"no answer within {deadline:g} s"
    details = error.details() or error.code().name
    for sign, cause in _PLAIN_CAUSES:
        if sign in details.lower():
            return cause
    return re.sub(r"\s*[;\n]\s*", ", ", details)
