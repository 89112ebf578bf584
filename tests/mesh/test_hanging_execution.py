"""An execution that hangs its orchestrator, again after each restart, does not keep the next one from serving."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from forgemesh.client import Client
from forgemesh.faults.service import ServiceUnreachable
from forgemesh.faults.workflow import ExecutionSuspended
from forgemesh.orchestrator.execution.engine.turn_marker import ALLOWED
from tests.mesh.processes import eventually
from tests.mesh.saga_mesh import SagaMesh, running_saga_mesh

pytestmark = pytest.mark.mesh

BOMB = """
name: bomb
version: 1.0.0
steps:
  - {id: later, wait: {for: 1s}}
  - {id: hang, wait: {for: 1ms}, when: "input.l.exists(x, x in input.m)"}
"""
HARMLESS = """
name: harmless
version: 1.0.0
steps: [{id: pay, call: {plugin: test.saga, operation: do}}]
"""
INPUT = {"l": [-1] * 9_000, "m": list(range(40_000))}


async def started(mesh: SagaMesh) -> bool:
    """Whether the orchestrator was there already."""
    try:
        async with Client.connect(mesh.address) as client:
            await client.register(BOMB)
            await client.start("bomb", INPUT, execution_id="bomb", request_id="once")
    except ServiceUnreachable:
        return False
    return True


async def hang_and_die(mesh: SagaMesh, start: bool) -> None:
    """One life of an orchestrator that hangs, to its kill -9 by whoever looks after it."""
    hanging = mesh.directory / "hanging"
    hanging.unlink(missing_ok=True)

    async def hangs() -> bool:
        return hanging.exists()

    command = (sys.executable, "-m", "tests.mesh.unguarded_orchestrator")
    path = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, **mesh.environment, "PYTHONPATH": path}
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=mesh.directory)
    try:
        if start:
            await eventually(partial(started, mesh))
        assert await eventually(hangs)
    finally:
        process.kill()
        await process.wait()


async def test_an_execution_that_hangs_every_orchestrator_is_set_aside_and_can_be_ended(tmp_path: Path) -> None:
    async with running_saga_mesh(tmp_path) as mesh:
        for life in range(ALLOWED):
            await hang_and_die(mesh, start=life == 0)

        async with mesh.orchestrator(), Client.connect(mesh.address) as client:
            await client.register(HARMLESS)
            await (await client.start("harmless", {})).result()
            bomb = await client.execution("bomb")
            assert "2 orchestrators in a row ended" in (await bomb.describe()).suspended_reason
            with pytest.raises(ExecutionSuspended, match="is set aside"):
                await bomb.cancel()
            await bomb.terminate(reason="it hangs")
            assert (await bomb.describe()).suspended_reason == ""
