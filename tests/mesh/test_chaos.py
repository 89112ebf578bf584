"""Random kill -9 of the orchestrator under load; FORGEMESH_KILLS of them, 8 in the suite, 500 by `make chaos`."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections import Counter
from pathlib import Path

import pytest

from forgemesh.api.orchestrator.v1 import orchestrator_service_pb2 as pb
from forgemesh.api.orchestrator.v1.execution_pb2 import EXECUTION_STATUS_SUCCEEDED
from forgemesh.api.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.client import Client
from forgemesh.faults import Code, Fault, code_of
from tests.mesh.processes import eventually
from tests.mesh.saga_mesh import SagaMesh, running_saga_mesh

pytestmark = pytest.mark.mesh

KILLS = int(os.environ.get("FORGEMESH_KILLS", "8"))
KILLS_PER_WAVE = min(12, KILLS // 2)
"""At least two waves, so that one begins where another has ended."""
EXECUTIONS = min(200, 12 * KILLS)
"""Of each wave."""
STEPS = ("s1", "s2", "s3", "s4", "s5")
CHAIN = "name: chain\nversion: 1.0.0\nsteps:\n" + "\n".join(
    f"  - {{id: {step}, call: {{plugin: test.saga, operation: do}}, retry: {{initial: 1ms}}}}" for step in STEPS
)


async def start_wave(mesh: SagaMesh, ids: list[str]) -> None:
    """Start them all, however often the orchestrator dies meanwhile; the request ids make that harmless."""
    while True:
        try:
            async with Client.connect(mesh.address) as client:
                await client.register(CHAIN)
                for execution_id in ids:
                    await client.start("chain", execution_id=execution_id, request_id=execution_id)
                return
        except Fault as fault:
            if code_of(fault) is not Code.UNAVAILABLE:
                raise
            await asyncio.sleep(0.02)


async def resumed(mesh: SagaMesh) -> bool:
    """Whether the orchestrator answers and runs everything that is open."""
    async with connect(mesh.address) as channel:
        stub = OrchestratorServiceStub(channel)
        state = await stub.GetOrchestrator(pb.GetOrchestratorRequest(), timeout=2)
        assert state.saved_by_sweep == 0
        assert state.leaked_slots == 0
        return bool(state.HasField("swept_at") and state.suspended == 0)


async def open_ones(mesh: SagaMesh) -> int:
    """How many executions have not ended."""
    async with connect(mesh.address) as channel:
        stub = OrchestratorServiceStub(channel)
        return int((await stub.GetOrchestrator(pb.GetOrchestratorRequest(), timeout=2)).running)


async def one_life(mesh: SagaMesh, moments: random.Random, resumes: list[float]) -> None:
    """Start the orchestrator, see it resume, let it work for a moment, kill it."""
    began = time.monotonic()
    async with mesh.orchestrator() as process:
        await eventually(lambda: resumed(mesh))
        resumes.append(time.monotonic() - began)
        await asyncio.sleep(moments.uniform(0, 0.3))  # the moment is what is tested
        await process.kill()


@pytest.mark.timeout(3600)
async def test_nothing_is_lost_and_nothing_done_twice_however_often_the_orchestrator_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("FORGEMESH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FORGEMESH_SEED={seed}")
    moments = random.Random(seed)
    resumes: list[float] = []
    ids: list[str] = []
    async with running_saga_mesh(tmp_path) as mesh:
        while len(resumes) < KILLS:
            wave = [f"chain-{len(ids) + number}" for number in range(EXECUTIONS)]
            ids += wave
            starting = asyncio.create_task(start_wave(mesh, wave))
            for _ in range(min(KILLS_PER_WAVE, KILLS - len(resumes))):
                await one_life(mesh, moments, resumes)
            async with mesh.orchestrator() as process:
                await starting
                await eventually(lambda: all_ended(mesh), deadline=120)
                await process.stop()
        async with mesh.orchestrator() as process:
            await check_all(mesh, ids)
            await process.stop()

    print(f"{KILLS} kills, {len(ids)} executions")
    print(f"ready and resumed after {statistics.median(resumes):.2f} s (median), {max(resumes):.2f} s at most")


async def all_ended(mesh: SagaMesh) -> bool:
    return await resumed(mesh) and await open_ones(mesh) == 0


async def check_all(mesh: SagaMesh, ids: list[str]) -> None:
    noted = mesh.all_calls()
    async with Client.connect(mesh.address) as client:
        for execution_id in ids:
            execution = await client.execution(execution_id)
            shown = await execution.describe()
            succeeded = Counter(
                [event.step_path async for event in execution.watch() if event.HasField("attempt_succeeded")]
            )
            calls = noted[execution_id]

            assert shown.status == EXECUTION_STATUS_SUCCEEDED, (execution_id, shown.failure)
            assert succeeded == Counter(STEPS), execution_id
            assert all(calls[step.step_path] <= step.attempts for step in shown.steps), execution_id
