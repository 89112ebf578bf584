"""Callers whose orchestrator dies and is started again, as a pod is: they wait, and nothing starts twice."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from forgemesh.client import Client
from tests.mesh.processes import DEADLINE
from tests.mesh.saga_mesh import running_saga_mesh

pytestmark = pytest.mark.mesh

WORKFLOW = """
name: nothing
version: 1.0.0
steps: [{id: pause, wait: {for: 10ms}}]
output: "done"
"""
START = 2
"""Which commit of an orchestrator that finds its database in order is that of the first start."""


async def test_a_start_outlives_the_orchestrator_that_took_it_and_did_not_answer(tmp_path: Path) -> None:
    async with running_saga_mesh(tmp_path) as mesh, Client.connect(mesh.address) as client:
        async with mesh.orchestrator():
            await client.register(WORKFLOW)
        async with mesh.orchestrator(commits=START) as mortal:
            starting = asyncio.create_task(client.start("nothing", request_id="once"))
            await mortal.wait()
            assert not starting.done()
        async with mesh.orchestrator():
            execution = await starting
            result = await execution.result(timeout=DEADLINE)
            found = await client.list_executions()

    assert result == "done"
    assert [one.execution_id for one in found] == [execution.id]


async def test_the_command_line_waits_with_a_run_that_has_a_request_id(tmp_path: Path) -> None:
    (tmp_path / "nothing.yaml").write_text(WORKFLOW)
    async with running_saga_mesh(tmp_path) as mesh:
        command = [sys.executable, "-m", "forgemesh.cli.main", "run", "nothing.yaml", "--address", mesh.address]
        running = await asyncio.create_subprocess_exec(
            *command, "--request-id", "once", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        at_once = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stderr=asyncio.subprocess.PIPE)
        _, err = await asyncio.wait_for(at_once.communicate(), DEADLINE)
        waits = running.returncode is None
        async with mesh.orchestrator():
            out, _ = await asyncio.wait_for(running.communicate(), DEADLINE)

    assert waits
    assert (running.returncode, out) == (0, b'"done"\n')
    assert at_once.returncode == 5
    assert b"cannot reach the orchestrator" in err
