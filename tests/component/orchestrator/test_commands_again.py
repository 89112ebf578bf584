"""Commands that come again, in the same words and in others."""

import asyncio

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults.control import ExecutionState
from forgemesh.orchestrator.execution import facts as e
from tests.component.orchestrator.hosts import ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over
from tests.component.orchestrator.stores import HeldStore
from tests.component.orchestrator.test_controls import CALL, TWO, obedient, pause


async def test_what_was_asked_is_answered_again_behind_the_end_and_other_words_are_refused(
    orchestrator: Orchestrator,
) -> None:
    obedient(orchestrator.hosts)
    controls = orchestrator.offered.controls
    await orchestrator.start(TWO, {"n": 1})
    await orchestrator.hosts.call("a")
    await controls.cancel("default", "e", "me", "wrong order")
    await orchestrator.hosts.answer("a:compensate")
    before = await orchestrator.ended()

    again = await controls.cancel("default", "e", "me", "wrong order")

    assert (again.status, again.sequence) == (before.status, before.sequence)
    for by, reason in (("you", "wrong order"), ("me", "")):
        with pytest.raises(ExecutionState, match="cannot be cancelled"):
            await controls.cancel("default", "e", by, reason)


async def test_a_pause_in_other_words_is_on_record(orchestrator: Orchestrator) -> None:
    await orchestrator.start(TWO, {"n": 1})
    await orchestrator.hosts.call("a")

    for facts in ({"by": "me"}, {"by": "me"}, {"by": "you", "reason": "audit"}, {"hold_clock": True}):
        await pause(orchestrator, **facts)

    asked = [event.fact for event in await orchestrator.history() if isinstance(event.fact, e.PauseRequested)]
    assert asked == [
        e.PauseRequested("me"),
        e.PauseRequested("you", "audit"),
        e.PauseRequested(hold_clock=True),
    ]
    held = (await orchestrator.executions.get("default", "e")).pause
    assert held == e.PauseRequested("you", "audit", hold_clock=True)


async def test_a_refusal_comes_once_that_for_which_it_refuses_is_durable(
    database: Database, hosts: ScriptedHosts
) -> None:
    store = HeldStore(await store_over(database))
    store.release()
    orchestrator = orchestrator_over(store, hosts)
    await orchestrator.start(f"name: one\nsteps: [{{id: a, {CALL}}}]")
    call = await hosts.call("a")
    store.hold()
    call.succeed()
    await store.written.wait()
    refused = asyncio.create_task(orchestrator.offered.controls.cancel("default", "e", "me", ""))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not refused.done()

    store.release()

    with pytest.raises(ExecutionState, match="SUCCEEDED"):
        await refused
