"""Starts of a schedule while the orchestrator is killed: each moment has one execution."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forgemesh.client import Client, ExecutionFilter, Interval, SchedulePlan
from forgemesh.faults import Code, Fault, code_of
from tests.mesh.processes import DEADLINE
from tests.mesh.saga_mesh import SagaMesh, running_saga_mesh

pytestmark = pytest.mark.mesh

WORKFLOW = "{name: tick, version: 1.0.0, steps: [{id: do, call: {plugin: test.saga, operation: do}}]}"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = 8
PLAN = SchedulePlan(workflow="tick", intervals=[Interval(timedelta(minutes=1))])
DEATHS = range(2, 20, 3)


async def drive(mesh: SagaMesh, schedule_id: str) -> list[str]:
    """Schedule and backfill, as often as it takes until all has ended; the ids of the executions."""
    while True:
        try:
            async with asyncio.timeout(DEADLINE), Client.connect(mesh.address) as client:
                await client.register(WORKFLOW)
                await client.schedules.create(schedule_id, PLAN, paused="only the past is of interest")
                end = BEGIN + timedelta(minutes=MOMENTS - 1)
                await client.schedules.backfill(schedule_id, BEGIN, end, request_id=schedule_id)
                while len(ended := await ended_executions(client, schedule_id)) < MOMENTS:
                    await asyncio.sleep(0.05)
                return ended
        except (Fault, TimeoutError) as error:
            if isinstance(error, Fault) and code_of(error) is not Code.UNAVAILABLE:
                raise
            await asyncio.sleep(0.05)


async def ended_executions(client: Client, schedule_id: str) -> list[str]:
    found = await client.list_executions(ExecutionFilter(schedule_id=schedule_id))
    return [one.execution_id for one in found if one.HasField("ended_at")]


@pytest.mark.timeout(1200)
async def test_each_moment_of_a_schedule_has_one_execution_wherever_the_orchestrator_dies(tmp_path: Path) -> None:
    async with running_saga_mesh(tmp_path) as mesh:
        deaths = 0
        for commits in DEATHS:
            schedule_id = f"every-minute-{commits}"
            driver = asyncio.create_task(drive(mesh, schedule_id))
            async with mesh.orchestrator(commits) as first:
                death = asyncio.create_task(first.process.wait())
                await asyncio.wait({driver, death}, return_when=asyncio.FIRST_COMPLETED)
                deaths += death.done()
                death.cancel()
            async with mesh.orchestrator():
                ended = await driver
                async with Client.connect(mesh.address) as client:
                    everything = await client.list_executions(ExecutionFilter(schedule_id=schedule_id))
                    assert sorted(one.execution_id for one in everything) == sorted(ended)
            assert len(set(ended)) == len(ended) == MOMENTS
            assert set(mesh.all_calls()) >= set(ended)
        assert deaths >= len(DEATHS) - 1, "it did not die often enough to prove anything"
