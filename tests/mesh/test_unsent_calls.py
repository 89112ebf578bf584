"""What waits for its first instance, while the mesh goes down and up and while the orchestrator is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from forgemesh.api.orchestrator.v1.execution_pb2 import (
    EXECUTION_STATUS_SUCCEEDED,
    STEP_STATUS_BLOCKED,
    STEP_STATUS_IN_DOUBT,
    Execution,
)
from forgemesh.client import Client
from forgemesh.faults import Fault
from tests.mesh.processes import eventually
from tests.mesh.saga_mesh import SagaMesh, running_saga_mesh

pytestmark = pytest.mark.mesh

WAITING = """
name: waiting
version: 1.0.0
steps:
  - id: pay
    call: {plugin: test.saga, operation: do}
    idempotent: false
    retry: {max_attempts: 1}
"""
RESTARTS = 4
COMMITS = 4


def is_over(found: Execution) -> bool:
    return found.HasField("ended_at")


def is_blocked(found: Execution) -> bool:
    return any(step.status == STEP_STATUS_BLOCKED for step in found.steps)


def is_decided(found: Execution) -> bool:
    return is_over(found) or any(step.status == STEP_STATUS_IN_DOUBT for step in found.steps)


async def seen(mesh: SagaMesh, execution_id: str, holds: Callable[[Execution], bool]) -> Execution:
    """The execution as soon as that holds."""

    async def look() -> Execution | None:
        try:
            async with Client.connect(mesh.address) as client:
                found = await (await client.execution(execution_id)).describe()
        except (Fault, TimeoutError):
            return None
        return found if holds(found) else None

    found = await eventually(look)
    assert isinstance(found, Execution)
    return found


async def begun(mesh: SagaMesh, execution_id: str) -> None:
    """An execution whose step is blocked, on the disk of an orchestrator that is down."""
    async with mesh.orchestrator() as first:
        async with Client.connect(mesh.address) as client:
            await client.start("waiting", execution_id=execution_id)
        await seen(mesh, execution_id, is_blocked)
        await first.stop()


async def published(mesh: SagaMesh) -> None:
    """The plugin is known, and has no instance."""
    async with mesh.plugin_host("saga-1") as host, mesh.orchestrator() as orchestrator:
        async with Client.connect(mesh.address) as client:
            await client.register(WAITING)
        await orchestrator.stop()
        await host.stop()


@pytest.mark.timeout(1200)
async def test_a_blocked_call_is_made_once_after_any_number_of_restarts(tmp_path: Path) -> None:
    async with running_saga_mesh(tmp_path, hosts=0) as mesh:
        await published(mesh)
        await begun(mesh, "w")
        for _ in range(RESTARTS):
            async with mesh.orchestrator() as orchestrator:
                await seen(mesh, "w", is_blocked)
                await orchestrator.stop()

        async with mesh.orchestrator(), mesh.plugin_host("saga-1"):
            ended = await seen(mesh, "w", is_over)

        assert ended.status == EXECUTION_STATUS_SUCCEEDED
        assert [step.attempts for step in ended.steps] == [1]
        assert mesh.calls("w") == {"pay": 1}


@pytest.mark.timeout(1200)
async def test_a_kill_behind_any_write_by_which_a_blocked_call_leaves_makes_it_at_most_once(tmp_path: Path) -> None:
    async with running_saga_mesh(tmp_path, hosts=0) as mesh:
        await published(mesh)
        for commits in range(2, 2 + COMMITS):
            execution_id = f"w-{commits}"
            await begun(mesh, execution_id)
            async with mesh.orchestrator(commits) as mortal, mesh.plugin_host("saga-1") as host:
                death = asyncio.create_task(mortal.process.wait())
                end = asyncio.create_task(seen(mesh, execution_id, is_over))
                await asyncio.wait({death, end}, return_when=asyncio.FIRST_COMPLETED)
                for task in (death, end):
                    task.cancel()
                if mortal.process.returncode is None:
                    await mortal.kill()
                async with mesh.orchestrator():
                    found = await seen(mesh, execution_id, is_decided)
                await host.stop()

            calls = mesh.calls(execution_id)["pay"]
            assert calls <= 1
            assert calls == 1 or not found.HasField("ended_at")
