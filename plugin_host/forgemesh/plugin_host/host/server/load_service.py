"""xds.service.orca.v3.OpenRcaService: load reports now and then, for whoever asks (gRFC A51)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc

from forgemesh.api.plugin.v1 import load_pb2

SERVICE = "xds.service.orca.v3.OpenRcaService"
METHOD = "StreamCoreMetrics"
SHORTEST, LONGEST = 1.0, 3600.0
"""Seconds between two reports; other wishes are taken as the nearer of these."""
STREAMS = 8
"""How many callers the health port sends reports to at a time; each takes a thread of its server."""


class LoadService:
    """
    Sends what `load` gives, an encoded LoadReport, first at once and then at the pace that the caller asks for.

    Served on the event loop, and by threads where a report must come also while the loop is blocked.
    """

    def __init__(self, load: Callable[[], bytes]) -> None:
        self._load = load
        self._free = threading.BoundedSemaphore(STREAMS)

    def on_loop(self) -> grpc.GenericRpcHandler:
        """For a server on the event loop."""
        return _handler(self._stream)

    def in_threads(self) -> grpc.GenericRpcHandler:
        """For a server of threads."""
        return _handler(self._stream_in_thread)

    async def _stream(self, request: load_pb2.LoadReportRequest, context: Any) -> AsyncIterator[bytes]:
        pause = _pause(request)
        while True:
            yield self._load()
            await asyncio.sleep(pause)

    def _stream_in_thread(self, request: load_pb2.LoadReportRequest, context: Any) -> Iterator[bytes]:
        if not self._free.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{STREAMS} callers get load reports; ask on the main port"
            )
        try:
            ended = threading.Event()
            if not context.add_callback(ended.set):
                return
            pause = _pause(request)
            yield self._load()
            while not ended.wait(pause):
                yield self._load()
        finally:
            self._free.release()


def _handler(stream: Any) -> grpc.GenericRpcHandler:
    method = grpc.unary_stream_rpc_method_handler(
        stream, request_deserializer=load_pb2.LoadReportRequest.FromString, response_serializer=bytes
    )
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})


def _pause(request: load_pb2.LoadReportRequest) -> float:
    wanted = request.report_interval.seconds + request.report_interval.nanos / 1e9
    return min(LONGEST, max(SHORTEST, wanted))
