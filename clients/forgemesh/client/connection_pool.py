"""As many connections to one address as its calls need, each with a bounded number of calls under way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc

from forgemesh.chassis.channel import connect

MOST = 100
"""Calls under way on one connection; every HTTP/2 server takes as many."""
SHORT = 10.0
"""Seconds within which a call must be answered to count as short; others may last, as a stream may."""
_REFUSED = "RST_STREAM with error code 7"
_PAUSE = 0.05

Make = Callable[[grpc.aio.Channel], Any]


class ConnectionPool(grpc.aio.Channel):
    """
    A channel that bounds its calls under way.

    Short calls go over the first connection, MOST at a time; the others wait here, and their deadline begins when they
    leave. What may last, a stream or a call with a longer deadline, takes a place on a connection that has one, and
    opens another connection if none has: so that streams, however many, never stand in the way of a short call. A short
    call whose stream the server has refused was not looked at, and is made again within its deadline.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._first = connect(address)
        self._room = asyncio.Semaphore(MOST)
        self._lasting: list[_Connection] = []

    @property
    def connections(self) -> int:
        """How many there are."""
        return 1 + len(self._lasting)

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        """See grpc.aio.Channel; what it gives is a coroutine function."""
        lasting = self._each(lambda channel: channel.unary_unary(*arguments, **named))
        first = self._first.unary_unary(*arguments, **named)

        def call(request: Any, *, timeout: float | None = None, **how: Any) -> Awaitable[Any]:
            if timeout is None or timeout > SHORT:
                made: Awaitable[Any] = lasting(request, timeout=timeout, **how)
                return made
            return self._short(lambda left: first(request, timeout=left, **how), timeout)

        return call

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._each(lambda channel: channel.unary_stream(*arguments, **named))

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._each(lambda channel: channel.stream_unary(*arguments, **named))

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._each(lambda channel: channel.stream_stream(*arguments, **named))

    async def close(self, grace: float | None = None) -> None:
        """Close every connection."""
        for channel in (self._first, *(connection.channel for connection in self._lasting)):
            await channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Of the first connection."""
        return self._first.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Of the first connection."""
        await self._first.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Of the first connection."""
        await self._first.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    def _each(self, make: Make) -> Callable[..., Any]:
        """A call of that method, on a connection that has a place for it."""
        made: dict[_Connection, Any] = {}

        def call(*arguments: Any, **named: Any) -> Any:
            connection = self._connection()
            if connection not in made:
                made[connection] = make(connection.channel)
            call = made[connection](*arguments, **named)
            connection.taken += 1
            call.add_done_callback(connection.leave)
            return call

        return call

    def _connection(self) -> _Connection:
        for connection in self._lasting:
            if connection.taken < MOST:
                return connection
        self._lasting.append(_Connection(connect(self._address)))
        return self._lasting[-1]

    async def _short(self, call: Callable[[float], Awaitable[Any]], timeout: float) -> Any:
        async with self._room:
            loop = asyncio.get_running_loop()
            until = loop.time() + timeout
            while True:
                try:
                    return await call(until - loop.time())
                except grpc.aio.AioRpcError as error:
                    if not _refused(error) or loop.time() + _PAUSE >= until:
                        raise
                await asyncio.sleep(random.uniform(0, _PAUSE))


class _Connection:
    """A connection for what may last, and how much of it there is."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.taken = 0

    def leave(self, call: object) -> None:
        self.taken -= 1


def _refused(error: grpc.aio.AioRpcError) -> bool:
    """Whether the server has refused the stream before anything of it was looked at (RFC 9113, section 8.7)."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and _REFUSED in (error.details() or "")
