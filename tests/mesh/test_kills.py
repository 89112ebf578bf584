"""kill -9 where it hurts: the orchestrator inside a parallel group, an instance in the middle of a call."""

from __future__ import annotations

import asyncio
import os
import random
import time

import grpc
import pytest

from forgemesh.api.orchestrator.v1 import execution_pb2, orchestrator_service_pb2 as pb
from forgemesh.api.supervisor.v1 import host_pb2
from forgemesh.cli.trace_tree import summary
from forgemesh.client import Client
from tests.mesh.processes import alive, eventually, kill
from tests.mesh.test_one_trace import attempt_spans, whole_trace
from tests.mesh.weather_mesh import DEADLINE, WeatherMesh

pytestmark = pytest.mark.mesh

BRANCHES = {f"analyse/{name}/{name}" for name in ("temperature", "precipitation", "wind")}
PAUSE = 1.0
KILLS = 5
RETRIED_WITHIN = 200_000_000


async def start(mesh: WeatherMesh, execution_id: str) -> None:
    """Start the example and wait until all three branches have been called."""
    async with Client.connect(mesh.orchestrator) as client:
        await client.register((mesh.example / "workflow.yaml").read_text())
        await client.start("weather-report", mesh.input(), execution_id=execution_id)

    async def called() -> bool:
        started = {entry.step_path for entry in mesh.ledger(execution_id) if entry.event == "start"}
        return started >= BRANCHES

    await eventually(called)


async def end_of(mesh: WeatherMesh, execution_id: str) -> execution_pb2.Execution:
    """The execution once it has ended, whatever happens to the orchestrator meanwhile."""

    async def ended() -> execution_pb2.Execution | None:
        async with mesh.stub() as stub:
            try:
                answer = await stub.GetExecution(pb.GetExecutionRequest(execution_id=execution_id), timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return None
                raise
        running = answer.execution.status == execution_pb2.EXECUTION_STATUS_RUNNING
        return None if running else answer.execution

    found = await eventually(ended, deadline=180)
    assert isinstance(found, execution_pb2.Execution)
    return found


async def test_an_execution_survives_every_kill_of_the_orchestrator(slow_weather_mesh: WeatherMesh) -> None:
    mesh = slow_weather_mesh
    seed = int(os.environ.get("FORGEMESH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FORGEMESH_SEED={seed}")
    moments = random.Random(seed)
    for number in range(KILLS):
        execution_id = f"killed-{number}"
        await start(mesh, execution_id)
        await asyncio.sleep(moments.uniform(0, PAUSE))  # the moment is what is tested
        finished = {entry.step_path for entry in mesh.ledger(execution_id) if entry.event == "end"}
        victim = mesh.pid("orchestrator")
        kill(victim)
        ended = await end_of(mesh, execution_id)

        assert ended.status == execution_pb2.EXECUTION_STATUS_SUCCEEDED, ended.failure
        await assert_nothing_was_repeated_needlessly(mesh, execution_id, ended, finished)


async def assert_nothing_was_repeated_needlessly(
    mesh: WeatherMesh, execution_id: str, ended: execution_pb2.Execution, finished: set[str]
) -> None:
    attempts = {step.step_path: step.attempts for step in ended.steps if step.kind == "call"}
    calls = [entry for entry in mesh.ledger(execution_id) if entry.event == "start"]
    for path, recorded in attempts.items():
        assert len([entry for entry in calls if entry.step_path == path]) <= recorded, path
    for path in finished - BRANCHES:
        assert attempts[path] == 1, f"{path} had ended and was called again"
    spans = await whole_trace(mesh, execution_id, sum(attempts.values()))
    facts = summary(spans)
    assert len(facts.trace_ids) == 1
    assert facts.orphans == ()
    assert len(attempt_spans(spans)) == sum(attempts.values())


async def test_finished_branches_are_not_called_again(slow_weather_mesh: WeatherMesh) -> None:
    mesh = slow_weather_mesh
    await start(mesh, "two-done")

    async def done() -> set[str]:
        async with mesh.stub() as stub:
            answer = await stub.GetExecution(pb.GetExecutionRequest(execution_id="two-done"), timeout=DEADLINE)
        ended = execution_pb2.STEP_STATUS_SUCCEEDED
        return {step.step_path for step in answer.execution.steps if step.status == ended} & BRANCHES

    durable = await eventually(done)
    kill(mesh.pid("orchestrator"))
    ended = await end_of(mesh, "two-done")

    assert ended.status == execution_pb2.EXECUTION_STATUS_SUCCEEDED
    starts = [entry.step_path for entry in mesh.ledger("two-done") if entry.event == "start"]
    assert all(starts.count(path) == 1 for path in durable)


async def test_a_call_on_a_killed_instance_goes_on_at_its_sibling_at_once(slow_weather_mesh: WeatherMesh) -> None:
    mesh = slow_weather_mesh
    await start(mesh, "host-lost")
    before = mesh.ledger("host-lost")
    victim = next(entry.pid for entry in before if entry.step_path in BRANCHES)
    lost = {entry.step_path for entry in before if entry.pid == victim and entry.step_path in BRANCHES}
    instance = next(name for name, host in (await mesh.hosts()).items() if host.pid == victim)
    kill(victim)
    killed_at = await eventually(lambda: gone_at(victim))
    ended = await end_of(mesh, "host-lost")

    assert ended.status == execution_pb2.EXECUTION_STATUS_SUCCEEDED
    again = [e for e in mesh.ledger("host-lost") if e.event == "start" and e.step_path in lost and e.attempt == 2]
    assert {entry.step_path for entry in again} == lost
    assert all(entry.pid != victim for entry in again)
    assert max(entry.at for entry in again) - killed_at < RETRIED_WITHIN
    host = await eventually(lambda: restarted(mesh, instance, victim))
    assert host.restarts == 1


async def gone_at(pid: int) -> int:
    """When the process was seen to be gone (Unix nanoseconds), 0 while it runs."""
    return 0 if alive(pid) else time.time_ns()


async def restarted(mesh: WeatherMesh, instance: str, old: int) -> object:
    host = (await mesh.hosts())[instance]
    return host if host.state == host_pb2.HOST_STATE_READY and host.pid != old else None
