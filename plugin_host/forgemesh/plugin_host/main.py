"""`python -m forgemesh.plugin_host.main`: loads one plugin and serves it."""

from __future__ import annotations

from forgemesh.chassis.first_process import collect_rarely, end_on_sigterm, need_descriptors

end_on_sigterm()
collect_rarely()
need_descriptors()

import logging
import os

from forgemesh.plugin_host.host.plugin.own_logger import OwnLogger, own_stderr

logging.setLoggerClass(OwnLogger)  # what is imported here is ours; what the plugin imports later is its author's

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # read at import; its handlers crash the copies of a server

import asyncio
import contextlib
import faulthandler
import sys
import time
from collections.abc import Callable
from functools import partial

from forgemesh.api.supervisor.v1 import attach_pb2, host_pb2
from forgemesh.chassis.health import PortInUse
from forgemesh.chassis.logs import configure_logs
from forgemesh.chassis.measuring import Measuring
from forgemesh.chassis.process import EXIT_CANNOT_START, EXIT_OUT_OF_MEMORY, CannotStart, Stop, tell_ready
from forgemesh.chassis.service import service_main
from forgemesh.chassis.telemetry import exporting_spans
from forgemesh.faults import Fault
from forgemesh.plugin import PluginDefinition, manifest_of
from forgemesh.plugin_host.host.calls.call_runner import DEFAULT_CONCURRENCY
from forgemesh.plugin_host.host.plugin.config_file import read_config
from forgemesh.plugin_host.host.plugin.drafting import drafted
from forgemesh.plugin_host.host.plugin.forks import CopiesKeepNothing, Origin
from forgemesh.plugin_host.host.plugin.loader import Beginning, Plugin, load_definition, started
from forgemesh.plugin_host.host.plugin.start_failure import Phase, StartFailed, phase_of
from forgemesh.plugin_host.host.process.cgroup_limit import memory_limit
from forgemesh.plugin_host.host.process.memory import MemoryWatch, bound_process
from forgemesh.plugin_host.host.process.stall import StallReporter
from forgemesh.plugin_host.host.server.hosting import Host, hosting, instance_of, registered
from forgemesh.plugin_host.host.supervision.attachment import Attachment
from forgemesh.plugin_host.host.supervision.orphan import (
    EXIT_ORPHANED,
    ORPHAN_LIMIT,
    end_within,
    end_without_parent,
    live_without_parent,
)
from forgemesh.plugin_host.host.telemetry.tracing import trace_authors_code
from forgemesh.plugin_host.registration.identity import Identity, default_instance_id
from forgemesh.plugin_host.registration.registration import Registration
from forgemesh.plugin_host.scope import EndedEarly, interrupted_by, task_scope
from forgemesh.plugin_host.settings import HostSettings
from forgemesh.plugin_host.waiting import first_of

_log = logging.getLogger(__name__)

SECRETS = ("FORGEMESH_HOST_TOKEN", "FORGEMESH_HOST_OWNER_TOKEN")
ORPHAN_GRACE = 0.5
LAST_RESORT = 3.0
"""Seconds after which a host ends although operations ignore that they are cancelled."""


async def run(settings: HostSettings, measured: Measuring, stop: Stop) -> None:
    """Load the plugin and serve it until stopped; what keeps it from serving is said to the supervisor."""
    logging.setLoggerClass(logging.Logger)
    for secret in SECRETS:
        os.environ.pop(secret, None)  # neither the plugin nor what it starts is to know it
    bound_process(_smallest(settings.memory_bytes, memory_limit()), settings.open_files)
    copies = CopiesKeepNothing()
    asyncio.get_running_loop().set_default_executor(Origin().executor())
    with contextlib.suppress(EndedEarly):  # it was stopped while it started
        await (_run_attached if settings.supervisor else _run_alone)(settings, measured, stop, copies)


