"""The weather example as a running mesh of real processes, and what tests want to know of it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as orchestrator_pb
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.api.supervisor.v1 import host_pb2, supervisor_service_pb2 as supervisor_pb
from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from forgemesh.api.traces.v1 import trace_service_pb2 as traces_pb
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceStub

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub
    from forgemesh.api.supervisor.v1.supervisor_service_pb2_grpc import SupervisorServiceAsyncStub
    from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceAsyncStub

EXAMPLE = Path(__file__).parents[2] / "examples" / "weather"
START_DEADLINE = 180.0
STOP_DEADLINE = 180.0
DEADLINE = 180.0


@dataclass(frozen=True)
class LedgerEntry:
    """One line of a plugin's own account of what it was asked to do."""

    event: str
    step_path: str
    attempt: int
    at: int
    pid: int


@dataclass
class WeatherMesh:
    """`forgemesh up` with the weather plugins; `directory` holds its data, its ledger and its reports."""

    orchestrator: str
    directory: Path
    example: Path = EXAMPLE

    @property
    def facts(self) -> dict[str, Any]:
        """What mesh.json says now."""
        return dict(json.loads((self.directory / "data" / "mesh.json").read_text()))

    def pid(self, service: str) -> int:
        """Of a service as it runs now."""
        return int(self.facts["services"][service]["pid"])

    def input(self, csv: str = "seattle-weather-2012.csv") -> dict[str, str]:
        """An input for the example's workflow."""
        return {"path": str(self.example / "data" / csv), "directory": str(self.directory / "reports")}

    def ledger(self, execution_id: str) -> list[LedgerEntry]:
        """What the plugins noted of an execution, in order of time."""
        entries = []
        for file in (self.directory / "ledger").glob("*.jsonl"):
            for line in file.read_text().splitlines():
                noted = json.loads(line)
                if noted["execution_id"] == execution_id:
                    entries.append(
                        LedgerEntry(noted["event"], noted["step_path"], noted["attempt"], noted["at_ns"], noted["pid"])
                    )
        return sorted(entries, key=lambda entry: entry.at)

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[OrchestratorServiceAsyncStub]:
        """The orchestrator's service."""
        async with grpc.aio.insecure_channel(self.orchestrator) as channel:
            stub: OrchestratorServiceAsyncStub = OrchestratorServiceStub(channel)
            yield stub

    async def address(self, service: str) -> str:
        """Of another service, as GetMesh names it."""
        async with self.stub() as stub:
            mesh = await stub.GetMesh(orchestrator_pb.GetMeshRequest(), timeout=DEADLINE, wait_for_ready=True)
        return next(named.address for named in mesh.services if named.name == service)

    async def trace(self, execution_id: str) -> traces_pb.GetTraceResponse:
        """What is stored of its trace now."""
        async with grpc.aio.insecure_channel(await self.address("traces")) as channel:
            stub: TraceServiceAsyncStub = TraceServiceStub(channel)
            return await stub.GetTrace(traces_pb.GetTraceRequest(execution_id=execution_id), timeout=DEADLINE)

    async def hosts(self) -> dict[str, host_pb2.Host]:
        """The plugin hosts as the supervisor sees them, by instance id."""
        async with grpc.aio.insecure_channel(await self.address("supervisor")) as channel:
            stub: SupervisorServiceAsyncStub = SupervisorServiceStub(channel)
            listed = await stub.ListHosts(supervisor_pb.ListHostsRequest(), timeout=DEADLINE)
        return {host.instance_id: host for host in listed.hosts}


@contextlib.contextmanager
def running_weather_mesh(directory: Path, *, pause: float = 0.0) -> Iterator[WeatherMesh]:
    """
    The mesh, once it is ready; it ends with the test, also if that is killed.

    `pause` (seconds) slows the three branches of the parallel group down.
    """
    reading, writing = os.pipe()
    parent, lives = os.pipe()
    log = (directory / "up.log").open("wb")
    command = [sys.executable, "-m", "forgemesh.cli.main", "up", "--any-port"]
    process = subprocess.Popen(
        [*command, "--config", str(EXAMPLE / "forgemesh.toml"), "--data-dir", str(directory / "data")],
        env={
            **os.environ,
            "FORGEMESH_READY_FD": str(writing),
            "FORGEMESH_PARENT_FD": str(parent),
            "WEATHER_LEDGER": str(directory / "ledger"),
            "WEATHER_PAUSE": str(pause),
        },
        pass_fds=(writing, parent),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    os.close(writing)
    os.close(parent)
    try:
        with os.fdopen(reading) as ready:
            readable, _, _ = select.select([ready], [], [], START_DEADLINE)
            line = ready.readline() if readable else ""
        assert line, f"the mesh did not start:\n{(directory / 'up.log').read_text()}"
        yield WeatherMesh(str(json.loads(line)["address"]), directory)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_DEADLINE)
        os.close(lives)
        log.close()
