import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from forgemesh.api.traces.v1.trace_service_pb2 import GetTraceRequest
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceStub
from forgemesh.chassis.telemetry import EXPORT
from tests.unit.traces import otlp

pytestmark = pytest.mark.mesh

PATIENCE = 180.0


@dataclass(frozen=True)
class Process:
    running: subprocess.Popen[str]
    address: str

    def export(self, *spans: Span) -> None:
        with grpc.insecure_channel(self.address) as channel:
            export = channel.unary_unary(
                EXPORT,
                request_serializer=ExportTraceServiceRequest.SerializeToString,
                response_deserializer=ExportTraceServiceResponse.FromString,
            )
            export(otlp.request(spans), timeout=PATIENCE)

    def names(self, trace: int) -> list[str]:
        with grpc.insecure_channel(self.address) as channel:
            request = GetTraceRequest(trace_id=otlp.trace_id(trace).hex())
            return [span.name for span in TraceServiceStub(channel).GetTrace(request, timeout=PATIENCE).spans]

    def stop(self, how: signal.Signals) -> int:
        self.running.send_signal(how)
        return self.running.wait(PATIENCE)


@contextmanager
def trace_store(folder: Path) -> Iterator[Process]:
    """`python -m forgemesh.traces.main` over the folder's database, once it has said that it is ready."""
    reading, writing = os.pipe()
    environment = {
        **os.environ,
        "FORGEMESH_TRACES_LISTEN": "127.0.0.1:0",
        "FORGEMESH_TRACES_HEALTH_LISTEN": "127.0.0.1:0",
        "FORGEMESH_TRACES_DATABASE": str(folder / "traces.db"),
        "FORGEMESH_READY_FD": str(writing),
    }
    command = [sys.executable, "-m", "forgemesh.traces.main"]
    running = subprocess.Popen(command, env=environment, pass_fds=[writing], stderr=subprocess.PIPE, text=True)
    os.close(writing)
    try:
        with os.fdopen(reading) as ready:
            line = ready.readline()
        assert line, running.stderr and running.stderr.read()
        yield Process(running, json.loads(line)["address"])
    finally:
        running.kill()
        running.communicate()


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    with trace_store(tmp_path) as first:
        first.export(otlp.span(1, 1, name="before the kill"))
        first.stop(signal.SIGKILL)

    with trace_store(tmp_path) as second:
        names = second.names(1)

    assert names == ["before the kill"]


def test_it_ends_well_when_asked_to(tmp_path: Path) -> None:
    with trace_store(tmp_path) as process:
        process.export(otlp.span(1, 1))
        code = process.stop(signal.SIGTERM)

    assert code == 0


def test_a_second_store_on_the_same_database_says_why_it_cannot_start(tmp_path: Path) -> None:
    with trace_store(tmp_path):
        environment = {**os.environ, "FORGEMESH_TRACES_DATABASE": str(tmp_path / "traces.db")}
        command = [sys.executable, "-m", "forgemesh.traces.main"]
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert second.returncode == 1
    assert "another process (pid " in second.stderr
    assert "Traceback" not in second.stderr
