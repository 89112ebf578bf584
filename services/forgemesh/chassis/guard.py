"""The one place where exceptions become statuses; servicers have no `try`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from forgemesh.chassis.callers import Callers
from forgemesh.chassis.counting import refuse_excess
from forgemesh.chassis.status import rpc_status_of
from forgemesh.faults import Fault, Violation
from forgemesh.faults.service import Internal, InvalidRequest

_log = logging.getLogger(__name__)


class GuardedServer:
    """
    Stands in for a server while servicers are added to it, so that every handler turns what it raises into a status.

    A Fault becomes its status. Anything else is a bug: the peer sees INTERNAL with an incident id, the log the rest.
    What holds more than is taken (see counting) is refused before the handler sees it, in the middle of a stream too.
    `callers` gets to know which connections have calls under way.
    Handlers are wrapped once per method, which costs nothing per call; a grpc.aio interceptor costs 60 us.

    Calls come in one line, in the order in which they arrived, whosesoever they are. Those of a method in `apart`
    (its path, such as `/grpc.health.v1.Health/Check`) come in a line of their own, so that they wait for no other; each
    of these methods costs every call 1 us. A grpc that is too old for this leaves them in the one line.
    """

    def __init__(
        self, server: grpc.aio.Server, callers: Callers | None = None, apart: Collection[str] = frozenset()
    ) -> None:
        self._server = server
        self._callers = Callers() if callers is None else callers
        self._apart = apart

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """What generated code calls."""
        self._server.add_generic_rpc_handlers(tuple(_Guarded(handler, self._callers) for handler in handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """What generated code calls as well; for all that is not apart the generic handlers say the same."""
        wrapped = {
            name: _wrap(handler, method, self._callers)
            for name, handler in handlers.items()
            if (method := f"/{service}/{name}") in self._apart
        }
        if wrapped:
            self._server.add_registered_method_handlers(service, wrapped)


class _Guarded(grpc.GenericRpcHandler):
    def __init__(self, inner: grpc.GenericRpcHandler, callers: Callers) -> None:
        self._inner = inner
        self._callers = callers
        self._wrapped: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler: Any = self._inner.service(handler_call_details)
            if handler is None:
                return None
            wrapped = self._wrapped[method] = _wrap(handler, method, self._callers)
        return wrapped


def _wrap(handler: Any, method: str, callers: Callers) -> Any:
    """The handler, guarded; requests are read and counted by the guard, so that one that cannot be is refused."""
    read = handler.request_deserializer
    if read is not None:
        read = partial(_read_each if handler.request_streaming else _read, read=read)
    if handler.response_streaming:
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        stream = handler.stream_stream or handler.unary_stream
        # a handler that writes to the context itself is a coroutine; one that yields is not
        guard = _guard_unary if inspect.iscoroutinefunction(stream) else _guard_stream
        inner: Any = guard(stream, method, read, callers)
    else:
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        inner = _guard_unary(handler.stream_unary or handler.unary_unary, method, read, callers)
    return make(inner, None, handler.response_serializer)


async def _read_each(requests: AsyncIterator[Any], read: Any) -> AsyncIterator[Any]:
    async for request in requests:
        yield _read(request, read)


def _read(request: Any, read: Any) -> Any:
    try:
        message = read(request)
    except DecodeError as error:
        raise InvalidRequest([Violation("message", f"cannot be read: {error}")]) from error
    if isinstance(message, Message):  # a servicer without generated code has bytes
        refuse_excess(message, len(request))
    return message


def _guard_unary(inner: Any, method: str, read: Any, callers: Callers) -> Any:
    async def run(request: Any, context: Any) -> Any:
        try:
            with callers.calling(context.peer()):
                return await inner(read(request) if read else request, context)
        except grpc.aio.AbortError:
            raise
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the seam
            await _refuse(error, context, method)

    return run


def _guard_stream(inner: Any, method: str, read: Any, callers: Callers) -> Any:
    async def run(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            with callers.calling(context.peer()):
                async for response in inner(read(request) if read else request, context):
                    yield response
        except grpc.aio.AbortError:
            raise
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the seam
            await _refuse(error, context, method)

    return run


async def _refuse(error: Exception | asyncio.CancelledError, context: Any, method: str) -> None:
    """
    End the call with what the error says.

    A cancellation of the call itself goes on. One that arose inside is a bug, and grpc would leave the caller waiting.
    """
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
    await context.abort_with_status(rpc_status_of(_as_fault(error, method)))


def _as_fault(error: BaseException, method: str) -> Fault:
    if isinstance(error, Fault):
        return error
    incident = secrets.token_hex(4)
    _log.error("incident %s in %s", incident, method, exc_info=error)
    return Internal(incident)
