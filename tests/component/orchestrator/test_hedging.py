"""Calls that are safe to repeat and whose answer is late are made a second time elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from forgemesh.faults import Code
from forgemesh.faults.workflow import HostLost
from forgemesh.orchestrator.dispatch import hedging
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.definition import Timeouts
from forgemesh.orchestrator.workflow.provider import OperationFacts
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.policy import OperationPolicy, PluginPolicy
from forgemesh.routing.retry_budget import RetryBudget
from tests.component.orchestrator.dispatching import (
    Log,
    ScriptedCatalogue,
    call_request,
    dispatcher_over,
    key,
    provider,
    to_interface,
)
from tests.component.orchestrator.hosts import Call, ScriptedHosts, endpoint

SOON = OperationPolicy(hedge_after=0.02)
AWAY = Failure(Code.UNAVAILABLE, "AWAY", "away", retryable=True)
WRONG = Failure(Code.INVALID_ARGUMENT, "WRONG", "does not work")
LOST = failure_of(HostLost("i-1", accepted=True), retryable=True)


class Scene:
    def __init__(self) -> None:
        self.hosts, self.log, self.recorder = ScriptedHosts(), Log(), OutcomeRecorder()
        self.catalogue = ScriptedCatalogue()
        self.providers = Providers(self.catalogue)
        self.dispatcher: Dispatcher = dispatcher_over(self.hosts, self.log, self.providers, recorder=self.recorder)
        self.says("1.0.0", True)

    def says(self, version: str, idempotent: bool | None, plugin_id: str = "p") -> None:
        """The manifest of a version says this of its operation."""
        self.providers.manifests.learn(plugin_id, version, {"o": OperationFacts(idempotent)})

    def show(self, *endpoints: Endpoint, operation: OperationPolicy = SOON, budget: RetryBudget | None = None) -> None:
        policy = PluginPolicy(operations={"o": operation}, retry_budget=budget or RetryBudget())
        shown = endpoints or (endpoint("i-1"), endpoint("i-2"))
        self.hosts.show("p", *shown, policy=policy)

    async def calls(self, count: int) -> list[Call]:
        await self.hosts.until(lambda: len(self.hosts.calls) == count)
        return self.hosts.calls

    async def twice(self, path: str = "a") -> tuple[Call, Call]:
        """A call that is safe to repeat, called a second time."""
        self.dispatcher.send(call_request(path, idempotent=True))
        first, second = await self.calls(2)
        return first, second

    async def alone(self) -> None:
        """An alarm that was set after a possible second call's has rung, and there was only one call."""
        rung = asyncio.Event()
        self.dispatcher._deadlines.set(0.06, lambda about: rung.set(), None)
        await rung.wait()
        assert len(self.hosts.calls) == 1


@pytest.fixture
async def scene() -> Scene:
    return Scene()


def counts(scene: Scene) -> dict[str, tuple[int, int, int]]:
    """Started, succeeded and ignored, by instance."""
    return {
        one.key.instance_id: (one.counts.started, one.counts.succeeded, one.counts.ignored)
        for one in scene.recorder.report().counts
    }


async def test_the_first_answer_counts_and_the_other_call_is_taken_back(scene: Scene) -> None:
    scene.show()
    first, second = await scene.twice()
    assert scene.dispatcher.in_flight == 2
    assert first.instance_id != second.instance_id
    assert first.invocation.idempotency_key == second.invocation.idempotency_key
    assert (first.invocation.attempt, second.invocation.attempt) == (1, 1)
    assert second.invocation.remaining < first.invocation.remaining

    second.succeed("second")

    assert first.cancelled
    assert scene.log.answers["a"].output == Payload(b'"second"')
    dispatch = scene.log.where["a"]
    assert dispatch is not None
    assert (dispatch.instance_id, dispatch.hedged_with) == (second.instance_id, first.instance_id)
    first.succeed("late")
    assert scene.dispatcher.in_flight == 0
    assert counts(scene) == {first.instance_id: (1, 0, 1), second.instance_id: (1, 1, 0)}


async def test_a_call_that_was_outrun_when_it_was_slow_already_counts_as_slow(scene: Scene) -> None:
    policy = PluginPolicy(operations={"o": OperationPolicy(hedge_after=0.02, slow_call=0.01)})
    scene.hosts.show("p", endpoint("i-1"), endpoint("i-2"), policy=policy)
    first, second = await scene.twice()

    second.succeed()

    slow = {one.key.instance_id: one.counts.slow for one in scene.recorder.report().counts}
    assert slow[first.instance_id] == 1


