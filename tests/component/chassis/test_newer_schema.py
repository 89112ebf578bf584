"""What a service does with a database that a newer release has written: it runs, is not ready, and says why."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from forgemesh.chassis.health_facts import REASON, told_in
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults.service import StoreTooNew
from tests.free_ports import free_addresses

pytestmark = pytest.mark.mesh

PATIENCE = 60.0
METHODS = {
    "registry": "/forgemesh.api.registry.v1.RegistryService/WatchInstances",
    "balancer": "/forgemesh.api.balancer.v1.BalancerService/Subscribe",
    "orchestrator": "/forgemesh.api.orchestrator.v1.OrchestratorService/GetMesh",
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
}
SENTENCE = "it has schema 999, this release knows"


@contextmanager
def started(service: str, database: Path, **more: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A service over the database, the address where it listens, and that of its health."""
    address, health = free_addresses(2)
    settings = {"listen": address, "health_listen": health, "database": str(database)}
    variables = {f"FORGEMESH_{service.upper()}_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", f"forgemesh.{service}.main"],
        env={**os.environ, **variables, **more},
        pass_fds=[int(fd) for fd in more.values()],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, address, health
    finally:
        process.kill()
        process.communicate()


def written_by_a_newer_release(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE later (content); PRAGMA user_version=999")
    return path


def said(stream: IO[str] | None) -> str:
    """The first thing that it says about its database."""
    assert stream is not None
    return next(line for line in stream if SENTENCE in line)


def call(channel: Any, method: str) -> Any:
    """What a method answers to an empty message."""
    return channel.unary_stream(method)(b"", timeout=PATIENCE, wait_for_ready=True)


@pytest.mark.parametrize("service", METHODS)
def test_it_runs_without_being_ready_and_says_why_in_its_health_its_log_and_to_whoever_calls(
    service: str, tmp_path: Path
) -> None:
    database = written_by_a_newer_release(tmp_path / "mill.db")
    before = database.read_bytes()
    with started(service, database) as (process, address, health):
        logged = json.loads(said(process.stderr))
        with grpc.insecure_channel(health) as channel:
            check = HealthStub(channel).Check
            states = {
                name: check.with_call(HealthCheckRequest(service=name), timeout=PATIENCE, wait_for_ready=True)
                for name in ("startup", "liveness", "readiness", "")
            }
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
            next(call(channel, METHODS[service]))
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)

    serving, not_serving = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
    expected = {"startup": serving, "liveness": serving, "readiness": not_serving, "": not_serving}
    assert {name: answer.status for name, (answer, _) in states.items()} == expected
    assert SENTENCE in told_in(states["readiness"][1].initial_metadata())[REASON]
    assert logged["level"] == "ERROR"
    fault = from_rpc_error(refused.value)
    assert isinstance(fault, StoreTooNew)
    assert fault.metadata["schema"] == "999"
    assert code == 0
    assert database.read_bytes() == before


def test_a_method_that_nobody_knows_is_not_refused_for_the_database(tmp_path: Path) -> None:
    with started("registry", written_by_a_newer_release(tmp_path / "mill.db")) as (process, address, _):
        said(process.stderr)
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
            next(call(channel, "/forgemesh.api.registry.v1.RegistryService/Nothing"))

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_it_ends_with_the_reason_where_a_parent_waits_for_it(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    database = written_by_a_newer_release(tmp_path / "mill.db")
    with started("registry", database, FORGEMESH_READY_FD=str(writing)) as (process, _, _):
        os.close(writing)
        with os.fdopen(reading) as ready:
            told = ready.read()
        _, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, told) == (1, "")
    assert SENTENCE in errors
    assert "Traceback" not in errors
