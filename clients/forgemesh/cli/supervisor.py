"""The supervisor of a mesh, as an operator asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from forgemesh.api.supervisor.v1 import supervisor_service_pb2 as pb
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from forgemesh.cli.command_line import CommandLine
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from forgemesh.cli.service_address import addresses_of, service_address
from forgemesh.client import Client
from forgemesh.client.peer import Peer

if TYPE_CHECKING:
    from forgemesh.api.supervisor.v1.host_pb2 import Host
    from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceAsyncStub

PATIENCE = 120.0
"""Seconds that plugins may take to start or to stop."""
_DEADLINE = 10.0


WITHOUT = "this mesh has no supervisor: something else runs its plugins, such as Kubernetes"


class NoSupervisor(Problem):
    """Nobody in the mesh starts plugins: what a supervisor is asked or told is for somebody else."""

    def __init__(self) -> None:
        super().__init__(
            ExitCode.REFUSED,
            WITHOUT,
            reason="NO_SUPERVISOR",
            hint="on Kubernetes: kubectl get deployments,pods -l app.kubernetes.io/component=plugin\n"
            "see docs/kubernetes.md, or name a supervisor: FORGEMESH_ORCHESTRATOR_SUPERVISOR for the orchestrator",
        )


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Every method raises the Fault with which the supervisor refused, or ServiceUnreachable."""

    stub: SupervisorServiceAsyncStub
    peer: Peer

    async def hosts(self) -> list[Host]:
        """Its plugin hosts, ordered by instance id."""
        answer = await self.peer.call(self.stub.ListHosts, pb.ListHostsRequest(), deadline=_DEADLINE)
        return list(answer.hosts)

    async def section(self, asked: str) -> str:
        """The section that is meant by its name or by the id of its plugin; what nobody knows stays as it is."""
        hosts = await self.hosts()
        if any(host.name == asked for host in hosts):
            return asked
        named = {host.name for host in hosts if host.plugin_id == asked}
        return named.pop() if len(named) == 1 else asked

    async def target(self, asked: str) -> dict[str, str]:
        """The fields of a request for one instance, a section or a plugin id; raises Problem for anything else."""
        hosts = await self.hosts()
        if any(host.instance_id == asked for host in hosts):
            return {"instance_id": asked}
        section = await self.section(asked)
        if any(host.name == section for host in hosts):
            return {"name": section}
        raise _unknown(asked, hosts)

    async def call(self, method: Any, request: Any, deadline: float = PATIENCE) -> Any:
        """The answer to a request that may take long."""
        return await self.peer.call(method, request, deadline=deadline)

    async def lines(self, request: pb.TailLogsRequest) -> AsyncIterator[pb.TailLogsResponse]:
        """What hosts have written, and write if the request says so."""
        deadline = None if request.follow else _DEADLINE
        try:
            async for one in self.stub.TailLogs(request, timeout=deadline):
                yield one
        except grpc.aio.AioRpcError as error:
            raise self.peer.fault(error, deadline) from error


@asynccontextmanager
async def supervisor_of(line: CommandLine) -> AsyncIterator[Supervisor]:
    """The supervisor of the mesh that the command line means; raises NoSupervisor if it has none."""
    async with Client.connect(line.address) as mesh:
        if not (await addresses_of(mesh)).get("supervisor"):
            raise NoSupervisor
        address = await service_address(mesh, "supervisor")
    peer = Peer("supervisor", address)
    async with peer.channel() as channel:
        yield Supervisor(SupervisorServiceStub(channel), peer)


def _unknown(asked: str, hosts: Sequence[Host]) -> Problem:
    names, instances = sorted({host.name for host in hosts}), [host.instance_id for host in hosts]
    return Problem(
        ExitCode.NOT_FOUND,
        f"the supervisor runs no plugin and no instance {asked!r}",
        reason="HOST_NOT_FOUND",
        code="NOT_FOUND",
        details=[f"plugins: {', '.join(names) or 'none'}", f"instances: {', '.join(instances) or 'none'}"],
        hint="see forgemesh plugin hosts",
    )