async def test_a_first_call_that_answers_after_all_takes_the_second_one_back(scene: Scene) -> None:
    scene.show()
    first, second = await scene.twice()

    first.succeed("first")

    assert second.cancelled
    dispatch = scene.log.where["a"]
    assert dispatch is not None
    assert (dispatch.instance_id, dispatch.hedged_with) == (first.instance_id, second.instance_id)
    assert scene.dispatcher.in_flight == 0


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("failure", [AWAY, LOST])
async def test_a_call_that_fails_and_could_be_repeated_leaves_it_to_the_other_one(
    scene: Scene, failing: int, failure: Failure
) -> None:
    scene.show()
    calls = await scene.twice()

    calls[failing].fail(failure)
    assert not scene.log.answers
    assert scene.dispatcher.in_flight == 1
    calls[1 - failing].succeed()

    assert scene.log.answers["a"].failure is None
    dispatch = scene.log.where["a"]
    assert dispatch is not None
    assert (dispatch.instance_id, dispatch.hedged_with) == (calls[1 - failing].instance_id, calls[failing].instance_id)
    assert scene.dispatcher.in_flight == 0


@pytest.mark.parametrize("failing", [0, 1])
async def test_a_failure_that_stays_one_counts_at_once(scene: Scene, failing: int) -> None:
    scene.show()
    calls = await scene.twice()

    calls[failing].fail(WRONG)

    assert scene.log.reason("a") == "WRONG"
    assert calls[1 - failing].cancelled


async def test_both_calls_failing_is_one_failure(scene: Scene) -> None:
    scene.show()
    first, second = await scene.twice()

    first.fail(AWAY)
    second.fail(LOST)

    assert scene.log.reason("a") == "HOST_LOST"
    assert scene.dispatcher.in_flight == 0


async def test_taking_a_call_back_takes_both_calls_back(scene: Scene) -> None:
    scene.show()
    calls = await scene.twice()

    scene.dispatcher.forget(key("a"))

    assert [call.cancelled for call in calls] == [True, True]
    assert scene.dispatcher.in_flight == 0
    assert not scene.log.answers
    assert {ignored for _, _, ignored in counts(scene).values()} == {1}


async def test_cancelling_waits_for_the_first_call_alone(scene: Scene) -> None:
    scene.show()
    first, second = await scene.twice()

    scene.dispatcher.cancel(key("a"))
    assert (first.cancelled, second.cancelled) == (True, True)
    second.succeed()
    assert not scene.log.answers
    first.succeed()

    assert scene.log.answers["a"].failure is None
    assert scene.dispatcher.in_flight == 0


async def test_both_calls_end_with_the_attempts_time(scene: Scene) -> None:
    scene.show()
    scene.dispatcher.send(call_request("a", idempotent=True, timeouts=Timeouts(start_to_close=0.1), timed=True))
    calls = await scene.calls(2)

    await scene.log.until("a answered")

    assert scene.log.reason("a") == "START_TO_CLOSE_TIMEOUT"
    assert [call.cancelled for call in calls] == [True, True]
    assert scene.dispatcher.in_flight == 0


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        (None, {"idempotent": None}),
        (False, {"idempotent": False}),
        (True, {"idempotent": False, "vouched": True}),
        (False, {"idempotent": True, "vouched": True}),
        (True, {"idempotent": True, "affinity": "k"}),
    ],
)
async def test_a_call_that_may_not_be_repeated_or_is_bound_to_an_instance_is_made_once(
    scene: Scene, said: bool | None, facts: dict[str, Any]
) -> None:
    scene.says("1.0.0", said)
    scene.show()

    scene.dispatcher.send(call_request("a", **facts))

    await scene.alone()


async def test_the_manifest_of_the_version_that_is_called_decides_and_not_what_was_registered(scene: Scene) -> None:
    scene.says("1.1.0", False)
    scene.show(endpoint("new-1", plugin_version="1.1.0"), endpoint("new-2", plugin_version="1.1.0"))
    scene.dispatcher.send(call_request("registered-as-safe", idempotent=True))
    await scene.alone()
    scene.hosts.calls.pop().succeed()

    scene.show(endpoint("i-1"), endpoint("i-2"))
    scene.dispatcher.send(call_request("registered-as-unsaid", idempotent=None))

    await scene.calls(2)