async def _run_alone(settings: HostSettings, measured: Measuring, stop: Stop, copies: CopiesKeepNothing) -> None:
    definition = await drafted(load_definition(settings.load, settings.directories), settings)
    config = read_config(settings.config) if settings.config else ""
    await serve(definition, Beginning(config=config), settings, measured, stop, copies)


async def _run_attached(settings: HostSettings, measured: Measuring, stop: Stop, copies: CopiesKeepNothing) -> None:
    attachment = Attachment(settings, _ending(stop))
    try:
        definition = await drafted(load_definition(settings.load, settings.directories), settings)
        async with interrupted_by(stop):
            await attachment.introduce(manifest_of(definition))
            initialize = await attachment.initialize()
        await serve(definition, _beginning(initialize), settings, measured, stop, copies, attachment)
    except (CannotStart, PortInUse, Fault, OSError) as error:
        await attachment.fail(phase_of(error), str(error))
        raise
    finally:
        await attachment.close()


async def serve(
    definition: PluginDefinition,
    beginning: Beginning,
    settings: HostSettings,
    measured: Measuring,
    stop: Stop,
    copies: CopiesKeepNothing,
    attachment: Attachment | None = None,
) -> None:
    """Start in reading order, stop in reverse."""
    identity = Identity(settings.instance_id or default_instance_id(definition.plugin_id))
    plugin_id, version = definition.plugin_id, definition.version
    configure_logs(plugin_id, settings.log_level, own_stderr())
    memory = MemoryWatch(attachment.fail_at_once if attachment else _say_nothing)
    memory.start(_bounded(definition, settings), memory_limit())
    asyncio.get_running_loop().set_exception_handler(memory.note_exception)
    condition = attachment.condition if attachment else _say_no_condition
    suspects = attachment.suspects if attachment else None
    on_stall, on_lost = StallReporter(partial(condition, "stall")), partial(condition, "lost places")
    async with (
        exporting_spans(plugin_id, identity.instance_id, settings.traces, version=version) as sink,
        started(definition, beginning, timeout=settings.start_timeout, stop=stop) as plugin,
    ):
        trace_authors_code(sink)
        async with (
            hosting(
                plugin, identity, sink, settings, on_stall, memory.used_up, on_lost, suspects, measured.meter
            ) as host,
            registered(host, plugin, identity, settings) as registration,
            task_scope() as tasks,
        ):
            copies.ports, memory.part = host.ports | measured.ports, host.sessions.farewell.say
            try:
                if await _registered(host, registration, settings, stop):
                    _tell_ready(host, plugin, identity, settings, attachment)
                obeying = tasks.create_task(attachment.obey(plugin)) if attachment is not None else None
                await first_of(stop, host.given_up, *_refusals(registration))
                if obeying is not None:
                    obeying.cancel()
                await _end(host, registration, settings, stop)
            except StartFailed as error:
                if attachment is not None:
                    await attachment.fail(error.phase, str(error))
                raise
            except asyncio.CancelledError:  # something of the host itself has failed
                end_within(LAST_RESORT, EXIT_CANNOT_START)
                raise


def _bounded(definition: PluginDefinition, settings: HostSettings) -> int:
    """Bound this process as its settings say, or else the plugin; how much memory it may hold, 0 for any."""
    limits = definition.limits
    memory = settings.memory_bytes or limits.memory_bytes
    bound = _smallest(memory, memory_limit())
    bound_process(bound, settings.open_files or limits.open_files, definition.max_concurrency or DEFAULT_CONCURRENCY)
    return memory


def _smallest(*limits: int) -> int:
    """Of limits of which 0 is none."""
    return min(filter(None, limits), default=0)


def _say_nothing(reason: str) -> None:
    """Nobody but the log hears it."""


def _say_no_condition(source: str, trouble: str) -> None:
    """Nobody but the log hears it."""


