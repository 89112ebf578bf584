import asyncio
import time
from typing import Any

import pytest

from forgemesh.faults import Code
from forgemesh.faults.workflow import StartToCloseTimeout
from forgemesh.orchestrator.dispatch import dispatcher as module
from forgemesh.orchestrator.dispatch.call_request import Underway, Waiting
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.workflow.definition import Timeouts
from tests.component.orchestrator.dispatching import Log, call_request, dispatcher_over, key
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint, with_open_circuit

SECOND = 1_000_000_000
"""What the dispatcher's clock shows."""


@pytest.fixture
async def hosts() -> ScriptedHosts:
    return ScriptedHosts()


@pytest.fixture
async def log() -> Log:
    return Log()


@pytest.fixture
async def dispatcher(hosts: ScriptedHosts, log: Log) -> Dispatcher:
    return dispatcher_over(hosts, log)


def failure(log: Log, path: str) -> Failure:
    found = log.answers[path].failure
    assert found is not None
    return found


async def test_a_call_that_cannot_leave_in_time_fails_for_good_and_says_what_blocked_it(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", with_open_circuit("i-1", 1e9))
    dispatcher.send(call_request("a", timeouts=Timeouts(schedule_to_start=0.02)))
    dispatcher.send(call_request("b"))

    await log.until("a answered")

    found = failure(log, "a")
    assert (found.code, found.reason, found.retryable) == (
        Code.DEADLINE_EXCEEDED,
        "SCHEDULE_TO_START_TIMEOUT",
        False,
    )
    assert found.metadata["seconds"] == "0.02"
    assert "'a'" in found.message
    assert "open circuit" in found.message
    assert not log.answers["a"].accepted
    assert [waiting.path for waiting in dispatcher.active.unsent(("default", "e", ""))] == ["b"]


async def test_a_call_that_left_in_time_has_its_start_behind_it(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    dispatcher.send(call_request("a", timeouts=Timeouts(schedule_to_start=0.05, start_to_close=0.1)))

    hosts.show("p", endpoint("i-1"))
    call = await hosts.call("a")
    await log.until("a answered")

    assert log.reason("a") == "START_TO_CLOSE_TIMEOUT"
    assert failure(log, "a").retryable
    assert call.cancelled


async def test_a_call_that_is_silent_for_too_long_is_given_up(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1"))
    dispatcher.send(call_request("a", timeouts=Timeouts(heartbeat=0.05)))

    await log.until("a answered")

    assert log.reason("a") == "HEARTBEAT_TIMEOUT"
    assert failure(log, "a").retryable
    assert failure(log, "a").metadata == {"step_path": "a", "seconds": "0.05"}
    assert (await hosts.call("a")).cancelled


async def test_a_call_that_reports_progress_lives_until_its_start_to_close(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1"))
    dispatcher.send(call_request("a", timeouts=Timeouts(heartbeat=0.25, start_to_close=0.8)))
    call = await hosts.call("a")

    def beat() -> None:
        call.progress(0.5, "going on")
        if "a answered" not in log.lines:
            asyncio.get_running_loop().call_later(0.05, beat)

    beat()
    await log.until("a answered")

    assert log.reason("a") == "START_TO_CLOSE_TIMEOUT"
    assert log.lines[0] == "a 0.5 going on"
    assert log.lines[-1] == "a answered"


async def test_no_heartbeat_is_expected_of_a_call_that_goes_alone(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1"))
    hosts.links("p")["i-1"].session = False
    dispatcher.send(call_request("a", timeouts=Timeouts(heartbeat=0.03, start_to_close=0.1)))

    await log.until("a answered")

    assert log.reason("a") == "START_TO_CLOSE_TIMEOUT"


async def test_a_call_is_given_what_is_left_of_every_limit_around_it(
    dispatcher: Dispatcher, hosts: ScriptedHosts
) -> None:
    hosts.show("p", endpoint("i-1"))
    around: dict[str, dict[str, Any]] = {
        "own": {},
        "execution": {"deadline": 3 * SECOND, "close_at": 9 * SECOND},
        "step": {"deadline": 3 * SECOND, "close_at": 2 * SECOND},
        "over": {"deadline": SECOND // 2},
    }
    for path, limits in around.items():
        dispatcher.send(call_request(path, timeouts=Timeouts(start_to_close=5.0), **limits))

    given = {call.path: call.invocation.remaining for call in hosts.calls}

    assert given == {"own": 5.0, "execution": 2.0, "step": 1.0, "over": 0.001}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({}, "START_TO_CLOSE_TIMEOUT"),
        ({"deadline": 100 * SECOND}, "START_TO_CLOSE_TIMEOUT"),
        ({"deadline": 3 * SECOND, "close_at": 2 * SECOND}, "SCHEDULE_TO_CLOSE_TIMEOUT"),
        ({"deadline": 2 * SECOND, "close_at": 3 * SECOND}, "EXECUTION_TIMEOUT"),
    ],
)
async def test_a_host_that_ends_a_call_does_not_know_whose_limit_it_was_but_the_failure_does(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log, limits: dict[str, Any], reason: str
) -> None:
    hosts.show("p", endpoint("i-1"))
    dispatcher.send(call_request("a", timeouts=Timeouts(start_to_close=50.0, schedule_to_close=1.5), **limits))

    (await hosts.call("a")).fail(failure_of(StartToCloseTimeout("a", 1.0), retryable=True))

    assert log.reason("a") == reason
    assert failure(log, "a").retryable == (reason == "START_TO_CLOSE_TIMEOUT")


async def test_a_cancelled_call_that_does_not_answer_counts_as_ended_after_the_grace(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CANCEL_GRACE", 0.05)
    hosts.show("p", endpoint("i-1"))
    dispatcher.send(call_request("a"))
    call = await hosts.call("a")

    dispatcher.cancel(key("a"))
    assert call.cancelled
    dispatcher.cancel(key("a"))
    await log.until("a answered")

    assert log.reason("a") == "CANCELLED"
    assert log.answers["a"].accepted


async def test_it_is_explained_why_a_call_waits_and_how_it_runs(dispatcher: Dispatcher, hosts: ScriptedHosts) -> None:
    hosts.show("p", endpoint("i-1", max_in_flight=1))
    for path in "abc":
        dispatcher.send(call_request(path))
    (await hosts.call("a")).progress(0.25, "reading")

    running, waiting = dispatcher.explain(key("a")), dispatcher.explain(key("c"))

    assert isinstance(running, Underway)
    assert (running.dispatch.instance_id, running.since) == ("i-1", SECOND)
    assert (running.fraction, running.note, running.heard_at) == (0.25, "reading", SECOND)
    assert isinstance(waiting, Waiting)
    assert (waiting.why.reason.value, waiting.since, waiting.until, waiting.position) == ("ALL_FULL", SECOND, 0, 1)
    assert dispatcher.explain(key("unknown")) is None


async def test_it_is_explained_until_when_a_circuit_is_open(dispatcher: Dispatcher, hosts: ScriptedHosts) -> None:
    hosts.show("p", with_open_circuit("i-1", time.monotonic() + 300.0))
    dispatcher.send(call_request("a"))

    waiting = dispatcher.explain(key("a"))

    assert isinstance(waiting, Waiting)
    assert 290 * SECOND < waiting.until <= 301 * SECOND


async def test_what_has_not_left_can_be_asked_for_and_taken_back(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1", max_in_flight=1))
    for path in "abc":
        dispatcher.send(call_request(path))
    dispatcher.send(call_request("other", execution_id="e2"))

    unsent = dispatcher.active.unsent(("default", "e", ""))
    for waiting in unsent:
        dispatcher.forget(waiting.key)
    (await hosts.call("a")).succeed()
    await hosts.call("other")

    assert [waiting.path for waiting in unsent] == ["b", "c"]
    assert [call.path for call in hosts.calls] == ["a", "other"]
    assert dispatcher.active.unsent(("default", "e", "")) == dispatcher.active.unsent(("default", "e2", "")) == []
    assert list(log.answers) == ["a"]


async def test_a_stop_waits_for_what_is_under_way_and_sends_nothing_more(
    dispatcher: Dispatcher, hosts: ScriptedHosts, log: Log
) -> None:
    hosts.show("p", endpoint("i-1", max_in_flight=1))
    dispatcher.send(call_request("a"))
    dispatcher.send(call_request("b"))

    stopping = asyncio.create_task(dispatcher.stop(60.0))
    await asyncio.sleep(0)
    dispatcher.send(call_request("c"))
    assert not stopping.done()
    (await hosts.call("a")).succeed()
    await stopping

    assert [call.path for call in hosts.calls] == ["a"]
    assert list(log.answers) == ["a"]


async def test_the_time_for_which_this_process_stood_still_is_no_silence_of_the_plugin(
    hosts: ScriptedHosts, log: Log
) -> None:
    deaf = OutcomeRecorder(awake=lambda: 7.0)
    dispatcher = dispatcher_over(hosts, log, recorder=deaf)
    hosts.show("p", endpoint("i-1"))
    dispatcher.send(call_request("a", timeouts=Timeouts(heartbeat=0.03, start_to_close=0.3)))

    await log.until("a answered")

    assert log.reason("a") == "START_TO_CLOSE_TIMEOUT"
