from datetime import UTC, datetime, timedelta

import pytest

from forgemesh.orchestrator.execution.state import Status, StepStatus
from forgemesh.orchestrator.store.sqlite.store import SqliteStore
from tests.component.orchestrator.hosts import ScriptedHosts
from tests.component.orchestrator.orchestrators import Orchestrator, orchestrator_over

HOUR = 3_600_000_000_000
MOMENT = "name: m\ninput: {at: string}\nsteps: [{id: w, wait: {until: '${input.at}'}}]"
WHILE = "name: d\nsteps: [{id: w, wait: {for: 40s}}]"


class Wall:
    """By how much the wall clock has been put."""

    def __init__(self) -> None:
        self.ahead = 0


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
async def orchestrator(store: SqliteStore, hosts: ScriptedHosts, wall: Wall) -> Orchestrator:
    made = orchestrator_over(store, hosts, lambda: wall.ahead)
    await made.offered.sweep.run()
    return made


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


@pytest.mark.parametrize("put", [2 * HOUR, -2 * HOUR])
async def test_a_wait_for_a_while_follows_no_wall_clock(orchestrator: Orchestrator, wall: Wall, put: int) -> None:
    await orchestrator.start(WHILE)
    running = orchestrator.offered.owners.local("default", "e")
    assert running is not None
    due = running.timer_at

    wall.ahead = put
    await orchestrator.offered.sweep.run()

    assert running.state.steps["w"].status is StepStatus.WAITING
    assert running.timer_at == due
    assert orchestrator.offered.sweep.saved == 0


async def test_a_wait_until_a_moment_ends_when_the_wall_clock_is_put_beyond_it(
    orchestrator: Orchestrator, wall: Wall
) -> None:
    await orchestrator.start(MOMENT, {"at": in_an_hour()})

    wall.ahead = 2 * HOUR
    await orchestrator.offered.sweep.run()

    assert (await orchestrator.ended()).status is Status.SUCCEEDED
    assert orchestrator.offered.sweep.saved == 0


async def test_a_wait_until_a_moment_is_longer_once_the_wall_clock_is_put_back(
    orchestrator: Orchestrator, wall: Wall
) -> None:
    await orchestrator.start(MOMENT, {"at": in_an_hour()})
    running = orchestrator.offered.owners.local("default", "e")
    assert running is not None
    due = running.timer_at

    wall.ahead = -HOUR
    await orchestrator.offered.sweep.run()
    orchestrator.engine.wake(running)

    assert running.timer_at == due + HOUR
    assert running.state.steps["w"].status is StepStatus.WAITING
    assert orchestrator.offered.sweep.saved == 0


async def test_a_wait_that_begins_after_the_wall_clock_was_put_back_waits_for_its_moment(
    orchestrator: Orchestrator, wall: Wall
) -> None:
    wall.ahead = -2 * HOUR
    await orchestrator.offered.sweep.run()

    state = await orchestrator.start(MOMENT, {"at": datetime.now(UTC).isoformat()})

    assert state.steps["w"].status is StepStatus.WAITING
