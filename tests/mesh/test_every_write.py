"""
kill -9 of the orchestrator after every single write of a saga: the same end each time, and nothing done twice.

In the suite after every third one, beginning anywhere; after each (FORGEMESH_EVERY_WRITE) by `make chaos`. That all
laws hold wherever an orchestrator dies is what the simulated mesh proves in the suite, over a real database.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import grpc
import pytest

from forgemesh.api.orchestrator.v1.execution_pb2 import EXECUTION_STATUS_COMPENSATED, Execution
from forgemesh.api.traces.v1 import trace_service_pb2 as traces_pb
from forgemesh.api.traces.v1.span_pb2 import Span
from forgemesh.api.traces.v1.trace_service_pb2_grpc import TraceServiceStub
from forgemesh.chassis.attributes import STEP_ATTEMPT
from forgemesh.cli.trace_tree import summary
from forgemesh.client import Client
from forgemesh.faults import Code, Fault, code_of
from tests.mesh.processes import DEADLINE, eventually
from tests.mesh.saga_mesh import SagaMesh, running_saga_mesh

pytestmark = pytest.mark.mesh

DO = "call: {plugin: test.saga, operation: do}, retry: {initial: 1ms}"
UNDO = "compensate: {plugin: test.saga, operation: do}"
SAGA = f"""
name: saga
version: 1.0.0
steps:
  - {{id: reserve, {DO}, {UNDO}}}
  - id: both
    parallel:
      branches:
        left: [{{id: left, {DO}, {UNDO}}}]
        right: [{{id: right, {DO}, {UNDO}}}]
  - {{id: pause, wait: {{for: 50ms}}}}
  - {{id: approval, wait: {{signal: approve}}}}
  - {{id: ship, {DO}, {UNDO}}}
  - {{id: bill, call: {{plugin: test.saga, operation: fail}}}}
"""
STEPS = {"reserve", "both/left/left", "both/right/right", "ship"}
ENOUGH = 60
APART = 1 if "FORGEMESH_EVERY_WRITE" in os.environ else 3


async def drive(mesh: SagaMesh, execution_id: str) -> Execution:
    """What a caller does who does not give up: register, start, signal, wait; each as often as it takes."""
    while True:
        try:
            async with asyncio.timeout(DEADLINE), Client.connect(mesh.address) as client:
                await client.register(SAGA)
                execution = await client.start("saga", execution_id=execution_id, request_id=execution_id)
                known = await execution.describe()
                if not known.HasField("ended_at") and not any(step.step_path == "ship" for step in known.steps):
                    await execution.signal("approve", signal_id="once")
                async for _ in execution.watch(patience=0.0):
                    pass
                return await execution.describe()
        except (Fault, TimeoutError) as error:
            refused = isinstance(error, Fault) and code_of(error) is not Code.UNAVAILABLE
            if refused and getattr(error, "reason", "") != "EXECUTION_STATE":
                raise
            await asyncio.sleep(0.05)


async def trace_of(mesh: SagaMesh, execution_id: str, attempts: int) -> list[Span]:
    """Its spans, once there is one for every attempt."""
    async with grpc.aio.insecure_channel(mesh.traces) as channel:
        stub = TraceServiceStub(channel)

        async def look() -> list[Span]:
            try:
                found = await stub.GetTrace(traces_pb.GetTraceRequest(execution_id=execution_id), timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                return []
            spans = list(found.spans)
            tries = [span for span in spans if STEP_ATTEMPT in span.attributes and span.kind == "CLIENT"]
            return spans if len(tries) >= attempts and not summary(spans).orphans else []

        return list(await eventually(look))


async def survives(mesh: SagaMesh, execution_id: str, commits: int) -> bool:
    """The saga with an orchestrator that dies after so many commits and is started again; whether it died."""
    driver = asyncio.create_task(drive(mesh, execution_id))
    try:
        async with mesh.orchestrator(commits) as first:
            death = asyncio.create_task(first.process.wait())
            await asyncio.wait({driver, death}, return_when=asyncio.FIRST_COMPLETED)
            if not death.done():
                death.cancel()
                await assert_it_is_whole(mesh, await driver, execution_id)
                return False
        async with mesh.orchestrator():
            await assert_it_is_whole(mesh, await driver, execution_id)
            return True
    finally:
        driver.cancel()


@pytest.mark.timeout(1200)
async def test_a_saga_ends_the_same_after_a_kill_behind_any_of_its_writes(tmp_path: Path) -> None:
    seed = int(os.environ.get("FORGEMESH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FORGEMESH_SEED={seed}")
    kills = range(2 + seed % APART, ENOUGH, APART)
    async with running_saga_mesh(tmp_path) as mesh:
        for commits in kills:
            execution_id = f"saga-{commits}"
            died = await survives(mesh, execution_id, commits)
            if not died:
                break

        assert not died, f"the saga takes more than {ENOUGH} commits"
        assert commits > 12, "it did not die often enough to prove anything"
        print(f"killed behind {kills.index(commits)} of {commits - 2} writes")


async def assert_it_is_whole(mesh: SagaMesh, ended: Execution, execution_id: str) -> None:
    attempts = {step.step_path: step.attempts for step in ended.steps}
    calls = mesh.calls(execution_id)
    assert ended.status == EXECUTION_STATUS_COMPENSATED, ended.failure
    assert ended.failure.reason == "BROKEN"
    assert {path for path in calls if not path.endswith(":compensate")} == {*STEPS, "bill"}
    assert {path.removesuffix(":compensate") for path in calls if path.endswith(":compensate")} == STEPS
    assert all(count <= attempts[path] for path, count in calls.items()), (calls, attempts)
    spans = await trace_of(mesh, execution_id, sum(attempts.values()))
    facts = summary(spans)
    assert len(facts.trace_ids) == 1
    assert facts.orphans == ()
    assert facts.duplicates == ()
