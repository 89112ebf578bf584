"""The balancer process: `python -m forgemesh.balancer.main`."""

from __future__ import annotations

from forgemesh.chassis.first_process import collect_rarely, end_on_sigterm, need_descriptors

end_on_sigterm()
collect_rarely()
need_descriptors()

import asyncio
import contextlib
import random
import socket
import time
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc

from forgemesh.api.balancer.v1.balancer_service_pb2_grpc import add_BalancerServiceServicer_to_server
from forgemesh.api.keda.v1.external_scaler_service_pb2_grpc import add_ExternalScalerServicer_to_server
from forgemesh.api.xds.v3.discovery_service_pb2_grpc import add_AggregatedDiscoveryServiceServicer_to_server
from forgemesh.api.xds.v3.load_report_service_pb2_grpc import add_LoadReportingServiceServicer_to_server
from forgemesh.balancer.adapters.decision_store import MIGRATIONS, NoDecisions, SqliteDecisions
from forgemesh.balancer.adapters.health_check import CheckRule
from forgemesh.balancer.adapters.health_checks import HealthChecks
from forgemesh.balancer.adapters.load_reports import LoadReports
from forgemesh.balancer.adapters.plugin_catalogue import PluginCatalogue
from forgemesh.balancer.adapters.registry_watch import RegistryWatch
from forgemesh.balancer.application.balancer import Balancer, Times
from forgemesh.balancer.application.callers.wants import Wants
from forgemesh.balancer.application.circuit_persistence import keep_circuits, recall
from forgemesh.balancer.application.events.events import Events
from forgemesh.balancer.application.members.availability import Availability
from forgemesh.balancer.application.policies.policies import Policies
from forgemesh.balancer.application.requests.operators import Operators
from forgemesh.balancer.application.requests.picks import Picks
from forgemesh.balancer.application.requests.scaler import Scaler
from forgemesh.balancer.application.requests.stock_clients import StockClients
from forgemesh.balancer.metrics import measure
from forgemesh.balancer.ports import DecisionStore
from forgemesh.balancer.scaler_servicer import SERVICE as SCALER_SERVICE, ScalerServicer
from forgemesh.balancer.servicer import SERVICE, BalancerServicer
from forgemesh.balancer.settings import BalancerSettings
from forgemesh.balancer.xds_servicer import SERVICES as XDS_SERVICES, XdsServicer
from forgemesh.chassis.channel import LARGEST, SESSION_LIMIT, connect
from forgemesh.chassis.measuring import Measuring
from forgemesh.chassis.process import tell_ready
from forgemesh.chassis.reconcile import ReconcileLoop
from forgemesh.chassis.server import Serving, serving
from forgemesh.chassis.service import service_main
from forgemesh.chassis.sqlite.database import Database, open_database
from forgemesh.chassis.tasks import beside, lasting
from forgemesh.chassis.waking_clock import waking_clock
from forgemesh.metrics.instrument import Meter

LOAD_PERIOD = 1.0
"""Seconds between reports of load that are asked of an instance."""
REPORT_PERIOD = 5.0
"""Seconds until the registry is told again what it did not hear."""


