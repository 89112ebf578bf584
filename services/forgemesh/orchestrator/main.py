"""The orchestrator's process."""

from __future__ import annotations

from forgemesh.chassis.first_process import collect_rarely, end_on_sigterm, need_descriptors

end_on_sigterm()
collect_rarely()
need_descriptors()

import asyncio
import contextlib
import logging
import random
from functools import partial

import grpc.aio

from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import add_OrchestratorServiceServicer_to_server
from forgemesh.api.orchestrator.v1.schedule_service_pb2_grpc import add_ScheduleServiceServicer_to_server
from forgemesh.chassis.channel import SESSION_LIMIT, connect
from forgemesh.chassis.health import Health
from forgemesh.chassis.measuring import Measuring
from forgemesh.chassis.process import tell_ready
from forgemesh.chassis.reconcile import ReconcileLoop
from forgemesh.chassis.server import CLIENT_STREAMS, serving
from forgemesh.chassis.service import service_main
from forgemesh.chassis.sqlite.database import open_database
from forgemesh.chassis.steady_clock import SteadyClock
from forgemesh.chassis.tasks import beside, lasting
from forgemesh.chassis.telemetry import exporting_spans, measure_spans
from forgemesh.chassis.version import VERSION
from forgemesh.chassis.waking_clock import waking_clock
from forgemesh.metrics.instrument import Distribution
from forgemesh.orchestrator.api.schedule_servicer import SCHEDULE_SERVICE, ScheduleServicer
from forgemesh.orchestrator.api.servicer import APART, SERVICE, OrchestratorServicer
from forgemesh.orchestrator.dispatch.demand import Demand
from forgemesh.orchestrator.dispatch.feed.hosts import open_hosts
from forgemesh.orchestrator.dispatch.feed.subscription import Feed
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.execution.commands.use_cases import Ports, UseCases
from forgemesh.orchestrator.execution.engine.engine import Engine, Owner
from forgemesh.orchestrator.execution.engine.retention import Retention
from forgemesh.orchestrator.execution.engine.sweep import Sweep
from forgemesh.orchestrator.execution.engine.time_and_chance import TimeAndChance
from forgemesh.orchestrator.execution.engine.turn_file import turns_beside
from forgemesh.orchestrator.execution.family import FamilyLimits
from forgemesh.orchestrator.execution.trace.exporter import SpanExporter
from forgemesh.orchestrator.metrics import measure
from forgemesh.orchestrator.schedules.executions import ScheduledExecutions
from forgemesh.orchestrator.schedules.scheduler import Scheduler
from forgemesh.orchestrator.schedules.schedules import Schedules
from forgemesh.orchestrator.schedules.wall_clock import SystemWallClock
from forgemesh.orchestrator.settings import OrchestratorSettings
from forgemesh.orchestrator.store.archives import ArchivePacking
from forgemesh.orchestrator.store.events import checksum
from forgemesh.orchestrator.store.sqlite.schedule_store import SqliteScheduleStore
from forgemesh.orchestrator.store.sqlite.schema import MIGRATIONS
from forgemesh.orchestrator.store.sqlite.store import open_store
from forgemesh.orchestrator.workflow.definition_text import read_definition
from forgemesh.orchestrator.workflow.definitions import Definitions
from forgemesh.orchestrator.workflow.registry_catalogue import RegistryCatalogue

_log = logging.getLogger(__name__)

SWEEP_PERIOD = 10.0
RETENTION_PERIOD = 60.0


