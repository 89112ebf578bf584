"""A gRPC service whose four methods, one of each kind, do what a test wants. Messages are bytes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from forgemesh.chassis.channel import connect
from forgemesh.chassis.server import Listen, Serving, serving

if TYPE_CHECKING:
    from forgemesh.chassis.health import Health

SERVICE = "test.Mill"
KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream", "WritingStream")
PATIENCE = 180.0

Act: TypeAlias = Callable[[bytes, Any], Awaitable[bytes]]
"""What a method does with its request and the context of the call; a stream answers with the result three times."""


def methods(act: Act) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
    async def unary_unary(request: bytes, context: Any) -> bytes:
        return await act(request, context)

    async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield await act(request, context)

    async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return await act(b"".join([request async for request in requests]), context)

    async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield await act(request, context)

    async def writing_stream(request: bytes, context: Any) -> None:
        for _ in range(3):
            await context.write(await act(request, context))

    return {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(unary_unary),
        "UnaryStream": grpc.unary_stream_rpc_method_handler(unary_stream),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(stream_unary),
        "StreamStream": grpc.stream_stream_rpc_method_handler(stream_stream),
        "WritingStream": grpc.unary_stream_rpc_method_handler(writing_stream),
    }


@dataclass(frozen=True)
class Mill:
    """A running mill and a channel to it."""

    serving: Serving
    channel: grpc.aio.Channel

    @property
    def health(self) -> Health:
        return self.serving.health

    async def call(self, kind: str, request: bytes = b"grain", timeout: float = PATIENCE) -> list[bytes]:
        """All answers to one request, or three where requests are a stream."""
        path, channel = f"/{SERVICE}/{kind}", self.channel
        plain = {"request_serializer": bytes, "response_deserializer": bytes}
        match kind:
            case "StreamUnary":
                return [await channel.stream_unary(path, **plain)(iter([request] * 3), timeout=timeout)]
            case "StreamStream":
                return await _conversation(channel.stream_stream(path, **plain)(timeout=timeout), request)
            case "UnaryStream" | "WritingStream":
                return [answer async for answer in channel.unary_stream(path, **plain)(request, timeout=timeout)]
            case _:
                return [await channel.unary_unary(path, **plain)(request, timeout=timeout)]


async def _conversation(call: Any, request: bytes) -> list[bytes]:
    """Three requests, each sent after the answer to the one before it."""
    answers = []
    for _ in range(3):
        await call.write(request)
        answers.append(await call.read())
    await call.done_writing()
    return answers


async def grind(request: bytes, context: Any) -> bytes:
    """What a mill usually does."""
    return request.upper()


@contextlib.asynccontextmanager
async def running(
    act: Act = grind,
    *,
    stall: float = 1.0,
    more: Sequence[grpc.GenericRpcHandler] = (),
    apart: Sequence[str] = (),
    **listen: Any,
) -> AsyncIterator[Mill]:
    """A mill on free ports, with `more` services beside it; `listen` are settings of the listener."""

    def add(server: grpc.aio.Server) -> None:
        made = methods(act)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, made), *more))
        server.add_registered_method_handlers(SERVICE, made)  # as generated code does

    addresses = {"address": "127.0.0.1:0", "health_address": "127.0.0.1:0"}
    where = Listen(**(addresses | listen))
    async with serving(where, [SERVICE], add, stall=stall, apart=apart) as server, connect(server.address) as channel:
        yield Mill(server, channel)


@contextlib.asynccontextmanager
async def outlived(act: Act = grind, **listen: Any) -> AsyncIterator[tuple[Mill, Callable[[], Awaitable[None]]]]:
    """A mill that the test stops, and whose channel is closed only when the block ends."""
    async with contextlib.AsyncExitStack() as until_stopped:
        inner = await until_stopped.enter_async_context(running(act, **listen))
        async with connect(inner.serving.address) as channel:
            yield Mill(inner.serving, channel), until_stopped.aclose
