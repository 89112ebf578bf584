"""Parents with one child each, and what there is of their families."""

from __future__ import annotations

import asyncio

from forgemesh.orchestrator.execution.ports.lists import ExecutionFilter, ExecutionOrder
from forgemesh.orchestrator.execution.ports.rows import ExecutionRow
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.orchestrator.orchestrators import Orchestrator

CALL = "call: {plugin: p, operation: o}"
CHILD = f"name: child\nsteps: [{{id: x, {CALL}}}]\noutput: '${{steps.x.output}}'"
PARENT = "name: parent\nsteps: [{id: c, workflow: {name: child}, on_close: CLOSE}]\noutput: '${steps.c.output}'"


async def registered(orchestrator: Orchestrator, *sources: str) -> None:
    """Each of them is known."""
    for source in sources:
        await orchestrator.definitions.register("default", source)


async def members(orchestrator: Orchestrator) -> list[ExecutionRow]:
    """Every execution."""
    page = await orchestrator.store.executions(
        ExecutionFilter(namespace="default"), ExecutionOrder.STARTED_ASCENDING, "", 500
    )
    return page.rows


async def child_of(orchestrator: Orchestrator, execution_id: str = "e") -> str:
    """The id of the only child, once it is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            rows = [row for row in await members(orchestrator) if row.parent_id == execution_id]
            if rows and orchestrator.offered.owners.local("default", rows[0].execution_id) is not None:
                return rows[0].execution_id


async def passes(moments: int) -> None:
    """So often the loop comes round."""
    for _ in range(moments):
        await asyncio.sleep(0)
