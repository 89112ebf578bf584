"""What a command is answered: as memory has it, durable, and without reading the history again."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.orchestrator.dispatch.ports import Answer
from forgemesh.orchestrator.execution import facts as e
from forgemesh.orchestrator.execution.effects import TakeBackCalls
from forgemesh.orchestrator.execution.engine.executor import Executor
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from forgemesh.orchestrator.values.payload import json_payload
from tests.component.orchestrator.hosts import Call, ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

ONE = "name: one\nsteps: [{id: a, call: {plugin: p, operation: o}}, {id: w, wait: {signal: go}}]"
WAITS = "name: waits\nsteps: [{id: w, wait: {signal: go}}]"
MANY = """
name: many
steps: [{id: m, map: {over: "${input}", max_concurrency: 2, steps: [{id: a, call: {plugin: p, operation: o}}]}}]
"""


class Prompt(ScriptedHosts):
    """Answers each call as soon as it has come."""

    def came(self, call: Call) -> None:
        asyncio.get_running_loop().call_soon(call.done, Answer(json_payload(None), None))


@pytest.fixture
def readings(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The executions whose histories were read, by their keys in the store."""
    read: list[int] = []
    real = orchestrator.store.events

    async def events(key: int, *rest: Any) -> list[e.Event]:
        read.append(key)
        return await real(key, *rest)

    monkeypatch.setattr(orchestrator.store, "events", events)
    return read


COMMANDS: dict[str, tuple[Callable[[Orchestrator], Awaitable[ExecutionState]], Status]] = {
    "pause": (lambda o: o.offered.controls.pause("default", "e", e.PauseRequested(by="me")), Status.PAUSING),
    "resume": (lambda o: o.offered.controls.resume("default", "e", "", "me"), Status.RUNNING),
    "cancel": (lambda o: o.offered.controls.cancel("default", "e", "me", "enough"), Status.CANCELLING),
    "terminate": (lambda o: o.offered.controls.terminate("default", "e", "me", "now"), Status.TERMINATED),
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_the_answer_of_a_command_reads_no_history(
    orchestrator: Orchestrator, hosts: ScriptedHosts, readings: list[int], command: str
) -> None:
    ask, status = COMMANDS[command]
    await orchestrator.start(ONE)
    await hosts.call("a")

    answer = await ask(orchestrator)
    shown = (answer.status, answer.sequence)

    assert readings == []
    assert shown[0] is status
    stored = await orchestrator.executions.get("default", "e")
    assert (stored.status, stored.sequence) == shown


async def test_the_answer_of_a_start_that_waits_reads_no_history(
    orchestrator: Orchestrator, readings: list[int]
) -> None:
    state = await orchestrator.start(WAITS, wait=0.001)

    assert readings == []
    assert state.status is Status.RUNNING


async def test_a_start_that_finds_its_execution_there_reads_no_history(
    orchestrator: Orchestrator, readings: list[int]
) -> None:
    await orchestrator.start(WAITS)

    found = await orchestrator.start(WAITS, conflict="use_existing")

    assert readings == []
    assert found.status is Status.RUNNING


async def test_an_answer_shows_nothing_that_is_not_durable(database: Database, tmp_path: Path) -> None:
    hosts = Prompt()
    hosts.show("p", endpoint("i-1"))
    orchestrator = orchestrator_over(await store_over(database), hosts)
    await orchestrator.start(MANY, list(range(600)))
    with contextlib.closing(sqlite3.connect(tmp_path / "orchestrator.db")) as disk:
        for command in ("pause", "resume") * 3:
            answer = await COMMANDS[command][0](orchestrator)

            durable = disk.execute("SELECT max(sequence) FROM event").fetchone()[0]
            assert answer.sequence <= durable


async def test_what_memory_knew_of_an_execution_that_a_bug_has_interrupted_is_no_answer(
    orchestrator: Orchestrator, hosts: ScriptedHosts, readings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Executor.perform

    def perform(self: Executor, running: Any, effect: Any) -> None:
        if isinstance(effect, TakeBackCalls):
            raise RuntimeError("a bug of ours")
        real(self, running, effect)

    monkeypatch.setattr(Executor, "perform", perform)
    await orchestrator.start(ONE)
    await hosts.call("a")
    before = orchestrator.offered.owners.local("default", "e")

    answer = await orchestrator.offered.controls.cancel("default", "e", "me", "enough")

    assert before is not None
    assert answer is not before.state
    assert answer.status is Status.CANCELLING
    assert readings != []
