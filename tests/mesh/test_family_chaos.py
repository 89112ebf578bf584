"""
Random kill -9 of the orchestrator and of plugin hosts under families that share places and pay only once;
FORGEMESH_KILLS of each, 4 in the suite, 500 by `make chaos`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from forgemesh.api.orchestrator.v1.execution_pb2 import (
    STEP_STATUS_IN_DOUBT,
    STEP_STATUS_SUCCEEDED,
    Execution,
    ExecutionStatus,
)
from forgemesh.client import Client, ExecutionFilter
from forgemesh.faults import Code, Fault, code_of
from tests.mesh.processes import Service, eventually
from tests.mesh.saga_mesh import SagaMesh, running_saga_mesh
from tests.mesh.test_chaos import all_ended, resumed

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(7200)]

KILLS = int(os.environ.get("FORGEMESH_KILLS", "4"))
ORDERS = 20
"""Families in one wave."""
KILLS_PER_WAVE = 10
HOSTS = 3
DEATHS = 0.004
"""How often a payment ends its process, before its effect and again after it."""
PAY = "call: {plugin: test.saga, operation: pay}"
LEG = f"""
name: leg
version: 1.0.0
steps:
  - {{id: pay, {PAY}, compensate: {{plugin: test.saga, operation: do}}}}
  - {{id: look, call: {{plugin: test.saga, operation: do}}, retry: {{initial: 1ms, max_attempts: 20}}}}
"""
ORDER = f"""
name: order
version: 1.0.0
concurrency: {{key: "${{input.customer}}", limit: 3}}
steps:
  - {{id: deposit, {PAY}}}
  - id: legs
    parallel:
      join: all_settled
      branches:
        first: [{{id: first, workflow: {{name: leg}}}}]
        second: [{{id: second, workflow: {{name: leg}}}}]
  - {{id: rest, trigger: all_done, {PAY}}}
"""


@dataclass
class Chaos:
    """The hosts are kept running; whoever of them dies is started again."""

    mesh: SagaMesh
    chance: random.Random
    hosts: dict[str, Service] = field(default_factory=dict)
    orchestrator_kills: int = 0
    host_kills: int = 0
    host_deaths: int = 0
    resolved: Counter[str] = field(default_factory=Counter)

    async def keep(self, name: str) -> None:
        """Start a host whenever there is none; its name is new each time, since the old one is taken for a while."""
        for life in count():
            instance_id = f"{name}-{life}"
            with contextlib.suppress(AssertionError):  # killed before it was ready
                async with self.mesh.plugin_host(instance_id, deaths=DEATHS) as service:
                    self.hosts[instance_id] = service
                    await service.process.wait()
                    self.hosts.pop(instance_id, None)
                    self.host_deaths += 1

    async def kill_hosts(self) -> None:
        """One after the other, as many as the orchestrator's deaths."""
        while self.host_kills < KILLS:
            if self.host_kills > self.orchestrator_kills or len(self.hosts) < HOSTS - 1:
                await asyncio.sleep(0.02)
                continue
            victim = self.chance.choice(list(self.hosts.values()))
            with contextlib.suppress(ProcessLookupError):
                victim.process.kill()
                self.host_kills += 1
            await asyncio.sleep(self.chance.uniform(0, 0.3))  # the moment is what is tested

    async def resolve(self) -> None:
        """People look into the plugin's own books and say what is true."""
        while True:
            with contextlib.suppress(Fault, TimeoutError):
                async with Client.connect(self.mesh.address) as client:
                    while True:
                        await self._resolve_all(client)
                        await asyncio.sleep(0.1)
            await asyncio.sleep(0.1)

    async def _resolve_all(self, client: Client) -> None:
        for listed in await client.list_executions(ExecutionFilter(incidents_only=True), limit=500):
            execution = await client.execution(listed.execution_id)
            for step in (await execution.describe()).steps:
                if step.status == STEP_STATUS_IN_DOUBT:
                    paid = self.mesh.calls(listed.execution_id)[step.step_path]
                    action = "complete" if paid else "fail"
                    await execution.resolve(step.step_path, action, {"value": 0} if paid else None)  # type: ignore[arg-type]
                    self.resolved[action] += 1


