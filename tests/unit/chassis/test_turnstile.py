"""A crowd waits in a line of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, strategies as st

from forgemesh.chassis.turnstile import CROWD, NEWCOMERS, PAUSE, ROUNDS, Turnstile


class Passing:
    """A turnstile, and who has passed it in which order; each passage is over when the test says so."""

    def __init__(self, width: int) -> None:
        self.turnstile = Turnstile(width)
        self.passed: list[str] = []
        self.inside: list[asyncio.Event] = []
        self.most = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *callers: str) -> None:
        for caller in callers:
            self.tasks.append(asyncio.create_task(self._pass(caller)))
        await settled()

    async def go(self, number: int = 1) -> None:
        for _ in range(number):
            self.inside.pop(0).set()
            await settled()

    async def empty(self) -> None:
        while self.inside:
            await self.go()

    async def all_through(self, number: int) -> None:
        async with asyncio.timeout(60):
            while len(self.passed) < number:
                await self.empty()
                await asyncio.sleep(0)
        await self.empty()

    async def _pass(self, caller: str) -> None:
        async with self.turnstile.passing(caller):
            over = asyncio.Event()
            self.inside.append(over)
            self.most = max(self.most, len(self.inside))
            self.passed.append(caller)
            await over.wait()


async def settled() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


@pytest.fixture
async def passing() -> AsyncIterator[Passing]:
    one = Passing(1)
    yield one
    for task in one.tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_where_there_is_room_nobody_waits() -> None:
    wide = Passing(3)

    await wide.come("a", "a", "b")

    assert wide.passed == ["a", "a", "b"]
    await wide.empty()


async def test_one_call_now_and_then_waits_for_what_is_under_way_and_not_for_a_crowd(passing: Passing) -> None:
    await passing.come(*["crowd"] * 100)
    await passing.go(10)

    await passing.come("other")
    await passing.go()

    assert passing.passed[-1] == "other"


async def test_one_call_now_and_then_is_next_however_many_connections_a_crowd_has(passing: Passing) -> None:
    crowd = [f"crowd-{number}" for number in range(50)]
    await passing.come(*crowd * 10)
    await passing.go(120)

    for _ in range(5):
        await passing.come("other")
        await passing.go()
        assert passing.passed[-1] == "other"
        await passing.go(2)


async def test_callers_who_all_have_much_to_do_take_turns(passing: Passing) -> None:
    await passing.come("x", *["a"] * 10, *["b"] * 10)
    await passing.go(20)

    assert max(abs(passing.passed[:n].count("a") - passing.passed[:n].count("b")) for n in range(20)) <= 2


async def test_the_calls_of_one_caller_keep_their_order(passing: Passing) -> None:
    done: list[int] = []

    async def one(number: int) -> None:
        async with passing.turnstile.passing("a"):
            done.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(20)))

    assert done == list(range(20))


async def test_endless_newcomers_do_not_starve_who_has_had_a_turn(passing: Passing) -> None:
    await passing.come("x", "patient", "patient", "patient")
    await passing.go()
    for number in range(12):
        await passing.come(f"new-{number}", f"newer-{number}")
        await passing.go()

    assert passing.passed[: 2 + 2 * (NEWCOMERS + 1)].count("patient") == 3


async def test_while_a_crowd_arrives_only_newcomers_are_let_through_and_everybody_once_it_has_come() -> None:
    passing = Passing(1)
    passing.turnstile = Turnstile(1, hold=1000.0)
    await passing.come("x", *["crowd"] * 2 * CROWD)
    await passing.go()
    await passing.come("newcomer")
    await passing.empty()
    meanwhile = list(passing.passed)

    await passing.all_through(2 + 2 * CROWD)

    assert meanwhile == ["x", "crowd", "newcomer"]


async def test_while_a_crowd_arrives_who_comes_with_one_call_after_the_other_is_a_newcomer_once() -> None:
    passing = Passing(1)
    passing.turnstile = Turnstile(1, hold=1000.0)
    await passing.come("x", *["crowd"] * 2 * CROWD)
    await passing.go()
    for _ in range(4):
        await passing.come("one", "another")
        await passing.go(len(passing.inside))
    meanwhile = list(passing.passed)

    await passing.all_through(9 + 2 * CROWD)

    assert meanwhile == ["x", "crowd", "one", "another"]


async def test_after_a_crowd_has_come_everybody_is_a_newcomer_again() -> None:
    passing = Passing(1)
    passing.turnstile = Turnstile(1, hold=1000.0)
    await passing.come("x", *["crowd"] * 2 * CROWD)
    await passing.go()
    await passing.come("one")
    while len(passing.passed) < 4 + CROWD:
        await passing.empty()
        await asyncio.sleep(0)

    await passing.come("one")
    await passing.go()

    assert passing.passed[-1] == "one"
    await passing.all_through(3 + 2 * CROWD)


async def test_a_loop_that_got_no_processor_does_not_take_its_own_stall_for_the_end_of_a_crowd() -> None:
    passing = Passing(1)
    passing.turnstile = Turnstile(1, hold=1000.0)
    await passing.come("x", *["crowd"] * 2 * CROWD)
    await passing.go()
    for _ in range(5):
        time.sleep(2 * PAUSE)
        for _ in range(ROUNDS // 4):
            await asyncio.sleep(0)
        await passing.come("crowd")
        await passing.empty()
    meanwhile = list(passing.passed)

    await passing.all_through(6 + 2 * CROWD)

    assert meanwhile == ["x", "crowd"]


async def test_few_who_arrive_are_let_through_at_once() -> None:
    passing = Passing(1)
    passing.turnstile = Turnstile(1, hold=1000.0)
    await passing.come("x", *["few"] * (CROWD - 1))
    await passing.go()

    assert passing.passed == ["x", "few"]
    await passing.empty()


async def test_who_gives_up_leaves_the_turn_to_the_next(passing: Passing) -> None:
    await passing.come("x", "a", "b")

    passing.tasks[1].cancel()
    await settled()
    await passing.go()

    assert passing.passed == ["x", "b"]


async def test_who_gives_up_in_the_moment_of_the_turn_leaves_it_to_the_next(passing: Passing) -> None:
    await passing.come("x", "a", "b")

    passing.inside.pop(0).set()
    await asyncio.sleep(0)  # the first one leaves now, and the second one is let in
    passing.tasks[1].cancel()
    await settled()

    assert "b" in passing.passed or passing.passed == ["x", "a"]
    await passing.empty()
    assert passing.passed[-1] == "b"


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["come", "go", "give up"]), st.integers(0, 5)), max_size=60),
)
async def test_nobody_is_forgotten_and_never_are_more_inside_than_the_width(
    width: int, steps: list[tuple[str, int]]
) -> None:
    passing, expected = Passing(width), 0
    for step, number in steps:
        if step == "come":
            await passing.come(f"caller-{number}")
        elif step == "go" and passing.inside:
            await passing.go()
        elif step == "give up" and passing.tasks:
            passing.tasks[number % len(passing.tasks)].cancel()
            await settled()
            passing.inside = [event for event in passing.inside if not event.is_set()]
    gone = {task for task in passing.tasks if task.cancelled()}
    while any(not task.done() for task in passing.tasks):
        for event in passing.inside:
            event.set()
        passing.inside = []
        await settled()
        expected += 1
        assert expected < 100

    assert all(task.done() for task in passing.tasks)
    assert not any(passing.turnstile.waiting(f"caller-{number}") for number in range(6))
    assert len(gone) <= len(passing.tasks)
