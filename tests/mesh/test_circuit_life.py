from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from forgemesh.api.balancer.v1 import event_pb2, snapshot_pb2
from forgemesh.api.traces.v1.span_pb2 import Span
from forgemesh.chassis.attributes import ERROR_TYPE, INSTANCE_ID, LINK_TYPE, STEP_ATTEMPT
from tests.mesh.circuit_mesh import CLOSED, HALF_OPEN, OPEN, CircuitMesh, running_circuit_mesh
from tests.mesh.moody import Call
from tests.mesh.processes import eventually
from tests.mesh.steady_load import Load, loaded

pytestmark = pytest.mark.mesh

RATE = 60
DOWN_SECONDS = float(os.environ.get("FORGEMESH_DOWN_SECONDS", "1"))
SICK, WELL = "moody-1", ("moody-2", "moody-3")
SLOW = 0.3
HANGOVER = 0.25
"""Seconds in which a caller may not have heard yet that a circuit has opened."""
AT_ONCE = {"open_seconds": 0.7, "backoff": 1.0, "jitter": 0.0}

Threshold = Callable[[Sequence[Call]], float]
"""When the calls of an instance have been bad enough, by what it wrote down itself."""


def after_failures(calls: Sequence[Call]) -> float:
    """So many of them failed one after the other."""
    return [call.at for call in calls if call.mood == "fail"][4]


def after_share(calls: Sequence[Call], *, window: int = 20, least: int = 10, share: float = 0.4) -> float:
    """Such a share of the newest failed."""
    for number in range(least, len(calls) + 1):
        newest = calls[max(0, number - window) : number]
        if sum(call.mood == "fail" for call in newest) >= share * len(newest):
            return newest[-1].at
    raise AssertionError("it never came to that")


def after_slow_share(calls: Sequence[Call]) -> float:
    """Such a share of the newest was slow; a call is known to be slow when it has ended."""
    moods = [Call(c.instance, c.at, c.execution_id, c.attempt, "fail" if "slow" in c.mood else "ok") for c in calls]
    return after_share(moods, share=0.5) + SLOW


ILLNESSES = {
    "every call fails": ("fail", {}, after_failures),
    "every second call fails": ("half", {"failure_rate": 0.4, "window_calls": 20}, after_share),
    "every call is slow": (
        f"slow:{SLOW}",
        {"slow_call_rate": 0.5, "slow_call_seconds": SLOW / 3, "window_calls": 20},
        after_slow_share,
    ),
}


