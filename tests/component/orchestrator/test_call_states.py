"""Whatever happens to a call, wherever it stands: it ends once, and nothing of it is left in any count."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from forgemesh.faults import Code
from forgemesh.faults.workflow import HostLost, StartToCloseTimeout
from forgemesh.orchestrator.dispatch.call_request import CallKey
from forgemesh.orchestrator.dispatch.call_state import CallState
from forgemesh.orchestrator.dispatch.dispatcher import Dispatcher
from forgemesh.orchestrator.dispatch.in_flight_call import InFlightCall
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.providers import Providers
from forgemesh.orchestrator.values.failure import Failure, failure_of
from forgemesh.orchestrator.workflow.provider import OperationFacts
from forgemesh.routing.policy import OperationPolicy, PluginPolicy
from tests.component.orchestrator.dispatching import Log, ScriptedCatalogue, call_request, dispatcher_over, key
from tests.component.orchestrator.hosts import Call, ScriptedHosts, endpoint

AWAY = Failure(Code.UNAVAILABLE, "AWAY", "away", retryable=True)
WRONG = Failure(Code.INVALID_ARGUMENT, "WRONG", "does not work")
LOST = failure_of(HostLost("i-1", accepted=False), retryable=True)
LATE = StartToCloseTimeout("a", 60.0)
A: CallKey = key("a")


class Scene:
    """One request, "a", for a plugin of three instances that makes second calls after 20 ms."""

    def __init__(self) -> None:
        self.hosts, self.log, self.recorder = ScriptedHosts(), Log(), OutcomeRecorder()
        self.providers = Providers(ScriptedCatalogue())
        self.providers.manifests.learn("p", "1.0.0", {"o": OperationFacts(idempotent=True)})
        self.dispatcher: Dispatcher = dispatcher_over(self.hosts, self.log, self.providers, recorder=self.recorder)

    @property
    def inflight(self) -> InFlightCall:
        found = self.dispatcher.active.find(A)
        assert found is not None
        return found

    def show(self, hedge_after: float = 0.0) -> None:
        policy = PluginPolicy(operations={"o": OperationPolicy(hedge_after=hedge_after)})
        self.hosts.show("p", *(endpoint(f"i-{number}") for number in (1, 2, 3)), policy=policy)

    async def waiting(self) -> None:
        self.dispatcher.send(call_request("a", idempotent=True))

    async def sent(self) -> None:
        self.show()
        self.dispatcher.send(call_request("a", idempotent=True, retry=True))

    async def hedged(self) -> None:
        self.show(hedge_after=0.02)
        self.dispatcher.send(call_request("a", idempotent=True))
        await self.hosts.until(lambda: len(self.hosts.calls) == 2)

    async def cancelling(self) -> None:
        await self.sent()
        self.dispatcher.cancel(A)

    def open(self) -> list[Call]:
        return [call for link in self.hosts.links("p").values() for call in link.open.values()]

    async def settle(self) -> None:
        """What waits finds its instances, and everything that is open is answered, also what nobody waits for."""
        self.show()
        while self.dispatcher.active.all():
            await self.hosts.until(lambda: bool(self.open()))
            self.answer_all()
        self.answer_all()

    def answer_all(self) -> None:
        for call in self.open():
            call.succeed("late")


EVENTS: dict[str, Callable[[Scene], object]] = {
    "first succeeds": lambda scene: scene.hosts.calls[0].succeed("first"),
    "first fails for good": lambda scene: scene.hosts.calls[0].fail(WRONG),
    "first fails": lambda scene: scene.hosts.calls[0].fail(AWAY),
    "first is not sent": lambda scene: scene.hosts.calls[0].fail(LOST, accepted=False, sent=False),
    "second succeeds": lambda scene: scene.hosts.calls[1].succeed("second"),
    "second fails for good": lambda scene: scene.hosts.calls[1].fail(WRONG),
    "second fails": lambda scene: scene.hosts.calls[1].fail(AWAY),
    "second is not sent": lambda scene: scene.hosts.calls[1].fail(LOST, accepted=False, sent=False),
    "cancelled": lambda scene: scene.dispatcher.cancel(A),
    "timed out": lambda scene: scene.dispatcher.timed_out(scene.inflight, LATE),
    "given up": lambda scene: scene.dispatcher._give_up(scene.inflight),
    "forgotten": lambda scene: scene.dispatcher.forget(A),
    "broke": lambda scene: scene.dispatcher.broke(scene.inflight, ValueError("a bug")),
}
UNTOLD = "nobody is told"
ENDS = {
    CallState.WAITING: {"cancelled": "CANCELLED", "forgotten": UNTOLD, "broke": UNTOLD},
    CallState.SENT: {
        "first succeeds": "first",
        "first fails for good": "WRONG",
        "first fails": "AWAY",
        "first is not sent": "late",
        "cancelled": "late",
        "timed out": LATE.reason,
        "forgotten": UNTOLD,
        "broke": UNTOLD,
    },
    CallState.HEDGED: {
        "first succeeds": "first",
        "first fails for good": "WRONG",
        "first fails": "late",
        "first is not sent": "late",
        "second succeeds": "second",
        "second fails for good": "WRONG",
        "second fails": "late",
        "second is not sent": "late",
        "cancelled": "late",
        "timed out": LATE.reason,
        "forgotten": UNTOLD,
        "broke": UNTOLD,
    },
    CallState.CANCELLING: {
        "first succeeds": "first",
        "first fails for good": "WRONG",
        "first fails": "AWAY",
        "first is not sent": "CANCELLED",
        "given up": "CANCELLED",
        "forgotten": UNTOLD,
        "broke": UNTOLD,
    },
}
"""What the step sees in the end: its output or the reason of its failure. "late" is what open calls answer then."""
CASES = [(state, event, end) for state, ends in ENDS.items() for event, end in ends.items()]


@pytest.mark.parametrize(("state", "event", "end"), CASES, ids=[f"{state.name}, {event}" for state, event, _ in CASES])
async def test_a_call_ends_once_and_is_counted_nowhere_any_more(state: CallState, event: str, end: str) -> None:
    scene = Scene()
    await getattr(scene, state.name.lower())()
    assert scene.inflight.state is state

    EVENTS[event](scene)
    await scene.settle()

    answer = scene.log.answers.get("a")
    if answer is None:
        assert end == UNTOLD
    else:
        said = answer.failure.reason if answer.failure is not None else json.loads(answer.output.data)  # type: ignore[union-attr]
        assert said == end
    assert (scene.dispatcher.in_flight, scene.dispatcher.active.all(), scene.open()) == (0, [], [])
    assert [pool.retries for pool in scene.dispatcher._target_queues._pools.values()] == [0]
    assert {one.in_flight for one in scene.recorder.report().counts} <= {0}


@pytest.mark.parametrize("event", ["first fails", "second fails", "first is not sent", "second succeeds"])
async def test_where_it_ran_names_the_instance_whose_answer_counts_and_the_other_one(event: str) -> None:
    scene = Scene()
    await scene.hedged()
    first, second = scene.hosts.calls

    EVENTS[event](scene)
    await scene.settle()

    counts, other = (first, second) if event == "second fails" else (second, first)
    where = scene.log.where["a"]
    assert where is not None
    assert (where.instance_id, where.hedged_with) == (counts.instance_id, other.instance_id)


@pytest.mark.parametrize("event", ["first fails", "second fails"])
async def test_of_two_calls_the_one_that_goes_on_is_no_extra_one(event: str) -> None:
    scene = Scene()
    await scene.hedged()
    (pool,) = scene.dispatcher._target_queues._pools.values()
    assert (pool.retries, scene.dispatcher.in_flight) == (1, 2)

    EVENTS[event](scene)

    assert (pool.retries, scene.dispatcher.in_flight, scene.inflight.state) == (0, 1, CallState.SENT)
