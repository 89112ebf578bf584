from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from forgemesh.api.balancer.v1 import balancer_service_pb2 as pb
from forgemesh.api.orchestrator.v1.execution_pb2 import EXECUTION_STATUS_SUCCEEDED
from forgemesh.chassis.tasks import beside
from forgemesh.faults import Code, Fault, code_of
from tests.mesh.circuit_mesh import CLOSED, CircuitMesh, running_circuit_mesh, seeded
from tests.mesh.processes import eventually

pytestmark = pytest.mark.mesh

SECONDS = float(os.environ.get("FORGEMESH_CHAOS_SECONDS", "3"))
MOODS = ("ok", "ok", "fail", "fail:UNAVAILABLE", "half", "slow:0.3", "hold")
PERIOD = 0.02
ATTEMPTS = 60
"""More than a step can need: every one of them is lost to what happens here."""


@dataclass
class Trouble:
    """What happens to a mesh, drawn at random. After each of them everybody is alive again, though not well."""

    mesh: CircuitMesh
    draws: random.Random
    rule: dict[str, float]
    happened: Counter[str] = field(default_factory=Counter)

    async def run(self, seconds: float) -> None:
        """One after the other."""
        kinds = [self.mood] * 6 + [self.host_dies] * 2 + [self.balancer_dies, self.orchestrator_dies, self.host_stops]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self.draws.uniform(0, 1))  # the moment is what is tested
            kind = self.draws.choice(kinds)
            self.happened[kind.__name__] += 1
            await kind()

    async def mood(self) -> None:
        self.mesh.moods.set(self._instance(), self.draws.choice(MOODS))

    async def host_dies(self) -> None:
        instance = self._instance()
        await self.mesh.hosts[instance].kill()
        await self.mesh.start_host(instance, self.draws.choice(MOODS))

    async def balancer_dies(self) -> None:
        await self.mesh.balancer.kill()
        await asyncio.sleep(self.draws.uniform(0, 2))
        await self.mesh.start_balancer()
        await self.mesh.set_policy(circuit=self.rule)

    async def orchestrator_dies(self) -> None:
        name = self.draws.choice(list(self.mesh.orchestrators))
        await self.mesh.orchestrators[name].kill()
        await self.mesh.start_orchestrator(name)

    async def host_stops(self) -> None:
        pid = self.mesh.hosts[self._instance()].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(self.draws.uniform(0, 4))
        finally:
            os.kill(pid, signal.SIGCONT)

    def _instance(self) -> str:
        return self.draws.choice(list(self.mesh.hosts))


@contextlib.asynccontextmanager
async def always_called(mesh: CircuitMesh) -> AsyncIterator[dict[str, list[str]]]:
    """Executions begin all the time, at all orchestrators, however often these die; their ids by orchestrator."""
    ids: dict[str, list[str]] = {name: [] for name in mesh.orchestrators}

    async def call(name: str) -> None:
        while True:
            one = f"{name}-{len(ids[name])}"
            try:
                await mesh.start_many(name, [one])
                ids[name].append(one)
            except Fault as fault:
                if code_of(fault) is not Code.UNAVAILABLE:
                    raise
            await asyncio.sleep(PERIOD * len(ids))

    async with beside(*(call(name) for name in ids)):
        yield ids


@pytest.mark.timeout(3600)
async def test_whatever_happens_everything_ends_and_every_circuit_closes(tmp_path: Path) -> None:
    draws = seeded()
    kept = draws.choice((True, False))
    async with running_circuit_mesh(tmp_path, orchestrators=3, instances=3, attempts=ATTEMPTS, kept=kept) as mesh:
        rule = {"open_seconds": 0.7, "max_open_seconds": 3, "permit_lease_seconds": 2, "permits": draws.randint(1, 3)}
        trouble = Trouble(mesh, draws, rule)
        await mesh.set_policy(circuit=rule)
        async with always_called(mesh) as ids:
            await trouble.run(SECONDS)
            for instance in mesh.hosts:
                mesh.moods.set(instance, "ok")
            await eventually(lambda: quiet(mesh), deadline=180)
        ended = [one for name, own in ids.items() for one in await mesh.ended(name, own)]
        await eventually(lambda: nobody_is_called(mesh))

    print(f"{len(ended)} executions; {dict(trouble.happened)}")
    assert {one.status for one in ended} == {EXECUTION_STATUS_SUCCEEDED}


async def circuits(mesh: CircuitMesh) -> list[pb.InstanceCircuit]:
    return [await mesh.circuit(instance) for instance in mesh.hosts]


async def quiet(mesh: CircuitMesh) -> bool:
    """Whether all circuits are closed and no trial call is under way."""
    return all(one.circuit.state == CLOSED and not one.permits_out for one in await circuits(mesh))


async def nobody_is_called(mesh: CircuitMesh) -> bool:
    """Whether no call is on record that has ended long ago."""
    return not any(one.in_flight for one in await circuits(mesh))
