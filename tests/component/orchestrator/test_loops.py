"""Loops in an orchestrator with its store: over restarts, as files, and as others are told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.orchestrator.api.executions import execution_to_message
from forgemesh.orchestrator.api.replay import main
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.state import Status, StepStatus
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

POLL = """
name: poll
steps:
  - id: poll
    loop:
      until: steps.ask.output
      max_iterations: 5
      delay: {delay}
      steps:
        - {{id: ask, call: {{plugin: p, operation: o}}, input: "${{index}}"}}
output: "${{steps.poll.output}}"
"""
QUICK, SLOW = POLL.format(delay="1ms"), POLL.format(delay="1h")


def verdicts(events: list[e.Event]) -> list[tuple[int, bool]]:
    return [(event.fact.index, event.fact.done) for event in events if isinstance(event.fact, e.RoundJudged)]


async def ended_loop(orchestrator: Orchestrator, hosts: ScriptedHosts) -> None:
    hosts.show("p", endpoint("p-1"))
    await orchestrator.start(QUICK)
    for number, ready in enumerate((False, False, True)):
        await hosts.answer(f"poll/{number}/ask", ready)
    assert (await orchestrator.ended()).status is Status.SUCCEEDED


async def test_rounds_follow_one_another_until_the_condition_is_true(
    orchestrator: Orchestrator, hosts: ScriptedHosts
) -> None:
    await ended_loop(orchestrator, hosts)

    assert verdicts(await orchestrator.history()) == [(0, False), (1, False), (2, True)]


async def test_another_orchestrator_keeps_the_verdict_and_the_time_of_the_next_round(
    database: Database, orchestrator: Orchestrator, hosts: ScriptedHosts
) -> None:
    hosts.show("p", endpoint("p-1"))
    await orchestrator.start(SLOW)
    await hosts.answer("poll/0/ask", False)
    before = await orchestrator.until(lambda state: state.steps["poll"].status is StepStatus.WAITING)
    successor = orchestrator_over(await store_over(database), ScriptedHosts())

    await successor.recovery.run()

    running = successor.offered.owners.local("default", "e")
    assert running is not None
    assert running.state.steps["poll"].next_at == before.steps["poll"].next_at
    assert verdicts(await successor.history()) == [(0, False)]
    assert successor.hosts.calls == []


async def test_an_exported_loop_is_replayed_and_imported(
    orchestrator: Orchestrator, hosts: ScriptedHosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await ended_loop(orchestrator, hosts)
    path = tmp_path / "e.execution"
    path.write_bytes(b"".join([piece async for piece in orchestrator.offered.archives.export("default", "e")]))

    assert main([str(path)]) == 0
    said = capsys.readouterr().out
    assert "poll: loop started" in said
    assert "poll: round 2 judged: it is the last" in said
    imported = await orchestrator.offered.archives.take_over("default", "again", path.read_bytes())
    assert imported.status is Status.SUCCEEDED
    assert verdicts(await orchestrator.history("again")) == [(0, False), (1, False), (2, True)]


async def test_a_loop_between_rounds_goes_on_where_it_is_imported(
    orchestrator: Orchestrator, hosts: ScriptedHosts
) -> None:
    hosts.show("p", endpoint("p-1"))
    await orchestrator.start(SLOW)
    await hosts.answer("poll/0/ask", False)
    before = await orchestrator.until(lambda state: state.steps["poll"].status is StepStatus.WAITING)
    data = b"".join([piece async for piece in orchestrator.offered.archives.export("default", "e")])

    await orchestrator.offered.archives.take_over("default", "again", data)

    running = orchestrator.offered.owners.local("default", "again")
    assert running is not None
    assert running.state.steps["poll"].next_at == before.steps["poll"].next_at


async def test_callers_are_told_how_many_rounds_there_were_and_when_the_next_one_is(
    orchestrator: Orchestrator, hosts: ScriptedHosts
) -> None:
    hosts.show("p", endpoint("p-1"))
    await orchestrator.start(SLOW)
    await hosts.answer("poll/0/ask", False)
    state = await orchestrator.until(lambda state: state.steps["poll"].status is StepStatus.WAITING)

    (step,) = execution_to_message(state).steps

    assert (step.kind, step.branches, step.branches_succeeded) == ("loop", 1, 1)
    assert step.next_attempt_at.ToNanoseconds() == state.steps["poll"].next_at