async def start_wave(mesh: SagaMesh, ids: list[str]) -> None:
    """Start them all, however often the orchestrator dies meanwhile; the request ids make that harmless."""
    while True:
        try:
            async with Client.connect(mesh.address) as client:
                await client.register(LEG)
                await client.register(ORDER)
                for number, execution_id in enumerate(ids):
                    given = {"customer": f"c{number % 10}"}
                    await client.start("order", given, execution_id=execution_id, request_id=execution_id)
                return
        except Fault as fault:
            if code_of(fault) is not Code.UNAVAILABLE:
                raise
            await asyncio.sleep(0.02)


async def one_life(chaos: Chaos) -> None:
    """Start the orchestrator, see it resume, let it work for a moment, kill it."""
    async with chaos.mesh.orchestrator() as process:
        await eventually(lambda: resumed(chaos.mesh), deadline=180)
        await asyncio.sleep(chaos.chance.uniform(0, 0.5))  # the moment is what is tested
        await process.kill()
    chaos.orchestrator_kills += 1


async def test_families_end_and_pay_once_whoever_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("FORGEMESH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FORGEMESH_SEED={seed}")
    ids: list[str] = []
    async with running_saga_mesh(tmp_path, hosts=0) as mesh, asyncio.TaskGroup() as tasks:
        chaos = Chaos(mesh, random.Random(seed))
        keeping = [tasks.create_task(chaos.keep(f"saga-{number}")) for number in range(HOSTS)]
        keeping += [tasks.create_task(chaos.kill_hosts()), tasks.create_task(chaos.resolve())]
        while chaos.orchestrator_kills < KILLS:
            wave = [f"order-{len(ids) + number}" for number in range(ORDERS)]
            ids += wave
            starting = asyncio.create_task(start_wave(mesh, wave))
            for _ in range(min(KILLS_PER_WAVE, KILLS - chaos.orchestrator_kills)):
                await one_life(chaos)
            async with mesh.orchestrator() as process:
                await starting
                await eventually(lambda: all_ended(mesh), deadline=240)
                await process.stop()
            await eventually(lambda: struck(chaos), deadline=240)
        async with mesh.orchestrator() as process:
            ends = await check_all(mesh, ids)
            assert await all_ended(mesh)
            await process.stop()
        for task in keeping:
            task.cancel()

    print(f"{chaos.orchestrator_kills} kills of the orchestrator, {chaos.host_kills} of hosts")
    print(f"{chaos.host_deaths} deaths of hosts in all, {len(ids)} families: {dict(ends)}")
    print(f"resolved by people: {dict(chaos.resolved)}")
    assert (chaos.orchestrator_kills, chaos.host_kills) == (KILLS, KILLS)
    assert sum(ends.values()) >= len(ids)


async def struck(chaos: Chaos) -> bool:
    """Whether as many hosts were killed as orchestrators."""
    return chaos.host_kills >= chaos.orchestrator_kills


async def check_all(mesh: SagaMesh, ids: list[str]) -> Counter[str]:
    """How the members of all families ended; nothing was lost, and nothing paid twice."""
    noted = mesh.all_calls()
    ends: Counter[str] = Counter()
    twice = [
        (execution_id, path, number)
        for execution_id, calls in noted.items()
        for path, number in calls.items()
        if path in ("deposit", "rest", "pay") and number > 1
    ]
    async with Client.connect(mesh.address) as client:
        for execution_id in ids:
            orders = await client.list_executions(ExecutionFilter(parent_execution_id=execution_id), limit=500)
            for member in [await (await client.execution(execution_id)).describe(), *orders]:
                ends[ExecutionStatus.Name(member.status).removeprefix("EXECUTION_STATUS_")] += 1
                assert_it_paid(await (await client.execution(member.execution_id)).describe(), noted)

    assert twice == []
    return ends


def assert_it_paid(execution: Execution, noted: dict[str, Counter[str]]) -> None:
    """What counts as paid is in the plugin's books."""
    assert execution.HasField("ended_at"), execution.execution_id
    for step in execution.steps:
        if step.step_path in ("deposit", "rest", "pay") and step.status == STEP_STATUS_SUCCEEDED:
            assert noted[execution.execution_id][step.step_path] == 1, (execution.execution_id, step.step_path)
