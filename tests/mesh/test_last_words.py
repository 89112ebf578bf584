"""Steps whose host is lost say how its process ended, and what it said last."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forgemesh.api.errors.v1 import failure_pb2
from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.payload.v1 import payload_pb2
from tests.mesh.called_mesh import orchestrated, write_echo
from tests.mesh.processes import DEADLINE, start_service
from tests.mesh.supervised import plugin_source, section

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

pytestmark = pytest.mark.mesh

BODY = """
@operation(timeout="30s", idempotent=True)
def work(self, kind: str) -> str:
    if kind == "exit":
        print("cannot go on with this one", flush=True)
        os._exit(3)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    hoard = []
    while kind == "memory":
        hoard.append(bytes([7]) * (4 << 20))
        time.sleep(0.005)
    return kind
"""
WORKFLOW = """
name: works
version: 1.0.0
input: {kind: string}
steps:
  - id: work
    call: {plugin: test.frail, operation: work}
    input: {kind: "${input.kind}"}
    retry: {max_attempts: 1}
output: "${steps.work.output}"
"""
WORDS = {
    "exit": r": exit code 3.*; last words: cannot go on with this one",
    "kill": r": killed by signal 9",
    "memory": r": OOM[,:] ",
}


async def losses(stub: OrchestratorServiceAsyncStub, kind: str) -> list[failure_pb2.Failure]:
    """The losses on record of an execution that has ended."""
    given = payload_pb2.Payload(media_type="application/json", data=json.dumps({"kind": kind}).encode())
    request = pb.StartExecutionRequest(workflow="works", input=given, wait_millis=int(DEADLINE * 1000))
    execution = (await stub.StartExecution(request, timeout=DEADLINE + 5)).execution
    watch = stub.WatchExecution(pb.WatchExecutionRequest(execution_id=execution.execution_id), timeout=DEADLINE)
    failures = [event.attempt_failed.failure async for step in watch for event in step.events]
    return [failure for failure in failures if failure.reason == "HOST_LOST"]


def source() -> str:
    return plugin_source("test.frail", head="import os, signal", body=BODY)


async def test_a_step_whose_host_is_lost_names_its_exit_code_or_signal_and_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "frail.py").write_text(source())
    configuration = section("frail", tmp_path, 'limits = { memory = "512MiB" }')
    async with orchestrated(tmp_path, configuration) as (mesh, stub):
        await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=WORKFLOW), timeout=DEADLINE)
        for kind, words in WORDS.items():
            await mesh.in_state(frail_1="READY")
            lost = await losses(stub, kind)

            assert lost
            assert [failure.message for failure in lost if not re.search(words, failure.message)] == []
            assert all(failure.metadata["ending"] in failure.message for failure in lost)


async def test_a_host_that_nobody_looks_after_says_itself_that_it_is_out_of_memory(tmp_path: Path) -> None:
    (tmp_path / "frail.py").write_text(source())
    async with orchestrated(tmp_path, write_echo(tmp_path)) as (mesh, stub):
        environment = {
            "FORGEMESH_HOST_LOAD": "frail:Plugin",
            "FORGEMESH_HOST_PATH": str(tmp_path),
            "FORGEMESH_HOST_REGISTRY": mesh.registry,
            "FORGEMESH_HOST_MEMORY_BYTES": str(512 << 20),
            "NOTES": str(tmp_path / "notes"),
        }
        async with (
            start_service("forgemesh.plugin_host.main", environment, tmp_path),
            start_service("forgemesh.plugin_host.main", environment, tmp_path),
        ):
            await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=WORKFLOW), timeout=DEADLINE)
            lost = await losses(stub, "memory")

    assert lost
    assert [failure.message for failure in lost if ": OOM: out of memory: it holds " not in failure.message] == []
