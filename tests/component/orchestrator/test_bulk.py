"""Many starts with one call."""

import asyncio

from forgemesh.orchestrator.execution.commands.bulk import StartOutcome
from forgemesh.orchestrator.execution.commands.starts import StartRequest
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.orchestrator.values.payload import Payload
from tests.component.orchestrator.hosts import PATIENCE
from tests.component.orchestrator.orchestrators import Orchestrator

WAITING = "name: waiting\nversion: 1.0.0\nsteps: [{id: a, wait: {signal: go}}]\n"


def start(execution_id: str, wait: float = 0.0) -> StartRequest:
    return StartRequest(
        namespace="default", workflow="waiting", execution_id=execution_id, input=Payload(b"{}"), wait=wait
    )


async def test_what_became_of_each_is_told_while_it_is_so_and_others_are_waited_for(
    orchestrator: Orchestrator,
) -> None:
    await orchestrator.definitions.register("default", WAITING)
    told: dict[int, tuple[Status, int] | str] = {}
    all_but_one = asyncio.Event()

    def tell(number: int, outcome: StartOutcome) -> None:
        state = outcome if isinstance(outcome, Failure) else outcome[0]
        told[number] = state.reason if isinstance(state, Failure) else (state.status, state.sequence)
        if len(told) == 2:
            all_but_one.set()

    asked = [lambda: start("patient", 600.0), lambda: start("quick"), lambda: start("not an id")]
    starting = asyncio.create_task(orchestrator.offered.bulk.start(asked, tell))
    async with asyncio.timeout(PATIENCE):
        await all_but_one.wait()
        durable = len(await orchestrator.history("quick"))
    before = dict(told)
    await orchestrator.until(lambda state: bool(state.waits), "patient")
    await orchestrator.offered.controls.terminate("default", "patient", "me", "")
    await starting

    assert set(before) == {1, 2}
    assert before[2] == "INVALID_REQUEST"
    assert isinstance(before[1], tuple)
    assert before[1][1] <= durable
    assert told[0] == (Status.TERMINATED, 3)
