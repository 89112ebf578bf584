"""`python -m forgemesh.plugin_host.supervisor.main`: runs the plugin hosts of one machine."""

from __future__ import annotations

from forgemesh.chassis.first_process import collect_rarely, end_on_sigterm, need_descriptors

end_on_sigterm()
collect_rarely()
need_descriptors()

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # read at import; hosts are exec'ed and use nothing of ours

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial

from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import add_SupervisorServiceServicer_to_server
from forgemesh.chassis.channel import LARGEST, SESSION_LIMIT, connect
from forgemesh.chassis.measuring import Measuring
from forgemesh.chassis.process import CannotStart, Stop, tell_ready
from forgemesh.chassis.server import serving
from forgemesh.chassis.service import service_main
from forgemesh.chassis.system import unsupported_system
from forgemesh.chassis.tasks import beside, lasting
from forgemesh.plugin_host.scope import task_scope
from forgemesh.plugin_host.supervisor.api.servicer import Services, SupervisorServicer
from forgemesh.plugin_host.supervisor.changes.changes import Changes
from forgemesh.plugin_host.supervisor.changes.reconfigurer import Reconfigurer
from forgemesh.plugin_host.supervisor.changes.reloader import Reloader
from forgemesh.plugin_host.supervisor.changes.resumption import Resumption
from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.loader import Loader
from forgemesh.plugin_host.supervisor.fleet.metrics import measure
from forgemesh.plugin_host.supervisor.fleet.scaler import Scaler
from forgemesh.plugin_host.supervisor.hosts.context import SupervisorContext
from forgemesh.plugin_host.supervisor.plan.config import read_configuration
from forgemesh.plugin_host.supervisor.processes.linux.linux_runner import linux_runner
from forgemesh.plugin_host.supervisor.registry.external_registrar import ExternalRegistrar
from forgemesh.plugin_host.supervisor.registry.registry_link import NoRegistry, RegistryLink
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings
from forgemesh.plugin_host.supervisor.state.journal import Journal
from forgemesh.plugin_host.supervisor.state.state_files import holding_state

_log = logging.getLogger(__name__)

SERVICES = ("forgemesh.api.supervisor.v1.SupervisorService",)


async def run(settings: SupervisorSettings, measured: Measuring, stop: Stop) -> None:
    """Start in reading order, stop in reverse; ready when it serves, whatever becomes of the hosts."""
    plans = read_configuration(settings.plugins, settings.restart)
    if refusal := unsupported_system():
        raise CannotStart(refusal)
    with holding_state(settings) as state, linux_runner(plans) as runner:
        context = SupervisorContext(
            settings=settings,
            key=state.key,
            slots=asyncio.Semaphore(settings.parallel_starts),
            registrar=ExternalRegistrar(settings.registry),
            runner=runner,
            reattach_store=state.reattach_store,
        )
        async with linked(settings) as mesh, task_scope() as hosts:
            fleet = Fleet(plans, context, mesh, hosts, partial(read_configuration, settings.plugins, settings.restart))
            measure(measured.meter, fleet)
            services = services_of(fleet, settings, Changes(hosts), state.journal)
            resumption = Resumption(fleet, state.journal, services.reconfigurer, hosts)
            mesh.on_change, mesh.on_wanted = fleet.nudge, services.scaler.wanted
            context.registry_is_there = lambda: mesh.there
            add = partial(add_SupervisorServiceServicer_to_server, SupervisorServicer(services))
            async with serving(settings.listening(receive_limit=SESSION_LIMIT), SERVICES, add) as server:
                context.address = mesh.address = server.address
                await server.health.ready()
                tell_ready(
                    address=server.address, health_address=server.health_address, metrics_address=measured.address
                )
                kept = state.look_after(server.health.hinder)
                async with beside(mesh.run(), lasting("the look at loads", services.scaler.run), kept):
                    resumption.begin()
                    await stop.wait()
                    await server.health.not_ready()
                    fleet.close(orphaned=stop.orphaned)
                    await fleet.empty()


def services_of(fleet: Fleet, settings: SupervisorSettings, changes: Changes, journal: Journal) -> Services:
    """Who answers for what."""
    reloader = Reloader(fleet, changes, journal)
    return Services(
        fleet=fleet,
        changes=changes,
        loader=Loader(fleet),
        reloader=reloader,
        reconfigurer=Reconfigurer(fleet, changes, journal, reloader),
        scaler=Scaler(fleet, silence=settings.silence),
    )


@contextlib.asynccontextmanager
async def linked(settings: SupervisorSettings) -> AsyncIterator[RegistryLink | NoRegistry]:
    """The registry, if the settings name one."""
    if not settings.registry:
        yield NoRegistry()
        return
    async with connect(settings.registry, receive_limit=LARGEST) as channel:  # it tells of all instances at once
        yield RegistryLink(channel)


if __name__ == "__main__":
    service_main(SupervisorSettings, "supervisor", run)
