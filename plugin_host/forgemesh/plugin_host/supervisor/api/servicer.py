"""SupervisorService over gRPC: translate, hand over, translate back. No decisions here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc

from forgemesh.api.plugin.v1 import manifest_pb2, plugin_service_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.api.supervisor.v1 import attach_pb2, supervisor_service_pb2 as pb
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceServicer
from forgemesh.chassis.channel import connect
from forgemesh.chassis.status import from_rpc_error
from forgemesh.chassis.violations import Violations
from forgemesh.faults import Violation
from forgemesh.faults.service import InvalidRequest
from forgemesh.faults.supervisor import HandshakeRefused
from forgemesh.plugin_host.supervisor.changes.changes import Changes
from forgemesh.plugin_host.supervisor.changes.reconfigurer import Reconfigurer
from forgemesh.plugin_host.supervisor.changes.reloader import Reloader
from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.loader import Loaded, Loader
from forgemesh.plugin_host.supervisor.fleet.scaler import Scaler
from forgemesh.plugin_host.supervisor.hosts.codec import host_message, timestamp
from forgemesh.plugin_host.supervisor.hosts.host_runner import HostRunner
from forgemesh.plugin_host.supervisor.processes.output import Follower, LogLine

HELLO_DEADLINE = 10.0
DESCRIBE_DEADLINE = 5.0
DEFAULT_LINES, MOST_LINES = 10, 1000


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that can be asked of a supervisor."""

    fleet: Fleet
    changes: Changes
    loader: Loader
    reloader: Reloader
    reconfigurer: Reconfigurer
    scaler: Scaler


