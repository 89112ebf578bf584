from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from forgemesh.api.orchestrator.v1 import execution_pb2
from tests.mesh.circuit_mesh import CLOSED, HALF_OPEN, OPEN, UNSAID, CircuitMesh, running_circuit_mesh, seeded
from tests.mesh.feed_listener import listening
from tests.mesh.moody import PLUGIN_ID, Call
from tests.mesh.processes import DEADLINE, eventually

pytestmark = pytest.mark.mesh

ROUNDS = int(os.environ.get("FORGEMESH_ROUNDS", "2"))
ORCHESTRATORS = 5
WAITING = 200
UNSURE = 20
FAILURES = 5
ONLY = "moody-1"
OPEN_SECONDS = 1.5
LEASE = 3.0
NO_LEASE_ENDS = 600.0
"""However long the machine lets an orchestrator wait before it says that it still has its permit."""
BEATS = 4
"""Signs of life of the balancer within which one call more than there may be would have come."""


async def open_circuit(mesh: CircuitMesh, name: str, draws: random.Random) -> float:
    """
    Let the only instance fail until its circuit opens, and then hold what comes.

    Returns since when all orchestrators know (Unix seconds); by then one more step waits at each.
    """
    mesh.moods.set(ONLY, draws.choice(("fail:UNAVAILABLE", "fail:INTERNAL")))
    failing = [f"{name}-failing-{number}" for number in range(FAILURES)]
    await mesh.start_many("o-1", failing)
    await mesh.ended("o-1", failing)
    await mesh.until_circuit(ONLY, OPEN)
    mesh.moods.set(ONLY, "ok")  # for calls of those who have not heard yet
    await asyncio.gather(*(mesh.blocked(orchestrator) for orchestrator in mesh.orchestrators))
    mesh.moods.set(ONLY, "hold")
    return time.time()


async def start_waiting(mesh: CircuitMesh, name: str, draws: random.Random) -> dict[str, list[str]]:
    """
    200 steps at each orchestrator, in parts and in any order: some before the circuit is half open, some after.

    Of some it is not said whether they may be repeated; they come behind others of which it is.
    """
    ids = {orchestrator: [f"{name}-{orchestrator}-{n}" for n in range(WAITING)] for orchestrator in mesh.orchestrators}
    parts = []
    for orchestrator, own in ids.items():
        cut = draws.randrange(WAITING - UNSURE)
        parts += [(orchestrator, own[:cut]), (orchestrator, own[cut:])]
    draws.shuffle(parts)
    for orchestrator, part in parts:
        unsure = ids[orchestrator][-UNSURE:]
        await mesh.start_many(orchestrator, [one for one in part if one not in unsure])
        await mesh.start_many(orchestrator, [one for one in part if one in unsure], UNSAID)
    return ids


async def trial_calls(mesh: CircuitMesh, since: float, count: int, *, deadline: float = DEADLINE) -> list[Call]:
    """The calls since then, as soon as there are so many."""

    async def look() -> list[Call] | None:
        calls = mesh.moods.calls(since=since)
        return calls if len(calls) >= count else None

    return list(await eventually(look, deadline=deadline))


async def check_that_the_others_wait(mesh: CircuitMesh, ids: dict[str, list[str]], heard: float, permits: int) -> None:
    async with listening(mesh.balancer.address, PLUGIN_ID) as feed:
        await feed.until_beats(BEATS)
        waiting = [one for orchestrator, own in ids.items() for one in await mesh.described(orchestrator, own)]
        circuit = await mesh.circuit(ONLY)
        tried = {call.execution_id for call in mesh.moods.calls(since=heard)}

    assert len(tried) == permits
    assert tried.isdisjoint(one for own in ids.values() for one in own[-UNSURE:])
    assert (circuit.circuit.state, circuit.permits_out) == (HALF_OPEN, permits)
    steps = [execution.steps[0] for execution in waiting if execution.execution_id not in tried]
    assert {step.status for step in steps} == {execution_pb2.STEP_STATUS_BLOCKED}
    assert {step.blocked_reason for step in steps} == {"CIRCUIT_OPEN"}


async def check_that_all_end_after_one_call(mesh: CircuitMesh, ids: dict[str, list[str]], heard: float) -> None:
    ended = [one for orchestrator, own in ids.items() for one in await mesh.ended(orchestrator, own)]

    assert Counter(one.status for one in ended) == {execution_pb2.EXECUTION_STATUS_SUCCEEDED: ORCHESTRATORS * WAITING}
    assert {one.steps[0].attempts for one in ended} == {1}
    called = Counter(call.execution_id for call in mesh.moods.calls(since=heard))
    assert set(called.values()) == {1}
    assert called.keys() >= {one.execution_id for one in ended}


async def one_round(mesh: CircuitMesh, name: str, permits: int, draws: random.Random) -> None:
    heard = await open_circuit(mesh, name, draws)
    ids = await start_waiting(mesh, name, draws)
    await trial_calls(mesh, heard, permits)
    await check_that_the_others_wait(mesh, ids, heard, permits)
    mesh.moods.set(ONLY, "ok")
    await check_that_all_end_after_one_call(mesh, ids, heard)

    assert (await mesh.circuit(ONLY)).circuit.state == CLOSED


@pytest.mark.timeout(1800)
async def test_a_half_open_instance_sees_as_many_calls_as_there_are_permits_whoever_waits(tmp_path: Path) -> None:
    draws = seeded()
    async with running_circuit_mesh(tmp_path, orchestrators=ORCHESTRATORS) as mesh:
        for number in range(ROUNDS):
            permits = 1 + number % 2
            circuit = {"open_seconds": OPEN_SECONDS, "backoff": 1, "jitter": 0.1, "permits": permits}
            await mesh.set_policy(circuit={**circuit, "permit_lease_seconds": NO_LEASE_ENDS})
            await one_round(mesh, f"round-{number}", permits, draws)


async def test_the_permit_of_a_caller_that_is_killed_goes_to_another_within_its_lease(tmp_path: Path) -> None:
    draws = seeded()
    async with running_circuit_mesh(tmp_path, orchestrators=2) as mesh:
        await mesh.set_policy(circuit={"open_seconds": OPEN_SECONDS, "permit_lease_seconds": LEASE})
        heard = await open_circuit(mesh, "kill", draws)
        ids = await start_waiting(mesh, "kill", draws)
        (held,) = await trial_calls(mesh, heard, 1)
        holder = next(name for name in ids if f"{name}-" in held.execution_id)
        await mesh.orchestrators[holder].kill()
        killed = time.time()
        _, second = await trial_calls(mesh, heard, 2, deadline=LEASE * 2)
        mesh.moods.set(ONLY, "ok")
        await mesh.start_orchestrator(holder)
        ended = [one for name, own in ids.items() for one in await mesh.ended(name, own)]

    assert second.at - killed < LEASE
    assert f"{holder}-" not in second.execution_id
    assert {one.status for one in ended} == {execution_pb2.EXECUTION_STATUS_SUCCEEDED}
    called = Counter(call.execution_id for call in mesh.moods.calls(since=heard))
    assert {one for one, times in called.items() if times > 1} <= {held.execution_id}
    assert called.keys() >= {one.execution_id for one in ended}
