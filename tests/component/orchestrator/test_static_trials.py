"""While the balancer is not there: what was known stays, and trial calls are made with care."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from forgemesh.api.balancer.v1 import snapshot_pb2
from forgemesh.faults import Code
from forgemesh.feed.snapshots import snapshot_from_message
from forgemesh.orchestrator.dispatch.feed import subscription as feed
from forgemesh.orchestrator.dispatch.feed.hosts import FeedHosts, open_hosts
from forgemesh.orchestrator.dispatch.feed.subscription import Feed
from forgemesh.orchestrator.dispatch.outcome_recorder import OutcomeRecorder
from forgemesh.orchestrator.dispatch.static_trials import StaticTrials
from forgemesh.orchestrator.values.failure import Failure
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.eligibility import Permit, RemoteLoad
from forgemesh.routing.endpoint import CircuitState, Endpoint
from forgemesh.routing.policy import PluginPolicy
from forgemesh.routing.snapshot import Snapshot
from tests.component.orchestrator.balancers import endpoint as told
from tests.component.orchestrator.dispatching import Log, call_request, dispatcher_over
from tests.component.orchestrator.hosts import Call, ScriptedHosts, with_open_circuit
from tests.manual_clock import ManualClock

POLICY = PluginPolicy(circuit=CircuitRule(open=20.0, permit_lease=5.0))
AWAY = Failure(Code.UNAVAILABLE, "AWAY", "away", retryable=True)


class Scene:
    """A process that the balancer has left alone with an open circuit; draws are always one half."""

    def __init__(self) -> None:
        self.hosts, self.log, self.clock = ScriptedHosts(), Log(), ManualClock()
        self.recorder = OutcomeRecorder(clock=self.clock.monotonic, draw=lambda: 0.5)
        self.dispatcher = dispatcher_over(self.hosts, self.log, recorder=self.recorder)
        self.trials = StaticTrials("o-1", self.recorder, self._snapshots, self._amend)
        self.began = self.clock.now
        self.hosts.show("p", with_open_circuit("i-1", self.began + 30.0), policy=POLICY)

    def _snapshots(self) -> list[Snapshot]:
        found = self.hosts.snapshot("p")
        return [found] if found is not None else []

    def _amend(self, plugin_id: str, changed: Endpoint) -> None:
        self.hosts.show(plugin_id, changed, policy=POLICY)

    def at(self, seconds: float) -> None:
        """So long after the beginning it looks."""
        self.clock.now = self.began + seconds
        self.trials.look()

    def state(self) -> CircuitState:
        (snapshot,) = self._snapshots()
        return snapshot.endpoints[0].circuit.state

    async def trial(self) -> Call:
        await self.hosts.until(lambda: bool(self.hosts.calls))
        return self.hosts.calls.pop()


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_an_open_circuit_stays_until_its_time_is_over_and_a_trial_call_comes_after_a_random_time(
    scene: Scene,
) -> None:
    for path in "ab":
        scene.dispatcher.send(call_request(path, idempotent=True))
    for seconds in (11.0, 29.0, 30.0, 39.0):
        scene.at(seconds)
        assert scene.state() is CircuitState.OPEN

    scene.at(40.0)
    call = await scene.trial()
    assert call.invocation.permit == Permit("o-1-1", 1, 3)
    scene.at(70.0)  # one at a time
    assert scene.state() is CircuitState.HALF_OPEN
    assert not scene.hosts.calls
    call.succeed()

    assert scene.state() is CircuitState.CLOSED
    assert (await scene.trial()).invocation.permit is None


async def test_after_a_trial_call_that_failed_the_circuit_is_open_for_its_time(scene: Scene) -> None:
    for path in "ab":
        scene.dispatcher.send(call_request(path, idempotent=True))
    scene.at(30.0)
    scene.at(40.0)

    (await scene.trial()).fail(AWAY)

    for seconds in (41.0, 59.0, 60.0, 69.0):
        scene.at(seconds)
        assert scene.state() is CircuitState.OPEN
    scene.at(70.0)
    assert (await scene.trial()).invocation.permit == Permit("o-1-2", 1, 3)


async def test_a_trial_for_which_nobody_came_is_offered_again(scene: Scene) -> None:
    scene.at(30.0)
    scene.at(40.0)
    scene.clock.now += 5.0
    assert not scene.recorder.permits.usable("p", scene.clock.now)
    scene.at(46.0)
    scene.at(56.0)

    scene.dispatcher.send(call_request("a"))

    assert (await scene.trial()).invocation.permit == Permit("o-1-2", 1, 3)


async def test_own_permits_stay_when_the_feed_breaks_once_more_and_end_when_the_balancer_is_back(scene: Scene) -> None:
    scene.at(30.0)
    scene.at(40.0)
    scene.recorder.breaks()
    assert scene.recorder.permits.usable("p", scene.clock.now)

    scene.trials.end()

    assert not scene.recorder.permits.usable("p", scene.clock.now)


class Silence:
    """A subscriber whose balancer nobody can reach."""

    def __init__(self, hosts: FeedHosts) -> None:
        self.clock, self.hosts = ManualClock(), hosts
        self.recorder = OutcomeRecorder(clock=self.clock.monotonic, awake=self.clock.monotonic)
        self.feed = Feed("127.0.0.1:1", "o-1", hosts, self.recorder)

    def show(self, **facts: object) -> None:
        message = snapshot_pb2.PluginSnapshot(
            plugin_id="p",
            revision=snapshot_pb2.FeedRevision(epoch=1, revision=1),
            endpoints=[told("i-1", "127.0.0.1:1", **facts)],
        )
        self.hosts.take(snapshot_from_message(message, self.clock.now))


@pytest.fixture
async def silence() -> AsyncIterator[Silence]:
    async with open_hosts("o-1", OutcomeRecorder().breached) as hosts:
        yield Silence(hosts)


async def test_what_others_do_is_forgotten_after_three_seconds_and_instances_never(silence: Silence) -> None:
    silence.show()
    silence.recorder.hinted("p", {"i-1": RemoteLoad(5, silence.clock.now)})
    silence.clock.now += feed.LOADS_LAST
    silence.feed.look()
    assert silence.recorder.loads("p")

    silence.clock.now += 1.0
    silence.feed.look()
    assert not silence.recorder.loads("p")
    silence.clock.now += 1e6
    silence.feed.look()

    assert list(silence.hosts.links("p")) == ["i-1"]


async def test_a_silence_of_ten_seconds_is_told_once(silence: Silence, caplog: pytest.LogCaptureFixture) -> None:
    silence.clock.now += feed.STALE
    silence.feed.look()
    assert [silence.feed.stale] == [False]

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            silence.clock.now += 1.0
            silence.feed.look()

    assert silence.feed.stale
    assert [record.message.count("stale_feed") for record in caplog.records] == [1]


async def test_what_was_amended_in_a_silence_gives_way_to_the_same_revision_from_the_balancer(
    silence: Silence,
) -> None:
    silence.show()
    snapshot = silence.hosts.snapshot("p")
    assert snapshot is not None
    changed = with_open_circuit("i-1", 1e9)
    silence.hosts.amend("p", changed)
    amended = silence.hosts.snapshot("p")
    assert amended is not None
    assert amended.endpoints == (changed,)

    silence.show()

    assert silence.hosts.snapshot("p") == snapshot
    await asyncio.sleep(0)


async def test_the_time_for_which_this_process_stood_still_is_no_silence_of_the_balancer(silence: Silence) -> None:
    silence.recorder.awake = lambda: 1_000.0
    silence.show()
    silence.recorder.hinted("p", {"i-1": RemoteLoad(5, silence.clock.now)})

    silence.clock.now += 1e6
    silence.feed.look()

    assert not silence.feed.stale
    assert silence.recorder.loads("p")
