"""Every answer that a request id can get is on record: the same request gets it again, another one is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from forgemesh.chassis.sqlite.database import Database
from forgemesh.faults import Fault
from forgemesh.faults.control import SignalIdReused
from forgemesh.faults.workflow import ExecutionExists, RequestIdReused
from forgemesh.orchestrator.execution import control, facts as e
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.ports.starts import IdReuse
from forgemesh.orchestrator.execution.state import ExecutionState, Status
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.hosts import PATIENCE, ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over, store_over

SOURCE = """
name: w
steps:
  - {id: a, call: {plugin: p, operation: o}}
  - {id: b, call: {plugin: p, operation: o}}
"""
GO = e.SignalReceived("go", Payload(b"1"))


def asking(**facts: Any) -> StartRequest:
    known: dict[str, Any] = {
        "namespace": "default",
        "workflow": "w",
        "execution_id": "e",
        "request_id": "r",
        "input": Payload(b"{}"),
    }
    return StartRequest(**(known | facts))


async def start(orchestrator: Orchestrator, **facts: Any) -> tuple[ExecutionState, bool]:
    return await orchestrator.offered.starts.start(asking(**facts))


async def signals(orchestrator: Orchestrator, execution_id: str = "e") -> list[Payload]:
    history = await orchestrator.history(execution_id)
    return [event.fact.payload for event in history if isinstance(event.fact, e.SignalReceived)]


@pytest.fixture(autouse=True)
async def registered(orchestrator: Orchestrator) -> None:
    await orchestrator.definitions.register("default", SOURCE)


async def test_a_signal_to_an_open_execution_comes_once_however_often_it_is_asked_for(
    orchestrator: Orchestrator,
) -> None:
    await start(orchestrator, request_id="first")
    for _ in range(3):
        state, created = await start(orchestrator, conflict="use_existing", signal=GO)
        assert (state.execution_id, created) == ("e", False)

    assert await signals(orchestrator) == [GO.payload]


async def test_at_once_too(orchestrator: Orchestrator) -> None:
    await start(orchestrator, request_id="first")

    await asyncio.gather(*(start(orchestrator, conflict="use_existing", signal=GO) for _ in range(5)))
    assert await signals(orchestrator) == [GO.payload]


async def test_a_caller_that_goes_away_leaves_its_answer(orchestrator: Orchestrator) -> None:
    await start(orchestrator, request_id="first")
    running = orchestrator.offered.owners.local("default", "e")
    assert running is not None
    first = asyncio.create_task(start(orchestrator, conflict="use_existing", signal=GO))
    while not running.state.signals:
        await asyncio.sleep(0)
    first.cancel()

    await start(orchestrator, conflict="use_existing", signal=GO)
    assert await signals(orchestrator) == [GO.payload]


async def test_the_answer_stays_the_execution_that_was_open_also_once_it_has_ended(orchestrator: Orchestrator) -> None:
    first, _ = await start(orchestrator, request_id="first")
    again = {"conflict": "use_existing", "signal": GO, "reuse": IdReuse.ALLOW_DUPLICATE}
    await start(orchestrator, **again)
    await orchestrator.offered.controls.terminate("default", "e", "", "")
    state, created = await start(orchestrator, **again)

    assert (state.run_id, state.status, created) == (first.run_id, Status.TERMINATED, False)
    await start(orchestrator, request_id="successor", reuse=IdReuse.ALLOW_DUPLICATE)
    state, _ = await start(orchestrator, **again)
    assert state.run_id == first.run_id


async def test_an_answer_survives_the_orchestrator(database: Database, orchestrator: Orchestrator) -> None:
    first, _ = await start(orchestrator, request_id="first")
    await start(orchestrator, conflict="use_existing", signal=GO)
    second = orchestrator_over(await store_over(database), ScriptedHosts())
    await second.recovery.run()

    state, created = await start(second, conflict="use_existing", signal=GO)
    assert (state.run_id, created) == (first.run_id, False)
    assert await signals(second) == [GO.payload]


OTHERWISE: dict[str, dict[str, Any]] = {
    "workflow": {"workflow": "v"},
    "version": {"version": "9.9.9"},
    "id": {"execution_id": "f"},
    "no id": {"execution_id": ""},
    "input": {"input": Payload(b"[]")},
    "media type": {"input": Payload(b"{}", "text/plain")},
    "metadata": {"input": Payload(b"{}", metadata={"a": "b"})},
    "priority": {"priority": 1},
    "paused": {"paused": True},
    "reuse": {"reuse": IdReuse.ALLOW_DUPLICATE},
    "conflict": {"conflict": "terminate_existing"},
    "signal": {"signal": GO},
    "signal's payload": {"signal": e.SignalReceived("go", Payload(b"2"))},
}


@pytest.mark.parametrize("other", OTHERWISE.values(), ids=OTHERWISE)
@pytest.mark.parametrize("conflict", ["fail", "use_existing"])
async def test_a_request_id_with_another_content_is_refused(
    orchestrator: Orchestrator, other: dict[str, Any], conflict: str
) -> None:
    await start(orchestrator, request_id="first")
    base = {"conflict": conflict, "execution_id": "e" if conflict == "use_existing" else "g"}
    await start(orchestrator, **base)

    with pytest.raises(RequestIdReused):
        await start(orchestrator, **(base | other))


@pytest.mark.parametrize(
    "signal",
    [
        e.SignalReceived("stop", Payload(b"1")),
        e.SignalReceived("go", Payload(b"2")),
        e.SignalReceived("go", Payload(b"1"), "s"),
        e.SignalReceived("go", Payload(b"1", "text/plain")),
        None,
    ],
)
async def test_a_request_id_with_another_signal_is_refused(
    orchestrator: Orchestrator, signal: e.SignalReceived | None
) -> None:
    await start(orchestrator, signal=GO)

    with pytest.raises(RequestIdReused):
        await start(orchestrator, signal=signal)
    assert await signals(orchestrator) == [GO.payload]


async def test_what_a_call_is_like_is_no_content(orchestrator: Orchestrator) -> None:
    first, _ = await start(orchestrator)

    again, created = await start(orchestrator, wait=0.001, linked_span=f"{'a' * 32}-{'b' * 16}")
    assert (again.run_id, created) == (first.run_id, False)


async def test_texts_that_run_into_one_another_are_other_contents() -> None:
    one = asking(workflow="a", version="b\0c", execution_id="d")
    other = asking(workflow="a\0b", version="c", execution_id="d")

    assert one.content() != other.content()
    assert one.earlier_content() == other.earlier_content()


async def fork(orchestrator: Orchestrator, **facts: Any) -> tuple[ExecutionState, bool]:
    known: dict[str, Any] = {
        "origin_id": "e",
        "checkpoint_id": "",
        "patch": None,
        "rerun": (),
        "keep_signals": False,
        "execution_id": "",
        "version": "",
    }
    known |= facts
    request = asking(workflow="", execution_id=known.pop("execution_id"), version=known.pop("version"))
    return await orchestrator.offered.controls.fork(request, **known)


FORKS: dict[str, dict[str, Any]] = {
    "origin": {"origin_id": "other"},
    "id": {"execution_id": "f"},
    "rerun": {"rerun": ["a"]},
    "patch": {"patch": Payload(b'{"a":1}')},
    "signals": {"keep_signals": True},
    "version": {"version": "9.9.9"},
    "checkpoint": {"checkpoint_id": "4-00000000"},
    "run": {"run_id": "01jzzzzzzzzzzzzzzzzzzzzzzz"},
}


@pytest.mark.parametrize("other", FORKS.values(), ids=FORKS)
async def test_a_fork_with_another_content_is_refused(orchestrator: Orchestrator, other: dict[str, Any]) -> None:
    for name in ("e", "other"):
        await start(orchestrator, execution_id=name, request_id=f"start-{name}")
        await orchestrator.hosts.answer("a")
    first, created = await fork(orchestrator)
    again, twice = await fork(orchestrator)

    assert (first.run_id, created, twice) == (again.run_id, True, False)
    with pytest.raises(RequestIdReused):
        await fork(orchestrator, **other)


async def test_a_fork_is_answered_again_once_its_origin_is_gone(orchestrator: Orchestrator) -> None:
    await start(orchestrator, request_id="first")
    await orchestrator.hosts.answer("a")
    first, _ = await fork(orchestrator)
    await orchestrator.offered.controls.terminate("default", "e", "", "")
    await orchestrator.offered.controls.delete("default", "e")

    again, created = await fork(orchestrator)
    assert (again.run_id, created) == (first.run_id, False)


async def test_a_request_id_is_of_one_command(orchestrator: Orchestrator) -> None:
    await start(orchestrator)
    await orchestrator.hosts.answer("a")

    with pytest.raises(RequestIdReused):
        await fork(orchestrator)


async def test_a_request_id_is_of_one_namespace(orchestrator: Orchestrator) -> None:
    await orchestrator.definitions.register("elsewhere", SOURCE)
    first, _ = await start(orchestrator)

    other, created = await start(orchestrator, namespace="elsewhere", priority=7)
    assert created
    assert other.run_id != first.run_id


async def test_a_refusal_is_not_recorded(orchestrator: Orchestrator) -> None:
    await start(orchestrator, request_id="first")
    with pytest.raises(ExecutionExists):
        await start(orchestrator)

    _, created = await start(orchestrator, execution_id="f")
    assert created


async def test_what_was_answered_is_forgotten_with_its_execution(orchestrator: Orchestrator) -> None:
    first, _ = await start(orchestrator, request_id="first")
    await start(orchestrator, conflict="use_existing")
    await orchestrator.offered.controls.terminate("default", "e", "", "")
    await orchestrator.offered.controls.delete("default", "e")

    again, created = await start(orchestrator, conflict="use_existing")
    assert created
    assert again.run_id != first.run_id


async def test_what_an_older_release_answered_is_answered_again(database: Database, orchestrator: Orchestrator) -> None:
    first, _ = await start(orchestrator)
    kept = asking().earlier_content()
    await database.write(
        lambda connection: connection.execute("UPDATE execution SET request_hash = ?, checksum = 0", (kept,))
    )

    again, created = await start(orchestrator)
    assert (again.run_id, created) == (first.run_id, False)
    with pytest.raises(RequestIdReused):
        await start(orchestrator, input=Payload(b"[]"))


async def test_a_fork_that_an_older_release_made_is_answered_again(
    database: Database, orchestrator: Orchestrator
) -> None:
    await start(orchestrator, request_id="first")
    await orchestrator.hosts.answer("a")
    first, _ = await fork(orchestrator)
    kept = asking(execution_id="", version=first.definition.version).earlier_content()
    sql = "UPDATE execution SET request_hash = ?, checksum = 0 WHERE request_id = 'r'"
    await database.write(lambda connection: connection.execute(sql, (kept,)))

    again, created = await fork(orchestrator)
    assert (again.run_id, created) == (first.run_id, False)


async def test_what_was_ended_to_make_room_makes_room_once_more(orchestrator: Orchestrator) -> None:
    """The orchestrator died between the end of the one and the start of the other."""
    await start(orchestrator, request_id="first")
    running = orchestrator.offered.owners.local("default", "e")
    assert running is not None
    await orchestrator.engine.command(
        running, lambda state: control.terminate(state, "", "another one was started under its id")
    )

    _, created = await start(orchestrator, conflict="terminate_existing")
    assert created


async def test_what_was_ended_otherwise_keeps_its_id(orchestrator: Orchestrator) -> None:
    await start(orchestrator, request_id="first")
    await orchestrator.offered.controls.terminate("default", "e", "", "it is wrong")

    with pytest.raises(ExecutionExists):
        await start(orchestrator, conflict="terminate_existing")


async def test_of_many_equal_requests_at_once_one_starts(orchestrator: Orchestrator) -> None:
    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(*(start(orchestrator, execution_id="") for _ in range(20)))

    assert len({state.run_id for state, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1


async def test_a_signal_id_with_another_content_is_refused(orchestrator: Orchestrator) -> None:
    await start(orchestrator)
    named = e.SignalReceived("go", Payload(b"1"), "s-1")
    send = orchestrator.offered.controls.signal
    await send("default", "e", named)

    for other in (Payload(b"2"), Payload(b"1", "text/plain"), Payload(b"1", metadata={"a": "b"})):
        with pytest.raises(SignalIdReused):
            await send("default", "e", e.SignalReceived("go", other, "s-1"))
    with pytest.raises(SignalIdReused):
        await send("default", "e", e.SignalReceived("stop", Payload(b"1"), "s-1"))
    assert await send("default", "e", e.SignalReceived("go", Payload(b"1"), "s-1", by="somebody else")) == (
        *(False, 3),
        (await orchestrator.executions.row("default", "e")).run_id,
    )


async def test_a_signal_that_came_is_known_after_the_end(orchestrator: Orchestrator) -> None:
    await start(orchestrator)
    named = e.SignalReceived("go", Payload(b"1"), "s-1")
    await orchestrator.offered.controls.signal("default", "e", named)
    await orchestrator.offered.controls.terminate("default", "e", "", "")

    received, _, _ = await orchestrator.offered.controls.signal("default", "e", named)
    assert not received
    with pytest.raises(Fault):
        await orchestrator.offered.controls.signal("default", "e", e.SignalReceived("go", Payload(b"1"), "s-2"))
