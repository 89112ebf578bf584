"""A crowd of starts holds back nobody who starts little."""

from __future__ import annotations

import asyncio

import pytest

from forgemesh.chassis.callers import Callers
from forgemesh.orchestrator.execution.commands.starts import TOGETHER, StartRequest
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.values.shard import SOLE
from tests.component.orchestrator.orchestrators import Orchestrator

SOURCE = """
name: w
steps:
  - {id: a, wait: {for: 1h}}
"""
CROWD = 1000


class Started:
    """Who started executions, in the order in which the starts were answered."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._callers = Callers()
        self.answered: list[str] = []

    async def start(self, peer: str) -> None:
        with self._callers.calling(peer):
            await self._orchestrator.offered.starts.start(
                StartRequest(namespace="default", workflow="w", input=Payload(b"{}"))
            )
        self.answered.append(peer)


@pytest.mark.parametrize("connections", [1, 50])
async def test_a_start_waits_for_those_under_way_and_not_for_a_crowd(
    orchestrator: Orchestrator, connections: int
) -> None:
    await orchestrator.definitions.register("default", SOURCE)
    started = Started(orchestrator)
    crowd = [asyncio.create_task(started.start(f"ipv4:10.0.0.1:{n % connections + 1}")) for n in range(CROWD)]
    while len(started.answered) < 4 * TOGETHER:
        await asyncio.sleep(0)

    before = len(started.answered)
    await started.start("ipv4:10.0.0.2:1")
    meanwhile = len(started.answered) - before
    await asyncio.gather(*crowd)

    assert meanwhile <= 4 * TOGETHER
    assert len(started.answered) == CROWD + 1


async def test_everybody_of_a_crowd_is_started(orchestrator: Orchestrator) -> None:
    await orchestrator.definitions.register("default", SOURCE)
    started = Started(orchestrator)

    await asyncio.gather(*(started.start(f"ipv4:10.0.0.1:{n}") for n in range(200)))

    assert len({one.execution_id for one in (await orchestrator.store.open_executions({SOLE}))}) == 200