@contextlib.asynccontextmanager
async def running(
    settings: BalancerSettings, measured: Measuring | None = None
) -> AsyncIterator[tuple[Serving, Balancer]]:
    """Start in reading order, stop in reverse; ready once the balancer is warm, which may be after it yields."""
    rule = CheckRule(
        interval=settings.health_interval,
        deadline=settings.health_deadline,
        misses=settings.misses,
        passes=settings.passes,
        trusting=settings.trust_without_health,
    )
    async with (
        waking_clock() as waking,
        _database(settings.database) as database,
        connect(settings.registry, receive_limit=LARGEST) as channel,  # it tells of all instances at once
        HealthChecks(rule, waking) as checks,
        LoadReports(LOAD_PERIOD, waking) as reports,
    ):
        clock = waking.now
        events = Events(time.time, clock, heartbeat=settings.heartbeat)
        times = Times(
            coalesce=settings.coalesce,
            heartbeat=settings.heartbeat,
            first_checks=settings.first_checks,
            adoption=0.0 if settings.database else settings.adoption,
        )
        balancer = Balancer(checks, reports, events, clock, draw=random.random, new_id=_new_id, times=times)
        measure(measured.meter if measured is not None else Meter(), balancer, database.commits if database else None)
        store: DecisionStore = NoDecisions() if database is None else SqliteDecisions(database)
        decisions = await store.load()
        recall(balancer, decisions, wall=time.time(), now=clock())
        keep_circuits(balancer, store, time.time, clock)
        policies = Policies(store, events, decisions.policies)
        policies.on_change = balancer.ruled
        picks = Picks(balancer, clock, draw=random.random, new_id=_new_id)
        operators = Operators(balancer, store, decisions.forced)
        watch = RegistryWatch(
            channel, balancer, waking, balancer_id=socket.gethostname(), silence=settings.registry_silence
        )
        clients = StockClients(
            balancer, clock, new_id=_new_id, most_streams=settings.xds_streams, most_names=settings.xds_names
        )
        reporting, asking = _reporting(balancer, watch), _asking(picks, clients, watch)
        servicer = BalancerServicer(balancer, picks, operators, policies, clock)
        scaler = ScalerServicer(Scaler(balancer, PluginCatalogue(channel, settings.registry, clock)))
        xds = XdsServicer(balancer, clients, clock) if settings.xds_streams else None
        async with (
            serving(
                settings.listening(receive_limit=SESSION_LIMIT),
                [SERVICE, SCALER_SERVICE, *(XDS_SERVICES if xds is not None else ())],
                partial(_add, servicer, scaler, xds),
            ) as server,
            beside(
                watch.run(),
                balancer.run(),
                lasting("picks", picks.run),
                reporting.run(),
                asking.run(),
                _announce(balancer, server, measured.address if measured is not None else ""),
            ),
            _looked_after(database, server),
        ):
            try:
                yield server, balancer
            finally:
                balancer.close()


def _add(servicer: BalancerServicer, scaler: ScalerServicer, xds: XdsServicer | None, server: grpc.aio.Server) -> None:
    add_BalancerServiceServicer_to_server(servicer, server)
    add_ExternalScalerServicer_to_server(scaler, server)
    if xds is not None:
        add_AggregatedDiscoveryServiceServicer_to_server(xds, server)
        add_LoadReportingServiceServicer_to_server(xds, server)


@contextlib.asynccontextmanager
async def _database(path: str) -> AsyncIterator[Database | None]:
    """Where what people decide is kept, if there is a place for that."""
    if not path:
        yield None
        return
    async with open_database(Path(path), MIGRATIONS) as opened:
        yield opened


def _looked_after(database: Database | None, server: Serving) -> contextlib.AbstractAsyncContextManager[None]:
    return beside() if database is None else beside(database.look_after(server.health.hinder))


def _new_id() -> str:
    return uuid.uuid4().hex


def _reporting(balancer: Balancer, watch: RegistryWatch) -> ReconcileLoop:
    """Tells the registry what the health checks say, as it changes."""
    availability = Availability(watch.tell, lambda: balancer.fleet)
    reporting = ReconcileLoop("availability", availability.run, period=REPORT_PERIOD)

    def begin_again() -> None:
        availability.forget()
        reporting.nudge()

    balancer.on_verdict, watch.on_open = reporting.nudge, begin_again
    return reporting


def _asking(picks: Picks, clients: StockClients, watch: RegistryWatch) -> ReconcileLoop:
    """Tells the registry which plugins are asked for and not served, as they are."""
    wants = Wants(watch.request)
    asking = ReconcileLoop("wants", wants.run, period=REPORT_PERIOD)
    picks.on_missing = clients.on_missing = wants.add
    wants.on_want = asking.nudge
    return asking


async def _announce(balancer: Balancer, server: Serving, metrics: str) -> None:
    await server.health.started()
    await balancer.warm.wait()
    await server.health.ready()
    tell_ready(address=server.address, health_address=server.health_address, metrics_address=metrics)


async def run(settings: BalancerSettings, measured: Measuring, stop: asyncio.Event) -> None:
    """Serve until stopped."""
    async with running(settings, measured):
        await stop.wait()


def main() -> None:
    """Run until told to stop."""
    service_main(BalancerSettings, "balancer", run)


if __name__ == "__main__":
    main()
