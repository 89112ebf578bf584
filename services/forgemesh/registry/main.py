"""The registry process: `python -m forgemesh.registry.main`."""

from __future__ import annotations

from forgemesh.chassis.first_process import collect_rarely, end_on_sigterm, need_descriptors

end_on_sigterm()
collect_rarely()
need_descriptors()

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from functools import partial

from forgemesh.api.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from forgemesh.chassis.descriptors import descriptor_limit, instances_share
from forgemesh.chassis.measuring import Measuring
from forgemesh.chassis.process import tell_ready
from forgemesh.chassis.server import FEW_STREAMS, Serving, serving
from forgemesh.chassis.service import service_main
from forgemesh.chassis.sqlite.database import open_database
from forgemesh.chassis.tasks import beside, lasting
from forgemesh.chassis.waking_clock import waking_clock
from forgemesh.metrics.instrument import Meter
from forgemesh.registry.adapters.clock import SystemClock
from forgemesh.registry.adapters.sqlite_store import MIGRATIONS, SqliteStore
from forgemesh.registry.application.event_publisher import EventPublisher
from forgemesh.registry.application.refusals import Refusals
from forgemesh.registry.application.registry import Registry
from forgemesh.registry.codec.manifests import to_message, unreadable_patterns
from forgemesh.registry.domain.census import InstanceLimits
from forgemesh.registry.metrics import measure
from forgemesh.registry.ports import Clock, Stored
from forgemesh.registry.servicer import APART, SERVICE, RegistryServicer
from forgemesh.registry.settings import RegistrySettings

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def running(settings: RegistrySettings, clock: Clock, meter: Meter | None = None) -> AsyncIterator[Serving]:
    """Start in reading order, stop in reverse; ready when it yields."""
    async with open_database(settings.database, MIGRATIONS) as database:
        store = SqliteStore(database)
        stored = await store.load()
        _name_unreadable_patterns(stored)
        events = EventPublisher(
            clock,
            epoch=secrets.randbits(48) + 1,
            bookmark=settings.bookmark,
            remembered=settings.remembered_changes,
        )
        registry = Registry(
            store,
            clock,
            stored,
            events,
            _limits(settings),
            bookmark=settings.bookmark,
            remembered=settings.remembered_changes,
        )
        meter = meter or Meter()
        meter.add(database.commits)
        measure(meter, registry, events)
        servicer = RegistryServicer(registry, events, Refusals(clock), default_ttl=settings.lease)
        add = partial(add_RegistryServiceServicer_to_server, servicer)
        async with (
            beside(lasting("the turn of the registry", registry.run)),
            serving(settings.listening(streams=FEW_STREAMS), [SERVICE], add, apart=APART) as server,
            beside(database.look_after(server.health.hinder)),
        ):
            await server.health.ready()
            try:
                yield server
            finally:
                registry.close()
                events.close()


def _limits(settings: RegistrySettings) -> InstanceLimits:
    """As set, and no more than a balancer or an orchestrator with as many descriptors as this process can reach."""
    in_all = min(settings.max_instances, instances_share(descriptor_limit()))
    if in_all < settings.max_instances:
        _log.warning(
            "at most %d instances may register, not %d: of %d open files (ulimit -n) no more are left for them",
            in_all,
            settings.max_instances,
            descriptor_limit(),
        )
    return InstanceLimits(
        in_all=in_all, per_peer=settings.max_instances_per_peer, per_plugin=settings.max_instances_per_plugin
    )


def _name_unreadable_patterns(stored: Stored) -> None:
    """They were published before such patterns were refused: their plugins go on serving, and are named."""
    for manifest in stored.catalogue.manifests.values():
        for place, cause in unreadable_patterns(to_message(manifest)):
            _log.warning(
                "%s: %s: %s; it goes on serving, and nothing is checked by this pattern", manifest, place, cause
            )


async def run(settings: RegistrySettings, measured: Measuring, stop: asyncio.Event) -> None:
    """Serve until stopped."""
    async with waking_clock() as waking, running(settings, SystemClock(waking), measured.meter) as server:
        tell_ready(address=server.address, health_address=server.health_address, metrics_address=measured.address)
        await stop.wait()


def main() -> None:
    """Run until told to stop."""
    service_main(RegistrySettings, "registry", run)


if __name__ == "__main__":
    main()