async def run(  # noqa: PLR0915 - the list of what there is
    settings: OrchestratorSettings, measured: Measuring, stop: asyncio.Event
) -> None:
    """Start in reading order, stop in reverse. A step that fails undoes the ones before it."""
    orchestrator_id, meter, steady = measured.instance, measured.meter, SteadyClock()
    async with contextlib.AsyncExitStack() as stack:
        sink = await stack.enter_async_context(
            exporting_spans("forgemesh-orchestrator", orchestrator_id, settings.traces, version=VERSION)
        )
        database = await stack.enter_async_context(open_database(settings.database, MIGRATIONS))
        store = await open_store(database, read_definition)
        waking = await stack.enter_async_context(waking_clock())
        meter.add(database.commits)
        measure_spans(meter, sink)
        recorder = OutcomeRecorder(draw=random.random, awake=waking.now)
        hosts = await stack.enter_async_context(open_hosts(orchestrator_id, recorder.breached))
        feed = Feed(settings.balancer, orchestrator_id, hosts, recorder)
        await stack.enter_async_context(beside(lasting("the feed", feed.run)))
        registry = await stack.enter_async_context(connect(settings.registry))
        await stack.enter_async_context(beside(lasting("the ends of processes", partial(hosts.endings.run, registry))))
        catalogue = RegistryCatalogue(registry, settings.registry)
        providers = Providers(catalogue)
        exporter = SpanExporter(sink, store, store.shard)
        definitions = Definitions(store, catalogue, hosts, read_definition, steady.now)
        ports = Ports(
            store=store,
            spans=exporter,
            hosts=hosts,
            recorder=recorder,
            providers=providers,
            definitions=definitions,
            time_and_chance=TimeAndChance(now=steady.now, draw=random.random, wall_ahead=steady.wall_ahead),
            checksum=checksum,
            packing=ArchivePacking(),
            damaged=lambda: store.damaged,
        )
        offered = UseCases(
            ports,
            Owner(orchestrator_id, store.shard),
            family=FamilyLimits(settings.max_family_depth, settings.max_family_members),
            max_in_flight=settings.max_in_flight,
            marker=stack.enter_context(turns_beside(settings.database)),
        )
        engine, calls = offered.engine, offered.calls
        measure(meter, offered, recorder, steady.now)
        offered.concurrency_slots.load(await store.slots({store.shard.id}))
        clock = SystemWallClock()
        starter = ScheduledExecutions(store, offered.starts, offered.controls, offered.executions)
        schedule_store = SqliteScheduleStore(database, store.fence, store.damages)
        scheduler = Scheduler(schedule_store, starter, clock)
        await scheduler.load()
        engine.on_ended.add(starter.ended)
        schedules = Schedules(scheduler, schedule_store, starter, definitions, clock, offered.starts.under_way)
        mesh = _mesh(settings)

        def add(grpc_server: grpc.aio.Server) -> None:
            add_OrchestratorServiceServicer_to_server(OrchestratorServicer(offered, mesh), grpc_server)
            add_ScheduleServiceServicer_to_server(ScheduleServicer(schedules, clock.now), grpc_server)

        listen = settings.listening(receive_limit=SESSION_LIMIT, streams=CLIENT_STREAMS)
        server = await stack.enter_async_context(serving(listen, (SERVICE, SCHEDULE_SERVICE), add, apart=APART))
        mesh["orchestrator"] = settings.advertise or server.address
        retention = Retention(store, store.shard, steady.now, settings.retention_age, settings.retention_count)
        demand = Demand(catalogue.request, lambda: calls.wanted)
        loops = _loops(engine, offered.sweep, retention, server.health)
        asking = ReconcileLoop("demand", demand.run, period=SWEEP_PERIOD)
        calls.on_wanted.add(asking.nudge)
        async with beside(
            lasting("the mark of exported spans", exporter.run),
            lasting("the look for providers", providers.run),
            database.look_after(server.health.hinder),
            scheduler.run(),
            *(loop.run() for loop in (*loops, asking)),
        ):
            await server.health.ready()
            tell_ready(address=server.address, health_address=server.health_address, metrics_address=measured.address)
            await stop.wait()
        await server.health.not_ready()
        await engine.stop(settings.grace)
        _log_commits(database.commits.series[()])


def _loops(engine: Engine, sweep: Sweep, retention: Retention, health: Health) -> tuple[ReconcileLoop, ...]:
    """What is looked after again and again, and at once when there is a reason."""
    sweeping = ReconcileLoop("sweep", sweep.run, period=SWEEP_PERIOD)
    readiness = ReconcileLoop("readiness", partial(_tell_readiness, engine, health), period=SWEEP_PERIOD)
    engine.on_suspended.add(sweeping.nudge)
    engine.on_trouble.add(readiness.nudge)
    return sweeping, readiness, ReconcileLoop("retention", retention.run, period=RETENTION_PERIOD)


async def _tell_readiness(engine: Engine, health: Health) -> None:
    """A process whose store takes no writes takes no new work."""
    await (health.not_ready() if engine.trouble else health.ready())


def _log_commits(found: Distribution) -> None:
    commits = sum(found.counts)
    mean = found.sum / max(1, commits)
    facts = {"writes_per_commit": round(mean, 1)}
    _log.info("%d writes in %d commits, %.1f each", found.sum, commits, mean, extra=facts)


def _mesh(settings: OrchestratorSettings) -> dict[str, str]:
    named = {
        "registry": settings.registry,
        "balancer": settings.balancer,
        "supervisor": settings.supervisor,
        "traces": settings.traces,
    }
    return {name: address for name, address in named.items() if address}


def main() -> None:
    service_main(OrchestratorSettings, "orchestrator", run)


if __name__ == "__main__":
    main()
