"""A host as a server: its port, its calls, its place in the registry."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc

from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import add_PluginServiceServicer_to_server
from forgemesh.api.registry.v1 import instance_pb2
from forgemesh.chassis.channel import SESSION_LIMIT, connect
from forgemesh.chassis.health import Beside
from forgemesh.chassis.health_facts import INSTANCE, PLUGIN
from forgemesh.chassis.server import Listen, Serving, serving
from forgemesh.chassis.tasks import beside, lasting
from forgemesh.chassis.telemetry import SpanSink, measure_spans
from forgemesh.chassis.version import VERSION
from forgemesh.metrics import catalogue
from forgemesh.metrics.instrument import Meter
from forgemesh.plugin_host.host.calls.call_runner import DEFAULT_CONCURRENCY, CallRunner
from forgemesh.plugin_host.host.calls.suspects import Suspects
from forgemesh.plugin_host.host.plugin.loader import Plugin
from forgemesh.plugin_host.host.process.load import LoadMeter
from forgemesh.plugin_host.host.process.rotation import UNREGISTERED, Rotation
from forgemesh.plugin_host.host.server.load_service import STREAMS, LoadService
from forgemesh.plugin_host.host.server.servicer import PluginServicer
from forgemesh.plugin_host.host.session.session import Sessions
from forgemesh.plugin_host.host.telemetry.call_spans import CallSpans
from forgemesh.plugin_host.registration.identity import Identity, owner_token
from forgemesh.plugin_host.registration.registration import Registration
from forgemesh.plugin_host.running_calls import RunningCalls
from forgemesh.plugin_host.scope import task_scope
from forgemesh.plugin_host.settings import HostSettings

_log = logging.getLogger(__name__)

SERVICES = ("forgemesh.api.plugin.v1.PluginService",)
LAST_RESPONSES = 0.5
"""Seconds that the answers of finished calls have to leave the process."""


def _nothing(said: str) -> None:
    """Nobody but the log hears it."""


class GivenUp(asyncio.Event):
    """Set when the host is of no use any more; `reason` says why."""

    reason = ""

    def give_up(self, reason: str) -> None:
        """It is of no use."""
        self.reason = reason
        self.set()


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A plugin that is served."""

    server: Serving
    runner: CallRunner
    sessions: Sessions
    load: LoadMeter
    rotation: Rotation
    given_up: GivenUp

    @property
    def ports(self) -> frozenset[int]:
        """Where it listens."""
        return frozenset(int(at.rpartition(":")[2]) for at in (self.server.address, self.server.health_address))

    async def drain(self, delay: float, grace: float) -> bool:
        """Take nothing new on after `delay` seconds; whether what runs has ended `grace` seconds from now."""
        end = asyncio.get_running_loop().time() + grace
        await asyncio.sleep(min(delay, grace))
        self.sessions.drain()
        try:
            async with asyncio.timeout_at(end):
                await self.runner.drain()
        except TimeoutError:
            _log.warning("calls still run after %g s of grace, cutting them off", grace)
            return False
        return True


def _measure(meter: Meter, runner: CallRunner, sink: SpanSink) -> None:
    """The calls of a host and their spans, from now on."""
    measure_spans(meter, sink)
    meter.add(runner.durations)
    meter.observe_one(catalogue.INVOCATIONS_RUNNING, lambda: runner.running)
    meter.observe_one(catalogue.INVOCATIONS_WAITING, lambda: runner.waiting)