async def test_a_version_whose_manifest_is_not_known_is_not_called_twice(scene: Scene) -> None:
    scene.show(endpoint("new-1", plugin_version="1.2.0"), endpoint("new-2", plugin_version="1.2.0"))

    scene.dispatcher.send(call_request("a", idempotent=True))

    await scene.alone()


@pytest.mark.parametrize(("other", "said"), [("1.1.0", False), ("1.1.0", None), ("2.0.0", True), ("1.2.0", "unknown")])
async def test_the_second_call_goes_to_no_version_that_does_not_share_the_guarantee(
    scene: Scene, other: str, said: bool | str | None
) -> None:
    if not isinstance(said, str):
        scene.says(other, said)
    scene.show(endpoint("old"))
    scene.dispatcher.send(call_request("a", idempotent=True))
    scene.show(endpoint("old"), endpoint("new", plugin_version=other))

    await scene.alone()


async def test_the_second_call_may_go_to_another_version_of_the_same_line(scene: Scene) -> None:
    scene.says("1.1.0", True)
    scene.show(endpoint("old"), endpoint("new", plugin_version="1.1.0"))

    first, second = await scene.twice()

    assert {first.instance_id, second.instance_id} == {"old", "new"}


async def test_the_second_call_stays_in_the_range_that_the_step_wants(scene: Scene) -> None:
    scene.says("1.1.0", True)
    scene.show(endpoint("old"), endpoint("new", plugin_version="1.1.0"))

    scene.dispatcher.send(call_request("a", "1.0.0", idempotent=True))

    await scene.alone()


async def test_the_second_call_does_not_cross_to_another_plugin_of_the_interface(scene: Scene) -> None:
    both = [provider(plugin_id, operations={"o": OperationFacts(True)}) for plugin_id in ("p", "q")]
    scene.catalogue.provided["shape"] = both
    policy = PluginPolicy(operations={"o": SOON})
    for plugin_id in ("p", "q"):
        scene.hosts.show(plugin_id, endpoint(f"{plugin_id}-1"), policy=policy)
    looking = asyncio.create_task(scene.providers.run())
    scene.dispatcher.send(to_interface("a", idempotent=True))
    await scene.calls(1)

    await scene.alone()
    looking.cancel()


async def test_the_timeout_is_that_of_the_version_that_is_called_unless_the_step_says_it(scene: Scene) -> None:
    scene.providers.manifests.learn("p", "1.0.0", {"o": OperationFacts(timeout=7.0)})
    scene.show()

    scene.dispatcher.send(call_request("theirs", timeouts=Timeouts(start_to_close=5.0)))
    scene.dispatcher.send(call_request("own", timeouts=Timeouts(start_to_close=5.0), timed=True))

    assert [call.invocation.remaining for call in scene.hosts.calls] == [7.0, 5.0]


async def test_there_is_no_second_call_without_a_second_instance_or_budget_or_if_the_policy_says_never(
    scene: Scene,
) -> None:
    scene.show(endpoint("i-1"))
    scene.dispatcher.send(call_request("a", idempotent=True))
    await scene.alone()
    scene.hosts.calls.pop().succeed()

    scene.show(budget=RetryBudget(share=0.0, least=0))
    scene.dispatcher.send(call_request("b", idempotent=True))
    await scene.alone()
    scene.hosts.calls.pop().succeed()

    scene.show(operation=OperationPolicy(hedge_after=0.0))
    scene.dispatcher.send(call_request("c", idempotent=True))
    await scene.alone()


async def test_not_more_than_one_call_in_twenty_is_made_twice(scene: Scene) -> None:
    scene.show()
    (await scene.twice("first"))[1].succeed()
    scene.hosts.calls.clear()

    scene.dispatcher.send(call_request("second", idempotent=True))
    await scene.alone()
    scene.hosts.calls.pop().succeed()
    for number in range(20):
        scene.dispatcher.send(call_request(f"quick-{number}", idempotent=True))
        scene.hosts.calls.pop().succeed()

    await scene.twice("third")


async def test_without_a_word_of_the_policy_an_answer_is_late_after_the_95th_percentile_of_what_is_known(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hedging, "LEAST", 0.01)
    scene.show(operation=OperationPolicy())
    for number in range(hedging.KNOWN - 1):
        scene.dispatcher.send(call_request(f"quick-{number}", idempotent=True))
        scene.hosts.calls.pop().succeed()
    scene.dispatcher.send(call_request("last-of-fifty", idempotent=True))
    await scene.alone()
    scene.hosts.calls.pop().succeed()

    first, second = await scene.twice()

    assert first.instance_id != second.instance_id
