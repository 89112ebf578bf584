"""Inputs that end the process of whoever works on them, among callers who have nothing to do with that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.supervisor.v1 import host_pb2
from tests.mesh.called_mesh import orchestrated
from tests.mesh.processes import DEADLINE
from tests.mesh.supervised import plugin_source, section

if TYPE_CHECKING:
    from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceAsyncStub

pytestmark = pytest.mark.mesh

BODY = """
@operation(timeout="30s")
def work(self, kind: str) -> str:
    if kind == "exit":
        print("cannot go on with this one", flush=True)
        os._exit(3)
    elif kind == "segfault":
        ctypes.string_at(0)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "memory":
        hoard = [bytes([number % 251]) * (1 << 20) for number in range(2000)]
    time.sleep(0.05)
    return kind

@operation(timeout="30s")
async def work_async(self, kind: str) -> str:
    return self.work(kind) if kind != "well" else kind
"""
WORKFLOW = """
name: works
version: 1.0.0
input: {operation: string, kind: string}
steps:
  - id: choose
    switch:
      - when: "input.operation == 'work'"
        steps: [{id: plain, call: {plugin: test.frail, operation: work}, input: {kind: "${input.kind}"}}]
      - otherwise: [{id: turning, call: {plugin: test.frail, operation: work_async}, input: {kind: "${input.kind}"}}]
output: "${steps.choose.output}"
"""
WORDS = {
    "exit": "exit code 3; last words: cannot go on with this one",
    "segfault": "killed by signal 11; last words: Fatal Python error: Segmentation fault, at __init__.py:",
    "kill": "killed by signal 9",
    "memory": "OOM",
}
INNOCENT = 60


def written(directory: Path, *keys: str) -> str:
    source = plugin_source("test.frail", head="import ctypes, os, signal", body=BODY, max_concurrency=16)
    (directory / "frail.py").write_text(source)
    return section("frail", directory, *keys)


async def worked(stub: OrchestratorServiceAsyncStub, kind: str, operation: str = "work") -> execution_pb2.Execution:
    """What became of one execution."""
    data = json.dumps({"operation": operation, "kind": kind}).encode()
    given = payload_pb2.Payload(media_type="application/json", data=data)
    request = pb.StartExecutionRequest(workflow="works", input=given, wait_millis=int(DEADLINE * 1000))
    return (await stub.StartExecution(request, timeout=DEADLINE + 5)).execution


async def all_worked(
    stub: OrchestratorServiceAsyncStub, kinds: Sequence[str], operation: str
) -> list[execution_pb2.Execution]:
    """Poison and innocent at once, and more innocents one after the other while that goes on."""

    async def stream() -> list[execution_pb2.Execution]:
        return [await worked(stub, "well", operation) for _ in range(INNOCENT // 6)]

    poisoned = asyncio.gather(*(worked(stub, kind, operation) for kind in kinds))
    innocent = asyncio.gather(*(worked(stub, "well", operation) for _ in range(INNOCENT)))
    streams = await asyncio.gather(*(stream() for _ in range(3)))
    return [*await poisoned, *await innocent, *(one for part in streams for one in part)]


@pytest.mark.parametrize("operation", ["work", "work_async"])
async def test_three_poison_inputs_end_as_poison_by_name_and_harm_nobody_else(tmp_path: Path, operation: str) -> None:
    kinds = ["exit", "segfault", "kill"]
    async with orchestrated(tmp_path, written(tmp_path)) as (mesh, stub):
        await mesh.in_state(frail_1="READY")
        await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=WORKFLOW), timeout=DEADLINE)
        ended = await all_worked(stub, kinds, operation)
        host = (await mesh.in_state(frail_1="READY"))["frail-1"]

    poisoned, innocent = ended[:3], ended[3:]
    assert [one.failure.reason for one in innocent if one.status != execution_pb2.EXECUTION_STATUS_SUCCEEDED] == []
    assert [one.failure.reason for one in poisoned] == ["POISON"] * 3
    for kind, one in zip(kinds, poisoned, strict=True):
        assert WORDS[kind] in one.failure.message
    assert host_pb2.HOST_STATE_CRASH_LOOP not in {step.state for step in host.history}
    assert host.recent_crashes <= 3


async def test_a_poison_input_that_uses_memory_up_ends_as_poison_too(tmp_path: Path) -> None:
    async with orchestrated(tmp_path, written(tmp_path, 'limits = { memory = "512MiB" }')) as (mesh, stub):
        await mesh.in_state(frail_1="READY")
        await stub.RegisterDefinition(pb.RegisterDefinitionRequest(source=WORKFLOW), timeout=DEADLINE)
        poisoned, *innocent = await all_worked(stub, ["memory"], "work")
        host = (await mesh.in_state(frail_1="READY"))["frail-1"]

    assert [one.failure.reason for one in innocent if one.status != execution_pb2.EXECUTION_STATUS_SUCCEEDED] == []
    assert poisoned.failure.reason == "POISON"
    assert WORDS["memory"] in poisoned.failure.message
    assert host.recent_crashes == 1