@contextlib.asynccontextmanager
async def hosting(
    plugin: Plugin,
    identity: Identity,
    sink: SpanSink,
    settings: HostSettings,
    on_stall: Callable[[float], None] | None = None,
    out_of_memory: Callable[[str], None] = _log.error,
    on_lost: Callable[[str], None] = _nothing,
    suspects: Suspects | None = None,
    meter: Meter | None = None,
) -> AsyncIterator[Host]:
    """
    Serve the plugin until the block ends, ready for calls once it was registered if there is a registry.

    `on_stall` is told in a thread for how long the event loop has not turned, and 0 when it turns again;
    `out_of_memory`, in whatever thread, that an operation was refused memory; `on_lost`, which places are held by
    operations whose calls are over, and an empty text when none is. Of the `suspects` one at a time runs, alone.
    """
    async with task_scope() as tasks:
        spans = CallSpans(sink, plugin.definition, identity.instance_id, lambda: identity.incarnation)
        runner = CallRunner(
            plugin,
            identity,
            spans,
            tasks,
            queue_limit=settings.queue_limit,
            out_of_memory=out_of_memory,
            stuck=settings.stuck,
            stuck_restart=settings.stuck_restart,
            record=_record(plugin, settings),
            suspects=suspects,
        )
        if meter is not None:
            _measure(meter, runner, sink)
        sessions = Sessions(runner.capacity)
        load = LoadMeter(runner, plugin.definition.limits.cpu)
        end_is_told = bool(settings.supervisor and settings.registry)
        servicer = PluginServicer(plugin, identity, runner, sessions, load.encoded, end_is_told=end_is_told)
        loads = LoadService(load.encoded)
        async with serving(
            _listen(settings),
            SERVICES,
            partial(_add, servicer, loads),
            stall=settings.stall,
            on_stall=on_stall,
            beside_health=Beside((loads.in_threads(),), STREAMS),
            who=partial(_who, plugin.definition.plugin_id, identity),
        ) as server:
            load.lag = server.health.lag
            host = Host(server, runner, sessions, load, Rotation(server.health), GivenUp())
            runner.lost.on_change = partial(_rotate, host, on_lost)
            runner.lost.on_end = host.given_up.give_up
            if settings.registry:
                host.rotation.leave(UNREGISTERED)
            await host.rotation.say()
            async with beside(host.rotation.run()):
                yield host
        runner.close()


def _rotate(host: Host, on_lost: Callable[[str], None], said: str, everything: bool) -> None:
    """Without a place left no calls are to come here, and those that wait are better off elsewhere."""
    on_lost(said)
    (host.rotation.leave if everything else host.rotation.enter)("no place is left")
    if everything:
        host.runner.refuse_waiting()


def _record(plugin: Plugin, settings: HostSettings) -> RunningCalls | None:
    """Where the supervisor looks for what ran when this process ended; without one, or without that file, nowhere."""
    if not settings.running_calls:
        return None
    try:
        return RunningCalls(settings.running_calls, plugin.definition.max_concurrency or DEFAULT_CONCURRENCY)
    except OSError as error:
        _log.warning("nobody will know which calls ran if this process crashes: %s", error)
        return None


def _who(plugin_id: str, identity: Identity) -> dict[str, str]:
    """Who answers when the health of this host is asked for."""
    return {INSTANCE: identity.instance_id, PLUGIN: plugin_id}


def _add(servicer: PluginServicer, loads: LoadService, server: grpc.aio.Server) -> None:
    add_PluginServiceServicer_to_server(servicer, server)
    server.add_generic_rpc_handlers((loads.on_loop(),))


def _listen(settings: HostSettings) -> Listen:
    """The host drains by itself, so the server has nothing left to wait for."""
    listen = settings.listening(receive_limit=SESSION_LIMIT)
    return dataclasses.replace(listen, drain_delay=0.0, grace=LAST_RESPONSES)


@contextlib.asynccontextmanager
async def registered(
    host: Host, plugin: Plugin, identity: Identity, settings: HostSettings
) -> AsyncIterator[Registration | None]:
    """Keep the instance registered until the block ends; without a registry in the settings, leave it alone."""
    if not settings.registry:
        yield None
        return
    instance = instance_of(host, plugin, identity, settings)
    async with connect(settings.registry) as channel, task_scope() as tasks:
        registration = Registration(
            channel,
            plugin.manifest,
            instance,
            identity,
            owner_token=owner_token(settings.owner_token, settings.owner_token_file),
            ttl=settings.lease_ttl,
            load=host.load.report,
            owner_key=settings.owner_key(),
            on_first=partial(host.rotation.enter, UNREGISTERED),
        )
        keeping = tasks.create_task(lasting("the registration", registration.run))
        try:
            yield registration
        finally:
            keeping.cancel()
            await registration.end()


def instance_of(host: Host, plugin: Plugin, identity: Identity, settings: HostSettings) -> instance_pb2.Instance:
    """How others find this host."""
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
        labels=labels | {key: value for key in ("name", "tenure") if (value := getattr(settings, key))},
        session=True,
        state=instance_pb2.INSTANCE_STATE_ACTIVE,
    )


def _reachable(address: str, settings: HostSettings) -> str:
    host, _, port = address.rpartition(":")
    return f"{settings.advertise or host}:{port}"
