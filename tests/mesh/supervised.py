"""A real supervisor with a real registry, and what tests want to know of its hosts."""

from __future__ import annotations

import contextlib
import json
import textwrap
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.api.supervisor.v1 import host_pb2, supervisor_service_pb2 as pb
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.server import Serving
from forgemesh.chassis.status import from_rpc_error
from forgemesh.chassis.waking_clock import waking_clock
from forgemesh.faults import Fault
from forgemesh.registry.adapters.clock import SystemClock
from forgemesh.registry.main import running
from forgemesh.registry.settings import RegistrySettings
from tests.mesh.processes import DEADLINE, Service, eventually, start_service

if TYPE_CHECKING:
    from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceAsyncStub

SUPERVISOR = "forgemesh.plugin_host.supervisor.main"
ANYWHERE = "127.0.0.1:0"

HEADER = """
import asyncio, json, os, time
from pathlib import Path
from forgemesh.plugin import Context, OperationError, Requires, operation, plugin

def note(word):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(word + "\\n")
"""


def plugin_source(plugin_id: str, *, version: str = "1.0.0", head: str = "", body: str = "", **declared: Any) -> str:
    """A plugin of class `Plugin` that notes its start and its stop; `declared` goes to the decorator as source text."""
    arguments = ", ".join(f"{key}={value}" for key, value in declared.items())
    return (
        HEADER
        + textwrap.dedent(
            f"""
        {head}

        @plugin({plugin_id!r}, version={version!r}, {arguments})
        class Plugin:
            def start(self):
                note("start {plugin_id}")

            def stop(self):
                note("stop {plugin_id}")

            @operation
            async def ping(self) -> str:
                return {version!r}
        """
        )
        + textwrap.indent(textwrap.dedent(body), "    ")
    )


@dataclass
class Supervised:
    """A running supervisor; `directory` holds forgemesh.toml, the plugins, the notes and the logs."""

    directory: Path
    service: Service
    registry: str
    stub: SupervisorServiceAsyncStub
    """Of its service."""

    async def ask(self, method: str, request: Any) -> Any:
        """One unary call; a refusal is raised as its fault."""
        try:
            return await getattr(self.stub, method)(request, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def hosts(self) -> dict[str, host_pb2.Host]:
        """By instance id."""
        listed = await self.ask("ListHosts", pb.ListHostsRequest())
        return {host.instance_id: host for host in listed.hosts}

    async def until(
        self, condition: Callable[[dict[str, host_pb2.Host]], Any], *, deadline: float = DEADLINE
    ) -> dict[str, host_pb2.Host]:
        """The hosts, once `condition` holds for them."""
        seen: dict[str, host_pb2.Host] = {}

        async def looked() -> bool:
            seen.clear()
            seen.update(await self.hosts())
            return bool(condition(seen))

        try:
            await eventually(looked, deadline=deadline)
        except TimeoutError:
            told = {name: (state_of(host), host.reason) for name, host in seen.items()}
            raise AssertionError(f"it did not come to that: {told}\n{self.service.log.read_text()[-3000:]}") from None
        return seen

    async def in_state(self, **states: str) -> dict[str, host_pb2.Host]:
        """The hosts, once those named (with _ for -) are in these states."""
        wanted = {name.replace("_", "-"): state for name, state in states.items()}
        return await self.until(
            lambda hosts: all(name in hosts and state_of(hosts[name]) == state for name, state in wanted.items())
        )

    async def instances(self) -> dict[str, instance_pb2.Instance]:
        """What is registered."""
        async with connect(self.registry) as channel:
            listed = await RegistryServiceStub(channel).ListInstances(
                registry_service_pb2.ListInstancesRequest(page_size=500), timeout=DEADLINE
            )
        return {instance.instance_id: instance for instance in listed.instances}

    async def call(self, instance_id: str, operation: str, **arguments: Any) -> Any:
        """One call of a registered instance."""
        instance = (await self.instances())[instance_id]
        return await call(instance.address, operation, **arguments)

    def notes(self) -> list[str]:
        """What the plugins noted, in order."""
        file = self.directory / "notes"
        return file.read_text().split("\n")[:-1] if file.exists() else []

    async def fails(self, method: str, request: Any) -> Fault:
        """The fault with which a call is refused."""
        try:
            answer = await self.ask(method, request)
        except Fault as fault:
            return fault
        raise AssertionError(f"{method} was answered: {answer}")


def state_of(host: host_pb2.Host) -> str:
    """The name of its state."""
    return host_pb2.HostState.Name(host.state).removeprefix("HOST_STATE_")


async def call(address: str, operation: str, **arguments: Any) -> Any:
    """One unary call of a plugin; a failure of the operation is an AssertionError."""
    invocation = invocation_pb2.Invocation(operation=operation)
    invocation.input.data = json.dumps(arguments).encode()
    async with connect(address) as channel:
        request = plugin_service_pb2.InvokeRequest(invocation=invocation)
        response = await PluginServiceStub(channel).Invoke(request, timeout=DEADLINE)
    assert not response.result.HasField("failure"), response.result.failure
    return json.loads(response.result.output.data)


@contextlib.asynccontextmanager
async def running_registry(directory: Path) -> AsyncIterator[Serving]:
    """A real registry in the test's loop, for tests that leave it alone; its database is in `directory`."""
    settings = RegistrySettings(
        listen=ANYWHERE, health_listen=ANYWHERE, database=directory / "registry.db", drain_delay=0.0, grace=0.0
    )
    async with waking_clock() as waking, running(settings, SystemClock(waking)) as serving:
        yield serving


@contextlib.asynccontextmanager
async def supervised(directory: Path, registry: str, configuration: str, **others: str) -> AsyncIterator[Supervised]:
    """A supervisor over the tables in `configuration`; a plugin is a module `<name>.py` in `directory`."""
    (directory / "forgemesh.toml").write_text(configuration)
    environment = {
        "FORGEMESH_SUPERVISOR_LISTEN": ANYWHERE,
        "FORGEMESH_SUPERVISOR_HEALTH_LISTEN": ANYWHERE,
        "FORGEMESH_SUPERVISOR_REGISTRY": registry,
        "FORGEMESH_SUPERVISOR_TRACES": "",
        "FORGEMESH_SUPERVISOR_LOG_DIRECTORY": str(directory / "logs"),
        "FORGEMESH_SUPERVISOR_OWNER_KEY": str(directory / "supervisor.key"),
        "FORGEMESH_SUPERVISOR_STATE": str(directory / "supervisor.json"),
        **others,
    }
    async with start_service(SUPERVISOR, environment, directory) as service, connect(service.address) as channel:
        yield Supervised(directory, service, registry, SupervisorServiceStub(channel))


def section(name: str, directory: Path, *keys: str) -> str:
    """A table for the plugin in `<name>.py`, with `-` as `_`."""
    module = name.replace("-", "_")
    notes = json.dumps(str(directory / "notes"))
    lines = "\n".join(key for key in keys if not key.startswith("environment"))
    return f'[plugins.{name}]\nload = "{module}:Plugin"\nenvironment = {{ NOTES = {notes} }}\n{lines}\n'
