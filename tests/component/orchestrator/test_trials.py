"""Calls behind circuits: they wait without burning an attempt, and trial calls go with whoever is safest to repeat."""

from __future__ import annotations

import asyncio

import pytest

from forgemesh.faults.workflow import HostLost
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.values.failure import failure_of
from forgemesh.routing.eligibility import Permit
from forgemesh.routing.endpoint import Endpoint
from forgemesh.routing.local_breaker import FAILURES
from forgemesh.routing.outcome import PermitUse
from forgemesh.routing.pick import NoPick
from forgemesh.routing.scaling import Demanded
from tests.component.orchestrator.dispatching import Log, call_request, dispatcher_over, key
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint, half_open, with_open_circuit
from tests.manual_clock import ManualClock

LOST = failure_of(HostLost("i-1", accepted=True), retryable=True)


class Scene:
    """A dispatcher before instances whose circuits a test moves."""

    def __init__(self) -> None:
        self.hosts, self.log, self.clock = ScriptedHosts(), Log(), ManualClock()
        self.recorder = OutcomeRecorder(clock=self.clock.monotonic)
        self.dispatcher: Dispatcher = dispatcher_over(self.hosts, self.log, recorder=self.recorder)
        self.recorder.begins()

    def grant(self, name: str = "t", instance_id: str = "i-1", generation: int = 4, lease: float = 10.0) -> None:
        self.recorder.granted("p", instance_id, Permit(name, 1, generation), lease, 0)

    def sent(self) -> list[str]:
        return [call.path for call in self.hosts.calls]

    def permits(self) -> list[str]:
        used = (call.invocation.permit for call in self.hosts.calls)
        return [permit.permit_id if permit is not None else "" for permit in used]

    def use(self, name: str = "t") -> PermitUse | None:
        told = {outcome.permit_id: outcome.use for outcome in self.recorder.report().permits}
        return told.get(name)

    async def settled(self) -> None:
        """What was due on the loop has been done, and what that made due."""
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_the_first_trial_call_is_one_that_is_safe_to_repeat_then_one_of_which_nobody_says_anything(
    scene: Scene,
) -> None:
    scene.hosts.show("p", half_open("i-1"))
    for path, idempotent in (("no", False), ("unsaid", None), ("yes", True), ("yes-too", True)):
        scene.dispatcher.send(call_request(path, idempotent=idempotent, execution_id=path))

    for number, path in enumerate(("yes", "yes-too", "unsaid", "no")):
        scene.grant(f"t-{number}")
        await scene.hosts.until(lambda path=path: scene.sent()[-1:] == [path])  # type: ignore[misc]

    assert scene.permits() == ["t-0", "t-1", "t-2", "t-3"]
    assert scene.recorder.demands() == {}


async def test_a_safe_call_of_another_lane_of_the_plugin_goes_first(scene: Scene) -> None:
    scene.hosts.show("p", half_open("i-1"))
    scene.dispatcher.send(call_request("unsaid"))
    scene.dispatcher.send(call_request("yes", "^1", idempotent=True))
    scene.dispatcher.send(call_request("other-version", "^2", idempotent=True))

    scene.grant()

    assert (await scene.hosts.call("yes")).invocation.permit == Permit("t", 1, 4)
    await scene.settled()
    assert scene.sent() == ["yes"]


async def test_one_permit_is_one_call_however_many_wait(scene: Scene) -> None:
    scene.hosts.show("p", half_open("i-1"))
    for number in range(200):
        scene.dispatcher.send(call_request(f"s-{number}", idempotent=True, execution_id=f"e-{number}"))
    scene.grant()
    call = await scene.hosts.call("s-0")
    scene.grant()  # told twice
    await scene.settled()
    assert scene.sent() == ["s-0"]
    assert scene.use() is PermitUse.STARTED

    call.succeed()
    await scene.log.until("s-0 answered")
    await scene.settled()

    assert scene.sent() == ["s-0"]
    assert scene.use() is PermitUse.SUCCEEDED
    assert scene.recorder.demands() == {Demanded("p", ""): 1}


async def test_a_call_that_comes_anew_makes_the_trial_although_it_could_go_elsewhere(scene: Scene) -> None:
    scene.hosts.show("p", half_open("i-1"), endpoint("i-2"))
    scene.grant()

    scene.dispatcher.send(call_request("must-not-be-repeated", idempotent=False))
    scene.dispatcher.send(call_request("a", idempotent=True))
    scene.dispatcher.send(call_request("b", idempotent=True))

    assert [call.instance_id for call in scene.hosts.calls] == ["i-2", "i-1", "i-2"]
    assert scene.permits() == ["", "t", ""]