async def _end(host: Host, registration: Registration | None, settings: HostSettings, stop: Stop) -> None:
    """Say that nothing new is to come, then let what runs end: all of it within the grace, and not much more."""
    began = time.monotonic()
    grace = ORPHAN_GRACE if stop.orphaned else settings.grace
    _log.info("stopping: calls that run have %g s, new ones are not wanted", grace)
    host.rotation.leave("it drains")
    await host.rotation.say()
    if host.given_up.is_set() and not stop.is_set():
        end_within(LAST_RESORT, EXIT_CANNOT_START)
        host.sessions.farewell.say(host.given_up.reason)
        raise StartFailed(host_pb2.HOST_PHASE_SERVING, host.given_up.reason)
    refused = not stop.is_set() and any(one.is_set() for one in _refusals(registration))
    if registration is not None:
        await registration.announce_drain()
    if not await host.drain(settings.drain_delay, max(0.0, grace - (time.monotonic() - began))):
        end_within(LAST_RESORT, EXIT_CANNOT_START if refused else 0)
    if registration is not None and refused:
        raise _cannot_register(registration, registration.refusal, settings, host_pb2.HOST_PHASE_SERVING)


def _beginning(said: attach_pb2.Initialize) -> Beginning:
    state = said.state if said.HasField("state") else None
    return Beginning(config=said.config, config_revision=said.config_revision, state=state)


async def _registered(host: Host, registration: Registration | None, settings: HostSettings, stop: Stop) -> bool:
    """
    Wait for the first registration, and until health says so; false if the host is stopped before.

    Raises StartFailed as soon as the registry refuses it for good, or after the time for it, if that is bounded.
    """
    if registration is None:
        return True
    timeout = settings.start_timeout or None
    await first_of(registration.first, stop, registration.hopeless, timeout=timeout)
    if registration.first.is_set():
        await host.rotation.say()
    elif not stop.is_set():
        said = registration.refusal or f"it did not answer within {timeout:g} s"
        raise _cannot_register(registration, said, settings, host_pb2.HOST_PHASE_HEALTH)
    return registration.first.is_set()


def _refusals(registration: Registration | None) -> list[asyncio.Event]:
    """Set once the registry refuses this host for good."""
    return [] if registration is None else [registration.hopeless]


def _cannot_register(registration: Registration, said: str, settings: HostSettings, phase: Phase) -> StartFailed:
    return StartFailed(phase, f"cannot register {registration.instance_id} at {settings.registry}: {said}")


def _tell_ready(
    host: Host, plugin: Plugin, identity: Identity, settings: HostSettings, attachment: Attachment | None
) -> None:
    instance = instance_of(host, plugin, identity, settings)
    address, health_address = instance.address, instance.health_address
    if attachment is not None:
        identity.on_registered = attachment.ready_again
        attachment.ready(
            lambda: attach_pb2.HostReady(
                address=address,
                health_address=health_address,
                incarnation=identity.incarnation,
                config_revision=plugin.config_revision,
            ),
            host.load.report,
        )
    tell_ready(
        address=address,
        health_address=health_address,
        instance_id=identity.instance_id,
        incarnation=identity.incarnation,
    )


def _ending(stop: Stop) -> Callable[[str], None]:
    """What ends this process when its supervisor is gone for good; may be called from any thread."""
    loop = asyncio.get_running_loop()

    def orphan() -> None:
        stop.orphaned = True
        stop.set()

    def end(reason: str) -> None:
        end_within(ORPHAN_LIMIT, EXIT_ORPHANED)
        loop.call_soon_threadsafe(orphan)

    return end


if __name__ == "__main__":
    faulthandler.enable()  # a crash in a C library shows where it happened
    if os.environ.get("FORGEMESH_HOST_REATTACH", "").lower() in ("1", "true"):
        live_without_parent()
    end_without_parent()
    try:
        service_main(HostSettings, "host", run)
    except MemoryError:
        sys.stderr.write("error: OOM: out of memory: the host itself was refused more\n")
        sys.exit(EXIT_OUT_OF_MEMORY)