class SupervisorServicer(SupervisorServiceServicer):
    """Serves one supervisor."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._fleet = services.fleet

    async def ListHosts(self, request: pb.ListHostsRequest, context: Any) -> pb.ListHostsResponse:
        return pb.ListHostsResponse(hosts=[host_message(host) for host in self._fleet.hosts])

    async def Attach(  # type: ignore[override] # writes to the context instead of yielding
        self, request_iterator: AsyncIterator[attach_pb2.AttachRequest], context: Any
    ) -> None:
        requests = aiter(request_iterator)
        attachment = self._fleet.attach(await _hello(requests))
        await attachment.run(requests, context.write)

    async def Announce(self, request: pb.AnnounceRequest, context: Any) -> pb.AnnounceResponse:
        found = Violations()
        found.unless(bool(request.instance_id), "instance_id", "is missing; it is in FORGEMESH_HOST_INSTANCE_ID")
        found.unless(":" in request.address, "address", "is not host:port")
        found.refuse()
        if not self._fleet.has(request.instance_id):
            raise HandshakeRefused(request.instance_id, "this supervisor has no such host")
        runner = self._fleet.runner(request.instance_id)
        runner.alive(request.token)
        runner.announce(request.token, request.address, await _manifest(runner, request))
        return pb.AnnounceResponse()

    async def LoadPlugins(self, request: pb.LoadPluginsRequest, context: Any) -> pb.LoadPluginsResponse:
        names = list(request.names)
        loaded = await self._services.changes.own(lambda: self._services.loader.load(names))
        return pb.LoadPluginsResponse(plugins=[_loaded(one) for one in loaded])

    async def UnloadPlugin(self, request: pb.UnloadPluginRequest, context: Any) -> pb.UnloadPluginResponse:
        name, cascade = request.name, request.cascade
        stopped = await self._services.changes.own(lambda: self._services.loader.unload(name, cascade=cascade))
        return pb.UnloadPluginResponse(stopped=stopped)

    async def ReloadPlugin(self, request: pb.ReloadPluginRequest, context: Any) -> pb.ReloadPluginResponse:
        reloaded = await self._services.reloader.reload(request.name, force=request.force)
        return pb.ReloadPluginResponse(
            from_version=reloaded.from_version, to_version=reloaded.to_version, instance_ids=reloaded.instance_ids
        )

    async def ConfigurePlugin(self, request: pb.ConfigurePluginRequest, context: Any) -> pb.ConfigurePluginResponse:
        configured = await self._services.reconfigurer.configure(
            request.name, request.config, dry_run=request.dry_run, force=request.force
        )
        return pb.ConfigurePluginResponse(revision=configured.revision, reloaded=configured.reloaded)

    async def ScalePlugin(self, request: pb.ScalePluginRequest, context: Any) -> pb.ScalePluginResponse:
        return pb.ScalePluginResponse(before=await self._services.scaler.scale(request.name, request.instances))

    async def ResetHost(self, request: pb.ResetHostRequest, context: Any) -> pb.ResetHostResponse:
        runners = self._chosen(request.instance_id, request.name)
        return pb.ResetHostResponse(instance_ids=[runner.instance_id for runner in runners if runner.reset()])

    async def TailLogs(self, request: pb.TailLogsRequest, context: Any) -> AsyncIterator[pb.TailLogsResponse]:
        if request.instance_id or request.name:
            self._chosen(request.instance_id, request.name)
        count = min(request.lines or DEFAULT_LINES, MOST_LINES)

        def chosen(runner: HostRunner) -> bool:
            named = request.instance_id in ("", runner.instance_id)
            return named and request.name in ("", runner.plan.name)

        follower = Follower()
        with self._fleet.followed_by(follower, chosen):
            logs = [runner.log for runner in self._fleet.runners if chosen(runner)]
            for line in sorted((line for log in logs for line in log.tail(count)), key=lambda line: line.at):
                yield _line(line)
            if not request.follow:
                follower.end()
                return
            async for line in follower.lines():
                yield _line(line)

    def _chosen(self, instance_id: str, name: str) -> list[HostRunner]:
        found = Violations()
        found.unless(bool(instance_id) != bool(name), "instance_id", "say either instance_id or name")
        found.refuse()
        return [self._fleet.runner(instance_id)] if instance_id else self._fleet.group(name).staying


async def _hello(requests: AsyncIterator[attach_pb2.AttachRequest]) -> attach_pb2.AttachHello:
    try:
        async with asyncio.timeout(HELLO_DEADLINE):
            first = await anext(requests, None)
    except TimeoutError:
        first = None
    if first is None or not first.HasField("hello"):
        raise InvalidRequest([Violation("hello", "is the first message of a host, and must come at once")])
    return first.hello


async def _manifest(runner: HostRunner, request: pb.AnnounceRequest) -> manifest_pb2.Manifest:
    """What the process says, or what its section names, or what it answers when it is asked."""
    if request.HasField("manifest"):
        return request.manifest
    if runner.plan.manifest is not None:
        return runner.plan.manifest
    async with connect(request.address, keepalive=False) as channel:
        try:
            described = await PluginServiceStub(channel).Describe(
                plugin_service_pb2.DescribeRequest(), timeout=DESCRIBE_DEADLINE
            )
        except grpc.aio.AioRpcError as error:
            fault = from_rpc_error(error)
            raise HandshakeRefused(
                runner.instance_id,
                f"it announced no manifest, and Describe at {request.address} fails: {fault.message}; announce one, "
                "serve Describe, or name a TOML file with `manifest` in its section",
            ) from error
    return described.manifest


def _loaded(loaded: Loaded) -> pb.LoadedPlugin:
    offer = loaded.group.offer
    return pb.LoadedPlugin(
        name=loaded.group.name,
        plugin_id=offer.plugin_id if offer else "",
        version=offer.version if offer else "",
        started=loaded.started,
        level=loaded.level,
        missing=loaded.missing,
    )


def _line(line: LogLine) -> pb.TailLogsResponse:
    return pb.TailLogsResponse(instance_id=line.source, at=timestamp(line.at), line=line.text, dropped=line.dropped)
