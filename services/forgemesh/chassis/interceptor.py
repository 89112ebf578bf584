"""The one place where exceptions become statuses; servicers have no `try`."""

from __future__ import annotations

import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from forgemesh.chassis.status import rpc_status_of
from forgemesh.faults import Fault
from forgemesh.faults.service import Internal

_log = logging.getLogger(__name__)


class FaultInterceptor(grpc.aio.ServerInterceptor):
    """
    A Fault becomes its status. Anything else is a bug: the peer sees INTERNAL with an incident id, the log the rest.

    Handlers are wrapped once per method, not per call.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: Any
    ) -> Any:
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            handler = await continuation(details)
            if handler is None:
                return None
            wrapped = self._wrapped[details.method] = _wrap(handler, details.method)
        return wrapped


def _wrap(handler: Any, method: str) -> Any:
    if handler.response_streaming:
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        stream = handler.stream_stream or handler.unary_stream
        # a handler that writes to the context itself is a coroutine; one that yields is not
        guard = _guard_unary if inspect.iscoroutinefunction(stream) else _guard_stream
        inner: Any = guard(stream, method)
    else:
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        inner = _guard_unary(handler.stream_unary or handler.unary_unary, method)
    return make(inner, handler.request_deserializer, handler.response_serializer)


def _guard_unary(inner: Any, method: str) -> Any:
    async def run(request: Any, context: Any) -> Any:
        try:
            return await inner(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the seam
            await context.abort_with_status(rpc_status_of(_as_fault(error, method)))

    return run


def _guard_stream(inner: Any, method: str) -> Any:
    async def run(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for response in inner(request, context):
                yield response
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the seam
            await context.abort_with_status(rpc_status_of(_as_fault(error, method)))

    return run


def _as_fault(error: Exception, method: str) -> Fault:
    if isinstance(error, Fault):
        return error
    incident = secrets.token_hex(4)
    _log.error("incident %s in %s", incident, method, exc_info=error)
    return Internal(incident)
