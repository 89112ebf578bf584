"""`python -m forgemesh.plugin_host.main`: loads one plugin and serves it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator
from functools import partial

from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import add_PluginServiceServicer_to_server
from forgemesh.api.registry.v1 import instance_pb2
from forgemesh.chassis.channel import SESSION_LIMIT, connect
from forgemesh.chassis.logs import configure_logs
from forgemesh.chassis.process import EXIT_CANNOT_START, Stop, tell_ready
from forgemesh.chassis.server import Listen, Serving, serving
from forgemesh.chassis.service import VERSION, service_main
from forgemesh.chassis.telemetry import SpanSink, exporting_spans
from forgemesh.plugin_host.identity import Identity
from forgemesh.plugin_host.loader import Plugin, load_definition, started
from forgemesh.plugin_host.orphan import end_within, end_without_parent
from forgemesh.plugin_host.registration import Registration
from forgemesh.plugin_host.runner import Runner
from forgemesh.plugin_host.scope import task_scope
from forgemesh.plugin_host.servicer import PluginServicer
from forgemesh.plugin_host.session import Sessions
from forgemesh.plugin_host.settings import HostSettings
from forgemesh.plugin_host.spans import CallSpans
from forgemesh.plugin_host.tracing import trace_authors_code

_log = logging.getLogger(__name__)

SERVICES = ("forgemesh.api.plugin.v1.PluginService",)
LAST_RESPONSES = 0.5
"""Seconds that the answers of finished calls have to leave the process."""
ORPHAN_GRACE = 0.5
LAST_RESORT = 3.0
"""Seconds after which a host ends although operations ignore that they are cancelled."""


async def run(settings: HostSettings, stop: Stop) -> None:
    """Start in reading order, stop in reverse."""
    definition = load_definition(settings.load, settings.directories)
    identity = Identity(settings.instance_id or f"{definition.plugin_id}-{os.getpid()}")
    plugin_id, version = definition.plugin_id, definition.version
    configure_logs(plugin_id, settings.log_level)
    async with (
        exporting_spans(plugin_id, identity.instance_id, settings.traces, version=version) as sink,
        started(definition) as plugin,
    ):
        trace_authors_code(sink)
        async with (
            hosting(plugin, identity, sink, settings) as host,
            registered(host, plugin, identity, settings) as registration,
        ):
            try:
                await stop.wait()
                await host.server.health.not_ready()
                if registration is not None:
                    await registration.announce_drain()
                grace = ORPHAN_GRACE if stop.orphaned else settings.grace
                if not await host.drain(settings.drain_delay, grace):
                    end_within(LAST_RESORT, 0)
            except asyncio.CancelledError:  # something of the host itself has failed
                end_within(LAST_RESORT, EXIT_CANNOT_START)
                raise


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A plugin that is served."""

    server: Serving
    runner: Runner
    sessions: Sessions

    async def drain(self, delay: float, grace: float) -> bool:
        """Take nothing new on after `delay` seconds; whether what runs has ended within `grace` seconds."""
        await asyncio.sleep(delay)
        self.sessions.drain()
        try:
            async with asyncio.timeout(grace):
                await self.runner.drain()
        except TimeoutError:
            _log.warning("calls still run after %g s of grace, cutting them off", grace)
            return False
        return True


@contextlib.asynccontextmanager
async def hosting(plugin: Plugin, identity: Identity, sink: SpanSink, settings: HostSettings) -> AsyncIterator[Host]:
    """Serve the plugin, ready for calls, until the block ends; registered or not."""
    async with task_scope() as tasks:
        spans = CallSpans(sink, plugin.definition, identity.instance_id, lambda: identity.incarnation)
        runner = Runner(plugin, identity, spans, tasks, queue_limit=settings.queue_limit)
        sessions = Sessions(runner.capacity)
        servicer = PluginServicer(plugin, identity, runner, sessions)
        add = partial(add_PluginServiceServicer_to_server, servicer)
        async with serving(_listen(settings), SERVICES, add) as server:
            await server.health.ready()
            yield Host(server, runner, sessions)
        runner.close()


def _listen(settings: HostSettings) -> Listen:
    """The host drains by itself, so the server has nothing left to wait for."""
    listen = settings.listening(receive_limit=SESSION_LIMIT)
    return dataclasses.replace(listen, drain_delay=0.0, grace=LAST_RESPONSES)


@contextlib.asynccontextmanager
async def registered(
    host: Host, plugin: Plugin, identity: Identity, settings: HostSettings
) -> AsyncIterator[Registration | None]:
    """Keep the instance registered until the block ends; without a registry in the settings, leave it alone."""
    instance = _instance(host, plugin, identity, settings)
    ready = partial(_tell_ready, instance, identity)
    if not settings.registry:
        ready()
        yield None
        return
    async with connect(settings.registry) as channel, task_scope() as tasks:
        registration = Registration(
            channel,
            plugin.manifest,
            instance,
            identity,
            owner_token=settings.owner_token or secrets.token_hex(16),
            ttl=settings.lease_ttl,
        )
        keeping = tasks.create_task(registration.run(ready))
        try:
            yield registration
        finally:
            keeping.cancel()
            await registration.end()


def _instance(host: Host, plugin: Plugin, identity: Identity, settings: HostSettings) -> instance_pb2.Instance:
    definition = plugin.definition
    labels = {"pid": str(os.getpid()), "host": socket.gethostname(), "sdk": f"forgemesh-python/{VERSION}"}
    return instance_pb2.Instance(
        instance_id=identity.instance_id,
        plugin_id=definition.plugin_id,
        plugin_version=definition.version,
        address=_reachable(host.server.address, settings),
        health_address=_reachable(host.server.health_address, settings),
        max_in_flight=host.runner.capacity,
        weight=definition.weight,
        labels=labels | ({"name": settings.name} if settings.name else {}),
        session=True,
        state=instance_pb2.INSTANCE_STATE_ACTIVE,
    )


def _reachable(address: str, settings: HostSettings) -> str:
    host, _, port = address.rpartition(":")
    return f"{settings.advertise or host}:{port}"


def _tell_ready(instance: instance_pb2.Instance, identity: Identity) -> None:
    tell_ready(
        address=instance.address,
        health_address=instance.health_address,
        instance_id=identity.instance_id,
        incarnation=identity.incarnation,
    )


if __name__ == "__main__":
    end_without_parent()
    service_main(HostSettings, "host", run)
