from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from forgemesh.api.orchestrator.v1 import execution_pb2
from tests.mesh.circuit_mesh import CLOSED, HALF_OPEN, OPEN, CircuitMesh, running_circuit_mesh, seeded
from tests.mesh.feed_listener import listening
from tests.mesh.moody import PLUGIN_ID, Call
from tests.mesh.processes import DEADLINE, eventually

pytestmark = pytest.mark.mesh

ROUNDS = int(os.environ.get("FORGEMESH_ROUNDS", "2"))
ORCHESTRATORS = 5
WAITING = 200
FAILURES = 5
ONLY = "moody-1"
OPEN_SECONDS = 1.0
LEASE = 3.0
HANGOVER = 0.25
"""Seconds in which a caller may not have heard yet that a circuit has opened."""
BEATS = 4
"""Signs of life of the balancer within which one call more than there may be would have come."""


async def open_circuit(mesh: CircuitMesh, name: str, draws: random.Random) -> float:
    """Let the only instance fail until its circuit opens, and then hold what comes; when it opened (Unix seconds)."""
    mesh.moods.set(ONLY, draws.choice(("fail:UNAVAILABLE", "fail:INTERNAL")))
    failing = [f"{name}-failing-{number}" for number in range(FAILURES)]
    await mesh.start_many("o-1", failing)
    await mesh.ended("o-1", failing)
    mesh.moods.set(ONLY, "hold")
    opened = await mesh.until_circuit(ONLY, OPEN)
    return time.time() - opened.age_millis / 1000


async def start_waiting(mesh: CircuitMesh, name: str, draws: random.Random) -> dict[str, list[str]]:
    """200 steps at each orchestrator, in parts and in any order: some before the circuit is half open, some after."""
    ids = {orchestrator: [f"{name}-{orchestrator}-{n}" for n in range(WAITING)] for orchestrator in mesh.orchestrators}
    parts = []
    for orchestrator, own in ids.items():
        cut = draws.randrange(WAITING + 1)
        parts += [(orchestrator, own[:cut]), (orchestrator, own[cut:])]
    draws.shuffle(parts)
    for orchestrator, part in parts:
        await mesh.start_many(orchestrator, part)
    return ids


async def trial_calls(mesh: CircuitMesh, since: float, count: int, *, deadline: float = DEADLINE) -> list[Call]:
    """The calls since then, as soon as there are so many."""

    async def look() -> list[Call] | None:
        calls = mesh.moods.calls(since=since)
        return calls if len(calls) >= count else None

    return list(await eventually(look, deadline=deadline))


async def one_round(mesh: CircuitMesh, name: str, permits: int, draws: random.Random) -> None:
    opened = await open_circuit(mesh, name, draws)
    ids = await start_waiting(mesh, name, draws)
    await trial_calls(mesh, opened + HANGOVER, permits)
    async with listening(mesh.balancer.address, PLUGIN_ID) as feed:
        await feed.until_beats(BEATS)
        waiting = [one for orchestrator, own in ids.items() for one in await mesh.described(orchestrator, own)]
        held = await mesh.circuit(ONLY)
        tried = mesh.moods.calls(since=opened + HANGOVER)

    assert len(tried) == permits
    assert (held.circuit.state, held.permits_out) == (HALF_OPEN, permits)
    steps = [execution.steps[0] for execution in waiting]
    blocked = [step for step in steps if step.status == execution_pb2.STEP_STATUS_BLOCKED]
    assert {step.blocked_reason for step in blocked} == {"CIRCUIT_OPEN"}
    assert len(blocked) == ORCHESTRATORS * WAITING - permits

    mesh.moods.set(ONLY, "ok")
    ended = [one for orchestrator, own in ids.items() for one in await mesh.ended(orchestrator, own)]

    assert Counter(one.status for one in ended) == {execution_pb2.EXECUTION_STATUS_SUCCEEDED: ORCHESTRATORS * WAITING}
    assert {one.steps[0].attempts for one in ended} == {1}
    called = Counter(call.execution_id for call in mesh.moods.calls(since=opened + HANGOVER))
    assert set(called.values()) == {1}
    assert len(called) == ORCHESTRATORS * WAITING
    assert (await mesh.circuit(ONLY)).circuit.state == CLOSED


@pytest.mark.timeout(1800)
async def test_a_half_open_instance_sees_as_many_calls_as_there_are_permits_whoever_waits(tmp_path: Path) -> None:
    draws = seeded()
    async with running_circuit_mesh(tmp_path, orchestrators=ORCHESTRATORS) as mesh:
        for number in range(ROUNDS):
            permits = 1 + number % 2
            circuit = {"open_seconds": OPEN_SECONDS, "backoff": 1, "jitter": 0.1, "permits": permits}
            await mesh.set_policy(circuit=circuit)
            await one_round(mesh, f"round-{number}", permits, draws)


async def test_the_permit_of_a_caller_that_is_killed_goes_to_another_within_its_lease(tmp_path: Path) -> None:
    draws = seeded()
    async with running_circuit_mesh(tmp_path, orchestrators=2) as mesh:
        await mesh.set_policy(circuit={"open_seconds": OPEN_SECONDS, "permit_lease_seconds": LEASE})
        opened = await open_circuit(mesh, "kill", draws)
        ids = await start_waiting(mesh, "kill", draws)
        (held,) = await trial_calls(mesh, opened + HANGOVER, 1)
        holder = next(name for name, own in ids.items() if held.execution_id in own)
        await mesh.orchestrators[holder].kill()
        killed = time.time()
        _, second = await trial_calls(mesh, opened + HANGOVER, 2, deadline=LEASE * 2)
        mesh.moods.set(ONLY, "ok")
        await mesh.start_orchestrator(holder)
        ended = [one for name, own in ids.items() for one in await mesh.ended(name, own)]

    assert second.at - killed < LEASE
    assert second.execution_id not in ids[holder]
    assert {one.status for one in ended} == {execution_pb2.EXECUTION_STATUS_SUCCEEDED}
    called = Counter(call.execution_id for call in mesh.moods.calls(since=opened + HANGOVER))
    assert {one for one, times in called.items() if times > 1} <= {held.execution_id}
    assert len(called) == len(ended)