async def fall_ill(mesh: CircuitMesh, load: Load, mood: str, rule: dict[str, Any], threshold: Threshold) -> None:
    """One illness of one instance, from its beginning to the closing of its circuit."""
    await mesh.set_policy(circuit={**AT_ONCE, **rule}, operations={"ping": {"hedge_after_seconds": 0}})
    before = len(await mesh.transitions(SICK))
    began = time.time()
    mesh.moods.set(SICK, mood)
    await mesh.until_circuit(SICK, OPEN)
    mesh.moods.set(SICK, "ok")
    await mesh.until_circuit(SICK, CLOSED)
    await load.until_answered(RATE // 3)

    turns = (await mesh.transitions(SICK))[before:]
    assert [state for _, state in turns] == [OPEN, HALF_OPEN, CLOSED]
    opened, tried, closed = (at for at, _ in turns)
    after = opened - threshold(mesh.moods.calls(SICK, since=began))
    print(f"{mood}: open {after:.2f} s after the threshold")
    assert mesh.moods.calls(SICK, since=opened + HANGOVER, until=tried) == []
    assert len(mesh.moods.calls(SICK, since=tried, until=closed)) == 1
    assert mesh.moods.calls(SICK, since=closed) != []


async def test_the_circuit_of_a_sick_instance_opens_at_once_and_closes_once_and_nobody_else_suffers(
    tmp_path: Path,
) -> None:
    async with running_circuit_mesh(tmp_path, orchestrators=2, instances=3, attempts=5) as mesh:
        async with loaded(mesh, RATE) as load:
            await load.until_answered(RATE)
            for mood, rule, threshold in ILLNESSES.values():
                await fall_ill(mesh, load, mood, rule, threshold)
        others = [turn for instance in WELL for turn in await mesh.transitions(instance)]

    assert len(load.answers) == load.started
    assert load.not_succeeded == []
    assert max(one.steps[0].attempts for one in load.answers) <= 2
    assert others == []


def health_turns(events: Sequence[event_pb2.BalancerEvent]) -> list[tuple[float, snapshot_pb2.Health.ValueType]]:
    """Every change of health: when (Unix seconds), and to what."""
    return [(event.at.ToNanoseconds() / 1e9, event.health.after) for event in events if event.HasField("health")]


async def closed_after_a_trial(mesh: CircuitMesh) -> bool:
    """Half-open lasts no longer than a call, so this asks what has been, not what is."""
    return [state for _, state in await mesh.transitions(SICK)][-2:] == [HALF_OPEN, CLOSED]


async def test_a_stopped_instance_is_not_picked_after_three_seconds_and_is_back_after_a_trial(tmp_path: Path) -> None:
    async with running_circuit_mesh(tmp_path, orchestrators=2, instances=3, attempts=5) as mesh:
        await mesh.set_policy(circuit=AT_ONCE)
        async with loaded(mesh, RATE) as load:
            await load.until_answered(RATE)
            os.kill(mesh.hosts[SICK].pid, signal.SIGSTOP)
            stopped = time.time()
            try:
                await eventually(lambda: out_since(mesh))
                await load.until_answered(2 * RATE)
            finally:
                os.kill(mesh.hosts[SICK].pid, signal.SIGCONT)
            continued = time.time()
            await eventually(lambda: closed_after_a_trial(mesh))
            await load.until_answered(RATE)
            await load.finish()
            picks = [pick for pick in await load.picks() if pick.instance == SICK]
        turns = await mesh.transitions(SICK)

    assert len(load.answers) == load.started
    assert load.not_succeeded == []
    assert [pick for pick in picks if stopped + 3 < pick.at < continued] == []
    assert [state for _, state in turns if state != OPEN] == [HALF_OPEN, CLOSED]  # the calls that it held may open it
    closed = turns[-1][0]
    assert [pick.trial for pick in picks if continued < pick.at < closed] == [True]
    assert [pick for pick in picks if pick.at > closed] != []


async def out_since(mesh: CircuitMesh) -> float:
    """When the instance was found to be unreachable, 0 if it has not been."""
    turns = health_turns(await mesh.events(SICK))
    return turns[-1][0] if turns[-1][1] == snapshot_pb2.HEALTH_UNREACHABLE else 0.0


async def test_steps_wait_out_the_absence_of_all_instances_and_do_not_trample_them_when_they_are_back(
    tmp_path: Path,
) -> None:
    """The instances take 120 calls a second together; three quarters of that are the load."""
    rate, mood = 90, "slow:0.05"
    async with running_circuit_mesh(tmp_path, orchestrators=2, instances=3, attempts=3, concurrency=2) as mesh:
        for instance in (SICK, *WELL):
            mesh.moods.set(instance, mood)
        async with loaded(mesh, rate) as load:
            await load.until_answered(rate)
            for host in mesh.hosts.values():
                await host.kill()
            for orchestrator in mesh.orchestrators:
                await mesh.blocked(orchestrator, "CIRCUIT_OPEN", "NONE_HEALTHY", "NOT_REGISTERED")
            known = time.time()
            await load.until_started(rate)
            await asyncio.sleep(DOWN_SECONDS)  # the length of it is what is tested
            back = time.time()
            async with asyncio.TaskGroup() as group:
                for instance in (SICK, *WELL):
                    group.create_task(mesh.start_host(instance, mood))
            await load.until_answered(rate // 2)
            await load.finish()
        calls = Counter(int(call.at) for call in mesh.moods.calls(since=back))

    waited = [one for one in load.answers if known < one.started_at.ToNanoseconds() / 1e9 < back]
    assert len(load.answers) == load.started
    assert load.not_succeeded == []
    assert {one.steps[0].attempts for one in waited} == {1}, "none that came when nobody was there was sent in vain"
    print(f"at most {max(calls.values())} calls in a second, of {rate} that came")
    assert max(calls.values()) <= 1.5 * rate


async def test_the_span_of_a_step_that_waits_leads_to_the_call_that_opened_the_circuit(tmp_path: Path) -> None:
    async with running_circuit_mesh(tmp_path, traced=True) as mesh:
        await mesh.set_policy(circuit=AT_ONCE)
        mesh.moods.set(SICK, "fail")
        failing = [f"failing-{number}" for number in range(5)]
        await mesh.start_many("o-1", failing)
        await mesh.until_circuit(SICK, OPEN)
        mesh.moods.set(SICK, "ok")
        waiting = await mesh.blocked("o-1")
        await mesh.ended("o-1", [waiting])
        found = await eventually(lambda: opened_by(mesh, waiting))
        cause = await eventually(lambda: span_of(mesh, failing, found))

    assert cause.attributes[STEP_ATTEMPT] == "1"
    assert cause.attributes[ERROR_TYPE] == "BROKEN"
    assert cause.attributes[INSTANCE_ID] == SICK


async def opened_by(mesh: CircuitMesh, execution_id: str) -> tuple[str, str] | None:
    """Trace and span of the call that a span of the execution names as the cause of its waiting."""
    links = [link for span in await mesh.spans(execution_id) for link in span.links]
    found = [link for link in links if link.attributes[LINK_TYPE] == "breaker_opened_by"]
    return (found[0].trace_id, found[0].span_id) if found else None


async def span_of(mesh: CircuitMesh, executions: Sequence[str], named: tuple[str, str]) -> Span | None:
    """The span of that trace and id, if it is one of these executions' and stored by now."""
    spans = [span for execution in executions for span in await mesh.spans(execution)]
    return next((span for span in spans if (span.trace_id, span.span_id) == named), None)
