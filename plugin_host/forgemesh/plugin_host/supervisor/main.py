"""`python -m forgemesh.plugin_host.supervisor.main`: runs the plugin hosts of one machine."""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # read at import; hosts are exec'ed and use nothing of ours

import asyncio
from functools import partial

from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import add_SupervisorServiceServicer_to_server
from forgemesh.chassis.process import Stop, tell_ready
from forgemesh.chassis.server import serving
from forgemesh.chassis.service import service_main
from forgemesh.plugin_host.scope import task_scope
from forgemesh.plugin_host.supervisor.config import HostPlan, read_configuration
from forgemesh.plugin_host.supervisor.environment import host_environment
from forgemesh.plugin_host.supervisor.keeper import Keeper
from forgemesh.plugin_host.supervisor.owner_key import owner_token, read_or_make
from forgemesh.plugin_host.supervisor.process import parent_pipe
from forgemesh.plugin_host.supervisor.servicer import SupervisorServicer
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings

SERVICES = ("forgemesh.api.supervisor.v1.SupervisorService",)


async def run(settings: SupervisorSettings, stop: Stop) -> None:
    """Start in reading order, stop in reverse; ready when it serves, whatever becomes of the hosts."""
    plans = read_configuration(settings.plugins)
    settings.log_directory.mkdir(parents=True, exist_ok=True)
    key = read_or_make(settings.owner_key)
    with parent_pipe() as pipe:
        keepers = _keepers(plans, settings, key, pipe)
        servicer = SupervisorServicer(lambda: [keeper.host for keeper in keepers])
        add = partial(add_SupervisorServiceServicer_to_server, servicer)
        async with serving(settings.listening(), SERVICES, add) as server:
            await server.health.ready()
            tell_ready(address=server.address, health_address=server.health_address)
            async with task_scope() as tasks:
                for keeper in keepers:
                    tasks.create_task(keeper.run(stop))
                await stop.wait()
                await server.health.not_ready()


def _keepers(plans: list[HostPlan], settings: SupervisorSettings, key: bytes, pipe: int) -> list[Keeper]:
    slots = asyncio.Semaphore(settings.parallel_starts)
    return [
        Keeper(
            plan,
            host_environment(plan, settings, os.environ, owner_token=owner_token(key, plan.instance_id)),
            settings.log_directory,
            slots,
            parent_pipe=pipe,
            grace=settings.grace,
        )
        for plan in plans
    ]


if __name__ == "__main__":
    service_main(SupervisorSettings, "supervisor", run)
