from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from forgemesh.api.plugin.v1 import load_pb2
from forgemesh.chassis.channel import connect
from forgemesh.plugin_host.host.server.load_service import LONGEST, SHORTEST, STREAMS, LoadService, _pause
from tests.component.plugin_host.hosts import DEADLINE, Served, eventually, host_at, invocation, session

METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with host_at() as served:
        yield served


def reports(channel: grpc.aio.Channel, seconds: float = 1.0) -> Any:
    """The stream that a standard client opens."""
    interval = Duration()
    interval.FromNanoseconds(int(seconds * 1e9))
    method = channel.unary_stream(
        METHOD,
        request_serializer=load_pb2.LoadReportRequest.SerializeToString,
        response_deserializer=load_pb2.LoadReport.FromString,
    )
    return method(load_pb2.LoadReportRequest(report_interval=interval), timeout=DEADLINE)


@pytest.mark.parametrize("port", ["address", "health_address"])
async def test_both_ports_tell_how_busy_the_host_is_again_and_again(served: Served, port: str) -> None:
    async with session(served) as caller, connect(getattr(served.host.server, port), keepalive=False) as channel:
        await caller.send(*[invocation("hold") for _ in range(3)])
        await eventually(lambda: served.host.runner.waiting == 1)
        stream = reports(channel)
        first = await stream.read()
        told = await stream.read()
        stream.cancel()

    assert first.application_utilization == told.application_utilization == 1.5
    assert told.cpu_utilization > 0
    assert told.named_metrics["queued"] == 1


async def test_the_health_port_tells_it_also_while_the_event_loop_is_blocked(served: Served) -> None:
    told: list[load_pb2.LoadReport] = []

    def listen() -> None:
        with grpc.insecure_channel(served.host.server.health_address) as channel:
            method = channel.unary_stream(
                METHOD,
                request_serializer=load_pb2.LoadReportRequest.SerializeToString,
                response_deserializer=load_pb2.LoadReport.FromString,
            )
            told.append(next(iter(method(load_pb2.LoadReportRequest(), timeout=DEADLINE))))

    listener = threading.Thread(target=listen)
    listener.start()
    listener.join(DEADLINE)  # on the event loop: nothing turns meanwhile

    assert told[0].named_metrics["memory_bytes"] > 0


async def test_no_more_callers_than_there_are_threads_for_hold_one(served: Served) -> None:
    async with connect(served.host.server.health_address, keepalive=False) as channel:
        streams = [reports(channel, 60.0) for _ in range(STREAMS)]
        assert all([await stream.read() for stream in streams])

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reports(channel).read()
        streams[0].cancel()
        async with asyncio.timeout(DEADLINE):
            while (again := await _first(reports(channel))) is None:
                pass

        for stream in streams:
            stream.cancel()

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert again.named_metrics["in_flight"] == 0


async def _first(stream: Any) -> load_pb2.LoadReport | None:
    """The first report, or None if the host has no thread for it."""
    try:
        report: load_pb2.LoadReport = await stream.read()
    except grpc.aio.AioRpcError:
        return None
    stream.cancel()
    return report


@pytest.mark.parametrize(
    ("wanted", "pause"),
    [(0, SHORTEST), (-5, SHORTEST), (0.2, SHORTEST), (1.0, 1.0), (2.5, 2.5), (10**10, LONGEST)],
)
def test_the_pace_is_what_the_caller_wants_within_bounds(wanted: float, pause: float) -> None:
    request = load_pb2.LoadReportRequest(
        report_interval=Duration(seconds=int(wanted), nanos=round((wanted - int(wanted)) * 1e9))
    )

    assert _pause(request) == pause


async def test_a_stream_on_the_loop_sends_what_is_the_case_when_it_sends() -> None:
    said = iter([b"1"])
    stream = LoadService(lambda: next(said))._stream(load_pb2.LoadReportRequest(), None)

    assert await anext(stream) == b"1"
    await stream.aclose()  # type: ignore[attr-defined]
