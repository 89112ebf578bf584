"""Calls that ran when processes ended run alone, or not at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.api.supervisor.v1 import attach_pb2
from forgemesh.plugin_host.host.calls.suspects import Suspects
from forgemesh.plugin_host.running_calls import digest_of, left_running
from tests.component.plugin_host.hosts import Served, eventually, host_at, invocation, session


@pytest.fixture
def suspects() -> Suspects:
    return Suspects()


@pytest.fixture
async def careful(suspects: Suspects) -> AsyncIterator[Served]:
    async with host_at(suspects=suspects) as served:
        yield served


def suspect(call: invocation_pb2.Invocation, **facts: object) -> attach_pb2.Suspects:
    known = attach_pb2.Suspect(key=digest_of(call), crashes=2, **facts)  # type: ignore[arg-type]
    return attach_pb2.Suspects(suspects=[known])


def hold(key: str, value: int = 0) -> invocation_pb2.Invocation:
    return invocation("hold", idempotency_key=key, value=value)


async def test_a_suspect_begins_when_all_before_it_has_ended_and_nothing_runs_beside_it(
    careful: Served, suspects: Suspects
) -> None:
    suspects.told(suspect(hold("bad"), alone=True))
    async with session(careful) as caller:
        first, bad, after = await caller.send(hold("first"), hold("bad"), hold("after"))
        refused = (await caller.results(1))[after]
        ran_before = careful.host.runner.running
        careful.kit.open.set()
        results = await caller.results(2)
        (again,) = await caller.send(hold("after"))
        answered = (await caller.results(1))[again]

    assert refused.failure.reason == "INSTANCE_RESERVED"
    assert refused.failure.retryable
    assert ran_before == 1
    assert set(results) == {first, bad}
    assert not any(result.HasField("failure") for result in (*results.values(), answered))
    named = [call_id for frame in caller.frames for call_id in frame.accepted]
    assert named[:1] == [first]


async def test_a_suspect_that_finds_nothing_before_it_begins_at_once(careful: Served, suspects: Suspects) -> None:
    suspects.told(suspect(hold("bad"), alone=True))
    async with session(careful) as caller:
        bad, other = await caller.send(hold("bad"), hold("other"))
        refused = (await caller.results(1))[other]
        careful.kit.open.set()
        result = (await caller.results(1))[bad]

    assert refused.failure.reason == "INSTANCE_RESERVED"
    assert not result.HasField("failure")


async def test_a_suspect_that_is_taken_back_before_it_began_holds_nobody_up(
    careful: Served, suspects: Suspects
) -> None:
    suspects.told(suspect(hold("bad"), alone=True))
    async with session(careful) as caller:
        first, bad = await caller.send(hold("first"), hold("bad"))
        await caller.send(cancels=[bad])
        taken_back = (await caller.results(1))[bad]
        (other,) = await caller.send(hold("other"))
        careful.kit.open.set()
        results = await caller.results(2)

    assert taken_back.failure.reason == "CANCELLED"
    assert set(results) == {first, other}


async def test_a_suspect_whose_operation_goes_on_after_its_time_holds_nobody_up(
    careful: Served, suspects: Suspects
) -> None:
    def stuck() -> invocation_pb2.Invocation:
        return invocation("deaf", idempotency_key="bad", remaining_millis=50)

    suspects.told(suspect(stuck(), alone=True))
    async with session(careful) as caller:
        (bad,) = await caller.send(stuck())
        late = (await caller.results(1))[bad]
        (other,) = await caller.send(invocation("echo", idempotency_key="other", value=1))
        answered = (await caller.results(1))[other]

    assert late.failure.reason == "START_TO_CLOSE_TIMEOUT"
    assert not answered.HasField("failure")


async def test_poison_is_refused_with_the_last_words_of_the_process_and_for_good(
    careful: Served, suspects: Suspects
) -> None:
    suspects.told(suspect(hold("bad"), alone=True, poison=True, last_words="exit code 3; last words: no"))
    async with session(careful) as caller:
        (bad,) = await caller.send(hold("bad"))
        refused = (await caller.results(1))[bad].failure

    assert (refused.reason, refused.retryable) == ("POISON", False)
    assert "ended its process 2 times and is not run again: exit code 3; last words: no" in refused.message


async def test_who_is_no_longer_suspected_runs_as_any_other(careful: Served, suspects: Suspects) -> None:
    suspects.told(suspect(hold("bad"), poison=True))
    suspects.told(attach_pb2.Suspects())
    careful.kit.open.set()
    async with session(careful) as caller:
        (bad,) = await caller.send(hold("bad", value=7))
        result = (await caller.results(1))[bad]

    assert json.loads(result.output.data) == 7


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_host_says_whether_it_will_be_known_which_calls_ended_it(tmp_path: Path, keeps: bool) -> None:
    record = str(tmp_path / "kit-1.calls") if keeps else ""
    async with host_at(running_calls=record) as served, session(served) as caller:
        hello = caller.frames[0].hello

    assert hello.refuses_poison is keeps


async def test_what_runs_is_written_down_and_so_is_what_was_refused_memory_since_that_ends_the_process(
    tmp_path: Path,
) -> None:
    written = tmp_path / "kit-1.calls"
    held, greedy = hold("held"), invocation("is_refused_memory", idempotency_key="greedy")
    async with host_at(running_calls=str(written)) as served, session(served) as caller:
        await caller.send(held, hold("quick"))
        await eventually(lambda: len(left_running(written)) == 2)
        served.kit.open.set()
        await caller.results(2)
        none = left_running(written)
        await caller.send(greedy)
        await caller.results(1)
        left = left_running(written)

    assert none == set()
    assert left == {digest_of(greedy)}
