"""What instances say of their load, as they serve it to anybody (gRFC A51, out of band)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection
from functools import partial
from types import TracebackType
from typing import Self

from google.protobuf.duration_pb2 import Duration

from forgemesh.api.plugin.v1 import load_pb2
from forgemesh.balancer.adapters.followers import Followers
from forgemesh.balancer.domain.fleet import Member
from forgemesh.balancer.ports import HeardLoad
from forgemesh.chassis.channel import connect
from forgemesh.chassis.resumable import follow
from forgemesh.chassis.waking_clock import WakingClock
from forgemesh.faults import Code, Fault, code_of
from forgemesh.routing.load_weight import LoadReport

_log = logging.getLogger(__name__)

METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
SILENCE = 90.0
"""Seconds without a report after which the stream is opened again; other servers send one in 30 seconds at most."""
RETRY_PAUSE = 30.0


class LoadReports:
    """
    Listens inside the `async with` block to the instances that it follows; each stream ends with its incarnation.

    `period` (seconds) is how often a report is asked for. An instance that does not serve reports is not asked again
    before its next incarnation.
    """

    def __init__(self, period: float, clock: WakingClock) -> None:
        self._clock = clock
        self._request = load_pb2.LoadReportRequest(report_interval=Duration())
        self._request.report_interval.FromMilliseconds(round(period * 1000))
        self._tasks = Followers("load")

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    def follow(self, members: Collection[Member], heard: HeardLoad) -> None:
        """From now on listen to exactly these."""
        self._tasks.follow(members, partial(self._listen, heard))

    async def _listen(self, heard: HeardLoad, member: Member) -> None:
        """One member that breaks its stream in a way that nobody foresaw is no reason to stop hearing the others."""
        while True:
            try:
                await self._hear(member, heard)
            except _NotServed:
                _log.info("%s serves no load reports; its load is not taken into account", member.instance_id)
                return
            except Exception:  # noqa: BLE001 - the seam
                _log.exception("the load reports of %s cannot be read", member.instance_id)
            await asyncio.sleep(RETRY_PAUSE)

    async def _hear(self, member: Member, heard: HeardLoad) -> None:
        # no keepalive: the health port is any gRPC server
        async with connect(member.health_address, keepalive=False) as channel:
            method = channel.unary_stream(
                METHOD,
                request_serializer=load_pb2.LoadReportRequest.SerializeToString,
                response_deserializer=load_pb2.LoadReport.FromString,
            )
            stream = follow(
                f"the load of {member.instance_id}",
                lambda: method(self._request),
                silence=SILENCE,
                clock=self._clock,
                on_refusal=_heed,
            )
            async with contextlib.aclosing(stream) as reports:
                async for report in reports:
                    heard(member.instance_id, member.incarnation, _facts(report))


class _NotServed(Exception):
    """The peer has no such service."""


def _heed(fault: Fault) -> None:
    if code_of(fault) is Code.UNIMPLEMENTED:
        raise _NotServed


def _facts(report: load_pb2.LoadReport) -> LoadReport:
    return LoadReport(
        calls_per_second=report.rps_fractional,
        failures_per_second=report.eps,
        application_utilization=report.application_utilization,
        cpu_utilization=report.cpu_utilization,
    )