async def test_a_call_that_must_not_be_repeated_makes_the_trial_if_no_other_comes(scene: Scene) -> None:
    scene.hosts.show("p", half_open("i-1"), endpoint("i-2"))
    scene.grant(lease=1.0)
    scene.clock.now += 0.6

    scene.dispatcher.send(call_request("a", idempotent=False))

    assert scene.permits() == ["t"]


async def test_a_permit_of_another_generation_or_whose_time_is_over_lets_nobody_through(scene: Scene) -> None:
    scene.hosts.show("p", half_open("i-1"))
    scene.dispatcher.send(call_request("a", idempotent=True))
    scene.grant("too-new", generation=5)
    scene.clock.now += 5.0
    scene.grant("late", lease=4.0)
    await scene.settled()
    assert scene.sent() == []
    assert scene.use("late") is PermitUse.RETURNED

    scene.clock.now += 5.0
    scene.hosts.tell("p")
    await scene.settled()

    assert scene.sent() == []
    assert scene.use("too-new") is PermitUse.RETURNED


async def test_a_permit_that_comes_before_its_snapshot_is_used_when_that_has_come(scene: Scene) -> None:
    scene.hosts.show("p", with_open_circuit("i-1", scene.clock.now))
    scene.dispatcher.send(call_request("a"))
    scene.grant()
    await scene.settled()
    assert scene.sent() == []

    scene.hosts.show("p", half_open("i-1"))

    assert (await scene.hosts.call("a")).invocation.permit is not None


async def test_a_trial_call_that_fails_says_so_and_one_that_is_taken_back_gives_its_permit_back(scene: Scene) -> None:
    scene.hosts.show("p", half_open("i-1"))
    for number in range(2):
        scene.dispatcher.send(call_request(f"s-{number}"))
        scene.grant(f"t-{number}")
        await scene.hosts.call(f"s-{number}")

    scene.hosts.calls[0].fail(LOST)
    scene.dispatcher.forget(key("s-1"))

    assert scene.use("t-0") is PermitUse.FAILED
    assert scene.use("t-1") is PermitUse.RETURNED
    dispatch = scene.dispatcher
    assert dispatch.in_flight == 0


async def test_a_trial_is_not_made_over_a_link_that_is_broken(scene: Scene) -> None:
    scene.hosts.show("p", half_open("i-1"))
    scene.hosts.links("p")["i-1"].usable = False
    scene.hosts.tell("p")
    scene.dispatcher.send(call_request("a", idempotent=True))

    scene.grant()
    await scene.settled()
    assert scene.sent() == []

    scene.hosts.links("p")["i-1"].usable = True
    scene.hosts.tell("p")
    assert (await scene.hosts.call("a")).invocation.permit is not None


async def test_whoever_waits_for_a_circuit_says_until_when_and_who_opened_it_and_the_balancer_hears_at_once(
    scene: Scene,
) -> None:
    urgent: list[str] = []
    scene.recorder.urgent.add(lambda: urgent.append("now"))
    scene.hosts.show("p", with_open_circuit("i-1", scene.clock.now + 30.0, "00-aa-bb-01"))

    scene.dispatcher.send(call_request("a"))

    why = scene.log.reasons["a"]
    assert isinstance(why, NoPick)
    assert why.tripped is not None
    assert (why.reason.value, why.retry_after, why.tripped.circuit.traceparent) == (
        "CIRCUIT_OPEN",
        30.0,
        "00-aa-bb-01",
    )
    assert urgent == ["now"]
    assert scene.recorder.report().demands == {Demanded("p", ""): 1}


async def test_calls_are_looked_at_again_when_their_circuit_is_due_although_nobody_says_anything(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.hosts.show("p", with_open_circuit("i-1", scene.clock.now + 0.03))
    scene.dispatcher.send(call_request("a"))
    hosts = scene.hosts
    snapshot = hosts.snapshot("p")
    assert snapshot is not None

    def silently(*endpoints: Endpoint) -> None:
        listeners, hosts._listeners = hosts._listeners, []
        hosts.show("p", *endpoints)
        hosts._listeners = listeners

    silently(endpoint("i-1"))
    scene.dispatcher._target_queues.changed("p")  # only the wake is missing

    assert (await hosts.call("a")).invocation.attempt == 1
    assert scene.log.lines == ["a CIRCUIT_OPEN", "a unblocked"]


async def test_an_instance_that_this_process_cannot_reach_is_left_out_until_its_moment_is_over(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forgemesh.routing.local_breaker.OUT", 0.03)
    scene.hosts.show("p", endpoint("i-1"))
    for number in range(FAILURES):
        scene.dispatcher.send(call_request(f"s-{number}"))
        scene.hosts.calls[-1].fail(LOST)
        scene.clock.now += 1.0

    scene.dispatcher.send(call_request("a"))

    assert scene.log.reason("s-4") == "HOST_LOST"
    assert scene.log.lines[-1] == "a CIRCUIT_OPEN"
    scene.clock.now += 1.0
    await scene.hosts.call("a")
