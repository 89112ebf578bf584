"""The wire between the orchestrator's real links and simulated processes: what grpc.aio gives, and how it fails."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from grpc.aio import Metadata

from forgemesh.api.plugin.v1 import plugin_service_pb2, session_pb2
from forgemesh.chassis.status import to_status
from forgemesh.faults import Fault, code_of

if TYPE_CHECKING:
    from tests.component.orchestrator.simulated_mesh.plugin_process import HostSession, PluginProcess
    from tests.component.orchestrator.simulated_mesh.plugins import Plugins

State = grpc.ChannelConnectivity
REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host"
CUT = "Socket closed"

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def bare(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    """What a caller gets without a word of the server's own."""
    return grpc.aio.AioRpcError(code, Metadata(), Metadata(), details)


def refused(fault: Fault) -> grpc.aio.AioRpcError:
    """What a caller gets whose call the host refuses as the protocol says."""
    trailers = Metadata(("grpc-status-details-bin", to_status(fault).SerializeToString()))
    return grpc.aio.AioRpcError(_CODES[int(code_of(fault))], Metadata(), trailers, fault.message)


class Channel:
    """See grpc.aio.Channel, as far as a stub and a link use it: it connects when it is looked at, and again."""

    def __init__(self, plugins: Plugins, address: str) -> None:
        self._plugins = plugins
        self._address = address
        self._state = State.IDLE
        self._moved = asyncio.Event()
        self._process: PluginProcess | None = None

    def get_state(self, try_to_connect: bool = False) -> State:
        if self._state is State.READY and (self._process is None or not self._process.alive):
            self._move(State.IDLE)
        if try_to_connect and self._state is State.IDLE:
            self._move(State.CONNECTING)
            self._plugins.calendar.after(self._plugins.delay(), self._connect)
        return self._state

    async def wait_for_state_change(self, last: State) -> None:
        while self._state is last:
            moved = self._moved
            await moved.wait()
        if self._state is State.SHUTDOWN:
            raise grpc.aio.UsageError("Channel is closed.")

    async def close(self, grace: float | None = None) -> None:
        self._move(State.SHUTDOWN)

    def _connect(self) -> None:
        if self._state is not State.CONNECTING:
            return
        self._process = self._plugins.reach(self._address)
        if self._process is None:
            self._move(State.TRANSIENT_FAILURE)
            self._plugins.calendar.after(1.0, self._try_again)
        else:
            self._process.channels.append(self)
            self._move(State.READY)

    def _try_again(self) -> None:
        if self._state is State.TRANSIENT_FAILURE:
            self._move(State.CONNECTING)
            self._plugins.calendar.after(self._plugins.delay(), self._connect)

    def broke(self) -> None:
        """The process at the other end is gone."""
        if self._state is State.READY:
            self._move(State.IDLE)

    def _move(self, state: State) -> None:
        if self._state is not State.SHUTDOWN and self._plugins.hosts is not None:
            self._state = state
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    def stream_stream(self, *_: object, **__: object) -> Callable[[], Stream]:
        return lambda: Stream(self._plugins, self._address)

    def unary_unary(self, method: str, *_: object, **__: object) -> Callable[..., Awaitable[Any]]:
        async def invoke(request: plugin_service_pb2.InvokeRequest, timeout: float | None = None) -> Any:
            return await alone(self._plugins, self._address, request, timeout or 60.0)

        return invoke


class Stream:
    """One Session as its caller has it; messages arrive in order, and not at once."""

    def __init__(self, plugins: Plugins, address: str) -> None:
        self._plugins = plugins
        self._address = address
        self._session: HostSession | None = None
        self._inbox: deque[session_pb2.SessionResponse] = deque()
        self._arrived = asyncio.Event()
        self._error: grpc.aio.AioRpcError | None = None
        self._over = False
        self._there = self._back = 0.0

    async def write(self, message: session_pb2.SessionRequest) -> None:
        if self._session is None:
            await asyncio.sleep(self._plugins.delay())
            process = self._plugins.reach(self._address)
            if process is None or not process.speaks_session:
                code = grpc.StatusCode.UNAVAILABLE if process is None else grpc.StatusCode.UNIMPLEMENTED
                raise bare(code, REFUSED if process is None else "Method not found!")
            self._session = process.open_session(self)
        if self._over or self._error is not None:
            raise asyncio.InvalidStateError("the call is over")
        session = self._session
        self._plugins.sent(message)
        self._there = self._plugins.in_order(self._there, lambda: session.receive(message))

    async def read(self) -> Any:
        while not self._inbox:
            if self._error is not None:
                raise self._error
            if self._over:
                return grpc.aio.EOF
            self._arrived.clear()
            await self._arrived.wait()
        return self._inbox.popleft()

    def cancel(self) -> None:
        if not self._over and self._session is not None and self._plugins.hosts is not None:
            session = self._session
            self._plugins.in_order(self._there, session.lost)
        self._over = True
        self._arrived.set()

    def say(self, message: session_pb2.SessionResponse) -> None:
        """The host sends."""

        def arrive() -> None:
            if not self._over and self._error is None:
                self._inbox.append(message)
                self._arrived.set()

        self._back = self._plugins.in_order(self._back, arrive)

    def end(self, error: grpc.aio.AioRpcError | None) -> None:
        """The host ends the session, or its process does."""

        def arrive() -> None:
            if error is None:
                self._over = True
            else:
                self._error = self._error or error
            self._arrived.set()

        self._back = self._plugins.in_order(self._back, arrive)


async def alone(
    plugins: Plugins, address: str, request: plugin_service_pb2.InvokeRequest, timeout: float
) -> plugin_service_pb2.InvokeResponse:
    """One call by unary Invoke."""
    plugins.sent_alone(request.invocation)
    await asyncio.sleep(plugins.delay())
    process: PluginProcess | None = plugins.reach(address)
    if process is None:
        plugins.never_left(request.invocation)
        raise bare(grpc.StatusCode.UNAVAILABLE, REFUSED)
    answer: asyncio.Future[plugin_service_pb2.InvokeResponse] = asyncio.get_running_loop().create_future()
    call = process.invoked(request.invocation, answer)
    try:
        async with asyncio.timeout(timeout):
            found = await answer
        await asyncio.sleep(plugins.delay())
        return found
    except TimeoutError:
        call.cancel()
        raise bare(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
    except asyncio.CancelledError:
        if plugins.hosts is not None:
            call.cancel()
        raise
